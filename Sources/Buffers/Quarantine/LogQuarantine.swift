internal import Synchronization
internal import WriteAheadLog

/// A quarantine in a log of its own. What waits for a decision is indexed in memory; a cursor at the
/// oldest of it lets the log reclaim what was decided. The log is made when the first fact comes.
package final class LogQuarantine: Quarantine {
    private static let owner = "quarantine"
    private static let cursorName = "held"
    private static let segmentBytes: UInt64 = 16 << 20
    /// Above it no fact is taken; the log itself refuses from 0.8 on.
    private static let fillMaximum = 0.6

    fileprivate struct Held {
        var offset: UInt64
        var bytes: UInt64
    }

    fileprivate struct State {
        var log: Log?
        var held: [QuarantineIdentifier: Held] = [:]
        var size: QuarantineSize
        /// Offsets of the log that were lost, seen when it was opened.
        var losses: [Range<UInt64>] = []
    }

    private let directory: String
    private let capacityBytes: UInt64
    /// One change at a time, since each looks before it writes.
    private let writing = Monitor()
    private let state: Mutex<State>

    /// Opens the log in `directory` when there is one. Blocks.
    /// - Throws: `stopped` when it cannot be opened; `corrupt`.
    package init(directory: String, capacityBytes: UInt64) throws(BufferError) {
        self.directory = directory
        self.capacityBytes = capacityBytes
        state = Mutex(State(size: QuarantineSize(capacityBytes: capacityBytes)))
        // Nothing to list is nothing to open; what cannot be listed for another reason fails then too.
        let files = try? LinuxDisk().list(directory)
        if files?.contains("manifest") ?? false { _ = try openedLog() }
    }

    package func close() { state.withLock { $0.log }?.close() }

    package var size: QuarantineSize { state.withLock { $0.size } }

    /// Parts of the quarantine's own log that its disk has lost, by offset: facts that waited in them are gone.
    package var losses: [Range<UInt64>] { state.withLock { $0.losses } }

    @discardableResult
    package func put(_ facts: [QuarantinedFact]) throws(BufferError) -> [QuarantinedFact] {
        writing.lock()
        defer { writing.unlock() }
        let batch = AppendBatch()
        var new: [(fact: QuarantinedFact, bytes: UInt64)] = []
        var known = state.withLock { Set($0.held.keys) }
        for fact in facts where known.insert(fact.identifier).inserted {
            let record = QuarantineRecord.fact(fact).encode()
            new.append((fact, UInt64(record.count)))
            try LogQuarantine.wrap { () throws(LogError) in try batch.add(payload: record) }
        }
        guard !new.isEmpty else { return [] }
        try checkRoom(count: new.count, bytes: new.reduce(0) { $0 + $1.bytes })
        let log = try openedLog()
        let receipt = try LogQuarantine.wrap { () throws(LogError) in try log.append(batch) }
        state.withLock { state in
            for (index, held) in new.enumerated() {
                guard case .appended(let offset) = receipt.outcomes[index] else {
                    preconditionFailure("a record without a key is appended")
                }
                state.hold(held.fact.identifier, Held(offset: offset, bytes: held.bytes))
            }
        }
        return new.map(\.fact)
    }

    /// Its own limit is below the log's, so that a decision can be written when no fact is taken.
    private func checkRoom(count: Int, bytes: UInt64) throws(BufferError) {
        let (size, log) = state.withLock { ($0.size, $0.log) }
        try size.checkRoom(count: count, bytes: bytes)
        guard let log, log.statistics().fill > LogQuarantine.fillMaximum else { return }
        // What was decided lies between what was not, and only the oldest can be let go.
        var occupied = size
        occupied.bytes = capacityBytes
        try occupied.checkRoom(count: count, bytes: bytes)
    }

    package func fact(_ identifier: QuarantineIdentifier) throws(BufferError) -> QuarantinedFact? {
        let (log, held) = state.withLock { ($0.log, $0.held[identifier]) }
        guard let log, let held else { return nil }
        return try read(held.offset, log)
    }

    private func read(_ offset: UInt64, _ log: Log) throws(BufferError) -> QuarantinedFact? {
        var found: QuarantineRecord?
        _ = try LogQuarantine.wrap { () throws(LogError) in
            try log.read(from: offset, maximumCount: 1) { record in
                found = QuarantineRecord(record.payload)
                return false
            }
        }
        guard case .fact(let fact)? = found else {
            throw BufferError(.corrupt, "offset \(offset) of the quarantine holds no fact")
        }
        return fact
    }

    package func visit(_ visit: (QuarantinedFact) -> Bool) throws(BufferError) {
        let (log, offsets) = state.withLock { ($0.log, $0.held.values.map(\.offset).sorted()) }
        guard let log else { return }
        for offset in offsets {
            // Decided about and reclaimed meanwhile: it is no longer anybody's.
            guard state.withLock({ $0.held.values.contains { $0.offset == offset } }) else {
                continue
            }
            guard let fact = try read(offset, log), visit(fact) else { return }
        }
    }

    package func remove(_ identifier: QuarantineIdentifier) throws(BufferError) -> Bool {
        writing.lock()
        defer { writing.unlock() }
        guard let log = state.withLock({ $0.held[identifier] == nil ? nil : $0.log }) else {
            return false
        }
        let batch = AppendBatch()
        try LogQuarantine.wrap { () throws(LogError) in
            try batch.add(payload: QuarantineRecord.removal(identifier).encode())
            _ = try log.append(batch)
        }
        let oldest = state.withLock { state -> UInt64? in
            state.release(identifier)
            return state.held.values.map(\.offset).min()
        }
        try LogQuarantine.wrap { () throws(LogError) in
            _ = try log.confirm(
                owner: LogQuarantine.owner, name: LogQuarantine.cursorName,
                nextOffset: oldest ?? log.headOffset)
        }
        return true
    }

    // MARK: - The log

    /// With twice the room, so that removals always have theirs; nothing in it expires or is dropped.
    private func openedLog() throws(BufferError) -> Log {
        if let log = state.withLock({ $0.log }) { return log }
        let (directory, capacity) = (directory, capacityBytes)
        let log = try LogQuarantine.wrap { () throws(LogError) in
            let log = try Log.open(
                directory: directory,
                options: LogOptions(
                    policy: .standard(StandardPolicy(unconfirmedLifetimeMilliseconds: nil)),
                    capacityBytes: max(2 * capacity, 8 * LogQuarantine.segmentBytes),
                    segmentBytes: LogQuarantine.segmentBytes))
            if log.cursor(owner: LogQuarantine.owner, name: LogQuarantine.cursorName) == nil {
                try log.createCursor(
                    Cursor(owner: LogQuarantine.owner, name: LogQuarantine.cursorName))
            }
            return log
        }
        try index(log)
        state.withLock { $0.log = log }
        return log
    }

    /// Reads what is held. Past a part that was lost it goes on: what follows it still waits.
    private func index(_ log: Log) throws(BufferError) {
        let cursor = log.cursor(owner: LogQuarantine.owner, name: LogQuarantine.cursorName)
        var next = max(log.firstOffset, cursor?.nextOffset ?? 0)
        var unreadable: UInt64?
        while next < log.headOffset, unreadable == nil {
            do throws(LogError) {
                next = try log.read(from: next) { record in
                    guard let entry = QuarantineRecord(record.payload) else {
                        unreadable = record.offset
                        return false
                    }
                    take(entry, at: record.offset, bytes: record.payload.count)
                    return true
                }
            } catch {
                guard case .gap(let gap) = error else { throw BufferError(error) }
                state.withLock { $0.losses.append(gap.offsets) }
                next = gap.offsets.upperBound
            }
        }
        if let unreadable {
            throw BufferError(
                .corrupt, "offset \(unreadable) of the quarantine in \(directory) is not readable "
                    + "by this release")
        }
    }

    private func take(_ entry: QuarantineRecord, at offset: UInt64, bytes: Int) {
        state.withLock { state in
            switch entry {
            case .fact(let fact):
                // Its removal may be in a part that was lost, and it came again.
                state.release(fact.identifier)
                state.hold(fact.identifier, Held(offset: offset, bytes: UInt64(bytes)))
            case .removal(let identifier): state.release(identifier)
            }
        }
    }

    private static func wrap<Value>(_ body: () throws(LogError) -> Value) throws(BufferError)
        -> Value
    {
        do throws(LogError) { return try body() } catch { throw BufferError(error) }
    }
}

extension LogQuarantine.State {
    fileprivate mutating func hold(_ identifier: QuarantineIdentifier, _ fact: LogQuarantine.Held) {
        precondition(held[identifier] == nil, "an identifier is held once")
        held[identifier] = fact
        size.count += 1
        size.bytes += fact.bytes
    }

    fileprivate mutating func release(_ identifier: QuarantineIdentifier) {
        guard let fact = held.removeValue(forKey: identifier) else { return }
        size.count -= 1
        size.bytes -= fact.bytes
    }
}
