import Testing

@testable import WriteAheadLog

@Suite("How commits are made durable")
struct CommitWritingTests {
    private func options(_ writing: CommitWriting, _ profile: Profile = .standard) -> LogOptions {
        var options = LogOptions(profile: profile, capacityBytes: 64 << 20, segmentBytes: 1 << 20)
        options.writing = writing
        return options
    }

    private func payload(_ number: Int) -> String {
        "\(number) " + String(repeating: "abcdefg", count: number * 37 % 1400)
    }

    @Test("both ways write the same log, by turns", arguments: Profile.allCases)
    func turns(_ profile: Profile) throws {
        let directory = TemporaryDirectory()
        var number = 0
        for turn in 0..<8 {
            let log = try Log.open(
                directory: directory.path + "/log",
                options: options(turn.isMultiple(of: 2) ? .direct : .synchronised, profile))
            #expect(log.headOffset == UInt64(number))
            #expect(log.recovery.decision == .cleanEnd)
            for _ in 0..<40 {
                _ = try log.append(batch([payload(number)]))
                number += 1
            }
            #expect(try readAll(log) == (0..<number).map(payload))
            log.close()
        }
        #expect(try LogInspector(directory: directory.path + "/log").verify(deep: true).isSound)
    }

    @Test("a direct commit is one write of whole blocks, and the end of the one before stays in it")
    func wholeBlocks() throws {
        let disk = MemoryDisk()
        let log = try Log.open(
            directory: logPath, options: options(.direct), disk: disk, environment: .still)
        _ = try log.append(batch(["first"]))
        let before = disk.files[segmentPath(1)]!
        _ = try log.append(batch(["second"]))
        let after = disk.files[segmentPath(1)]!
        let changed = zip(before, after).enumerated().filter { $1.0 != $1.1 }.map(\.offset)
        #expect(!changed.isEmpty && changed[0] > 4096 && changed.last! < 8192)
        #expect(try readAll(log) == ["first", "second"])
        log.close()
    }

    @Test("a segment that cannot be opened for direct writes is written with syncs, and the next one directly again")
    func directAgain() throws {
        let disk = MemoryDisk()
        let log = try Log.open(
            directory: logPath, options: options(.direct), disk: disk, environment: .still)
        let areWhole = Noted([Bool]())
        disk.setHook { call in
            // Spares are filled in larger pieces.
            if call.isSegment, call.operation == .write, call.byteCount <= 8192 {
                areWhole.change { $0.append(call.byteCount % 4096 == 0 && call.position % 4096 == 0) }
            }
            return nil
        }
        var expected: [String] = []
        for (segment, refuses) in [(1, false), (2, true), (3, false)] {
            disk.setRefusesDirectWrites(refuses)
            while disk.files[segmentPath(UInt64(segment))].map({ $0[4096...].contains { $0 != 0 } }) != true {
                expected.append("\(expected.count) " + String(repeating: "x", count: 100_000))
                _ = try log.append(batch([expected.last!]))
            }
            areWhole.change { $0 = [] }
            expected.append("small \(segment)")
            _ = try log.append(batch([expected.last!]))
            #expect(areWhole.value == [!refuses])
        }
        disk.setHook(nil)
        let again = try openLog(disk.afterWorstPowerCut(), options(.direct))
        #expect(try readAll(again) == expected)
        again.close()
        log.close()
    }

    @Test("records of many callers with the same time share a block; a long batch has its own")
    func sharedBlocks() throws {
        let staged = StagedCommit()
        var offset: UInt64 = 0
        func add(_ texts: [String], at time: Int64) throws {
            let batch = AppendBatch()
            for text in texts { try batch.add(payload: Array(text.utf8)) }
            batch.seal()
            for group in batch.groups {
                staged.append(
                    block: group, from: batch, firstOffset: offset, timeMilliseconds: time)
                offset += UInt64(group.entryCount)
            }
        }
        try add(["a"], at: 5)
        try add(["b", "c"], at: 5)
        try add(["d"], at: 6)
        try add([String(repeating: "e", count: 20_000)], at: 6)
        try add(["f"], at: 6)
        staged.endBody(firstOffset: offset, timeMilliseconds: 6)
        #expect(staged.blockCount == 4)
        let body = UnsafeRawBufferPointer(
            start: staged.frame + FormatLimits.frameHeaderBytes, count: staged.bodyBytes)
        #expect(Checksum.of(body) == staged.bodyCRC)
        var blocks = BlockIterator(body: body)
        var counts: [Int] = []
        var firsts: [UInt64] = []
        while let (block, bytes) = try blocks.next() {
            #expect(block.verify(bytes))
            counts.append(Int(block.recordCount))
            firsts.append(block.firstOffset)
        }
        #expect(counts == [3, 1, 1, 1])
        #expect(firsts == [0, 3, 4, 5])
    }

    @Test("a frame keeps its bytes when its place in memory changes")
    func placing() throws {
        let staged = StagedCommit()
        let batch = AppendBatch()
        try batch.add(payload: Array("moved".utf8))
        batch.seal()
        staged.place(at: 100)
        staged.append(block: batch.group(0), from: batch, firstOffset: 0, timeMilliseconds: 1)
        staged.place(at: 4000)
        staged.endBody(firstOffset: 1, timeMilliseconds: 1)
        staged.place(at: 17)
        let body = UnsafeRawBufferPointer(
            start: staged.memory + 17 + FormatLimits.frameHeaderBytes, count: staged.bodyBytes)
        #expect(Checksum.of(body) == staged.bodyCRC)
    }

    @Test("an appender makes everything durable in order, and tells the first failure")
    func appender() throws {
        let directory = TemporaryDirectory()
        let log = try Log.open(directory: directory.path + "/log", options: options(.direct))
        let appender = BufferedAppender(log, limitBytes: 256 * 1024)
        for number in 0..<3000 {
            let bytes = Array(payload(number % 30).utf8)
            try bytes.withUnsafeBytes { bytes in
                try appender.append(payload: bytes)
            }
        }
        try appender.flush()
        #expect(log.headOffset == 3000)
        #expect(try readAll(log) == (0..<3000).map { payload($0 % 30) })
        log.close()
        #expect(throws: LogError.closed) {
            try [1].withUnsafeBytes { try appender.append(payload: $0) }
            try appender.flush()
        }
    }
}
