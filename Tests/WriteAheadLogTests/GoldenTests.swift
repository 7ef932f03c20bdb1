import Glibc
import Synchronization
import Testing

@testable import WriteAheadLog

/// The bytes of a released format version, kept in Tests/Golden, printed in docs/format.md, and read
/// by a program of another language that knows only that document.
@Suite("Golden bytes")
struct GoldenTests {
    static let root = String(#filePath.dropLast("/Tests/WriteAheadLogTests/GoldenTests.swift".count))
    static let directory = root + "/Tests/Golden/log/v1"
    static let options = LogOptions(capacityBytes: 64 << 20, segmentBytes: 1 << 20)

    /// SHA-256 of "k1" and of "v1".
    static let key = Digest256(
        bytes: hexadecimal("6ab9f1eb8f7d3388f4f9d586f66e99fd54080df2c446f0e58668b09c08a16dd0"))
    static let content = Digest256(
        bytes: hexadecimal("3bfc269594ef649228e9a74bab00f042efc91d5acc6fbee31a382e80d42388fe"))

    static func hexadecimal(_ text: String) -> [UInt8] {
        let digits = Array(text.utf8).map { $0 < 58 ? $0 - 48 : $0 - 87 }
        return stride(from: 0, to: digits.count, by: 2).map { digits[$0] << 4 | digits[$0 + 1] }
    }

    /// The log of the worked example.
    static func example() throws -> MemoryDisk {
        let disk = MemoryDisk()
        let clock = FixedEnvironment(milliseconds: 1_700_000_000_000)
        let log = try openLog(disk, options, environment: clock.environment)
        let first = AppendBatch()
        try first.add(payload: Array("hello".utf8))
        _ = try log.append(first)
        clock.milliseconds.store(1_700_000_000_250, ordering: .relaxed)
        let second = AppendBatch()
        try second.add(key: key, content: content, payload: Array("v1".utf8))
        try second.add(payload: [])
        _ = try log.append(
            second, registers: [RegisterUpdate(name: "position", expected: nil, value: [1, 2])])
        try log.createCursor(
            Cursor(
                owner: "enterprise", name: "facts", nextOffset: 2, digest: content,
                digestOffset: 1, initialisation: "start_now",
                createdMilliseconds: 1_700_000_000_250))
        log.close()
        return disk
    }

    /// Lines of 16 bytes that are not all zero, after a line with the length.
    static func dump(_ bytes: [UInt8]) -> [String] {
        var lines = ["\(bytes.count) bytes"]
        for start in stride(from: 0, to: bytes.count, by: 16) {
            let part = bytes[start..<min(start + 16, bytes.count)]
            guard part.contains(where: { $0 != 0 }) else { continue }
            let place = String(start, radix: 16)
            let text = part.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }
            lines.append(
                String(repeating: "0", count: 8 - place.count) + place + "  "
                    + text.joined(separator: " "))
        }
        return lines
    }

    static func bytes(_ lines: [String]) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: Int(lines[0].split(separator: " ")[0])!)
        for line in lines.dropFirst() {
            let parts = line.split(separator: " ")
            let start = Int(parts[0], radix: 16)!
            for (index, part) in parts.dropFirst().enumerated() {
                bytes[start + index] = UInt8(part, radix: 16)!
            }
        }
        return bytes
    }

    static let names = [SegmentHeader.fileName(id: 1), "manifest"]

    /// What a program of today writes: the state slot of a log that knows of its head and of the time
    /// that it observed, which format version 1 had left zero.
    static func written(_ name: String) -> String { name == "manifest" ? "manifest-head" : name }

    static func read(_ path: String) throws -> String {
        guard let file = fopen(path, "r") else { throw LogError.closed }
        defer { fclose(file) }
        var bytes: [UInt8] = []
        while case let byte = getc(file), byte >= 0 { bytes.append(UInt8(byte)) }
        return String(decoding: bytes, as: UTF8.self)
    }

    static func golden(_ name: String) throws -> [String] {
        try read(directory + "/" + name + ".hex").split(separator: "\n").map(String.init)
    }

    @Test("the example is written byte for byte as it was when the version was released")
    func written() throws {
        var wrong: [String] = []
        // A pause of a second in the middle makes the engine write the state slots once more.
        for _ in 0..<3 {
            let files = try Self.example().files
            if getenv("BSFG_WRITE_GOLDEN") != nil {
                for name in Self.names {
                    let text = Self.dump(files[logPath + "/" + name]!).joined(separator: "\n") + "\n"
                    let file = fopen(Self.directory + "/" + Self.written(name) + ".hex", "w")!
                    fputs(text, file)
                    fclose(file)
                }
            }
            wrong = try Self.names.filter {
                try Self.dump(files[logPath + "/" + $0]!) != Self.golden(Self.written($0))
            }
            if wrong.isEmpty { break }
        }
        #expect(wrong == [])
    }

    @Test("the released bytes are read")
    func read() throws {
        let disk = MemoryDisk()
        for name in Self.names { disk.put(logPath + "/" + name, try Self.bytes(Self.golden(name))) }
        #expect(try LogInspector(directory: logPath, disk: disk).verify().isSound)
        let log = try openLog(disk, Self.options)
        var seen: [String] = []
        try log.read(from: 0) { record in
            seen.append(
                "\(record.offset) \(record.appendTimeMilliseconds) \(record.key == Self.key) "
                    + "\(record.content == Self.content) " + String(decoding: record.payload, as: UTF8.self))
            return true
        }
        #expect(
            seen == [
                "0 1700000000000 false false hello", "1 1700000000250 true true v1",
                "2 1700000000250 false false ",
            ])
        #expect(log.register("position") == [1, 2])
        #expect(log.cursor(owner: "enterprise", name: "facts")?.nextOffset == 2)
        #expect(log.identifier.hexadecimal == "11111111111111112222222222222222")
        log.close()
    }

    @Test("docs/format.md shows the same bytes")
    func documented() throws {
        let document = Set(
            try Self.read(Self.root + "/docs/format.md").split(separator: "\n").map {
                // A remark may follow the bytes.
                $0.split(separator: "|")[0].trimmingSuffix(" ")
            })
        for name in Self.names {
            for line in try Self.golden(name).dropFirst() {
                #expect(document.contains(line), "\(name): \(line)")
            }
        }
    }

    @Test("a Python program written from docs/format.md lists the same records")
    func otherReader() throws {
        let directory = TemporaryDirectory()
        let path = directory.path + "/log"
        var expected: [String] = []
        for profile in Profile.allCases {
            let log = try Log.open(
                directory: path,
                options: LogOptions(
                    profile: profile, capacityBytes: 64 << 20, segmentBytes: 1 << 20))
            var chance = SeededGenerator(seed: SeededGenerator.seed("other reader"))
            for number in 0..<120 {
                let batch = AppendBatch()
                for index in 0...Int.random(in: 0..<4, using: &chance) {
                    let keyed = Bool.random(using: &chance)
                    try batch.add(
                        key: keyed ? digest("\(number) \(index)") : nil,
                        content: keyed ? digest("\(number)") : nil,
                        payload: payload(number, bytes: .random(in: 0..<30_000, using: &chance)))
                }
                _ = try log.append(batch)
            }
            #expect(log.statistics().segmentCount > 1)
            // The reader works while the log is open.
            expected = []
            try log.read(from: 0) { record in
                let key = record.key.map { "\"\($0.hexadecimal)\"" } ?? "null"
                let content = record.content.map { "\"\($0.hexadecimal)\"" } ?? "null"
                expected.append(
                    "\(record.offset) \(record.appendTimeMilliseconds) \(key) \(content) "
                        + "\(record.payload.count) \(Checksum.of(record.payload))")
                return true
            }
            #expect(try Self.python(path) == expected)
            log.close()
            #expect(try Self.python(path) == expected)
            // The footers and their chain, and the keys of the key runs against the records.
            #expect(try Self.python(path, "--seals").count == log.statistics().segmentCount - 1)
            let keyed = expected.filter { !$0.contains("null") }.count
            let counted = try Self.python(path, "--keys")
            #expect(counted.last?.hasSuffix(" of \(keyed) keys") == true, "\(counted)")
            for name in try LinuxDisk().list(path) { try LinuxDisk().remove(path + "/" + name) }
        }
        rmdir(path)
    }

    /// What the Python reader finds, with the payload's length and CRC in its place.
    static func python(_ directory: String, _ option: String = "--summary") throws -> [String] {
        let command = "python3 '\(root)/Tests/Interop/log_reader.py' \(option) '\(directory)' 2>&1"
        guard let pipe = popen(command, "r") else { throw LogError.closed }
        var bytes: [UInt8] = []
        while case let byte = getc(pipe), byte >= 0 { bytes.append(UInt8(byte)) }
        let status = pclose(pipe)
        let lines = String(decoding: bytes, as: UTF8.self).split(separator: "\n").map(String.init)
        #expect(status == 0, "\(lines.last ?? "")")
        return lines
    }
}

extension Substring {
    func trimmingSuffix(_ character: Character) -> String {
        var text = self
        while text.last == character { text.removeLast() }
        return String(text)
    }
}
