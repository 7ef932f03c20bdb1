import Glibc
import Testing

@testable import WriteAheadLog

/// What the fuzzers found reaches the same code in every run of the tests.
@Suite("Corpora of the fuzzers")
struct CorpusTests {
    @Test("segments") func segments() throws {
        try Corpus.write("scanner", Self.segmentSeeds())
        #expect(Corpus.replay("scanner", SegmentHarness.check) > 0)
    }

    @Test("manifest slots") func manifest() throws {
        try Corpus.write("manifest", Self.manifestSeeds())
        #expect(Corpus.replay("manifest", ManifestHarness.check) > 0)
    }

    @Test("directories") func log() throws {
        try Corpus.write("log", Self.logSeeds())
        #expect(Corpus.replay("log", LogHarness.check) > 0)
    }

    @Test("sealed segments and footers") func sealed() throws {
        try Corpus.write("sealed", Self.sealedSeeds())
        #expect(Corpus.replay("sealed", SealedHarness.check) > 0)
    }

    @Test("key runs") func runs() throws {
        try Corpus.write("run", Self.runSeeds())
        #expect(Corpus.replay("run", RunHarness.check) > 0)
    }

    // MARK: First inputs

    /// A log of each kind, small, with everything that a frame can hold.
    private static func samples() throws -> [(name: String, disk: MemoryDisk)] {
        [
            ("golden", try GoldenTests.example()), ("standard", try sample(.standard)),
            ("strict", try sample(.silStrict)), ("rolled", try rolled()),
            ("compressed", try compressed()),
        ]
    }

    private static func sample(_ profile: Profile) throws -> MemoryDisk {
        let disk = MemoryDisk(blocks: (512, 512))
        let clock = FixedEnvironment()
        let log = try openLog(
            disk, LogOptions(profile: profile, capacityBytes: 64 << 20, segmentBytes: 1 << 20),
            environment: clock.environment)
        _ = try log.append(oneRecord(payload(0)))
        try log.createCursor(Cursor(owner: "o", name: "n"))
        let batch = AppendBatch()
        try batch.add(key: digest("a"), content: digest("A"), payload: payload(1, bytes: 60))
        try batch.add(payload: payload(2, bytes: 10))
        _ = try log.append(
            batch, registers: [RegisterUpdate(name: "p", expected: nil, value: [1, 2])])
        try log.confirm(owner: "o", name: "n", nextOffset: 3, digest: (digest("x"), 2))
        _ = try log.append(oneRecord(payload(3, bytes: 33), key: "b"))
        log.close()
        return disk
    }

    /// A log with a block that LZ4 makes smaller.
    private static func compressed() throws -> MemoryDisk {
        let disk = MemoryDisk()
        let log = try openLog(disk)
        let batch = AppendBatch(compression: .lz4)
        try batch.add(key: digest("a"), content: digest("A"), payload: payload(1, bytes: 5000))
        try batch.add(payload: payload(2, bytes: 300))
        _ = try log.append(batch)
        log.close()
        return disk
    }

    /// A log that was cut at a torn commit: two segments.
    private static func rolled() throws -> MemoryDisk {
        let disk = try sample(.standard)
        disk.edit(logPath + "/" + SegmentHeader.fileName(id: 1)) { bytes in
            let end = bytes.lastIndex { $0 != 0 }! + 64
            bytes[end] = 1
        }
        let log = try openLog(disk)
        _ = try log.append(oneRecord(payload(4)))
        log.close()
        return disk
    }

    private static func segments(_ disk: MemoryDisk) -> [[UInt8]] {
        disk.files.filter { $0.key.hasSuffix(".segment") }.sorted { $0.key < $1.key }.map(\.value)
            .filter { $0.contains { $0 != 0 } }
            .map { bytes in
                // Without the room for the footer, which is at the end.
                let room = FormatLimits.footerBytes(segmentBytes: UInt64(bytes.count))
                return trimmed(
                    Array(bytes[..<SegmentHarness.headerFrontBytes])
                        + bytes[FormatLimits.segmentHeaderBytes..<bytes.count - Int(room)])
            }
    }

    private static func trimmed(_ bytes: [UInt8]) -> [UInt8] {
        Array(bytes[...(bytes.lastIndex { $0 != 0 } ?? 0)])
    }

    private static func slots(_ disk: MemoryDisk) -> (states: [[UInt8]], tables: [[UInt8]]) {
        let manifest = disk.files[logPath + "/" + ManifestLayout.fileName]!
        var (states, tables): ([[UInt8]], [[UInt8]]) = ([], [])
        for slot in 0..<2 {
            let stateStart = Int(ManifestLayout.stateSlotPosition(slot))
            let state = manifest[stateStart..<stateStart + FormatLimits.stateSlotBytes]
            let tableStart = Int(ManifestLayout.tableSlotPosition(slot))
            let table = Array(manifest[tableStart..<tableStart + ManifestLayout.tableSlotBytes])
            if state.contains(where: { $0 != 0 }) { states.append(trimmed(Array(state))) }
            if table.contains(where: { $0 != 0 }) {
                tables.append(
                    Array(table[..<ManifestHarness.headerFrontBytes])
                        + trimmed(Array(table[SegmentTable.headerBytes...])))
            }
        }
        return (states, tables)
    }

    private static func segmentSeeds() throws -> [(name: String, bytes: [UInt8])] {
        try samples().flatMap { sample in
            segments(sample.disk).enumerated().flatMap { number, bytes in
                [0, 1, 3].map { options in
                    ("\(sample.name)-\(number)-\(options)", [options, 0, 0] + bytes)
                }
            }
        }
    }

    private static func manifestSeeds() throws -> [(name: String, bytes: [UInt8])] {
        try samples().flatMap { sample in
            let (states, tables) = slots(sample.disk)
            return states.enumerated().map { ("\(sample.name)-state-\($0)", [2] + $1) }
                + tables.enumerated().map { ("\(sample.name)-table-\($0)", [3] + $1) }
        }
    }

    private static func logSeeds() throws -> [(name: String, bytes: [UInt8])] {
        try samples().flatMap { sample in
            let (states, tables) = slots(sample.disk)
            return [0, 1, 5, 7].map { (options: UInt8) in
                let bytes = part([options]) + part(states.last!) + part(tables.last!)
                    + segments(sample.disk).flatMap(part)
                return ("\(sample.name)-\(options)", bytes)
            }
        }
    }

    private static func part(_ bytes: [UInt8]) -> [UInt8] {
        [UInt8(bytes.count & 0xFF), UInt8(bytes.count >> 8)] + bytes
    }

    private static func sealedSeeds() throws -> [(name: String, bytes: [UInt8])] {
        var seeds: [(name: String, bytes: [UInt8])] = []
        for sample in try samples() {
            for (number, bytes) in segments(sample.disk).enumerated() {
                seeds.append(("\(sample.name)-\(number)", [7] + bytes))
            }
        }
        let footer = SegmentFooter(
            identifier: LogIdentifier(bytes: Array(0..<16)), segmentID: 1, salt: 2, baseOffset: 0,
            endOffset: 3, firstSequence: 1, lastSequence: 2, logicalEnd: 8192, frameCount: 2,
            recordCount: 3, keyedRecordCount: 1, leastTimeMilliseconds: 5,
            greatestTimeMilliseconds: 9, previousDigest: .zero, digest: digest("d"),
            points: [
                .init(offset: 0, position: 4096, greatestTimeMilliseconds: 5),
                .init(offset: 2, position: 4480, greatestTimeMilliseconds: 9),
            ])
        return seeds + [("footer", [2] + trimmed(footer.encode(roomBytes: 5120)))]
    }

    private static func runSeeds() throws -> [(name: String, bytes: [UInt8])] {
        let pageBytes = KeyRunLayout.pageBytes
        var seeds: [(name: String, bytes: [UInt8])] = []
        for shape in KeyShape.allCases {
            for count: UInt64 in [0, 3, 60] {
                let directory = RunDirectory()
                let entry = try directory.write(
                    (0..<count).map { keyEntry($0, shape) }, attachment: [1, 2, 3])
                let file = directory.disk.files[directory.path(entry)]!
                let run = try directory.open(entry)
                var bytes = [1] + Array(file[..<RunHarness.headerFrontBytes])
                let indexPages = Int(run.header.attachmentPosition) / pageBytes
                for page in 1..<max(1, indexPages) {
                    let start = page * pageBytes + KeyRunLayout.pageHeaderBytes
                    bytes += part(trimmed(Array(file[start..<(page + 1) * pageBytes])))
                }
                seeds.append(("\(shape)-\(count)", bytes + part([1, 2, 3])))
            }
        }
        return seeds
    }
}
