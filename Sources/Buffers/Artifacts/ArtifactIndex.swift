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

    /// The fill at which old records are written again, and how many bytes at most in one commit.
    private static let compactionFill = 0.4
    private static let batchBytes = 256 << 10

    let log: Log

    /// Opens the log and gives each record to `visit`, oldest first. Blocks.
    static func open(
        _ directory: String, _ sizes: Sizes, _ disk: any Disk, _ environment: LogEnvironment,
        _ visit: (ArtifactIndexRecord, UInt64) -> Void
    ) throws(LogError) -> ArtifactIndex {
        let log = try Log.open(
            directory: directory,
            options: LogOptions(
                capacityBytes: sizes.capacityBytes, segmentBytes: sizes.segmentBytes),
            disk: disk, environment: environment)
        if log.cursor(owner: cursor.owner, name: cursor.name) == nil {
            try log.createCursor(Cursor(owner: cursor.owner, name: cursor.name))
        }
        var unreadable: UInt64?
        var next = log.firstOffset
        while next < log.headOffset {
            next = try log.read(from: next, maximumCount: 4_096) { record in
                guard let found = ArtifactIndexRecord(record.payload) else {
                    unreadable = record.offset
                    return false
                }
                visit(found, record.offset)
                return true
            }
            if let unreadable {
                throw .notALog(
                    directory: directory,
                    reason: "record \(unreadable) is no artifact's; it is of a newer release")
            }
        }
        return ArtifactIndex(log: log)
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

    var needsCompaction: Bool { log.statistics().fill > ArtifactIndex.compactionFill }

    /// Writes again, a piece at a time, what the older half of the log holds of `names`, then lets the
    /// log have its room. Blocks.
    func compact(_ names: inout ArtifactNames) throws(LogError) {
        let first = log.firstOffset
        let middle = first + (log.headOffset - first + 1) / 2
        let old = names.known.values.filter { $0.recordOffset < middle }.map(\.entry)
        let followed = names.followed.filter { $0.value.recordOffset < middle }
        var all = old.map { ArtifactIndexRecord.name($0) }
        all += followed.map { ArtifactIndexRecord.followed(log: $0.key, offset: $0.value.offset) }
        var moved = names
        try append(all) { moved.apply($0, recordOffset: $1) }
        names = moved
        try log.confirm(
            owner: ArtifactIndex.cursor.owner, name: ArtifactIndex.cursor.name, nextOffset: middle)
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
