internal import Facts
internal import WriteAheadLog

/// The names of a store, durable: a log of their states, and what they come to in memory. Records that
/// later ones have replaced are given back to the log by writing again what they hold and is still true.
/// Not for several threads at once, but for `log`.
struct ArtifactIndex {
    /// Reads what the log holds from here on; everything before is written again further on.
    private static let cursor = (owner: "bsfg", name: "artifact-names")
    /// Of the log, in bytes.
    struct Sizes: Sendable {
        var capacityBytes: UInt64 = 256 << 20
        var segmentBytes: UInt64 = 4 << 20
    }

    /// The fill at which old records are written again; the share of the capacity that what is true may
    /// take, so that they always can be; and how many bytes at most in one commit, how many records between
    /// two confirmations.
    private static let compactionFill = 0.4
    private static let compactionFillStep = 0.1
    private static let shareMaximum = 0.25
    private static let batchBytes = 256 << 10
    private static let compactionRecords = 8_192

    let log: Log
    /// What the log was when it was compacted last: its removals come a moment later.
    private var compacted: (firstOffset: UInt64, fill: Double)?

    /// Whether a part of the log was lost.
    private let hasGap: Bool

    private init(_ log: Log, hasGap: Bool) {
        self.log = log
        self.hasGap = hasGap
    }

    /// False where records were lost before they were written again: names that had them are not known.
    var isWhole: Bool {
        let cursor = log.cursor(owner: ArtifactIndex.cursor.owner, name: ArtifactIndex.cursor.name)
        return !hasGap && cursor.map { log.firstOffset <= $0.nextOffset } ?? false
    }

    /// What the records of all names may come to in a log of a capacity, in bytes.
    static func recordBytesMaximum(_ sizes: Sizes) -> Int {
        Int(Double(sizes.capacityBytes) * shareMaximum)
    }

    /// Opens the log and gives each record to `visit`, oldest first. Blocks.
    static func open(
        _ directory: String, _ sizes: Sizes, _ disk: any Disk, _ environment: LogEnvironment,
        _ visit: (ArtifactIndexRecord, UInt64) -> Void
    ) throws(LogError) -> ArtifactIndex {
        // Nothing here expires or is dropped: what is not true any more goes when it was written again. Records
        // are taken up to a fill that compaction does not reach, so that it never stands in its own way.
        let log = try Log.open(
            directory: directory,
            options: LogOptions(
                policy: .standard(StandardPolicy(unconfirmedLifetimeMilliseconds: nil)),
                capacityBytes: sizes.capacityBytes, segmentBytes: sizes.segmentBytes,
                retention: RetentionOptions(highWatermark: 0.95, lowWatermark: 0.9)),
            disk: disk, environment: environment)
        if log.cursor(owner: cursor.owner, name: cursor.name) == nil {
            try log.createCursor(Cursor(owner: cursor.owner, name: cursor.name))
        }
        var unreadable: UInt64?
        var hasGap = false
        var next = log.firstOffset
        while next < log.headOffset {
            do throws(LogError) {
                next = try log.read(from: next, maximumCount: 4_096) { record in
                    guard let found = ArtifactIndexRecord(record.payload) else {
                        unreadable = record.offset
                        return false
                    }
                    visit(found, record.offset)
                    return true
                }
            } catch {
                guard case .gap(let gap) = error else { throw error }
                hasGap = true
                next = gap.offsets.upperBound
            }
            if let unreadable {
                throw .notALog(
                    directory: directory,
                    reason: "record \(unreadable) is no artifact's; it is of a newer release")
            }
        }
        return ArtifactIndex(log, hasGap: hasGap)
    }

    /// Durable when it returns, in commits of a bounded size, in order. Blocks.
    /// - Parameter appended: told each record that is durable and where it stands.
    func append(
        _ records: [ArtifactIndexRecord], _ appended: (ArtifactIndexRecord, UInt64) -> Void
    ) throws(LogError) {
        var rest = records[...]
        while !rest.isEmpty {
            let batch = AppendBatch()
            var bytes = 0
            var count = 0
            for record in rest {
                let payload = record.bytes
                guard count == 0 || bytes + payload.count <= ArtifactIndex.batchBytes else { break }
                try batch.add(payload: payload)
                bytes += payload.count
                count += 1
            }
            let receipt = try log.append(batch)
            for (record, outcome) in zip(rest, receipt.outcomes) {
                guard let offset = outcome.offset else {
                    preconditionFailure("a record without a key is always appended")
                }
                appended(record, offset)
            }
            rest = rest.dropFirst(count)
        }
    }

    private static let clock = "clock"

    /// 0 where none was stored.
    var storedClock: UInt64 {
        guard let bytes = log.register(ArtifactIndex.clock), bytes.count == 8 else { return 0 }
        return bytes.withUnsafeBytes {
            UInt64(littleEndian: $0.loadUnaligned(as: UInt64.self))
        }
    }

    /// Durable when it returns. Blocks.
    func store(clock value: UInt64) throws(LogError) {
        try log.setRegisters([
            RegisterUpdate(
                name: ArtifactIndex.clock, expected: log.register(ArtifactIndex.clock),
                value: withUnsafeBytes(of: value.littleEndian) { Array($0) })
        ])
    }

    var needsCompaction: Bool {
        let fill = log.statistics().fill
        guard fill > ArtifactIndex.compactionFill else { return false }
        // What was confirmed is not removed yet: doing it again would only fill the log.
        guard let compacted, compacted.firstOffset == log.firstOffset else { return true }
        return fill > compacted.fill + ArtifactIndex.compactionFillStep
    }

    /// Writes again, a piece at a time, what the older half of the log holds of `names`, and lets the log
    /// have the room of each piece: one that fails is not done again. Blocks.
    mutating func compact(_ names: inout ArtifactNames) throws(LogError) {
        let first = log.firstOffset
        defer { compacted = (first, log.statistics().fill) }
        let middle = first + (log.headOffset - first + 1) / 2
        var old: [(offset: UInt64, record: ArtifactIndexRecord)] = []
        for known in names.known.values where known.recordOffset < middle {
            old.append((known.recordOffset, .name(known.entry)))
        }
        for (log, state) in names.followed where state.recordOffset < middle {
            old.append((state.recordOffset, .followed(log: log, offset: state.offset)))
        }
        old.sort { $0.offset < $1.offset }
        var rest = old[...]
        repeat {
            let piece = rest.prefix(ArtifactIndex.compactionRecords)
            try append(piece.map(\.record)) { names.apply($0, recordOffset: $1) }
            rest = rest.dropFirst(piece.count)
            try log.confirm(
                owner: ArtifactIndex.cursor.owner, name: ArtifactIndex.cursor.name,
                nextOffset: rest.first?.offset ?? middle)
        } while !rest.isEmpty
    }
}

extension ArtifactNames {
    mutating func apply(_ record: ArtifactIndexRecord, recordOffset: UInt64) {
        switch record {
        case .name(let entry): set(entry, recordOffset: recordOffset)
        case .removed(let name): remove(name)
        case .followed(let log, let offset): followed[log] = (offset, recordOffset)
        }
    }
}
