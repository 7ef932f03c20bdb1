import Glibc
import Synchronization
import Testing

@testable import WriteAheadLog

/// A released log with an LZ4 block and a footer, and what others make of sealed and repacked ones.
///
/// Another release of liblz4 may compress the same bytes to others, so this log is kept to be read and
/// not compared with what is written now; its footer is.
@Suite("Sealed and compressed logs of other hands")
struct SealingGoldenTests {
    static let directory = GoldenTests.root + "/Tests/Golden/log/v1-lz4"
    static let names = [SegmentHeader.fileName(id: 1), SegmentHeader.fileName(id: 2), "manifest"]

    /// Readings that compress well, in a batch with a key; then zeros until the first segment is full.
    static func example() throws -> MemoryDisk {
        let disk = MemoryDisk()
        let clock = FixedEnvironment(milliseconds: 1_700_000_000_000)
        let log = try openLog(disk, GoldenTests.options, environment: clock.environment)
        let readings = AppendBatch(compression: .lz4)
        try readings.add(
            key: GoldenTests.key, content: GoldenTests.content, payload: Array("v1".utf8))
        for number in 0..<60 { try readings.add(payload: reading(number)) }
        _ = try log.append(readings)
        for number in 0..<3 {
            clock.milliseconds.store(1_700_000_000_250 + Int64(number), ordering: .relaxed)
            try _ = log.append(oneRecord([UInt8](repeating: 0, count: 390_000)))
        }
        log.close()
        _ = try ClosedSegment(disk, 0).seal()
        return disk
    }

    static func reading(_ number: Int) -> [UInt8] {
        Array("{\"tank\":\"T-1\",\"sensor\":\"level\",\"unit\":\"mm\",\"value\":\(4000 + number)}".utf8)
    }

    static func golden() throws -> MemoryDisk {
        let disk = MemoryDisk()
        for name in names {
            let lines = try GoldenTests.read(directory + "/" + name + ".hex").split(separator: "\n")
            disk.put(logPath + "/" + name, GoldenTests.bytes(lines.map(String.init)))
        }
        return disk
    }

    @Test("the released compressed bytes are read, and their footer is the one that sealing writes")
    func released() throws {
        if getenv("BSFG_WRITE_GOLDEN") != nil {
            let files = try Self.example().files
            for name in Self.names {
                let file = fopen(Self.directory + "/" + name + ".hex", "w")!
                for line in GoldenTests.dump(files[logPath + "/" + name]!) { fputs(line + "\n", file) }
                fclose(file)
            }
        }
        let disk = try Self.golden()
        let segment = try ClosedSegment(disk, 0)
        guard case .footer(let released) = try FooterRoom.read(segment.file, header: segment.header)
        else {
            Issue.record("the released footer is not read")
            return
        }
        let before = segment.bytes
        #expect(try segment.seal() == released)
        #expect(segment.bytes == before)
        #expect(released.recordCount == 63)
        #expect(released.keyedRecordCount == 1)
        #expect(
            try LogInspector(directory: logPath, disk: disk).verify().isSound,
            "the released log verifies")
        let first = try segment.walk().frames[0]
        #expect(segment.bytes[Int(first.position) + 128 + 4] == BlockCodec.lz4)
        let log = try openLog(disk, GoldenTests.options, environment: .still)
        var payloads: [[UInt8]] = []
        try log.read(from: 0) { record in
            payloads.append(Array(record.payload))
            return true
        }
        #expect(payloads.count == 64)
        #expect(payloads[0] == Array("v1".utf8))
        #expect(Array(payloads[1...60]) == (0..<60).map(Self.reading))
        #expect(payloads[61...].allSatisfy { $0 == [UInt8](repeating: 0, count: 390_000) })
        log.close()
    }

    @Test("docs/format.md shows the footer's bytes and the compressed block's")
    func documented() throws {
        let document = Set(
            try GoldenTests.read(GoldenTests.root + "/docs/format.md").split(separator: "\n").map {
                $0.split(separator: "|")[0].trimmingSuffix(" ")
            })
        let lines = try GoldenTests.read(Self.directory + "/" + Self.names[0] + ".hex")
            .split(separator: "\n").dropFirst().map(String.init)
        let shown = lines.filter { line in
            let place = Int(line.prefix(8), radix: 16)!
            return place >= 1 << 20 - 5120 || (0x1080..<0x10c0).contains(place)
        }
        #expect(shown.count > 15)
        for line in shown { #expect(document.contains(line), "\(line)") }
    }

    // MARK: - Another language

    /// Files of a disk in memory, where a program can read them.
    private static func store(_ disk: MemoryDisk, _ directory: String) throws {
        for (path, bytes) in disk.files where path.hasPrefix(logPath + "/") {
            let file = fopen(directory + path.dropFirst(logPath.count), "w")!
            fwrite(bytes, 1, bytes.count, file)
            fclose(file)
        }
    }

    private static func run(_ option: String, _ disk: MemoryDisk) throws -> (Int32, [String]) {
        let directory = TemporaryDirectory()
        let path = directory.path + "/log"
        mkdir(path, 0o700)
        defer {
            for name in (try? LinuxDisk().list(path)) ?? [] {
                try? LinuxDisk().remove(path + "/" + name)
            }
            rmdir(path)
        }
        try store(disk, path)
        let reader = GoldenTests.root + "/Tests/Interop/log_reader.py"
        guard let pipe = popen("python3 '\(reader)' \(option) '\(path)' 2>&1", "r") else {
            throw LogError.closed
        }
        var bytes: [UInt8] = []
        while case let byte = getc(pipe), byte >= 0 { bytes.append(UInt8(byte)) }
        let status = pclose(pipe)
        return (status, String(decoding: bytes, as: UTF8.self).split(separator: "\n").map(String.init))
    }

    private static func summary(_ disk: MemoryDisk) throws -> [String] {
        var lines: [String] = []
        _ = try LogInspector(directory: logPath, disk: disk).walk { record in
            let key = record.key.map { "\"\($0.hexadecimal)\"" } ?? "null"
            let content = record.content.map { "\"\($0.hexadecimal)\"" } ?? "null"
            lines.append(
                "\(record.offset) \(record.appendTimeMilliseconds) \(key) \(content) "
                    + "\(record.payload.count) \(Checksum.of(record.payload))")
        }
        return lines
    }

    @Test("the Python reader decompresses what the log compressed, and reads repacked segments")
    func otherReader() throws {
        var chance = SeededGenerator(seed: SeededGenerator.seed("otherReader"))
        let compressed = try RandomLog(compression: .lz4, batchCount: 60).make(&chance)
        #expect(try Self.run("--summary", compressed) == (0, Self.summary(compressed)))
        let sparse = try RepackTests.sparseLog(&chance)
        let before = try Self.summary(sparse)
        #expect(try RepackTests.repackAll(sparse) >= 2)
        #expect(try Self.run("--summary", sparse) == (0, before))
        let golden = try Self.golden()
        #expect(try Self.run("--summary", golden) == (0, Self.summary(golden)))
    }

    @Test("the Python reader verifies footers and the chain of digests, and finds a break in it")
    func otherReaderSeals() throws {
        var chance = SeededGenerator(seed: SeededGenerator.seed("otherReaderSeals"))
        let disk = try RandomLog(batchCount: 150).make(&chance)
        var footers: [SegmentFooter] = []
        while let segment = try? ClosedSegment(disk, footers.count) {
            footers.append(try segment.seal(after: footers.last?.digest ?? .zero))
        }
        #expect(footers.count >= 2)
        let (status, lines) = try Self.run("--seals", disk)
        #expect(status == 0)
        #expect(lines.count == footers.count)
        for (line, footer) in zip(lines, footers) {
            #expect(line.contains("\"digest\":\"\(footer.digest.hexadecimal)\""))
            #expect(line.contains("\"previous_digest\":\"\(footer.previousDigest.hexadecimal)\""))
            #expect(line.contains("\"records\":\(footer.recordCount),"))
            #expect(line.contains("\"points\":\(footer.points.count),"))
        }
        let broken = disk.copy()
        _ = try ClosedSegment(broken, 1).seal(after: digest("another"))
        let (code, answer) = try Self.run("--seals", broken)
        #expect(code != 0)
        #expect(answer.last?.contains("does not continue") == true)
        let flipped = disk.copy()
        flipped.edit(try ClosedSegment(flipped, 0).path) { $0[6000] ^= 1 }
        #expect(try Self.run("--seals", flipped).1.last?.contains("do not give the digest") == true)
    }

    // MARK: - verify

    @Test("any bit of a sealed, compressed segment changed: verify names the file")
    func anyBit() throws {
        var chance = SeededGenerator(seed: SeededGenerator.seed("anyBit"))
        let disk = try RandomLog(profile: .silStrict, compression: .lz4, batchCount: 150).make(&chance)
        let segment = try ClosedSegment(disk, 0)
        let footer = try segment.seal()
        let path = logPath + "/" + ManifestLayout.fileName
        let manifest = ManifestFile(path: path, file: try disk.open(path, .readWrite))
        var table = try manifest.read().tables[0]
        table.segments[0].flags |= SegmentEntry.Flags.sealed
        table.segments[0].digest = footer.digest
        table.generation += 1
        try manifest.write(table)
        #expect(try LogInspector(directory: logPath, disk: disk).verify().isSound)
        for _ in 0..<60 {
            let bit = Int.random(in: 0..<segment.bytes.count * 8, using: &chance)
            disk.edit(segment.path) { $0[bit / 8] ^= 1 << (bit % 8) }
            let report = try LogInspector(directory: logPath, disk: disk).verify()
            #expect(report.damage.first?.file == segment.path, "bit \(bit)")
            disk.edit(segment.path) { $0[bit / 8] ^= 1 << (bit % 8) }
        }
    }

    @Test("verify finds a footer of another segment, a broken chain and bytes that changed")
    func verifies() throws {
        var chance = SeededGenerator(seed: SeededGenerator.seed("verifies"))
        let disk = try RandomLog(batchCount: 150).make(&chance)
        let first = try ClosedSegment(disk, 0).seal()
        _ = try ClosedSegment(disk, 1).seal(after: first.digest)
        func damage(_ change: (MemoryDisk) throws -> Void) throws -> [String] {
            let copy = disk.copy()
            try change(copy)
            return try LogInspector(directory: logPath, disk: copy).verify().damage.map(\.reason)
        }
        #expect(try damage { _ in } == [])
        let broken = try damage { _ = try ClosedSegment($0, 1).seal(after: digest("another")) }
        #expect(broken == ["its digest does not continue from that of the segment before"])
        // The footer of the first segment in the second.
        let limit = Int(try ClosedSegment(disk, 0).header.frameLimit)
        let foreign = try damage { copy in
            let footer = try ClosedSegment(copy, 0).bytes[limit...]
            copy.edit(try ClosedSegment(copy, 1).path) { $0.replaceSubrange(limit..., with: footer) }
        }
        #expect(foreign == ["its footer is not of this segment"])
        // Bytes that were changed with every checksum made right again: only the digest knows.
        let segment = try ClosedSegment(disk, 0)
        let forged = try damage { copy in
            copy.edit(segment.path) { bytes in
                var footer = first
                footer.digest = digest("forged")
                bytes.replaceSubrange(
                    limit..., with: footer.encode(roomBytes: bytes.count - limit))
            }
        }
        #expect(forged.contains("its bytes do not give the digest that it was sealed with"))
        // A segment that the table does not call sealed: its footer may be cut short.
        for _ in 0..<20 {
            let copy = disk.copy()
            copy.edit(segment.path) {
                $0[limit + Int.random(in: 0..<500, using: &chance)] ^= 8
            }
            let report = try LogInspector(directory: logPath, disk: copy).verify()
            #expect(report.isSound, "\(report.damage)")
            #expect(report.notices.contains { $0.reason.contains("unfinished footer") })
        }
        // One that it does call sealed: any bit of the room is damage.
        let path = logPath + "/" + ManifestLayout.fileName
        let manifest = ManifestFile(path: path, file: try disk.open(path, .readWrite))
        var table = try manifest.read().tables[0]
        table.segments[0].flags |= SegmentEntry.Flags.sealed
        table.segments[0].digest = digest("another")
        table.generation += 1
        try manifest.write(table)
        #expect(
            try damage { _ in }
                == [
                    "its bytes do not give the digest that it was sealed with",
                    "its digest does not continue from that of the segment before",
                ])
        table.segments[0].digest = first.digest
        table.generation += 1
        try manifest.write(table)
        for _ in 0..<40 {
            let reasons = try damage { copy in
                copy.edit(segment.path) {
                    $0[limit + Int.random(in: 0..<$0.count - limit, using: &chance)] ^= 8
                }
            }
            #expect(reasons.count == 1)
            #expect(reasons.first?.contains("footer does not verify") == true)
        }
        let erased = try damage { copy in
            copy.edit(segment.path) { bytes in
                for place in limit..<bytes.count { bytes[place] = 0 }
            }
        }
        #expect(erased == ["it is sealed and has no footer"])
    }
}
