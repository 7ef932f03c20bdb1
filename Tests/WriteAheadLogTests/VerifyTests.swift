import Glibc
import Testing

@testable import WriteAheadLog

/// Any single byte of any file of a closed log, changed: verify names the file and the place, and
/// opening never gives wrong bytes.
@Suite("Verify")
struct VerifyTests {
    /// A closed log with sealed segments, key runs, a truncation, a cursor, a register and a spare.
    struct Sample {
        var files: [String: [UInt8]]
        var records: [String]
        var options: LogOptions
        var table: SegmentTable
        var state: LogState
    }

    /// Made once: it takes its time.
    private static let samples = Dictionary(
        uniqueKeysWithValues: Profile.allCases.map { profile in
            (profile, Result { try makeSample(profile) })
        })

    static func sample(_ profile: Profile) throws -> Sample { try samples[profile]!.get() }

    private static func makeSample(_ profile: Profile) throws -> Sample {
        let options = LogOptions(profile: profile, capacityBytes: 8 << 20, segmentBytes: 1 << 20)
        let disk = MemoryDisk()
        var log = try openLog(disk, options)
        try log.createCursor(Cursor(owner: "o", name: "n"))
        var number = 0
        for round in 0..<24 {
            // Large ones fill segments, small keyed ones the runs.
            try append(log, oneRecord(payload(number, bytes: 380_000)), [])
            number += 1
            let batch = AppendBatch()
            for _ in 0..<20 {
                try batch.add(
                    key: digest("key \(number)"), content: digest("content \(number)"),
                    payload: payload(number, bytes: 30))
                number += 1
            }
            try append(
                log, batch,
                round == 0 ? [RegisterUpdate(name: "r", expected: nil, value: [7])] : [])
            try log.confirm(owner: "o", name: "n", nextOffset: UInt64(number) - 5, digest: nil)
        }
        try #require(
            eventually {
                let table = try? StoredTable.read(disk)
                guard let table else { return false }
                return table.anchor.segmentID > 0
                    && table.segments.dropLast().allSatisfy(\.isSealed)
                    && table.runs.count > 0 && table.checkpoint != nil
            }, "the maintainer seals, checkpoints and truncates")
        log.close()
        // Once more, so that both slots tell the same.
        log = try openLog(disk, options)
        let records = try fingerprint(log)
        log.close()
        log = try openLog(disk, options)
        log.close()
        let contents = try ManifestFile(
            path: "m", file: disk.open(logPath + "/manifest", .read)
        ).read()
        return Sample(
            files: disk.files, records: records, options: options, table: contents.tables[0],
            state: contents.states[0])
    }

    /// Waits for the maintainer where the log is full.
    private static func append(
        _ log: Log, _ batch: AppendBatch, _ registers: [RegisterUpdate]
    ) throws {
        let isWritten = eventually {
            do throws(LogError) {
                _ = try log.append(batch, registers: registers)
                return true
            } catch { return false }
        }
        try #require(isWritten, "the log makes room")
    }

    static func fingerprint(_ log: Log) throws -> [String] {
        var lines: [String] = []
        try log.read(from: log.firstOffset) { record in
            lines.append(
                "\(record.offset) \(record.appendTimeMilliseconds) "
                    + "\(record.key?.hexadecimal ?? "") \(record.content?.hexadecimal ?? "") "
                    + "\(record.payload.count) \(record.crc)")
            return true
        }
        return lines
    }

    static func verify(_ disk: MemoryDisk, deep: Bool = false) throws -> LogVerification {
        let inspector = try LogInspector(directory: logPath, disk: disk)
        inspector.attempts = 1
        return try inspector.verify(deep: deep)
    }

    @Test("a closed log is sound, also deep, and its chain leads to its anchor", arguments: Profile.allCases)
    func sound(_ profile: Profile) throws {
        let sample = try Self.sample(profile)
        let disk = MemoryDisk(files: sample.files)
        let report = try Self.verify(disk, deep: true)
        #expect(report.isSound, "\(report.damage)")
        // Closing does not wait until a removed segment is zeroed for its next use.
        let notices = report.notices.filter { !$0.reason.contains("a removed segment, to be zeroed") }
        #expect(notices.isEmpty, "\(notices)")
        #expect(report.sealedSegmentCount == sample.table.segments.count - 1)
        #expect(report.sealedSegmentCount >= 3 && report.runCount == sample.table.runs.count)
        let head = try #require(report.chainHead)
        let inspector = try LogInspector(directory: logPath, disk: disk)
        #expect(try inspector.verify(anchor: head).isSound)
        let anchor = ChainHead(
            segmentID: sample.table.anchor.segmentID, digest: sample.table.anchor.digest)
        #expect(try inspector.verify(anchor: anchor).isSound)
        // Of a log that was changed and sealed again, or of another one.
        let other = ChainHead(segmentID: head.segmentID, digest: digest("another"))
        #expect(try inspector.verify(anchor: other).damage.count == 1)
        let unknown = ChainHead(segmentID: 1 << 40, digest: head.digest)
        #expect(try inspector.verify(anchor: unknown).damage.count == 1)
    }

    @Test("any byte changed is named, and opening never gives wrong bytes", arguments: Profile.allCases)
    func anyByte(_ profile: Profile) throws {
        let sample = try Self.sample(profile)
        var chance = SeededGenerator(seed: SeededGenerator.seed("any byte of \(profile)"))
        var places: [(path: String, place: Int)] = []
        for (path, bytes) in sample.files where !bytes.isEmpty {
            let used = bytes.indices.filter { bytes[$0] != 0 }
            for _ in 0..<(used.isEmpty ? 0 : 10) {
                places.append((path, used.randomElement(using: &chance)!))
            }
            for _ in 0..<5 { places.append((path, bytes.indices.randomElement(using: &chance)!)) }
        }
        // The small structures, every sixteenth byte from a random one on.
        let manifest = logPath + "/manifest"
        for slot in 0..<2 {
            for start in [
                ManifestLayout.stateSlotPosition(slot), ManifestLayout.tableSlotPosition(slot),
            ] {
                for place in stride(from: Int.random(in: 0..<16, using: &chance), to: 256, by: 16) {
                    places.append((manifest, Int(start) + place))
                }
            }
        }
        for entry in sample.table.segments.dropLast() {
            let path = logPath + "/" + SegmentHeader.fileName(id: entry.id)
            let footer = (1 << 20) - Int(FormatLimits.footerBytes(segmentBytes: 1 << 20))
            for place in stride(from: Int.random(in: 0..<32, using: &chance), to: 320, by: 32) {
                places.append((path, footer + place))
                places.append((path, place))
            }
        }
        var opened = 0
        var refused = 0
        for (path, place) in places {
            let disk = MemoryDisk(files: sample.files)
            let change = UInt8.random(in: 1...255, using: &chance)
            disk.edit(path) { $0[place] ^= change }
            do {
                let report = try Self.verify(disk)
                let named = (report.damage + report.notices).filter { $0.file == path }
                #expect(!named.isEmpty, "\(path) byte \(place) xor \(change)")
                // At most a commit, a page or a slot away from the place.
                #expect(
                    named.contains { $0.position <= UInt64(place) },
                    "\(path) byte \(place) xor \(change): \(named)")
            } catch LogError.corrupt(let corruption) {
                #expect(corruption.file == path, "\(path) byte \(place) xor \(change)")
            } catch LogError.unsupportedFormat {
                #expect(path == manifest)
            }
            // Opening every one would take long; one in four, and all of the manifest.
            guard path == manifest || Int.random(in: 0..<4, using: &chance) == 0 else { continue }
            do {
                let log = try openLog(disk, sample.options)
                defer { log.close() }
                let (seen, gaps) = try Self.readable(log)
                opened += 1
                let missing = sample.records.filter { !seen.contains($0) }
                #expect(Set(seen).isSubset(of: sample.records), "\(path) byte \(place)")
                #expect(
                    missing.allSatisfy { line in
                        gaps.contains { $0.contains(UInt64(line.split(separator: " ")[0])!) }
                    }, "\(path) byte \(place) xor \(change): \(gaps), without \(missing)")
            } catch is LogError {
                refused += 1
            }
        }
        print("\(places.count) bytes changed; of those opened \(opened) gave the data, \(refused) refused")
        #expect(opened > 20 && refused + opened > 60)
    }

    /// Everything that reading gives: records, and the places that answer with a gap or as damaged.
    static func readable(_ log: Log) throws -> (records: [String], gaps: [Range<UInt64>]) {
        var lines: [String] = []
        var gaps: [Range<UInt64>] = []
        var next = log.firstOffset
        while next < log.headOffset {
            let before = next
            do {
                try log.read(from: next) { record in
                    lines.append(
                        "\(record.offset) \(record.appendTimeMilliseconds) "
                            + "\(record.key?.hexadecimal ?? "") \(record.content?.hexadecimal ?? "") "
                            + "\(record.payload.count) \(record.crc)")
                    next = record.offset + 1
                    return true
                }
                // It ends at a gap, and tells of that when it is asked again.
                guard next > before else { break }
            } catch LogError.gap(let gap) {
                gaps.append(gap.offsets)
                next = gap.offsets.upperBound
            } catch LogError.corrupt(let place) {
                // Refused at the record; reading goes on behind it.
                gaps.append(next..<next + 1)
                precondition(place.offset <= next)
                next += 1
            }
        }
        return (lines, gaps)
    }

    @Test("a bit of every byte of three commits and of a footer, flipped: verify names the place")
    func everyByte() throws {
        let disk = MemoryDisk()
        let log = try openLog(disk)
        for number in 0..<3 {
            _ = try log.append(oneRecord(payload(number, bytes: 40), key: "\(number)"))
        }
        // Closes the first segment.
        for _ in 0..<4 { _ = try log.append(oneRecord(payload(9, bytes: 390_000))) }
        try #require(eventually { (try? StoredTable.read(disk))??.segments[0].isSealed == true })
        log.close()
        let inspector = try LogInspector(directory: logPath, disk: disk)
        let (state, table, _) = try inspector.slots()
        let path = inspector.path(table.segments[0])
        // Three frames of 280 bytes. Every bit of such is flipped under the scanner, which is what
        // verify stands on, in BitFlipTests.
        let end = FormatLimits.segmentHeaderBytes + 3 * 280
        let footer = (1 << 20) - Int(FormatLimits.footerBytes(segmentBytes: 1 << 20))
        var unnamed: [Int] = []
        var flipped = 0
        for places in [0..<125, 125..<126, 4095..<end + 9, footer..<footer + 300] {
            for place in places {
                for bit in [place % 8] {
                    disk.edit(path) { $0[place] ^= 1 << UInt8(bit) }
                    let verifier = LogVerifier(inspector, table: table, state: state, deep: false)
                    try verifier.verifySegment(0)
                    let isNamed = verifier.report.damage.contains {
                        $0.file == path && $0.position <= UInt64(place)
                    }
                    if !isNamed { unnamed.append(place * 8 + bit) }
                    flipped += 1
                    disk.edit(path) { $0[place] ^= 1 << UInt8(bit) }
                }
            }
        }
        #expect(unnamed.isEmpty)
        #expect(try inspector.verify().isSound)
        print("\(flipped) bits of a segment flipped, \(unnamed.count) not named")
        #expect(flipped > 1200)
    }

    @Test("deep: a run that does not have the records' keys is found out")
    func deep() throws {
        let sample = try Self.sample(.standard)
        var table = sample.table
        let entry = try #require(table.runs.last { $0.entryCount > 2 })
        let disk = MemoryDisk(files: sample.files)
        let name = logPath + "/" + KeyRunLayout.fileName(id: entry.id)
        // The same run with one key fewer, one offset moved, or one content changed.
        for change in 0..<3 {
            let run = try KeyRun(
                disk, directory: logPath, identifier: table.identifier, entry: entry,
                budget: KeyIndexBudget(maximumBytes: 0))
            var source = KeyRunSource(run)
            var entries: [KeyEntry] = []
            while try source.fill() {
                entries.append(source.entry)
                source.advance()
            }
            switch change {
            case 0: entries.removeLast()
            case 1: entries[0].offset = entries[0].offset == entry.firstOffset
                ? entry.firstOffset + 1 : entry.firstOffset
            default: entries[0].content = digest("another")
            }
            let other = MemoryDisk(files: sample.files)
            try other.remove(name)
            let written = try KeyRunWriter.write(
                entries,
                KeyRunCoverage(
                    offsets: entry.offsets, newestTimeMilliseconds: entry.newestTimeMilliseconds,
                    tier: entry.tier),
                attachment: try run.attachment(), to: other, directory: logPath,
                identifier: table.identifier, id: entry.id,
                budget: KeyIndexBudget(maximumBytes: 0)
            ).entry
            table = sample.table
            table.generation += 1
            table.runs[table.runs.firstIndex { $0.id == entry.id }!] = written
            let manifest = ManifestFile(
                path: "m", file: try other.open(logPath + "/manifest", .readWrite))
            try manifest.write(table)
            #expect(try Self.verify(other).isSound)
            let report = try Self.verify(other, deep: true)
            #expect(!report.isSound && report.damage.allSatisfy { $0.file == name }, "\(change)")
        }
    }

    @Test("damage that was passed over is a declared gap, and no new damage")
    func declared() throws {
        let (disk, frames, _) = try DecisionTableTests.killed()
        disk.edit(DecisionTableTests.segment) { $0[frames[1] + 150] ^= 1 }
        #expect(!(try Self.verify(disk).isSound))
        let log = try openLog(disk)
        #expect(log.recovery.losses == [1..<2])
        log.close()
        let report = try Self.verify(disk)
        #expect(report.isSound, "\(report.damage)")
        #expect(report.declaredGaps.contains { $0.offsets == 1..<2 })
        var gaps: [Range<UInt64>] = []
        var offsets: [UInt64] = []
        _ = try LogInspector(directory: logPath, disk: disk).walkPastDamage { item in
            switch item {
            case .record(let record): offsets.append(record.offset)
            case .gap(let damage, let isDeclared):
                gaps.append(damage.offsets)
                #expect(isDeclared)
            }
        }
        #expect(offsets == [0, 2, 3, 4] && gaps == [1..<2])
    }

    @Test("a walk past damage gives every record that is left, in files that do not open at all")
    func pastDamage() throws {
        let sample = try Self.sample(.silStrict)
        let disk = MemoryDisk(files: sample.files)
        let closed = sample.table.segments[1]
        try disk.remove(logPath + "/" + SegmentHeader.fileName(id: closed.id))
        #expect(throws: LogError.self) { try openLog(disk, sample.options) }
        var offsets: Set<UInt64> = []
        var lost: Set<UInt64> = []
        _ = try LogInspector(directory: logPath, disk: disk).walkPastDamage { item in
            switch item {
            case .record(let record): offsets.insert(record.offset)
            case .gap(let damage, _): lost.formUnion(damage.offsets)
            }
        }
        #expect(lost == Set(closed.baseOffset..<sample.table.segments[2].baseOffset))
        #expect(offsets.isDisjoint(with: lost) && offsets.count + lost.count == sample.records.count)
    }
}

enum StoredTable {
    static func read(_ disk: MemoryDisk) throws -> SegmentTable? {
        try ManifestFile(path: "m", file: disk.open(logPath + "/manifest", .read)).read().tables.first
    }
}
