import Testing

@testable import WriteAheadLog

/// What the gateway's decisions ask of the log.
@Suite("Gateway decisions: what they ask of the log")
struct GatewayDecisions {
    // MARK: - 4

    @Test("gateway decision 4: a position is written in the frame of its page's records, both or neither after any power cut")
    func positionWithRecords() throws {
        let seed = SeededGenerator.seed("positionWithRecords")
        let still = try StillLog(StillLog.options())
        let disk = still.disk
        let images = Noted<[MemoryDisk]>([])
        disk.setHook { call in
            guard call.operation == .synchronise else { return nil }
            var chance = SeededGenerator(seed: seed &+ UInt64(call.number))
            for _ in 0..<25 {
                let image = disk.afterPowerCut(using: &chance)
                images.change { $0.append(image) }
            }
            return nil
        }
        var position: [UInt8]?
        for page in 1...4 as ClosedRange<UInt8> {
            _ = try still.log.append(
                plainBatch(5, bytes: 300),
                registers: [RegisterUpdate(name: "position", expected: position, value: [page])])
            position = [page]
        }
        disk.setHook(nil)
        var found: Set<UInt64> = []
        for image in images.value {
            let log = try openLog(image, still.options)
            let pages = log.headOffset / 5
            found.insert(pages)
            #expect(log.headOffset % 5 == 0, "seed \(seed)")
            #expect(log.register("position") == (pages == 0 ? nil : [UInt8(pages)]), "seed \(seed)")
            log.close()
        }
        #expect(found.count >= 4)
    }

    @Test("gateway decision 4: a page with nothing new moves the position in the state slot, durable when it returns")
    func positionAlone() throws {
        let still = try StillLog(StillLog.options())
        _ = try still.log.append(
            keyedRecord("k", content: "c"),
            registers: [RegisterUpdate(name: "position", expected: nil, value: [1])])
        let before = still.disk.files[segmentPath(1)]
        // Every fact of the page is there already.
        let receipt = try still.log.append(
            keyedRecord("k", content: "c"),
            registers: [RegisterUpdate(name: "position", expected: [1], value: [2])])
        #expect(receipt.outcomes == [.existing(offset: 0)])
        try still.log.setRegisters([RegisterUpdate(name: "position", expected: [2], value: [3])])
        #expect(still.disk.files[segmentPath(1)] == before)
        let log = try openLog(still.disk.afterWorstPowerCut(), still.options)
        #expect(log.register("position") == [3] && log.headOffset == 1)
        log.close()
    }

    // MARK: - 10

    @Test("gateway decision 10: confirmed records stay while there is room; only the minimum retention counts as fill")
    func retention() throws {
        let hour: Int64 = 3_600_000
        for minimum in [0, hour] as [Int64] {
            let still = try StillLog(
                StillLog.options(
                    .standard,
                    RetentionOptions(minimumRetentionMilliseconds: minimum, isTerminal: true)))
            try still.append(0..<60)
            // All confirmed, and all there.
            #expect(still.log.firstOffset == 0)
            let used = try StillLog.used(still)
            let fill = still.log.statistics().fillBytes
            if minimum == 0 {
                #expect(fill < used / 2)
                try still.append(60..<200)
                #expect(still.log.firstOffset > 0 && still.log.headOffset == 200)
            } else {
                #expect(fill == used)
                let (_, refused) = try LifecycleTests.fill(still)
                guard case .rejected(.full) = refused else {
                    Issue.record("\(refused)")
                    return
                }
                #expect(still.log.firstOffset == 0)
                still.clock.advance(milliseconds: hour + 1_000)
                still.settle()
                _ = try still.log.append(oneRecord([1]))
            }
        }
    }

    @Test("gateway decision 10: keys are remembered for the dedupe horizon from their append, and then forgotten")
    func horizon() throws {
        let day: Int64 = 24 * 3_600_000
        let still = try StillLog(
            StillLog.options(
                .standard, RetentionOptions(dedupeHorizonMilliseconds: 30 * day, isTerminal: true)))
        try still.append(0..<220)
        let first = Int(still.log.firstOffset)
        #expect(first > 30)
        still.clock.advance(milliseconds: 29 * day)
        try still.reopen()
        still.settle()
        let known = try still.log.append(oneRecord(payload(3, bytes: 100_000), key: "k3"))
        #expect(known.outcomes == [.existing(offset: 3)])
        still.clock.advance(milliseconds: 2 * day)
        try still.reopen()
        // Records that come in now take the place of those whose time is over.
        still.settle()
        #expect(try still.log.lookUp(digest("key k3")) == nil)
        let head = still.log.headOffset
        let again = try still.log.append(oneRecord(payload(3, bytes: 100_000), key: "k3"))
        #expect(again.outcomes == [.appended(offset: head)])
        // One whose record is there is known whatever its age.
        #expect(try still.log.lookUp(digest("key k\(head - 1)"))?.offset == head - 1)
    }

    // MARK: - 11

    @Test("gateway decision 11: a terminal log's records count as confirmed once durable and are kept by its retention")
    func terminal() throws {
        for profile in Profile.allCases {
            let still = try StillLog(
                StillLog.options(
                    profile, RetentionOptions(retentionMilliseconds: 60_000, isTerminal: true)))
            try still.append(0..<60)
            #expect(still.log.firstOffset == 0)
            still.clock.advance(milliseconds: 61_000)
            still.settle()
            #expect(still.log.firstOffset > 40 && still.log.gaps(in: 0..<60).isEmpty)
            // A reader that is declared is waited for.
            try still.log.createCursor(Cursor(owner: "o", name: "n", nextOffset: 60))
            try still.append(60..<90)
            still.clock.advance(milliseconds: 61_000)
            still.settle()
            #expect(still.log.firstOffset <= 60)
        }
    }

    @Test("gateway decision 11: a log at its high watermark refuses, loses nothing, and resumes by itself")
    func pausedPull() throws {
        let still = try StillLog(StillLog.options())
        try still.log.createCursor(Cursor(owner: "o", name: "n"))
        let (count, refused) = try LifecycleTests.fill(still)
        guard case .rejected(.full) = refused else {
            Issue.record("\(refused)")
            return
        }
        #expect(!still.log.statistics().isAcceptingRecords && still.log.firstOffset == 0)
        try still.log.confirm(owner: "o", name: "n", nextOffset: UInt64(count))
        still.settle()
        #expect(still.log.statistics().isAcceptingRecords)
        #expect(
            try still.log.append(oneRecord([1], key: "next")).outcomes
                == [.appended(offset: UInt64(count))])
    }

    // MARK: - 12

    @Test("gateway decision 12: a peer that need not be waited for is detached beyond its lag and meets one exact gap")
    func longGone() throws {
        let still = try StillLog(StillLog.options())
        try still.log.createCursor(Cursor(owner: "o", name: "near"))
        try still.log.createCursor(
            Cursor(owner: "o", name: "gone", required: false, maximumLagBytes: 4 << 20))
        for number in 0..<200 {
            try still.append(number..<number + 1)
            try still.log.confirm(owner: "o", name: "near", nextOffset: UInt64(number + 1))
        }
        still.settle()
        let first = still.log.firstOffset
        #expect(first > 0 && still.log.headOffset == 200)
        for life in [still, try still.afterKill()] {
            let cursor = try #require(life.log.cursor(owner: "o", name: "gone"))
            #expect(cursor.isDetached && cursor.nextOffset == 0)
            let gap = try #require(life.log.gap(at: 0, isDetached: cursor.isDetached))
            #expect(gap.offsets == 0..<life.log.firstOffset && gap.reasons.contains(.detached))
            guard
                case .cursorDetached? = refusal({
                    try life.log.confirm(owner: "o", name: "gone", nextOffset: 5)
                })
            else {
                Issue.record("a detached cursor was moved")
                return
            }
        }
        try still.log.attachCursor(owner: "o", name: "gone", nextOffset: first)
        #expect(try still.log.confirm(owner: "o", name: "gone", nextOffset: first + 1).nextOffset == first + 1)
    }

    @Test("gateway decision 12: who was attached again has its lag once more to catch up")
    func attachedAgain() throws {
        let still = try StillLog(StillLog.options())
        try still.log.createCursor(Cursor(owner: "o", name: "near"))
        try still.log.createCursor(
            Cursor(owner: "o", name: "gone", required: false, maximumLagBytes: 4 << 20))
        func go(_ numbers: Range<Int>) throws -> Cursor? {
            for number in numbers {
                try still.append(number..<number + 1)
                try still.log.confirm(owner: "o", name: "near", nextOffset: UInt64(number + 1))
                still.settle()
            }
            still.settle()
            return still.log.cursor(owner: "o", name: "gone")
        }
        #expect(try go(0..<200)?.isDetached == true)
        // Where it stood: further behind than it may be, with all that is left to read. That is kept while
        // there is room and fills nothing.
        let fill = still.log.statistics().fill
        try still.log.attachCursor(owner: "o", name: "gone", nextOffset: 0)
        #expect(try go(200..<202)?.isDetached == false)
        #expect(still.log.statistics().fill < fill + 0.1)
        #expect(try go(202..<230)?.isDetached == false)
        #expect(still.log.firstOffset <= 200, "what came since is kept for it")
        #expect(try go(230..<400)?.isDetached == true)
        #expect(still.log.firstOffset > 202)
    }

    @Test("gateway decision 12: a required cursor holds truncation until it is detached with a reason")
    func revoked() throws {
        let still = try StillLog(StillLog.options())
        try still.log.createCursor(Cursor(owner: "o", name: "revoked"))
        try still.log.createCursor(Cursor(owner: "o", name: "near"))
        let (count, _) = try LifecycleTests.fill(still)
        try still.log.confirm(owner: "o", name: "near", nextOffset: UInt64(count))
        still.settle()
        #expect(still.log.firstOffset == 0)
        try still.log.detachCursor(owner: "o", name: "revoked", reason: "grant ended")
        still.settle()
        #expect(still.log.firstOffset > 0)
        #expect(try still.afterKill().log.cursor(owner: "o", name: "revoked")?.detachReason == "grant ended")
    }

    @Test("gateway decision 12: under silStrict every cursor is required")
    func strictCursors() throws {
        let still = try StillLog(StillLog.options(.silStrict))
        for cursor in [
            Cursor(owner: "o", name: "n", required: false),
            Cursor(owner: "o", name: "n", maximumLagBytes: 1),
            Cursor(owner: "o", name: "n", maximumLagMilliseconds: 1),
        ] {
            guard
                case .rejected(.invalidOptions(let sentence))? = refusal({
                    try still.log.createCursor(cursor)
                })
            else {
                Issue.record("a cursor that may be skipped was taken: \(cursor)")
                continue
            }
            #expect(sentence.contains("required"))
        }
        #expect(still.log.cursors().isEmpty)
        try still.log.createCursor(Cursor(owner: "o", name: "n"))
    }

    // MARK: - 13

    @Test("gateway decision 13: a gap is what the log no longer has up to its next record, with every reason")
    func computedGap() throws {
        let hour: Int64 = 3_600_000
        let still = try StillLog(
            StillLog.options(
                .standard, whenFull: .dropOldest, unconfirmedLifetimeMilliseconds: 2 * hour))
        try still.log.createCursor(Cursor(owner: "o", name: "n"))
        try still.append(0..<60)
        // Some confirmed and reclaimed, some expired, some dropped.
        try still.log.confirm(owner: "o", name: "n", nextOffset: 15)
        still.clock.advance(milliseconds: 3 * hour)
        still.settle()
        #expect(still.log.firstOffset > 40)
        try still.append(60..<260)
        let first = still.log.firstOffset
        #expect(first > 100)
        let whole = try #require(still.log.gap(at: 0))
        #expect(whole.offsets == 0..<first)
        #expect(whole.reasons == [.reclaimed, .expired, .dropped])
        // From anywhere within it: to the same end, exact from there.
        for offset in [1, 14, 15, 40, first - 1] {
            #expect(still.log.gap(at: offset)?.offsets == offset..<first)
        }
        #expect(still.log.gap(at: 2)?.reasons.contains(.reclaimed) == true)
        #expect(still.log.gap(at: first - 1)?.reasons == .dropped)
        #expect(still.log.gap(at: first) == nil && still.log.gap(at: 260) == nil)
        // What was lost is less than what is missing: confirmed records are no loss.
        #expect(still.log.gaps(in: 0..<260).map(\.offsets) == [15..<first])
        // It takes no offset and no record: reading goes on at its end.
        var next = first
        try still.log.read(from: first) { record in
            #expect(record.offset == next)
            next += 1
            return true
        }
        #expect(next == 260)
    }

    @Test("gateway decision 13: damage in the middle is a gap between the records around it")
    func corruptGap() throws {
        let still = try StillLog(StillLog.options())
        try still.append(0..<35)
        let entry = try still.table.segments[1]
        let frames = try framesOnDisk(still.disk.files[segmentPath(entry.id)]!)
        let lost = frames[3].header.firstOffset
        still.disk.edit(segmentPath(entry.id)) { $0[frames[3].position + 5_000] ^= 1 }
        // A reader meets it, the log looks again and says so.
        #expect(throws: LogError.self) { try still.log.read(from: lost) { _ in true } }
        still.settle()
        for life in [still, try still.afterKill()] {
            let gap = try #require(life.log.gap(at: lost))
            #expect(gap.offsets == lost..<lost + 1 && gap.reasons == .corrupt)
            var seen: [UInt64] = []
            var next: UInt64 = 0
            while next < 35 {
                do throws(LogError) {
                    next = try life.log.read(from: next) { record in
                        seen.append(record.offset)
                        return true
                    }
                } catch {
                    guard case .gap(let gap) = error else { throw error }
                    next = gap.offsets.upperBound
                }
            }
            #expect(seen == (0..<35).filter { $0 != lost })
        }
    }

    // MARK: - 14

    @Test("gateway decision 14: the log persists the frontier only: what is confirmed out of order is not in it")
    func frontierOnly() throws {
        let still = try StillLog(StillLog.options())
        try still.log.createCursor(Cursor(owner: "o", name: "n"))
        for number in 0..<6 { _ = try still.log.append(oneRecord(payload(number))) }
        // {0, 1, 2, 4, 5} confirmed: the frontier is 3, so the last confirmed offset is 2.
        try still.log.confirm(owner: "o", name: "n", nextOffset: 3)
        let slot = try still.disk.manifest().states[0]
        #expect(slot.cursors.count == 1 && slot.cursors[0].cursor.nextOffset == 3)
        #expect(try still.afterKill().log.cursor(owner: "o", name: "n")?.nextOffset == 3)
        #expect(still.log.headOffset == 6)
    }
}
