import Glibc
import Testing

@testable import WriteAheadLog

/// Limits at the limit and one above, files that do not belong, options.
@Suite("Limits and refusals")
struct LimitTests {
    @Test("a payload of the largest size is taken, one byte more is rejected",
        arguments: [UInt64(1) << 20, 2 << 20, 16 << 20])
    func payloads(segmentBytes: UInt64) throws {
        let disk = MemoryDisk()
        let options = LogOptions(capacityBytes: segmentBytes * 8, segmentBytes: segmentBytes)
        var log = try openLog(disk, options)
        let maximum = FormatLimits.payloadBytes(segmentBytes: segmentBytes)
        #expect(maximum == 4 << 20 || segmentBytes < 16 << 20)
        for key in [nil, "k"] {
            let receipt = try log.append(
                oneRecord([UInt8](repeating: 7, count: maximum), key: key))
            #expect(receipt.outcomes[0].offset != nil)
            #expect(throws: LogError.self) {
                _ = try log.append(
                    oneRecord([UInt8](repeating: 7, count: maximum + 1), key: key.map { $0 + "2" }))
            }
        }
        #expect(log.headOffset == 2)
        log.close()
        log = try openLog(disk, options)
        #expect(try contents(log).map(\.count) == [maximum, maximum])
        log.close()
    }

    @Test("a batch is taken up to a commit's size and rejected above, leaving no trace")
    func batches() throws {
        let log = try openLog(MemoryDisk())
        let room = FormatLimits.dataBytes(segmentBytes: 1 << 20)
        let batch = AppendBatch()
        while batch.byteCount + 1016 + 32 * 20 < room {
            try batch.add(payload: [UInt8](repeating: 1, count: 1000))
        }
        let count = UInt64(batch.count)
        #expect(try log.append(batch).nextOffset == count)
        for _ in 0..<2 { try batch.add(payload: [UInt8](repeating: 1, count: 1000)) }
        #expect(throws: LogError.self) { _ = try log.append(batch) }
        #expect(throws: LogError.rejected(.emptyBatch)) { _ = try log.append(AppendBatch()) }
        #expect(log.headOffset == count)
        log.close()
    }

    @Test("many empty records fill their blocks and come back")
    func emptyRecords() throws {
        let disk = MemoryDisk()
        var log = try openLog(disk)
        let batch = AppendBatch()
        for _ in 0..<20_000 { try batch.add(payload: []) }
        _ = try log.append(batch)
        log.close()
        log = try openLog(disk)
        #expect(log.headOffset == 20_000)
        log.close()
    }

    @Test("cursors and registers are bounded")
    func counts() throws {
        let log = try openLog(MemoryDisk())
        for number in 0..<FormatLimits.cursorCountMaximum {
            try log.createCursor(Cursor(owner: "o", name: "\(number)"))
        }
        #expect(
            throws: LogError.rejected(
                .tooMany(what: "cursors", maximum: FormatLimits.cursorCountMaximum))
        ) { try log.createCursor(Cursor(owner: "o", name: "more")) }
        // An epoch that no log has reached would make its state slot one of no log.
        #expect(throws: LogError.epochMismatch(given: .max, current: 1)) {
            try log.createCursor(Cursor(owner: "o", name: "later", epoch: .max))
        }
        #expect(throws: LogError.cursorExists(owner: "o", name: "0")) {
            try log.createCursor(Cursor(owner: "o", name: "0"))
        }
        #expect(throws: LogError.self) {
            try log.createCursor(
                Cursor(owner: "o", name: String(repeating: "n", count: 1024)))
        }
        #expect(throws: LogError.self) {
            try log.createCursor(
                Cursor(owner: "o", name: String(repeating: "n", count: 70_000)))
        }
        #expect(throws: LogError.self) {
            try log.setRegisters(
                (0..<200).map { _ in
                    RegisterUpdate(
                        name: "0", expected: nil, value: [UInt8](repeating: 1, count: 512))
                })
        }
        for number in 0..<FormatLimits.registerCountMaximum {
            try log.setRegisters([RegisterUpdate(name: "\(number)", expected: nil, value: [])])
        }
        #expect(throws: LogError.self) {
            try log.setRegisters([RegisterUpdate(name: "more", expected: nil, value: [])])
        }
        try log.setRegisters([
            RegisterUpdate(name: "0", expected: [], value: [1]),
            RegisterUpdate(name: "1", expected: [], value: [1]),
        ])
        // Two spellings of one letter are two names.
        try log.deleteCursor(owner: "o", name: "0")
        try log.deleteCursor(owner: "o", name: "1")
        try log.createCursor(Cursor(owner: "o", name: "\u{E9}"))
        try log.createCursor(Cursor(owner: "o", name: "e\u{301}"))
        log.close()
    }

    @Test("options that cannot be are refused with a sentence")
    func options() {
        for options in [
            LogOptions(capacityBytes: 1 << 20),
            LogOptions(capacityBytes: 64 << 20, segmentBytes: 1 << 19),
            LogOptions(capacityBytes: 64 << 20, segmentBytes: (1 << 20) + 1),
            LogOptions(capacityBytes: 4 << 20, segmentBytes: 1 << 20),
        ] {
            let opened = Result { () throws(LogError) in try openLog(MemoryDisk(), options) }
            guard case .failure(.rejected(.invalidOptions(let sentence))) = opened else {
                Issue.record("\(options) was taken")
                continue
            }
            #expect(!sentence.isEmpty)
        }
    }

    @Test("a log is opened with the profile that it was made with")
    func profile() throws {
        let disk = MemoryDisk()
        try openLog(disk).close()
        let strict = LogOptions(
            profile: .silStrict, capacityBytes: 64 << 20, segmentBytes: 1 << 20)
        #expect(throws: LogError.profileMismatch(stored: .standard, asked: .silStrict)) {
            _ = try openLog(disk, strict)
        }
    }

    @Test("unlisted files: unfinished ones go, strangers stay, unknown commits refuse opening")
    func unlisted() throws {
        let disk = MemoryDisk()
        var log = try openLog(disk)
        _ = try log.append(oneRecord(payload(1)))
        log.close()
        let files = disk.files
        let own = files[DecisionTableTests.segment]!
        func name(_ id: UInt64) -> String { logPath + "/" + SegmentHeader.fileName(id: id) }

        var header = try own.withUnsafeBytes { try SegmentHeader($0) }
        let zeros = [UInt8](repeating: 0, count: 1 << 20)
        disk.put(name(0x10), zeros)
        header.id = 0x11
        header.firstSequence = 2
        header.baseOffset = 1
        disk.put(name(0x11), header.encode() + zeros.dropFirst(4096))
        disk.put(name(0x12), own)  // a copy of a listed one
        let other = MemoryDisk()
        let foreign = try openLog(other)
        _ = try foreign.append(oneRecord(payload(2)))
        foreign.close()
        let foreignBytes = other.files[name(1)]!
        disk.put(name(0x13), foreignBytes)
        disk.put(name(.max), zeros)
        disk.put(logPath + "/notes.txt", [1])
        let leftovers = Set(
            disk.files.keys.map { String($0.dropFirst(logPath.count + 1)) }.filter {
                SegmentHeader.id(fileName: $0) != nil
            }
        ).subtracting([1, 0x12, 0x13].map { SegmentHeader.fileName(id: $0) })
        log = try openLog(disk)
        let removed = Set(log.recovery.removedFiles)
        // Two may be used again as spares, but not one of a name that leaves no room for more.
        #expect(removed.isSubset(of: leftovers) && leftovers.subtracting(removed).count <= 2)
        #expect(removed.contains(SegmentHeader.fileName(id: .max)))
        #expect(
            Set(log.recovery.keptFiles)
                == Set([0x12, 0x13].map { SegmentHeader.fileName(id: $0) }))
        #expect(log.headOffset == 1)
        // New segments keep clear of their names.
        for number in 0..<30 { _ = try log.append(oneRecord(payload(number, bytes: 100_000))) }
        log.close()
        #expect(disk.files[name(0x12)] == own && disk.files[name(0x13)] == foreignBytes)

        // The manifest of before a roll, with the segment that the roll began and filled.
        let rolled = disk.files
        let ids = try LogInspector(directory: logPath, disk: disk).walk().segments.map(\.id)
        let lost = MemoryDisk(files: files)
        lost.put(name(ids[1]), rolled[name(ids[1])]!)
        let opened = Result { () throws(LogError) in try openLog(lost) }
        guard case .failure(.corrupt(let place)) = opened else {
            Issue.record("commits that nobody lists were passed over")
            return
        }
        #expect(place.file == name(ids[1]))
    }

    @Test("without its manifest a directory with records is not taken for a new log")
    func lostManifest() throws {
        let disk = MemoryDisk()
        let log = try openLog(disk)
        _ = try log.append(oneRecord(payload(1)))
        log.close()
        for damaged in [false, true] {
            var files = disk.files
            files[logPath + "/manifest"] = nil
            let lost = MemoryDisk(files: files)
            if damaged { lost.edit(DecisionTableTests.segment) { $0[4100] ^= 1 } }
            let opened = Result { () throws(LogError) in try openLog(lost) }
            guard case .failure(.notALog) = opened else {
                Issue.record("a log without a manifest was opened")
                continue
            }
            #expect(lost.files.keys.contains(DecisionTableTests.segment))
        }
    }

    @Test("a manifest slot that was being written is replaced by its twin")
    func tornSlots() throws {
        let disk = MemoryDisk()
        var log = try openLog(disk)
        _ = try log.append(oneRecord(payload(1)))
        let killed = disk.copy()
        log.close()
        // The next slots to be written: state generation 2 and table generation 2, both slot 0.
        killed.edit(logPath + "/manifest") { bytes in
            for place in 0..<200 { bytes[place] = UInt8(truncatingIfNeeded: place + 1) }
            let table = Int(ManifestLayout.tableSlotPosition(0))
            for place in 0..<200 { bytes[table + place] = UInt8(truncatingIfNeeded: place + 1) }
        }
        log = try openLog(killed)
        #expect(log.recovery.manifestDamage.count == 2)
        #expect(try contents(log) == [payload(1)])
        for number in 0..<12 { _ = try log.append(oneRecord(payload(number, bytes: 100_000))) }
        log.close()
        log = try openLog(killed)
        #expect(log.recovery.manifestDamage.isEmpty && log.headOffset == 13)
        log.close()
        // Both of a kind: nothing is guessed.
        killed.edit(logPath + "/manifest") { bytes in
            bytes[20] ^= 1
            bytes[Int(ManifestLayout.stateSlotPosition(1)) + 20] ^= 1
        }
        #expect(throws: LogError.self) { _ = try openLog(killed) }
    }

    @Test("a lost state slot that frames were written after is corruption, never a rollback")
    func lostStateSlot() throws {
        let disk = MemoryDisk()
        let log = try openLog(disk)
        try log.createCursor(Cursor(owner: "o", name: "n"))
        _ = try log.append(oneRecord(payload(1)))
        try log.confirm(owner: "o", name: "n", nextOffset: 1)
        _ = try log.append(oneRecord(payload(2)))
        let killed = disk.copy()
        log.close()
        let manifest = try ManifestFile(
            path: "m", file: killed.open(logPath + "/manifest", .read)
        ).read()
        let newest = Int(manifest.states[0].generation % 2)
        killed.edit(logPath + "/manifest") { bytes in
            bytes[Int(ManifestLayout.stateSlotPosition(newest)) + 30] ^= 1
        }
        let opened = Result { () throws(LogError) in try openLog(killed) }
        guard case .failure(.corrupt(let place)) = opened else {
            Issue.record("a lost state slot was passed over")
            return
        }
        #expect(place.file.hasSuffix("manifest") && place.reason.contains("generation"))
    }

    @Test("a change of the state with a number that no log reaches is damage, though its checksums are right")
    func changeOfNoLog() throws {
        let disk = MemoryDisk()
        let options = LogOptions(profile: .silStrict)
        let log = try openLog(disk, options)
        _ = try log.append(
            oneRecord(payload(1)),
            registers: [RegisterUpdate(name: "telltale", expected: nil, value: [1])])
        let killed = disk.copy()
        log.close()
        try openLog(killed.copy(), options).close()
        killed.edit(DecisionTableTests.segment) { bytes in
            let name = bytes.indices.first { bytes[$0...].starts(with: Array("telltale".utf8)) }!
            // Behind the revision and the name's length; its highest byte is the last.
            #expect(bytes[name - 10] > 0 && bytes[name - 3] == 0)
            bytes[name - 3] = 0x40
            SegmentSeal.seal(&bytes, linked: true)
        }
        let opened = Result { () throws(LogError) in try openLog(killed, options) }
        guard case .failure(.corrupt(let place)) = opened else {
            Issue.record("\(opened)")
            return
        }
        #expect(place.reason.contains("numbers that are of no log"))
    }

    @Test("a format of a later release is refused and not touched")
    func laterFormat() throws {
        let disk = MemoryDisk()
        try openLog(disk).close()
        disk.edit(logPath + "/manifest") { bytes in
            for slot in 0..<2 {
                let start = Int(ManifestLayout.stateSlotPosition(slot))
                guard bytes[start] != 0 else { continue }
                bytes[start + 8] = 9
                bytes.withUnsafeMutableBytes { buffer in
                    let slot = buffer.baseAddress! + start
                    let length = Int(UnsafeRawPointer(slot).integer(UInt32.self, at: 12))
                    slot.set(Checksum.extend(0, slot + 8, length - 8), at: 4)
                }
            }
        }
        let before = disk.files[logPath + "/manifest"]
        #expect(throws: LogError.unsupportedFormat(directory: logPath, version: 9)) {
            _ = try openLog(disk)
        }
        #expect(disk.files[logPath + "/manifest"] == before)
    }
}
