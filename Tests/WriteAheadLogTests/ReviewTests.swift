import Glibc
import Synchronization
import Testing

@testable import WriteAheadLog

@Suite("What a log does where two of its tasks meet")
struct ReviewTests {
    static func options(
        _ policy: LogPolicy = .standard(StandardPolicy()), capacityMebibytes: UInt64 = 64,
        _ retention: RetentionOptions = RetentionOptions()
    ) -> LogOptions {
        LogOptions(
            policy: policy, capacityBytes: capacityMebibytes << 20, segmentBytes: 1 << 20,
            retention: retention)
    }

    static func isRun(_ call: MemoryDisk.Call) -> Bool { call.path.hasSuffix(".run") }

    /// Every offset is read once or lies in a declared gap, and nothing else is told.
    static func checkExact(_ log: Log, _ location: SourceLocation = #_sourceLocation) throws {
        var next: UInt64 = 0
        while next < log.headOffset {
            do throws(LogError) {
                let start = next
                var expected = next
                next = try log.read(from: next) { record in
                    #expect(
                        record.offset == expected, "skipped without a gap", sourceLocation: location)
                    expected = record.offset + 1
                    return true
                }
                precondition(next > start, "a read below the head goes on")
            } catch {
                guard case .gap(let gap) = error else { throw error }
                #expect(gap.offsets.lowerBound == next, sourceLocation: location)
                next = gap.offsets.upperBound
            }
        }
    }

    // MARK: - Checkpoints

    @Test("a segment that was full at the checkpoint keeps its records when the next life rolls")
    func checkpointAtTheEndOfASegment() throws {
        for policy in [LogPolicy.standard(StandardPolicy()), .silStrict(StrictPolicy())] {
            let still = try StillLog(
                Self.options(policy, RetentionOptions(retentionMilliseconds: 1000)))
            try still.log.createCursor(Cursor(owner: "o", name: "n", required: true))
            // Ten records to a segment, a checkpoint at every eleventh.
            try still.append(0..<110)
            let life = try still.afterKill()
            #expect(life.log.recovery.recordCount == 0)
            try life.log.confirm(owner: "o", name: "n", nextOffset: 105)
            life.clock.advance(milliseconds: 60_000)
            try life.append(110..<111)
            life.settle()
            #expect(life.log.firstOffset == 100)
            #expect(life.log.gaps(in: 0..<1000) == [])
            let index = life.log.statistics()
            #expect(index.events.corruptionFound == 0)
            var next = life.log.firstOffset
            try life.log.read(from: next) { record in
                #expect(record.offset == next)
                next += 1
                return true
            }
            #expect(next == 111)
        }
    }

    @Test("the time of a segment that was full at the checkpoint is known to the next life")
    func timesAtTheEndOfASegment() throws {
        let still = try StillLog(Self.options())
        try still.append(0..<100)
        still.clock.advance(milliseconds: 5000)
        try still.append(100..<110)
        let time = still.clock.milliseconds.load(ordering: .relaxed)
        let life = try still.afterKill()
        #expect(life.log.recovery.recordCount == 0)
        life.clock.advance(milliseconds: 5000)
        try life.append(110..<115)
        #expect(try life.log.offset(atOrAfterMilliseconds: time) == 100)
        #expect(try life.log.offset(atOrAfterMilliseconds: time + 1) == 110)
    }

    @Test("a checkpoint that waited for room does not name a segment that is gone meanwhile")
    func checkpointInARemovedSegment() throws {
        let still = try StillLog(
            Self.options(.standard(StandardPolicy(whenFull: .dropOldest)), capacityMebibytes: 16))
        try still.append(0..<40)
        still.disk.setHook { call in
            Self.isRun(call) && call.operation == .open ? .error(ENOSPC) : nil
        }
        for number in 40..<260 {
            still.clock.advance(milliseconds: 100)
            try still.append(number..<number + 1)
        }
        #expect(still.log.firstOffset > 60)
        // Its record is gone; its key is too, though no run could be written since.
        #expect(try still.log.lookUp(digest("key k50")) == nil)
        still.disk.setHook(nil)
        still.clock.advance(milliseconds: 60_000)
        still.settle()
        let life = try still.afterKill()
        #expect(life.log.headOffset == 260)
        try Self.checkExact(life.log)
        life.settle()
        for number in Int(life.log.firstOffset)..<260 {
            #expect(try life.log.lookUp(digest("key k\(number)"))?.offset == UInt64(number))
        }
    }

    @Test("keys of a removal that opening finishes are gone with their records")
    func keysOfAnUnfinishedRemoval() throws {
        let still = try StillLog(
            Self.options(.standard(StandardPolicy(unconfirmedLifetimeMilliseconds: 10_000))))
        // Nothing is checkpointed, so that opening reads everything.
        still.disk.setHook { call in Self.isRun(call) ? .error(EIO) : nil }
        try still.append(0..<15)
        still.clock.advance(milliseconds: 20_000)
        // Losses are written, the table is not.
        still.disk.setHook { call in
            if Self.isRun(call) { return .error(EIO) }
            let isTable = call.position >= ManifestLayout.tableSlotPosition(0)
            return call.isManifest && call.operation == .write && isTable && call.byteCount > 0
                ? .error(EIO) : nil
        }
        while still.log.statistics().poison == nil, still.log.stepMaintainer() {
            still.clock.advance(milliseconds: 2000)
        }
        #expect(still.log.gaps(in: 0..<100).map(\.offsets) == [0..<10])
        let life = try still.afterKill()
        #expect(life.log.firstOffset == 10)
        #expect(try life.log.lookUp(digest("key k3")) == nil)
        #expect(try life.log.lookUp(digest("key k12"))?.offset == 12)
        try life.append(15..<40)
        #expect(life.log.statistics().counters.checkpoints > 0)
        try Self.checkExact(life.log)
    }

    @Test("opening reads as far as two commits can go beyond the limit of the checkpoints")
    func readsWhatCanBeWritten() {
        // One is being written when the limit is met, one was let in behind it.
        let commit = UInt64(FormatLimits.commitBytesMaximum + Int(FormatLimits.commitAlignmentMaximum))
        #expect(
            FormatLimits.uncheckpointedBytesMaximum
                >= FormatLimits.uncheckpointedBytesLimit + 2 * commit)
    }

    // MARK: - Damage

    /// Spoils the header of the frame that holds an offset, in a closed segment.
    static func spoil(_ still: StillLog, segment number: Int, frame: Int) throws {
        let closed = try ClosedSegment(still.disk, number)
        let place = Int(try closed.walk().frames[frame].position)
        still.disk.edit(closed.path) { $0[place + 20] ^= 0xFF }
    }

    @Test("the safety profile never passes over an acknowledged record that is damaged")
    func strictNeverSkips() throws {
        let still = try StillLog(Self.options(.silStrict(StrictPolicy())))
        for number in 0..<25 {
            _ = try still.log.append(try oneRecord(payload(number, bytes: 100_000)))
        }
        try Self.spoil(still, segment: 0, frame: 4)
        still.settle()
        #expect(still.log.statistics().events.corruptionFound == 1)
        for first in [UInt64(0), 3, 4] {
            var read: [UInt64] = []
            #expect(throws: LogError.self) {
                try still.log.read(from: first) { record in
                    read.append(record.offset)
                    return true
                }
            }
            #expect(read == Array(first..<4))
        }
        var next: UInt64 = 5
        try still.log.read(from: 5) { record in
            #expect(record.offset == next)
            next += 1
            return true
        }
        #expect(next == 25)
    }

    @Test("damage that sealing finds is a gap, whenever the process ends")
    func damageIsDeclaredFirst() throws {
        let still = try StillLog(Self.options())
        for number in 0..<25 {
            _ = try still.log.append(try oneRecord(payload(number, bytes: 100_000)))
        }
        // After a checkpoint opening has no reason to read the segment.
        #expect(still.log.stepMaintainer())
        #expect(still.log.statistics().counters.checkpoints == 1)
        try Self.spoil(still, segment: 0, frame: 4)
        for failing in 1...12 {
            let life = try still.afterKill()
            #expect(life.log.gaps(in: 0..<100) == [])
            let first = life.disk.callCount
            let count = Counter()
            life.disk.setHook { call in
                guard call.number > first, call.isManifest, call.operation == .write else {
                    return nil
                }
                return count.next() >= failing ? .error(EIO) : nil
            }
            life.settle()
            let after = try life.afterKill()
            after.settle()
            try Self.checkExact(after.log)
            #expect(after.log.gaps(in: 0..<100).map(\.offsets) == [4..<5])
        }
    }

    @Test("a removal is finished though the end of what it removed had been damaged before")
    func unfinishedRemovalBehindDamage() throws {
        let still = try StillLog(
            Self.options(.standard(StandardPolicy(unconfirmedLifetimeMilliseconds: 10_000))))
        for number in 0..<15 {
            _ = try still.log.append(try oneRecord(payload(number, bytes: 100_000)))
        }
        try Self.spoil(still, segment: 0, frame: 9)
        still.settle()
        #expect(still.log.gaps(in: 0..<100).map(\.offsets) == [9..<10])
        still.clock.advance(milliseconds: 20_000)
        still.disk.setHook { call in
            let isTable = call.position >= ManifestLayout.tableSlotPosition(0)
            return call.isManifest && call.operation == .write && isTable ? .error(EIO) : nil
        }
        still.settle()
        #expect(still.log.gaps(in: 0..<100).map(\.offsets) == [0..<10])
        let life = try still.afterKill()
        #expect(life.log.firstOffset == 10)
    }

    @Test("a full disk does not keep segments of the safety profile from being sealed and removed")
    func sealingOnAFullDisk() throws {
        let still = try StillLog(
            Self.options(
                .silStrict(StrictPolicy()), RetentionOptions(retentionMilliseconds: 1000)))
        try still.log.createCursor(Cursor(owner: "o", name: "n"))
        // Small commits in blocks of 4 KiB: mostly padding.
        for number in 0..<600 { _ = try still.log.append(try oneRecord(payload(number))) }
        _ = still.log.stepMaintainer()
        let present = Set(still.disk.files.keys)
        still.disk.setHook { call in
            call.isSegment && call.operation == .open && !present.contains(call.path)
                ? .error(ENOSPC) : nil
        }
        try still.log.confirm(owner: "o", name: "n", nextOffset: 600)
        for _ in 0..<20 {
            still.clock.advance(milliseconds: 2000)
            still.settle()
        }
        #expect(still.log.statistics().counters.segmentsRepacked == 0)
        #expect(still.log.firstOffset > 0)
        still.disk.setHook(nil)
    }

    @Test("a closed segment that cannot be read holds up no other, and nothing of it is given up")
    func unreadableSegment() throws {
        let still = try StillLog(Self.options())
        for number in 0..<45 {
            _ = try still.log.append(try oneRecord(payload(number, bytes: 100_000)))
        }
        let bad = try ClosedSegment(still.disk, 0).path
        still.disk.setHook { call in
            call.path == bad && call.operation == .read && call.position < 600_000
                && call.position + UInt64(call.byteCount) > 500_000 ? .error(EIO) : nil
        }
        for _ in 0..<20 {
            still.clock.advance(milliseconds: 2000)
            still.settle()
        }
        #expect(still.log.statistics().counters.segmentsSealed == 4)
        #expect(still.log.gaps(in: 0..<100) == [])
        #expect(throws: LogError.self) { try still.log.read(from: 4) { _ in true } }
        still.disk.setHook(nil)
        #expect(try contents(still.log).count == 45)
    }

    // MARK: - Waiting and ends

    @Test("an append that waits for a checkpoint is refused when there is no room for it")
    func waitingForAFailingCheckpoint() throws {
        let still = try StillLog(Self.options(capacityMebibytes: 128))
        still.disk.setHook { call in
            Self.isRun(call) && call.operation == .open ? .error(ENOSPC) : nil
        }
        var refusal: LogError?
        for number in 0..<400 where refusal == nil {
            do throws(LogError) {
                _ = try still.log.append(try! oneRecord(payload(number, bytes: 100_000)))
            } catch { refusal = error }
        }
        #expect(refusal == .rejected(.noSpace))
    }

    @Test("the same with threads: nobody sleeps until the disk has room again")
    func waitingForAFailingCheckpointWithThreads() throws {
        let disk = MemoryDisk()
        let gate = DiskGate()
        disk.setHook { call in
            guard Self.isRun(call), call.operation == .open else { return nil }
            gate.pass()
            return .error(ENOSPC)
        }
        let log = try openLog(disk, Self.options(capacityMebibytes: 128))
        let refused = BlockingCall {
            for number in 0... {
                _ = try log.append(try oneRecord(payload(number, bytes: 100_000)))
            }
            fatalError("not reached")
        }
        #expect(eventually { log.headOffset > 330 })
        usleep(20_000)
        gate.open()
        #expect(eventually { refused.result != nil })
        if case .failure(let error)? = refused.result { #expect(error == .rejected(.noSpace)) }
        log.close()
    }

    @Test("a log that is closed writes nothing for anybody")
    func nothingAfterClose() throws {
        let still = try StillLog(Self.options())
        still.log.close()
        let count = still.disk.callCount
        #expect(throws: LogError.closed) { try still.log.acceptDedupeHorizonLoss() }
        #expect(still.disk.callCount == count)
        let log = try openLog(MemoryDisk(), Self.options())
        log.close()
        #expect(throws: LogError.closed) { try log.acceptDedupeHorizonLoss() }
    }
}

/// Counts from 1.
private final class Counter: @unchecked Sendable {
    private let monitor = Monitor()
    private var value = 0

    func next() -> Int {
        monitor.withLock {
            value += 1
            return value
        }
    }
}
