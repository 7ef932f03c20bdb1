import Glibc
import Testing

@testable import WriteAheadLog

/// Every single bit of what a small log stores, flipped: opening must refuse it or give the same
/// data, and verifying a segment must name it.
@Suite("Flipped bits")
struct BitFlipTests {
    /// Several frames with every kind of content, over two segments, closed cleanly.
    struct Sample {
        var disk: MemoryDisk
        var fingerprint: [String]
    }

    /// - Parameter bytes: of the record that fills the first segment, so that the last one is small.
    static func sample(_ options: LogOptions = smallLog, filling bytes: Int = 258_700) throws
        -> Sample
    {
        let disk = MemoryDisk()
        var log = try openLog(disk, options)
        _ = try log.append(oneRecord(payload(0, bytes: 390_000)))
        _ = try log.append(oneRecord(payload(1, bytes: 390_000)))
        _ = try log.append(oneRecord(payload(1, bytes: bytes)))
        try log.createCursor(Cursor(owner: "o", name: "n"))
        let batch = AppendBatch()
        try batch.add(key: digest("a"), content: digest("A"), payload: payload(2, bytes: 60))
        try batch.add(payload: payload(3, bytes: 10))
        _ = try log.append(
            batch, registers: [RegisterUpdate(name: "p", expected: nil, value: [1, 2])])
        try log.confirm(owner: "o", name: "n", nextOffset: 3, digest: (digest("x"), 2))
        _ = try log.append(oneRecord(payload(4, bytes: 33), key: "b"))
        log.close()
        log = try openLog(disk, options)
        let fingerprint = try Self.fingerprint(log)
        log.close()
        return Sample(disk: disk, fingerprint: fingerprint)
    }

    static func fingerprint(_ log: Log) throws -> [String] {
        var lines: [String] = []
        try log.read(from: 0) { record in
            lines.append(
                "\(record.offset) \(record.appendTimeMilliseconds) \(record.epoch) "
                    + "\(record.key?.hexadecimal ?? "") \(record.content?.hexadecimal ?? "") "
                    + "\(record.payload.count) \(record.crc)")
            return true
        }
        lines.append("\(log.epochs) \(log.cursors()) \(log.register("p") ?? [])")
        return lines
    }

    @Test("in the last segment's frames and header, by the walk that opening does")
    func frames() throws {
        let sample = try Self.sample()
        let files = sample.disk.files
        let manifest = ManifestFile(
            path: "m", file: try sample.disk.open(logPath + "/manifest", .read))
        let contents = try manifest.read()
        let table = contents.tables[0]
        let path = logPath + "/" + SegmentHeader.fileName(id: table.segments.last!.id)
        var bytes = files[path]!
        var end = bytes.count
        while bytes[end - 1] == 0 { end -= 1 }
        let header = try bytes.withUnsafeBytes { try SegmentHeader($0) }
        // The header's bits up to its last field, one bit in each of its zeros, all frame bits, and
        // one in each of the bytes after.
        var bits = Array(0..<125 * 8)
        bits += (125..<4096).map { $0 * 8 + $0 % 8 }
        bits += Array(4096 * 8..<(end + 8) * 8)
        var wrong: [Int] = []
        var caught = 0
        func scan() -> [String]? {
            bytes.withUnsafeBytes { whole in
                // The zeros further on are the same in every case.
                let buffer = UnsafeRawBufferPointer(rebasing: whole[..<(end + 4096)])
                guard let found = try? SegmentHeader(buffer), found == header else { return nil }
                var scan = SegmentScan(header: found, bytes: buffer, logicalEnd: nil)
                var seen: [String] = []
                while true {
                    switch scan.next() {
                    case .frame(let frame):
                        do {
                            try FrameBody.walk(frame.header, frame.body) { item in
                                if case .record(let record) = item {
                                    seen.append("\(record.offset) \(record.crc)")
                                } else if case .change(let change) = item {
                                    seen.append("\(change)")
                                }
                            }
                        } catch { return nil }
                    case .end(let end):
                        let (_, decision) = DecisionTable.decide(
                            RecoveryEvidence(
                                frameVerifiesAndLinks: false, readFailed: false,
                                provenDurable: scan.sequence + 1 <= contents.states[0].durableSequence,
                                bytes: end.bytes))
                        return decision == .corrupt ? nil : seen
                    }
                }
            }
        }
        let whole = scan()
        #expect(whole?.count == 4)
        for bit in bits {
            bytes[bit / 8] ^= 1 << (bit % 8)
            let seen = scan()
            if seen == nil { caught += 1 } else if seen != whole { wrong.append(bit) }
            bytes[bit / 8] ^= 1 << (bit % 8)
        }
        #expect(wrong.isEmpty)
        print("\(bits.count) bits flipped in a segment, \(caught) refused")
        #expect(caught > bits.count * 9 / 10)
    }

    @Test("anywhere, by opening: refused or the same data, also a second time")
    func opening() throws {
        // The safety profile passes over nothing: refused or the same.
        let options = LogOptions(
            profile: .silStrict, capacityBytes: 64 << 20, segmentBytes: 1 << 20)
        let sample = try Self.sample(options, filling: 240_000)
        var chance = SeededGenerator(seed: SeededGenerator.seed("flips by opening"))
        let files = sample.disk.files
        var places: [(String, Int)] = []
        for (path, bytes) in files where !bytes.isEmpty {
            let used = bytes.indices.filter { bytes[$0] != 0 }
            guard !used.isEmpty else { continue }
            for _ in 0..<60 { places.append((path, used.randomElement(using: &chance)! * 8)) }
            for _ in 0..<10 { places.append((path, bytes.indices.randomElement(using: &chance)! * 8)) }
        }
        // Every byte of the fields that choose between the slots.
        let manifest = logPath + "/manifest"
        for slot in 0..<2 {
            for place in 0..<128 {
                places.append((manifest, (Int(ManifestLayout.stateSlotPosition(slot)) + place) * 8))
                places.append((manifest, (Int(ManifestLayout.tableSlotPosition(slot)) + place) * 8))
            }
        }
        var refused = 0
        for (path, start) in places {
            let bit = start + Int.random(in: 0..<8, using: &chance)
            let disk = MemoryDisk(files: files)
            disk.edit(path) { $0[bit / 8] ^= 1 << (bit % 8) }
            for _ in 0..<2 {
                let opened = Result { () throws(LogError) in try openLog(disk, options) }
                guard case .success(let log) = opened else {
                    refused += 1
                    break
                }
                let found = Result { try Self.fingerprint(log) }
                if case .success(let found) = found {
                    #expect(found == sample.fingerprint, "\(path) bit \(bit)")
                } else {
                    refused += 1
                }
                log.close()
            }
        }
        print("\(places.count) flips opened, \(refused) refused")
        #expect(refused > places.count / 4)
    }

    @Test("in a segment, by verify: each is named, at its file")
    func verify() throws {
        let sample = try Self.sample()
        let files = sample.disk.files
        #expect(try LogInspector(directory: logPath, disk: sample.disk).verify().isSound)
        var chance = SeededGenerator(seed: SeededGenerator.seed("flips by verify"))
        for id: UInt64 in [1, 2] {
            let path = logPath + "/" + SegmentHeader.fileName(id: id)
            guard let bytes = files[path] else { continue }
            let used = bytes.indices.filter { bytes[$0] != 0 }
            for number in 0..<60 {
                // One in six anywhere, where zeros must be.
                let place = (number % 6 == 0 ? bytes.indices.randomElement(using: &chance)
                    : used.randomElement(using: &chance))!
                let disk = MemoryDisk(files: files)
                disk.edit(path) { $0[place] ^= 1 << UInt8.random(in: 0...7, using: &chance) }
                let inspector = try LogInspector(directory: logPath, disk: disk)
                inspector.attempts = 1
                let report = try inspector.verify()
                // Bytes after the last commit of the last segment can be a commit torn by a crash.
                let isTorn = report.end == .torn && bytes[place] == 0
                #expect(
                    isTorn || (report.damage + report.notices).contains { $0.file == path },
                    "\(path) byte \(place)")
            }
        }
    }

    @Test("verify names the offsets, and checks what lies behind the damage")
    func precise() throws {
        let (disk, frames, _) = try DecisionTableTests.killed()
        disk.edit(DecisionTableTests.segment) { bytes in
            bytes[frames[1] + 150] ^= 1
            bytes[frames[3] + 40] ^= 1
        }
        let report = try LogInspector(directory: logPath, disk: disk).verify()
        #expect(report.damage.map(\.position) == [UInt64(frames[1]), UInt64(frames[3])])
        #expect(report.damage.map(\.offsets) == [1..<2, 3..<4])
        #expect(report.commitCount == 3 && report.headOffset == 5)
    }
}
