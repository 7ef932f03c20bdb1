import Glibc
import Synchronization
import Testing

@testable import WriteAheadLog

@Suite("Engine decisions: layout and seams")
struct SeamAndLayoutDecisions {
    // MARK: - 26

    @Test("decision 26: prepare reserves all keys or none, and who waits for one holds nothing")
    func allOrNone() throws {
        let still = try StillLog(StillLog.options())
        let log = still.log
        func keys(_ names: [String]) throws -> AppendBatch {
            let batch = AppendBatch()
            for name in names {
                try batch.add(key: digest(name), content: digest("c"), payload: Array(name.utf8))
            }
            return batch
        }
        var first: PreparedBatch? = try log.prepare(keys(["a", "b"]))
        #expect(first!.outcomes == [.new, .new] && log.headOffset == 0)
        let answers = Answers()
        // Meets b, which is reserved: c must not stay reserved meanwhile.
        log.append(try keys(["c", "b"])) { answers.take($0) }
        #expect(!log.stepCommit() && answers.count == 0)
        let other = try log.prepare(keys(["c"]))
        #expect(other.outcomes == [.new])
        #expect(try log.commit(other).outcomes == [.appended(offset: 0)])
        #expect(answers.count == 0)
        // Dropped, its keys are free again.
        first = nil
        while log.stepCommit() {}
        #expect(answers.count == 1)
        #expect(
            try answers.results.withLock { try $0[0].get().outcomes }
                == [.existing(offset: 0), .appended(offset: 1)])
        #expect(try log.lookUp(digest("a")) == nil)
    }

    @Test("decision 26: two batches with the same keys in other orders cannot wait for each other")
    func noDeadlock() throws {
        let log = try openLog(MemoryDisk())
        let calls = (0..<4).map { caller in
            BlockingCall {
                var last: AppendReceipt?
                for round in 0..<50 {
                    let names = (0..<6).map { "\(round) \(caller % 2 == 0 ? $0 : 5 - $0)" }
                    let batch = AppendBatch()
                    for name in names {
                        try batch.add(key: digest(name), content: digest("c"), payload: [1])
                    }
                    last = try log.commit(try log.prepare(batch))
                }
                return last!
            }
        }
        #expect(eventually { calls.allSatisfy { $0.result != nil } })
        #expect(log.headOffset == 300)
        log.close()
    }

    @Test("decision 26: a prepared batch is decided upon and committed as one frame, with replacements and registers")
    func decided() throws {
        let still = try StillLog(StillLog.options())
        _ = try still.log.append(keyedRecord("k", content: "a"))
        let batch = AppendBatch()
        try batch.add(key: digest("k"), content: digest("b"), payload: [1])
        try batch.add(key: digest("n"), content: digest("c"), payload: [2])
        try batch.add(key: digest("m"), content: digest("c"), payload: [3])
        let prepared = try still.log.prepare(batch)
        #expect(prepared.outcomes == [.conflict(offset: 0, stored: digest("a")), .new, .new])
        try prepared.replace(0, with: Array("quarantined".utf8))
        prepared.skip(2)
        let receipt = try still.log.commit(
            prepared, registers: [RegisterUpdate(name: "p", expected: nil, value: [5])])
        #expect(receipt.outcomes == [.appended(offset: 1), .appended(offset: 2), .skipped])
        let frames = try framesOnDisk(still.disk.files[segmentPath(1)]!)
        #expect(frames.count == 2)
        #expect(frames[1].header.recordCount == 2 && frames[1].header.controlCount == 1)
        #expect(try contents(still.log)[1...] == [Array("quarantined".utf8), [2]])
        // The engine hashes nothing: any 32 bytes are a key. The skipped one is free.
        #expect(try still.log.lookUp(digest("m")) == nil)
        #expect(try still.log.lookUp(digest("n"))?.content == digest("c"))
    }

    // MARK: - 27

    @Test("decision 27: registers are replaced by compare-and-set, atomically with their records, and may go down")
    func registers() throws {
        let still = try StillLog(StillLog.options())
        func set(_ expected: [UInt8]?, _ value: [UInt8]) -> RegisterUpdate {
            RegisterUpdate(name: "p", expected: expected, value: value)
        }
        _ = try still.log.append(oneRecord([1]), registers: [set(nil, [9])])
        #expect(
            refusal { _ = try still.log.append(oneRecord([2]), registers: [set([8], [10])]) }
                == .rejected(.registerMismatch(name: "p")))
        #expect(still.log.headOffset == 1 && still.log.register("p") == [9])
        // In the slot, then in a frame again: the highest revision wins, not the highest value.
        try still.log.setRegisters([set([9], [7])])
        _ = try still.log.append(oneRecord([2]), registers: [set([7], [3])])
        for life in [still, try still.afterKill()] { #expect(life.log.register("p") == [3]) }
        try still.log.setRegisters([set([3], [1])])
        for life in [still, try still.afterKill()] { #expect(life.log.register("p") == [1]) }
        #expect(try still.disk.manifest().states[0].revision == 4)
    }

    @Test("decision 27: a roll writes the whole state before the new segment's first commit")
    func rollSnapshot() throws {
        let still = try StillLog(StillLog.options())
        let disk = still.disk
        let seen = Noted<[UInt8]?>(nil)
        disk.setHook { call in
            if call.path == segmentPath(2), call.operation == .write, call.position >= 4096,
                call.byteCount < 262_144
            {
                let states = try? disk.afterWorstPowerCut().manifest().states
                seen.change { $0 = states?.first?.register(Array("p".utf8))?.value }
            }
            return nil
        }
        var value: [UInt8]?
        var number: UInt8 = 0
        while still.log.statistics().counters.rolls == 0 {
            number += 1
            _ = try still.log.append(
                plainBatch(1, bytes: 100_000),
                registers: number > 5
                    ? [] : [RegisterUpdate(name: "p", expected: value, value: [number])])
            if number <= 5 { value = [number] }
        }
        #expect(seen.value == [5])
    }

    @Test("decision 27: a lost state slot is corruption, never a silent return to the one before")
    func lostSlot() throws {
        for profile in Profile.allCases {
            let still = try StillLog(StillLog.options(profile))
            try still.log.setRegisters([RegisterUpdate(name: "p", expected: nil, value: [1])])
            try still.log.setRegisters([RegisterUpdate(name: "p", expected: [1], value: [2])])
            // This frame says which slot stood when it was written.
            _ = try still.log.append(oneRecord([1]))
            let frame = try framesOnDisk(still.disk.files[segmentPath(1)]!)[0]
            let killed = still.disk.copy()
            let newest = try killed.manifest().states[0].generation
            #expect(frame.header.stateGeneration == newest)
            killed.edit(manifestPath) { bytes in
                bytes[Int(ManifestLayout.stateSlotPosition(Int(newest % 2))) + 40] ^= 1
            }
            let opened = Result { () throws(LogError) in try openLog(killed, still.options) }
            guard case .failure(.corrupt(let place)) = opened else {
                Issue.record("\(profile): the register went back without a word")
                continue
            }
            #expect(place.file == manifestPath)
        }
    }

    // MARK: - 29

    @Test("decision 29: a frame's header has its fields at the documented places, the rest is zero")
    func frameHeader() throws {
        let still = try StillLog(StillLog.options())
        _ = try still.log.append(plainBatch(3))
        let batch = try plainBatch(2)
        try batch.add(payload: payload(1, bytes: 70_000))
        _ = try still.log.append(
            batch, registers: [RegisterUpdate(name: "p", expected: nil, value: [5])])
        let bytes = still.disk.files[segmentPath(1)]!
        let frame = try framesOnDisk(bytes)[1]
        let raw = Array(bytes[frame.position..<frame.position + 128])
        func u32(_ place: Int) -> UInt32 { raw.withUnsafeBytes { $0.baseAddress!.integer(at: place) } }
        func u64(_ place: Int) -> UInt64 { raw.withUnsafeBytes { $0.baseAddress!.integer(at: place) } }
        #expect(Array(raw[0..<4]) == Array("BSFF".utf8) && raw[4] == 1 && raw[5] == 0)
        #expect(raw[6] == 128 && raw[7] == 0)
        #expect(u32(12) == UInt32(frame.body.count))
        #expect(u32(16) == frame.body.withUnsafeBytes { Checksum.of($0) })
        #expect(u32(20) == (try framesOnDisk(bytes)[0].header.headerCRC))
        #expect(u64(24) == 1 && u64(32) == 2 && u32(40) == 1 && u32(44) == 3)
        #expect(u64(48) == 1 && u64(56) == 3)
        #expect(u64(64) == (try still.disk.manifest().states[0].generation))
        #expect(u32(72) == 1 && u32(76) == 3)
        #expect(raw[80...].allSatisfy { $0 == 0 })
        // Blocks have 32 bytes of header.
        let stored = try blocks(of: frame).reduce(0) { $0 + 32 + Int($1.header.storedBytes) }
        #expect(stored == frame.body.count)
    }

    /// A frame's body with one block of one record, made by hand.
    private func body(kind: UInt8, headerBytes: Int, isControl: Bool, payload: [UInt8]) -> (FrameHeader, [UInt8]) {
        var record = [UInt8](repeating: 0xEE, count: headerBytes) + payload
        record.withUnsafeMutableBytes { buffer in
            let start = buffer.baseAddress!
            start.set(UInt16(headerBytes), at: 4)
            start.set(kind, at: 6)
            start.set(UInt8(0), at: 7)
            start.set(UInt32(payload.count), at: 8)
            start.set(UInt32(0), at: 12)
            start.set(Checksum.extend(0, UnsafeRawPointer(start + 4), buffer.count - 4), at: 0)
        }
        var bytes = [UInt8](repeating: 0, count: 32) + record
        bytes.withUnsafeMutableBytes { buffer in
            let stored = Checksum.extend(
                0, UnsafeRawPointer(buffer.baseAddress! + 32), record.count)
            BlockHeader(
                flags: isControl ? BlockFlags.control : 0, recordCount: 1, bytes: record.count,
                firstOffset: 7, baseTimeMilliseconds: 1
            ).write(at: buffer.baseAddress!, storedCRC: stored)
        }
        var header = FrameHeader()
        header.firstOffset = 7
        header.blockCount = 1
        header.recordCount = isControl ? 0 : 1
        header.controlCount = isControl ? 1 : 0
        return (header, bytes)
    }

    @Test("decision 29: record headers can grow, and kinds with the ignorable bit are passed over")
    func roomToGrow() throws {
        func walk(_ kind: UInt8, _ headerBytes: Int, isControl: Bool) throws -> [String] {
            let (header, bytes) = body(
                kind: kind, headerBytes: headerBytes, isControl: isControl, payload: Array("text".utf8))
            var found: [String] = []
            try bytes.withUnsafeBytes { buffer in
                try FrameBody.walk(header, buffer) { item in
                    switch item {
                    case .record(let record):
                        found.append("\(record.offset) " + String(decoding: record.payload, as: UTF8.self))
                    case .change: found.append("change")
                    case .other: found.append("other")
                    }
                }
            }
            return found
        }
        #expect(try walk(RecordKind.data, 16, isControl: false) == ["7 text"])
        #expect(try walk(RecordKind.data, 40, isControl: false) == ["7 text"])
        #expect(try walk(RecordKind.ignorableBit | 9, 16, isControl: true) == ["other"])
        #expect(throws: FormatError.unsupported(9)) { try walk(9, 16, isControl: true) }
    }

    @Test("decision 29: segments join by the previous id and first sequence, and a first frame links to its own segment's header")
    func segmentsJoin() throws {
        let still = try StillLog(StillLog.options())
        try still.append(0..<35)
        let table = try still.table
        #expect(table.segments.count >= 3)
        var previousID: UInt64 = 0
        var sequence: UInt64 = 0
        for entry in table.segments {
            let bytes = still.disk.files[segmentPath(entry.id)]!
            let header = try bytes.withUnsafeBytes { try SegmentHeader($0) }
            let frames = try framesOnDisk(bytes)
            #expect(header.previousID == previousID && header.firstSequence == sequence + 1)
            #expect(frames[0].header.previousHeaderCRC == header.crc)
            previousID = header.id
            sequence = frames.last!.header.lastSequence
        }
    }

    // MARK: - 30

    @Test("decision 30: the fullest state that a log accepts is in one slot of 64 KiB and comes back")
    func fullestState() throws {
        let still = try StillLog(StillLog.options())
        _ = try still.log.append(plainBatch(3))
        for number in 0..<40 {
            try still.log.createCursor(
                Cursor(
                    owner: String(repeating: "o", count: 300), name: "\(number)", nextOffset: 2,
                    digest: digest("d"), digestOffset: 1, receiver: runIdentifier, receiverEpoch: 3,
                    required: number % 2 == 0, maximumLagBytes: number % 2 == 0 ? nil : 1 << 40,
                    initialisation: String(repeating: "i", count: 400), createdMilliseconds: 5))
        }
        try still.log.detachCursor(owner: String(repeating: "o", count: 300), name: "7", reason: "gone")
        #expect(
            refusal { try still.log.createCursor(Cursor(owner: "o", name: "one more")) }
                == .rejected(.tooMany(what: "cursors", maximum: 40)))
        for number in 0..<16 {
            try still.log.setRegisters([
                RegisterUpdate(
                    name: "\(number)", expected: nil, value: [UInt8](repeating: 1, count: 512))
            ])
        }
        #expect(
            refusal {
                try still.log.setRegisters([RegisterUpdate(name: "x", expected: nil, value: [1])])
            } == .rejected(.tooMany(what: "registers", maximum: 16)))
        #expect(
            refusal {
                try still.log.setRegisters([
                    RegisterUpdate(
                        name: "1", expected: [UInt8](repeating: 1, count: 512),
                        value: [UInt8](repeating: 1, count: 513))
                ])
            } != nil)
        let again = try still.afterKill()
        #expect(again.log.cursors() == still.log.cursors() && again.log.cursors().count == 40)
        #expect(again.log.cursors()[7].detachReason == "gone")
        #expect(again.log.epochs == still.log.epochs)
        for number in 0..<16 { #expect(again.log.register("\(number)")?.count == 512) }
        // With every span and epoch that there can be it still fits.
        var state = try still.disk.manifest().states[0]
        state.epochs = (1...64).map {
            EpochEntry(
                epoch: $0, firstOffset: $0, beganMilliseconds: 1,
                reason: String(repeating: "r", count: 64))
        }
        state.losses = try LossTable(
            (0..<256).map { .init(first: $0 * 2, last: $0 * 2, timeMilliseconds: 1, reasons: UInt32($0 % 2 + 1)) })
        let bytes = state.encode()
        #expect(bytes.count <= 64 * 1024)
        #expect(try bytes.withUnsafeBytes { try LogState($0) } == state)
    }

    @Test("decision 30: the alarm and the observed time are in the slot, and outlive a kill")
    func slotFacts() throws {
        let still = try StillLog(StillLog.options(.silStrict))
        try still.log.createCursor(Cursor(owner: "o", name: "n"))
        let (count, _) = try LifecycleTests.fill(still)
        #expect(still.log.statistics().isAlarmRaised)
        still.clock.advance(milliseconds: 1_500)
        still.settle()
        still.log.stepIdle()
        let state = try still.disk.manifest().states[0]
        #expect(state.flags & LogState.Flags.alarm != 0 && state.alarmMilliseconds > 0)
        #expect(state.retentionMilliseconds > 1_700_000_000_000)
        let killed = try still.afterKill()
        #expect(killed.log.statistics().isAlarmRaised)
        // Room alone does not end it; somebody does.
        try killed.log.confirm(owner: "o", name: "n", nextOffset: UInt64(count))
        killed.settle()
        _ = try killed.log.append(oneRecord([1]))
        #expect(killed.log.statistics().isAlarmRaised)
        #expect(try killed.log.acknowledgeAlarm(by: "someone", reason: "seen"))
        #expect(!(try killed.afterKill().log.statistics().isAlarmRaised))
    }

    // MARK: - 31

    @Test("decision 31: the table says of each segment what is in it, and keeps the last removed one's digest as the anchor")
    func tableEntries() throws {
        let still = try StillLog(StillLog.options(.standard, whenFull: .dropOldest))
        var digests: [UInt64: (Digest256, UInt64)] = [:]
        for number in 0..<220 {
            still.clock.advance(milliseconds: 10)
            try still.append(number..<number + 1)
            for entry in try still.table.segments where entry.isSealed {
                digests[entry.id] = (entry.digest, entry.lastSequence)
            }
        }
        let table = try still.table
        for (entry, next) in zip(table.segments, table.segments.dropFirst()) {
            let bytes = still.disk.files[segmentPath(entry.id)]!
            let header = try bytes.withUnsafeBytes { try SegmentHeader($0) }
            let frames = try framesOnDisk(bytes)
            #expect(entry.salt == header.salt && entry.headerCRC == header.crc)
            #expect(entry.baseOffset == frames[0].header.firstOffset)
            #expect(frames.last!.header.endOffset == next.baseOffset)
            #expect(entry.firstSequence == frames[0].header.sequence)
            #expect(entry.lastSequence == frames.last!.header.sequence)
            #expect(entry.logicalEnd == UInt64(frames.last!.end))
            let times = try frames.map { try blocks(of: $0)[0].header.baseTimeMilliseconds }
            #expect(entry.leastTimeMilliseconds == times.first)
            #expect(entry.greatestTimeMilliseconds == times.last)
        }
        let anchor = table.anchor
        #expect(anchor.segmentID != 0)
        #expect(digests[anchor.segmentID]?.0 == anchor.digest)
        #expect(digests[anchor.segmentID]?.1 == anchor.lastSequence)
        #expect(anchor.lastSequence + 1 == table.segments[0].firstSequence)
        // The runs cover every key up to the checkpoint, without a hole.
        var covered = table.segments[0].baseOffset
        for run in table.runs where run.endOffset > covered {
            #expect(run.firstOffset <= covered)
            covered = run.endOffset
        }
        #expect(covered == table.checkpoint?.nextOffset)
    }

    @Test("decision 31: bytes beyond a cut segment's end stay and are no damage; behind any other they are")
    func cutSegments() throws {
        let (killed, frames) = try RecoveryDecisions.killed(.standard)
        killed.edit(segmentPath(1)) { $0[frames[3].position + 140] ^= 1 }
        let before = killed.files[segmentPath(1)]!
        let log = try openLog(killed, StillLog.options(), environment: ManualClock().environment)
        while log.stepMaintainer() {}
        log.close()
        let entry = try killed.manifest().tables[0].segments[0]
        #expect(entry.flags & SegmentEntry.Flags.cut != 0)
        #expect(entry.logicalEnd == UInt64(frames[3].position))
        let after = killed.files[segmentPath(1)]!
        #expect(after[frames[3].position..<frames[3].end] == before[frames[3].position..<frames[3].end])
        #expect(try LogInspector(directory: logPath, disk: killed.copy()).verify().isSound)
    }

    // MARK: - 32

    @Test("decision 32: a log's directory holds lock, readers, manifest, segments and runs, and nothing else")
    func directory() throws {
        let still = try StillLog(StillLog.options(.standard, whenFull: .dropOldest))
        try still.append(0..<220)
        for path in still.disk.files.keys {
            let name = String(path.dropFirst(logPath.count + 1))
            let isKnown =
                ["lock", "readers", "manifest"].contains(name)
                || name.count == 24 && name.hasSuffix(".segment")
                    && name.prefix(16).allSatisfy { "0123456789abcdef".contains($0) }
                || KeyRunLayout.parse(fileName: name) != nil
            #expect(path.hasPrefix(logPath + "/") && isKnown, "\(path)")
        }
        for name in ["lock", "readers", "manifest"] {
            #expect(still.disk.files[logPath + "/" + name] != nil)
        }
    }

    @Test("decision 32: one writer at a time, any number that look, and they do not meet")
    func locks() throws {
        let still = try StillLog(StillLog.options())
        #expect(
            refusal { _ = try openLog(still.disk, still.options) } == .locked(directory: logPath))
        let first = try LogInspector(directory: logPath, disk: still.disk)
        let second = try LogInspector(directory: logPath, disk: still.disk)
        #expect(try still.disk.lock(logPath + "/readers", exclusive: true) == nil)
        _ = try still.log.append(oneRecord([1]))
        still.log.close()
        // Those that look do not hold up the next writer.
        let next = try openLog(still.disk, still.options)
        _ = try next.append(oneRecord([2]))
        next.close()
        withExtendedLifetime((first, second)) {}
    }

    @Test("decision 32: commits are aligned to what the profile and the device ask for")
    func alignment() throws {
        for (logical, physical, strict, standard) in [
            (512, 512, 4096, 512), (512, 4096, 4096, 512), (4096, 4096, 4096, 4096),
            (512, 16384, 16384, 512), (512, 131_072, 65_536, 512),
        ] as [(UInt32, UInt32, UInt32, UInt32)] {
            for (profile, expected) in [(Profile.silStrict, strict), (.standard, standard)] {
                let still = try StillLog(
                    StillLog.options(profile), disk: MemoryDisk(blocks: (logical, physical)))
                #expect(try still.table.commitAlignment == expected)
                _ = try still.log.append(oneRecord([1]))
                _ = try still.log.append(oneRecord([2]))
                let frames = try framesOnDisk(still.disk.files[segmentPath(1)]!)
                #expect(frames.count == 2)
                if profile == .silStrict {
                    #expect(frames.allSatisfy { $0.position % Int(expected) == 0 })
                }
            }
        }
    }

    // MARK: - 33

    /// The commit path alone.
    private func pipeline() -> CommitPipeline {
        CommitPipeline(
            limits: CommitPipeline.Limits(
                payloadBytes: 1 << 16, dataBytes: 1 << 18, capacityBytes: 1 << 30),
            state: LogState(identifier: runIdentifier, createdMilliseconds: 1), nextOffset: 0,
            lastSequence: 0, lastTimeMilliseconds: 0)
    }

    @Test("decision 33: the commit path is a state machine: admit, take, finished, without threads and I/O")
    func stateMachine() throws {
        var pipeline = pipeline()
        func admit(_ batch: AppendBatch) throws -> CommitPipeline.Ticket {
            batch.seal()
            guard case .admitted(let ticket) = pipeline.append(batch, registers: [], wallMilliseconds: 5)
            else { throw LogError.closed }
            return ticket
        }
        let first = try admit(keyedRecord("a", content: "c"))
        #expect(first.receipt.outcomes == [.appended(offset: 0)] && first.group?.isFinished == false)
        let out = pipeline.takeStaged()
        // Depth 1: what comes meanwhile is the next one.
        let second = try admit(keyedRecord("b", content: "c"))
        let retry = try admit(keyedRecord("a", content: "c"))
        #expect(second.group !== first.group && retry.group === first.group)
        #expect(retry.receipt.outcomes == [.existing(offset: 0)])
        #expect(pipeline.keys.durable(digest("a")) == nil)
        pipeline.finished(out)
        #expect(pipeline.keys.durable(digest("a"))?.offset == 0)
        // The next one has no room: it and its offsets never were.
        let refused = pipeline.takeStaged()
        _ = pipeline.rejected(refused)
        #expect(pipeline.nextOffset == 1 && pipeline.keys.pendingCount == 0)
        #expect(try admit(keyedRecord("b", content: "c")).receipt.outcomes == [.appended(offset: 1)])
        // A failed write ends everything.
        let failed = pipeline.takeStaged()
        _ = pipeline.poisoned(failed, PoisonCause(error: DiskError(.write, "x", code: EIO)))
        let after = try keyedRecord("z", content: "c")
        guard case .refused(.poisoned) = pipeline.append(after, registers: [], wallMilliseconds: 5)
        else {
            Issue.record("a poisoned pipeline admits")
            return
        }
    }

    @Test("decision 33: without threads nothing happens but what is asked for, and twice the same")
    func injected() throws {
        func life() throws -> (calls: [String], files: [String: [UInt8]]) {
            let still = try StillLog(StillLog.options())
            let calls = CallList()
            calls.listen(to: still.disk)
            let answers = Answers()
            still.log.append(try oneRecord([1])) { answers.take($0) }
            usleep(20_000)
            #expect(calls.all.isEmpty && answers.count == 0)
            while still.log.stepCommit() {}
            #expect(answers.count == 1)
            try still.append(0..<25)
            still.log.close()
            still.disk.setHook(nil)
            return (
                calls.all.map { "\($0.operation) \($0.path) \($0.position) \($0.byteCount)" },
                still.disk.files
            )
        }
        // Time and chance are injected too: two lives are the same to the byte.
        let first = try life()
        let second = try life()
        #expect(first.calls == second.calls)
        #expect(first.files == second.files)
    }
}
