package import Facts
internal import Synchronization

/// Store buffer, forward buffer and cursor tracker in memory: doubles of the log-backed ones for
/// tests, held to the same conformance suite.
package final class MemoryBuffer: StoreBuffer, ForwardBuffer, CursorTracker {
    private struct Record {
        var appendedMilliseconds: Int64
        var contentDigest: Digest?
        var payload: [UInt8]
    }

    private struct State {
        var records: [Record] = []
        var keys: [Digest: (offset: UInt64, content: Digest)] = [:]
        var position: SourcePosition?
        var halt: ForwardHalt?
        var cursors: [TrackedCursor] = []
        var frontiers: [[UInt8]: ContiguousFrontier] = [:]
        var observers: [UInt64: @Sendable (UInt64) -> Void] = [:]
        var nextObserver: UInt64 = 1
    }

    package let identifier: [UInt8]
    private let now: @Sendable () -> Int64
    private let state = Mutex(State())

    /// - Parameter now: milliseconds since 1970, for append times.
    package init(identifier: [UInt8], now: @escaping @Sendable () -> Int64) {
        precondition(identifier.count == 16, "a buffer's identifier has 16 bytes")
        self.identifier = identifier
        self.now = now
    }

    package var epoch: UInt64 { 1 }
    package var firstOffset: UInt64 { 0 }
    package var headOffset: UInt64 { state.withLock { UInt64($0.records.count) } }
    package var fill: Double { 0 }

    package func read(
        from offset: UInt64, maximumCount: Int, maximumBytes: Int,
        _ visit: (BufferRecord) -> Bool
    ) throws(BufferError) -> UInt64 {
        let records = state.withLock { $0.records }
        guard offset <= records.count else {
            throw BufferError(
                .outOfRange(first: 0, head: UInt64(records.count)),
                "offset \(offset) is beyond the head")
        }
        var next = Int(offset)
        var bytes = 0
        while next < records.count, next - Int(offset) < maximumCount {
            let record = records[next]
            if next > Int(offset), bytes + record.payload.count > maximumBytes { break }
            bytes += record.payload.count
            let more = record.payload.withUnsafeBytes {
                visit(
                    BufferRecord(
                        offset: UInt64(next), appendedMilliseconds: record.appendedMilliseconds,
                        epoch: 1, contentDigest: record.contentDigest, payload: $0))
            }
            next += 1
            if !more { break }
        }
        return UInt64(next)
    }

    /// Memory forgets nothing.
    package func gaps(in offsets: Range<UInt64>) -> [BufferGap] { [] }

    package func offset(atOrAfterMilliseconds time: Int64) throws(BufferError) -> UInt64 {
        state.withLock { state in
            UInt64(
                state.records.firstIndex { $0.appendedMilliseconds >= time }
                    ?? state.records.count)
        }
    }

    package func observeHead(_ handler: @escaping @Sendable (UInt64) -> Void) -> UInt64 {
        state.withLock { state in
            defer { state.nextObserver += 1 }
            state.observers[state.nextObserver] = handler
            return state.nextObserver
        }
    }

    package func removeObserver(_ number: UInt64) {
        state.withLock { _ = $0.observers.removeValue(forKey: number) }
    }

    // MARK: - Store

    package func append(
        _ facts: [KeyedFact],
        completion: @escaping @Sendable (Result<PutReceipt, BufferError>) -> Void
    ) {
        completion(.success(put(facts.map(ForwardRecord.init), stopAtConflict: false)))
    }

    package func appendUntilConflict(_ facts: [KeyedFact]) throws(BufferError) -> PutReceipt {
        put(facts.map(ForwardRecord.init), stopAtConflict: true)
    }

    private func put(_ records: [ForwardRecord], stopAtConflict: Bool) -> PutReceipt {
        let (receipt, head, observers) = state.withLock { state in
            let outcomes = put(records, stopAtConflict, &state)
            return (
                PutReceipt(outcomes: outcomes, epoch: 1, fill: 0), UInt64(state.records.count),
                Array(state.observers.values)
            )
        }
        for observer in observers { observer(head) }
        return receipt
    }

    private func put(_ records: [ForwardRecord], _ stopAtConflict: Bool, _ state: inout State)
        -> [PutOutcome]
    {
        let time = max(state.records.last?.appendedMilliseconds ?? 0, now())
        var stopped = false
        return records.map { record in
            guard !stopped else { return .skipped }
            if let key = record.key, let known = state.keys[key] {
                if known.content == record.contentDigest { return .existing(offset: known.offset) }
                stopped = stopAtConflict
                return .conflict(offset: known.offset, stored: known.content)
            }
            let offset = UInt64(state.records.count)
            state.records.append(
                Record(
                    appendedMilliseconds: time, contentDigest: record.contentDigest,
                    payload: record.storedRecord))
            if let key = record.key, let content = record.contentDigest {
                state.keys[key] = (offset, content)
            }
            return .appended(offset: offset)
        }
    }

    // MARK: - Forward

    package var position: SourcePosition? { state.withLock { $0.position } }

    package func begin(at position: SourcePosition) throws(BufferError) {
        try state.withLock { state -> Result<Void, BufferError> in
            guard state.position == nil else {
                return .failure(BufferError(.positionMoved, "receiving has begun already"))
            }
            state.position = position
            return .success(())
        }.get()
    }

    package func putIfAbsent(
        _ records: [ForwardRecord], from: SourcePosition, to: SourcePosition,
        replacing: (([ForwardConflict]) throws(BufferError) -> [[UInt8]])?
    ) throws(BufferError) -> PutReceipt {
        let conflicts = try conflicts(records, from: from)
        var records = records
        if let first = conflicts.first {
            guard let replacing else { throw .conflict(first.index, first.offset ?? 0, first.stored) }
            for (conflict, payload) in zip(conflicts, try replacing(conflicts)) {
                records[conflict.index] = ForwardRecord(
                    key: nil, contentDigest: nil, storedRecord: payload)
            }
        }
        return try put(records, from: from, to: to, endsHalt: false)
    }

    private func conflicts(_ records: [ForwardRecord], from: SourcePosition) throws(BufferError)
        -> [ForwardConflict]
    {
        try state.withLock { state -> Result<[ForwardConflict], BufferError> in
            guard state.position == from else {
                return .failure(BufferError(.positionMoved, "the position is another one"))
            }
            var conflicts: [ForwardConflict] = []
            var within: [Digest: Digest] = [:]
            for (index, record) in records.enumerated() {
                guard let key = record.key, let content = record.contentDigest else { continue }
                let known = state.keys[key]
                if let stored = known?.content ?? within[key], stored != content {
                    conflicts.append(
                        ForwardConflict(index: index, offset: known?.offset, stored: stored))
                } else {
                    within[key] = content
                }
            }
            return .success(conflicts)
        }.get()
    }

    private func put(
        _ records: [ForwardRecord], from: SourcePosition, to: SourcePosition, endsHalt: Bool
    ) throws(BufferError) -> PutReceipt {
        let result = state.withLock { state -> Result<PutReceipt, BufferError> in
            guard state.position == from else {
                return .failure(BufferError(.positionMoved, "the position is another one"))
            }
            let outcomes = put(records, false, &state)
            state.position = to
            if endsHalt { state.halt = nil }
            return .success(PutReceipt(outcomes: outcomes, epoch: 1, fill: 0))
        }
        tellObservers()
        return try result.get()
    }

    private func tellObservers() {
        let head = headOffset
        for observer in state.withLock({ Array($0.observers.values) }) { observer(head) }
    }

    package func putLate(_ record: ForwardRecord) throws(BufferError) -> PutOutcome {
        defer { tellObservers() }
        return state.withLock { put([record], false, &$0)[0] }
    }

    package var halt: ForwardHalt? { state.withLock { $0.halt } }

    package func setHalt(_ halt: ForwardHalt?) throws(BufferError) {
        state.withLock { $0.halt = halt }
    }

    package func putRefusal(_ record: ForwardRecord, from: SourcePosition, to: SourcePosition)
        throws(BufferError)
    {
        _ = try put([record], from: from, to: to, endsHalt: true)
    }

    package func accept(_ position: SourcePosition, from: SourcePosition) throws(BufferError) {
        try state.withLock { state -> Result<Void, BufferError> in
            guard state.position == from else {
                return .failure(BufferError(.positionMoved, "the position is another one"))
            }
            state.position = position
            state.halt = nil
            return .success(())
        }.get()
    }

    package func get(_ key: Digest) throws(BufferError) -> UInt64? { try content(of: key)?.offset }

    package func content(of key: Digest) throws(BufferError) -> (offset: UInt64, content: Digest)? {
        state.withLock { state in state.keys[key].map { ($0.offset, $0.content) } }
    }

    // MARK: - Cursors

    /// Nothing is ever removed here, so every offset is one to begin at.
    package func create(_ cursor: TrackedCursor, notBelowFirst: Bool) throws(BufferError) {
        let problem = state.withLock { state -> BufferError? in
            if state.cursors.contains(where: { $0.isOf(cursor.owner, cursor.name) }) {
                return BufferError(.cursorExists, "the consumer exists")
            }
            guard cursor.nextOffset <= state.records.count else {
                return BufferError(
                    .outOfRange(first: 0, head: UInt64(state.records.count)), "beyond the head")
            }
            state.cursors.append(cursor)
            return nil
        }
        if let problem { throw problem }
    }

    package func cursor(owner: String, name: String) -> TrackedCursor? {
        state.withLock { $0.cursors.first { $0.isOf(owner, name) } }
    }

    package func cursors() -> [TrackedCursor] { state.withLock { $0.cursors } }

    package func confirm(
        owner: String, name: String, _ range: ClosedRange<UInt64>,
        digest: (value: Digest, offset: UInt64)?
    ) throws(BufferError) -> TrackedCursor {
        try state.withLock { state -> Result<TrackedCursor, BufferError> in
            guard let index = state.cursors.firstIndex(where: { $0.isOf(owner, name) }) else {
                return .failure(BufferError(.cursorNotFound, "there is no such consumer"))
            }
            guard state.cursors[index].detachReason == nil else {
                return .failure(BufferError(.cursorDetached, "the consumer is detached"))
            }
            guard range.upperBound < state.records.count else {
                return .failure(
                    BufferError(
                        .outOfRange(first: 0, head: UInt64(state.records.count)),
                        "beyond the head"))
            }
            let reader = Array(owner.utf8) + [0] + Array(name.utf8)
            var frontier =
                state.frontiers[reader]
                ?? ContiguousFrontier(nextOffset: state.cursors[index].nextOffset)
            frontier.confirm(range)
            state.frontiers[reader] = frontier
            if frontier.nextOffset > state.cursors[index].nextOffset {
                state.cursors[index].nextOffset = frontier.nextOffset
                state.cursors[index].digest = digest?.value
                state.cursors[index].digestOffset = digest?.offset
            }
            return .success(state.cursors[index])
        }.get()
    }

    package func detach(owner: String, name: String, reason: String) throws(BufferError) {
        try change(owner, name) { cursor, _ in
            cursor.detachReason = reason
            return nil
        }
    }

    package func attach(owner: String, name: String, nextOffset: UInt64) throws(BufferError) {
        try change(owner, name) { cursor, head in
            guard nextOffset <= head else {
                return BufferError(.outOfRange(first: 0, head: head), "beyond the head")
            }
            guard cursor.detachReason != nil else { return nil }
            cursor.detachReason = nil
            cursor.nextOffset = nextOffset
            cursor.digest = nil
            cursor.digestOffset = nil
            return nil
        }
    }

    package func replace(_ cursor: TrackedCursor) throws(BufferError) {
        guard cursor.epoch == epoch else {
            throw BufferError(.positionMoved, "the cursor is of another epoch")
        }
        try change(cursor.owner, cursor.name) { standing, head in
            guard cursor.nextOffset <= head else {
                return BufferError(.outOfRange(first: 0, head: head), "beyond the head")
            }
            standing = cursor
            return nil
        }
    }

    package func change(owner: String, name: String, hold: CursorHold) throws(BufferError) {
        try change(owner, name) { cursor, _ in
            cursor.hold = hold
            return nil
        }
    }

    private func change(
        _ owner: String, _ name: String,
        _ body: (inout TrackedCursor, _ head: UInt64) -> BufferError?
    ) throws(BufferError) {
        let problem = state.withLock { state -> BufferError? in
            guard let index = state.cursors.firstIndex(where: { $0.isOf(owner, name) }) else {
                return BufferError(.cursorNotFound, "there is no such consumer")
            }
            let before = state.cursors[index].nextOffset
            if let problem = body(&state.cursors[index], UInt64(state.records.count)) {
                return problem
            }
            if state.cursors[index].nextOffset != before || state.cursors[index].detachReason != nil {
                state.frontiers.removeValue(forKey: Array(owner.utf8) + [0] + Array(name.utf8))
            }
            return nil
        }
        if let problem { throw problem }
    }

    package func delete(owner: String, name: String) throws(BufferError) {
        let found = state.withLock { state -> Bool in
            state.frontiers.removeValue(forKey: Array(owner.utf8) + [0] + Array(name.utf8))
            let count = state.cursors.count
            state.cursors.removeAll { $0.isOf(owner, name) }
            return state.cursors.count < count
        }
        guard found else { throw BufferError(.cursorNotFound, "there is no such consumer") }
    }
}

extension ForwardRecord {
    fileprivate init(_ fact: KeyedFact) {
        self.init(
            key: fact.key, contentDigest: fact.contentDigest, storedRecord: fact.storedRecord)
    }
}

extension TrackedCursor {
    fileprivate func isOf(_ owner: String, _ name: String) -> Bool {
        self.owner.utf8.elementsEqual(owner.utf8) && self.name.utf8.elementsEqual(name.utf8)
    }
}
