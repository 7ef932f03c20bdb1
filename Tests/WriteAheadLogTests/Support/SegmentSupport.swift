import Synchronization

@testable import WriteAheadLog

/// A closed segment of a log in memory, as the code that seals it is given it.
struct ClosedSegment {
    var disk: MemoryDisk
    var path: String
    var file: any DiskFile
    var header: SegmentHeader
    var entry: SegmentEntry
    var endOffset: UInt64

    /// - Throws: when there is no closed segment of that number.
    init(_ disk: MemoryDisk, _ number: Int) throws {
        let (_, table, _) = try LogInspector(directory: logPath, disk: disk).slots()
        guard number + 1 < table.segments.count else { throw LogError.closed }
        let entry = table.segments[number]
        try self.init(disk, entry, endOffset: table.segments[number + 1].baseOffset)
    }

    init(_ disk: MemoryDisk, _ entry: SegmentEntry, endOffset: UInt64) throws {
        self.disk = disk
        self.entry = entry
        self.endOffset = endOffset
        path = logPath + "/" + SegmentHeader.fileName(id: entry.id)
        file = try disk.open(path, .readWrite)
        header = try disk.files[path]!.withUnsafeBytes { try SegmentHeader($0) }
    }

    var bytes: [UInt8] { disk.files[path]! }

    func sealer(
        after previous: Digest256 = .zero,
        keyed: @escaping (Digest256, Digest256, UInt64) -> Void = { _, _, _ in }
    ) -> SegmentSealer {
        SegmentSealer(
            file: file, path: path, header: header, entry: entry, endOffset: endOffset,
            previousDigest: previous, keyed: keyed)
    }

    func seal(after previous: Digest256 = .zero) throws -> SegmentFooter {
        guard case .sealed(let footer) = try sealer(after: previous).run() else {
            throw LogError.closed
        }
        return footer
    }

    /// The frames from a place on, whose bodies are gone, and every record in them.
    func walk(from start: SegmentWalker.Start? = nil) throws
        -> (frames: [SegmentWalker.Frame], records: [StoredRecord], damage: [SegmentDamage])
    {
        let walker = SegmentWalker(
            file: file, header: header, from: start,
            to: .init(
                position: entry.logicalEnd, lastSequence: entry.lastSequence, offset: endOffset),
            isUncached: false)
        var frames: [SegmentWalker.Frame] = []
        var records: [StoredRecord] = []
        var damage: [SegmentDamage] = []
        while true {
            switch try walker.next() {
            case .frame(let frame):
                frames.append(frame)
                let found = walker.records(of: frame) { item in
                    if case .record(let record) = item { records.append(StoredRecord(record)) }
                }
                if let found { damage.append(found) }
            case .damage(let found): damage.append(found)
            case .searching: break
            case .end: return (frames, records, damage)
            }
        }
    }
}

/// A record as a value of its own.
struct StoredRecord: Hashable {
    var offset: UInt64
    var time: Int64
    var epoch: UInt64
    var key: Digest256?
    var content: Digest256?
    var payload: [UInt8]

    init(_ record: LogRecord) {
        offset = record.offset
        time = record.appendTimeMilliseconds
        epoch = record.epoch
        key = record.key
        content = record.content
        payload = Array(record.payload)
    }
}

/// What a random log is made of.
struct RandomLog {
    var profile = Profile.standard
    var compression: BlockCompression? = nil
    var batchCount = 200
    var recordsPerBatch = 1...4
    var payloadBytes = 0..<30_000

    /// Appends random batches, some compressible, some keyed, with registers now and then.
    func make(_ chance: inout SeededGenerator, on disk: MemoryDisk = MemoryDisk()) throws
        -> MemoryDisk
    {
        let clock = FixedEnvironment()
        let log = try openLog(
            disk,
            LogOptions(profile: profile, capacityBytes: 64 << 20, segmentBytes: 1 << 20),
            environment: clock.environment)
        var register: [UInt8]?
        for number in 0..<batchCount {
            clock.milliseconds.wrappingAdd(.random(in: 0..<50, using: &chance), ordering: .relaxed)
            let lz4 = Bool.random(using: &chance)
            let batch = AppendBatch(compression: compression ?? (lz4 ? .lz4 : .none))
            for index in 0..<Int.random(in: recordsPerBatch, using: &chance) {
                let keyed = Bool.random(using: &chance)
                try batch.add(
                    key: keyed ? digest("\(number) \(index)") : nil,
                    content: keyed ? digest("\(number)") : nil,
                    payload: randomPayload(
                        Int.random(in: payloadBytes, using: &chance), &chance))
            }
            if number % 7 == 3 {
                let value = [UInt8(truncatingIfNeeded: number)]
                _ = try log.append(
                    batch,
                    registers: [RegisterUpdate(name: "r", expected: register, value: value)])
                register = value
            } else {
                _ = try log.append(batch)
            }
        }
        log.close()
        try RandomLog.unseal(disk)
        return disk
    }

    /// Takes back what the log has done by itself meanwhile: footers, checkpoint and key runs.
    static func unseal(_ disk: MemoryDisk) throws {
        let path = logPath + "/" + ManifestLayout.fileName
        let manifest = ManifestFile(path: path, file: try disk.open(path, .readWrite))
        var table = try manifest.read().tables[0]
        table.checkpoint = nil
        table.runs = []
        for number in table.segments.indices {
            table.segments[number].flags &= ~SegmentEntry.Flags.sealed
            table.segments[number].digest = .zero
            disk.edit(logPath + "/" + SegmentHeader.fileName(id: table.segments[number].id)) { bytes in
                let room = Int(FormatLimits.footerBytes(segmentBytes: UInt64(bytes.count)))
                for place in bytes.count - room..<bytes.count { bytes[place] = 0 }
            }
        }
        for _ in 0..<2 {
            table.generation += 1
            try manifest.write(table)
        }
    }
}

/// Bytes that compress well, a little, or not at all.
func randomPayload(_ count: Int, _ chance: inout SeededGenerator) -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: count)
    switch Int.random(in: 0..<3, using: &chance) {
    case 0: bytes = payload(count, bytes: count)
    case 1:
        for index in bytes.indices { bytes[index] = UInt8(truncatingIfNeeded: chance.next()) }
    default:
        for index in bytes.indices { bytes[index] = UInt8(truncatingIfNeeded: chance.next()) & 7 }
    }
    return Array(bytes.prefix(count))
}
