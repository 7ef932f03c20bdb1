import Glibc
import Synchronization
import Testing

@testable import WriteAheadLog

@Suite("Engine decisions: cursors, gaps, time")
struct CursorAndGapDecisions {
    // MARK: - 12

    @Test("decision 12: a confirm is durable when it returns, and takes no space in the log")
    func confirmIsDurable() throws {
        let still = try StillLog(StillLog.options())
        for number in 0..<5 { _ = try still.log.append(oneRecord(payload(number))) }
        try still.log.createCursor(Cursor(owner: "o", name: "n"))
        let before = still.disk.files[segmentPath(1)]
        for next in 1...5 as ClosedRange<UInt64> {
            try still.log.confirm(owner: "o", name: "n", nextOffset: next)
            let log = try openLog(still.disk.afterWorstPowerCut(), still.options)
            #expect(log.cursor(owner: "o", name: "n")?.nextOffset == next)
            log.close()
        }
        // No commit with only a cursor: the segment's bytes are what they were.
        #expect(still.disk.files[segmentPath(1)] == before)
        #expect(still.log.statistics().fillBytes == (try StillLog.used(still)))
    }

    @Test("decision 12: confirmations work at any fill and without free space")
    func confirmWhenFull() throws {
        let still = try StillLog(LifecycleTests.options())
        try still.log.createCursor(Cursor(owner: "o", name: "n"))
        let (count, _) = try LifecycleTests.fill(still)
        still.disk.setHook { call in
            // Nothing can grow any more.
            (call.isSegment && call.operation == .write) || call.path.contains(".run")
                ? .error(ENOSPC) : nil
        }
        #expect(refusal { _ = try still.log.append(oneRecord([1], key: "new")) } != nil)
        for next in [1, 7, UInt64(count)] {
            #expect(try still.log.confirm(owner: "o", name: "n", nextOffset: next).nextOffset == next)
        }
        #expect(still.log.statistics().poison == nil)
    }

    @Test("decision 12: a confirm rides in a data commit that is forming")
    func confirmRides() throws {
        let still = try StillLog(StillLog.options())
        _ = try still.log.append(oneRecord([1]))
        try still.log.createCursor(Cursor(owner: "o", name: "n"))
        let answers = Answers()
        still.log.append(try oneRecord([2])) { answers.take($0) }
        let calls = CallList()
        calls.listen(to: still.disk)
        try still.log.confirm(owner: "o", name: "n", nextOffset: 1)
        #expect(answers.count == 1)
        #expect(calls.all.map(\.path) == [segmentPath(1), segmentPath(1)])
        let frames = try framesOnDisk(still.disk.files[segmentPath(1)]!)
        #expect(frames.map(\.header.controlCount) == [0, 1])
        #expect(try still.afterKill().log.cursor(owner: "o", name: "n")?.nextOffset == 1)
    }

    @Test("decision 12: confirmations of many cursors are written together")
    func coalesced() throws {
        let disk = MemoryDisk()
        let log = try openLog(disk)
        _ = try log.append(oneRecord([1]))
        for name in 0..<8 { try log.createCursor(Cursor(owner: "o", name: "\(name)")) }
        let gate = DiskGate()
        let writes = Noted(0)
        disk.setHook { call in
            if call.isManifest, call.operation == .write { writes.change { $0 += 1 } }
            if call.isManifest, call.operation == .synchronise { gate.pass() }
            return nil
        }
        let calls = (0..<8).map { name in
            BlockingCall {
                try log.confirm(owner: "o", name: "\(name)", nextOffset: 1)
                return AppendReceipt(outcomes: [], epoch: 1, sequence: 0, fill: 0, nextOffset: 1)
            }
        }
        #expect(eventually { gate.heldCount == 1 })
        usleep(50_000)
        #expect(calls.allSatisfy { $0.result == nil })
        gate.open()
        #expect(eventually { calls.allSatisfy { $0.result != nil } })
        #expect(writes.value == 2)
        #expect(log.cursors().allSatisfy { $0.nextOffset == 1 })
        log.close()
    }

    // MARK: - 13

    @Test("decision 13: without a cursor nothing is confirmed, unless the log is terminal")
    func terminal() throws {
        for profile in Profile.allCases {
            let waiting = try StillLog(StillLog.options(profile))
            let (count, refused) = try LifecycleTests.fill(waiting)
            guard case .rejected(.full) = refused else {
                Issue.record("\(refused)")
                return
            }
            waiting.settle()
            #expect(waiting.log.firstOffset == 0 && waiting.log.headOffset == UInt64(count))

            let terminal = try StillLog(StillLog.options(profile, RetentionOptions(isTerminal: true)))
            try terminal.append(0..<300)
            #expect(terminal.log.headOffset == 300 && terminal.log.firstOffset > 100)
            #expect(terminal.log.gaps(in: 0..<300).isEmpty)
        }
    }

    @Test("decision 13: a confirm is cumulative, passes gaps, and the log names them; adjacent ones are one")
    func confirmPassesGaps() throws {
        let still = try StillLog(StillLog.options(.standard, whenFull: .dropOldest))
        try still.log.createCursor(Cursor(owner: "o", name: "n"))
        try still.append(0..<300)
        let first = still.log.firstOffset
        // Dropped in many steps, one gap.
        #expect(still.log.statistics().events.gapDeclared > 3)
        let gap = Gap(offsets: 0..<first, reasons: .dropped, timeMilliseconds: still.log.gap(at: 0)?.timeMilliseconds)
        #expect(still.log.gap(at: 0) == gap)
        #expect(throws: LogError.gap(gap)) { try still.log.read(from: 0) { _ in true } }
        #expect(still.log.gap(at: first) == nil)
        let cursor = try still.log.confirm(owner: "o", name: "n", nextOffset: first + 3)
        #expect(cursor.nextOffset == first + 3)
        #expect(still.log.gaps(in: 0..<first + 3) == [gap])
        // One that is late changes nothing.
        #expect(try still.log.confirm(owner: "o", name: "n", nextOffset: 2).nextOffset == first + 3)
    }

    // MARK: - 14

    @Test("decision 14: a position is epoch and offset: offsets are not given twice, cursors do not go back")
    func positions() throws {
        let still = try StillLog(StillLog.options())
        try still.log.createCursor(Cursor(owner: "o", name: "n"))
        for number in 0..<4 {
            #expect(try still.log.append(oneRecord(payload(number))).epoch == 1)
        }
        try still.log.confirm(owner: "o", name: "n", nextOffset: 3)
        #expect(throws: LogError.self) {
            try still.log.confirm(owner: "o", name: "n", nextOffset: 5)
        }
        #expect(try still.log.confirm(owner: "o", name: "n", nextOffset: 1).nextOffset == 3)
        still.log.stepIdle()
        // The newest commit is lost, and nothing tells how many there were behind it.
        let killed = still.disk.copy()
        let last = try framesOnDisk(killed.files[segmentPath(1)]!)[3]
        killed.edit(segmentPath(1)) { $0[last.position + 140] ^= 1 }
        var log = try openLog(killed, still.options)
        #expect(log.epoch == 2 && log.headOffset == 4)
        #expect(log.epochs.map(\.firstOffset) == [0, 4])
        let receipt = try log.append(oneRecord(payload(9)))
        #expect(receipt.outcomes == [.appended(offset: 4)] && receipt.epoch == 2)
        #expect(log.cursor(owner: "o", name: "n")?.nextOffset == 3)
        #expect(try log.confirm(owner: "o", name: "n", nextOffset: 5).epoch == 2)
        log.close()
        log = try openLog(killed, still.options)
        #expect(log.epoch == 2 && log.headOffset == 5)
        var epochs: [UInt64] = []
        try log.read(from: 4) { record in
            epochs.append(record.epoch)
            return true
        }
        #expect(epochs == [2])
        log.close()
    }

    // MARK: - 15

    @Test("decision 15: a notice of a gap is an ordinary record without a key, and the position makes it exact")
    func notices() throws {
        let still = try StillLog(StillLog.options())
        let position: ([UInt8]?, [UInt8]) -> [RegisterUpdate] = {
            [RegisterUpdate(name: "position", expected: $0, value: $1)]
        }
        _ = try still.log.append(keyedRecord("k", content: "c"), registers: position(nil, [1]))
        let notice = AppendBatch()
        try notice.add(payload: Array("offsets 1 to 9 are gone".utf8))
        let receipt = try still.log.append(notice, registers: position([1], [9]))
        #expect(receipt.outcomes == [.appended(offset: 1)])
        // Materialised again after a crash before the answer: the position has moved, it is not.
        for life in [still, try still.afterKill()] {
            #expect(life.log.register("position") == [9])
            #expect(
                refusal { _ = try life.log.append(notice, registers: position([1], [9])) }
                    == .rejected(.registerMismatch(name: "position")))
            var keys: [Digest256?] = []
            try life.log.read(from: 0) { record in
                keys.append(record.key)
                return true
            }
            #expect(keys == [digest("k"), nil])
        }
    }

    // MARK: - 16

    @Test("decision 16: append times are the log's own and never run back, over reopenings too")
    func ownTime() throws {
        let still = try StillLog(StillLog.options())
        let start: Int64 = 1_700_000_000_000
        for step in [0, 10_000, -60_000, 30_000, 55_000] as [Int64] {
            still.clock.advance(milliseconds: step)
            _ = try still.log.append(oneRecord([1]))
        }
        still.clock.advance(milliseconds: -90_000)
        try still.reopen()
        _ = try still.log.append(oneRecord([1]))
        var times: [Int64] = []
        try still.log.read(from: 0) { record in
            times.append(record.appendTimeMilliseconds - start)
            return true
        }
        #expect(times == [0, 10_000, 10_000, 10_000, 35_000, 35_000])
    }

    @Test("decision 16: a closed interval ages nothing before the kernel's clock is synchronised, and that is told")
    func closedInterval() throws {
        let hour: Int64 = 3_600_000
        let still = try StillLog(
            StillLog.options(.standard, unconfirmedLifetimeMilliseconds: 2 * hour))
        try still.append(0..<30)
        still.clock.advance(milliseconds: hour)
        still.settle()
        still.log.close()
        // Closed for ten hours; the machine comes back without a time service.
        still.clock.advance(milliseconds: 10 * hour)
        still.clock.isSynchronised.store(false, ordering: .relaxed)
        try still.reopen()
        #expect(still.log.statistics().events.clockSuspect == 1)
        for _ in 0..<3 {
            still.clock.advance(milliseconds: 1_500)
            still.settle()
        }
        #expect(still.log.firstOffset == 0 && still.log.statistics().events.expired == 0)
        still.clock.isSynchronised.store(true, ordering: .relaxed)
        still.clock.advance(milliseconds: 1_500)
        still.settle()
        #expect(still.log.statistics().events.clockTrusted == 1)
        #expect(still.log.firstOffset > 0)
        #expect(still.log.gap(at: 0)?.reasons == .expired)
    }

    // MARK: - 17

    @Test("decision 17: a silStrict segment that is mostly padding is rewritten densely, swapped by the manifest, then chained")
    func repacked() throws {
        var options = StillLog.options(.silStrict)
        options.compression = .lz4
        let still = try StillLog(options)
        let disk = still.disk
        let seen = Noted((removals: 0, stillNamed: 0, chainedBefore: 0))
        disk.setHook { call in
            let name = String(call.path.split(separator: "/").last!)
            guard call.operation == .remove || call.operation == .rename,
                let id = SegmentHeader.id(fileName: name)
            else { return nil }
            let tables = (try? disk.afterWorstPowerCut().manifest().tables) ?? []
            seen.change {
                $0.removals += 1
                $0.stillNamed += tables.filter { $0.segments.contains { $0.id == id } }.count
                $0.chainedBefore +=
                    tables[0].segments.filter {
                        $0.flags & SegmentEntry.Flags.repacked != 0 && $0.isSealed
                    }.count
            }
            return nil
        }
        for number in 0..<600 {
            _ = try still.log.append(oneRecord(payload(number), key: "k\(number)"))
        }
        let sparse = try still.table.segments.dropLast().map(\.fileBytes)
        #expect(sparse.count >= 2)
        still.settle()
        disk.setHook(nil)
        let table = try still.table
        let closed = table.segments.dropLast()
        #expect(still.log.statistics().counters.segmentsRepacked == UInt64(closed.count))
        #expect(closed.allSatisfy { $0.flags & SegmentEntry.Flags.repacked != 0 && $0.isSealed })
        #expect(closed.reduce(0) { $0 + $1.fileBytes } * 3 < sparse.reduce(0, +))
        // The first one went before anything was chained; no file went while a slot named it.
        #expect(seen.value.removals >= closed.count && seen.value.stillNamed == 0)
        #expect(seen.value.chainedBefore < seen.value.removals)
        for life in [still, try still.afterKill()] {
            #expect(try contents(life.log) == (0..<600).map { payload($0) })
        }
        #expect(try LogInspector(directory: logPath, disk: disk.copy()).verify().isSound)
    }

    // MARK: - 28

    @Test("decision 28: a loss is in both state slots before the removal that it describes, and in no frame")
    func lossBeforeRemoval() throws {
        let still = try StillLog(StillLog.options(.standard, whenFull: .dropOldest))
        let disk = still.disk
        let segments = Noted<[UInt64: Range<UInt64>]>([:])
        let seen = Noted((count: 0, undeclared: 0))
        disk.setHook { call in
            guard call.isManifest, call.operation == .write,
                call.position >= ManifestLayout.tableSlotPosition(0)
            else { return nil }
            // A table that is about to name fewer segments: what goes must be declared by now.
            guard let contents = try? disk.afterWorstPowerCut().manifest(),
                let table = contents.tables.first
            else { return nil }
            segments.change { known in
                for (entry, next) in zip(table.segments, table.segments.dropFirst()) {
                    known[entry.id] = entry.baseOffset..<next.baseOffset
                }
            }
            let first = table.segments[0].baseOffset
            seen.change {
                $0.count += 1
                for offsets in segments.value.values where offsets.upperBound <= first {
                    for state in contents.states
                    where state.losses.gaps(in: offsets).map(\.offsets) != [offsets] {
                        $0.undeclared += 1
                    }
                }
            }
            return nil
        }
        try still.append(0..<220, keyed: false)
        disk.setHook(nil)
        #expect(still.log.firstOffset > 50 && seen.value.count > 20 && seen.value.undeclared == 0)
        for entry in try still.table.segments {
            for frame in try framesOnDisk(disk.files[segmentPath(entry.id)]!) {
                #expect(frame.header.controlCount == 0)
            }
        }
    }

    @Test("decision 28: at most 256 spans; one more merges the oldest, and never claims a record that is held")
    func lossSpans() throws {
        var table = LossTable()
        // A loss of ten in every hundred; what lies between was reclaimed after everybody had it.
        for number in 0..<400 as Range<UInt64> {
            let offsets = number * 100..<number * 100 + 10
            try table.declare(
                offsets, reasons: .dropped, timeMilliseconds: Int64(number),
                firstOffset: offsets.upperBound)
            #expect(table.spans.count <= 256)
        }
        #expect(table.spans.count == 256)
        // Exact for the newest, whole for the oldest.
        #expect(table.gaps(in: 39_000..<40_000).count == 10)
        #expect(table.gaps(in: 0..<5_000).map(\.offsets) == [0..<5_000])
        #expect(table.gaps(in: 0..<1)[0].reasons.contains(.reclaimed))
        let encoded = { () -> LogState in
            var state = LogState(identifier: runIdentifier, createdMilliseconds: 1)
            state.losses = table
            return state
        }()
        #expect(try encoded.encode().withUnsafeBytes { try LogState($0) } == encoded)
    }
}

extension StillLog {
    /// Everything that counts against the capacity, by the files themselves.
    static func used(_ still: StillLog) throws -> UInt64 {
        let table = try still.table
        let files = still.disk.files
        var bytes: UInt64 = 0
        for entry in table.segments.dropLast() {
            bytes += UInt64(files[segmentPath(entry.id)]!.count)
        }
        let active = files[segmentPath(table.segments.last!.id)]!
        let header = try active.withUnsafeBytes { try SegmentHeader($0) }
        bytes += UInt64(try framesOnDisk(active).last?.end ?? Int(header.firstFramePosition))
        for (path, contents) in files where path.contains(".run") { bytes += UInt64(contents.count) }
        // Room for two spares is kept, whether they stand or not.
        return bytes + 2 * table.segmentBytes
    }
}
