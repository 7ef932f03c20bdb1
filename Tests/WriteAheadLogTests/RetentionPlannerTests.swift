import Testing

@testable import WriteAheadLog

@Suite("Retention: the planner")
struct RetentionPlannerTests {
    /// Ten closed segments of 10 offsets and 80 bytes, last appended at 1000, 2000, ...; 50 bytes in
    /// the active one, 30 in runs, 20 in spares: 900 of 1000.
    func situation(
        confirmed: UInt64, now: Int64 = 100_000, count: UInt64 = 10, isRoomNeeded: Bool = false,
        isClockTrusted: Bool = true
    ) -> RetentionSituation {
        RetentionSituation(
            segments: (0..<count).map {
                RetentionSegment(
                    baseOffset: $0 * 10, endOffset: $0 * 10 + 10, bytes: 80,
                    lastAppendMilliseconds: Int64($0 + 1) * 1000, isSealed: true)
            },
            activeBaseOffset: count * 10, activeBytes: 50, activeLastAppendMilliseconds: 11_000,
            headOffset: count * 10 + 5, runBytes: 30, spareBytes: 20, confirmedOffset: confirmed,
            nowMilliseconds: now, isClockTrusted: isClockTrusted, isRoomNeeded: isRoomNeeded, missingFreeBytes: 0,
            expiryAnnouncedBelow: 0)
    }

    func planner(_ options: RetentionOptions = RetentionOptions()) -> RetentionPlanner {
        RetentionPlanner(options: options, capacityBytes: 1000)
    }

    let reject = StandardPolicy(unconfirmedLifetimeMilliseconds: nil)
    let drop = StandardPolicy(whenFull: .dropOldest, unconfirmedLifetimeMilliseconds: nil)

    @Test("room: confirmed segments go, oldest first, until the low watermark; the rest is no fill")
    func room() {
        let plan = planner().plan(situation(confirmed: 55), reject)
        // 900 - 2 x 80 = 740 <= 750; five are wholly confirmed.
        #expect(plan.removalCount == 2 && plan.losses.isEmpty && plan.fillBytes == 500)
        #expect(plan.nextMomentMilliseconds == nil && plan.warning == nil)
        let strict = planner().plan(situation(confirmed: 55), StrictPolicy())
        #expect(strict.removalCount == 2 && strict.fillBytes == 500)
        // Below the high watermark only when the caller needs room.
        #expect(planner().plan(situation(confirmed: 55, count: 8), reject).removalCount == 0)
        #expect(planner().plan(situation(confirmed: 55, count: 8), reject).fillBytes == 340)
        let needed = situation(confirmed: 55, count: 9, isRoomNeeded: true)
        #expect(planner().plan(needed, reject).removalCount == 1)
        // From the high watermark on until the low one.
        #expect(planner().isRoomNeeded(situation(confirmed: 0)))
        #expect(!planner().isRoomNeeded(situation(confirmed: 0, count: 8)))
        #expect(planner().isRoomNeeded(situation(confirmed: 0, count: 9, isRoomNeeded: true)))
        #expect(!planner().isRoomNeeded(situation(confirmed: 0, count: 8, isRoomNeeded: true)))
        // Nothing confirmed: nothing goes.
        #expect(planner().plan(situation(confirmed: 9), reject).removalCount == 0)
        #expect(planner().plan(situation(confirmed: 9), reject).fillBytes == 900)
    }

    @Test("a file system short of space gets confirmed segments back, and no unconfirmed one")
    func shortOfSpace() {
        func removed(_ bytes: UInt64, _ policy: StandardPolicy) -> RetentionPlan {
            var situation = situation(confirmed: 55, count: 8)
            situation.missingFreeBytes = bytes
            return planner().plan(situation, policy)
        }
        for (bytes, count) in [(0, 0), (1, 1), (80, 1), (81, 2), (400, 5), (.max, 5)]
            as [(UInt64, Int)]
        {
            for policy in [reject, drop] {
                let plan = removed(bytes, policy)
                #expect(plan.removalCount == count && plan.losses.isEmpty, "\(bytes) bytes")
            }
        }
    }

    @Test("age: confirmed segments past the retention go while there is room")
    func age() {
        let planner = planner(RetentionOptions(retentionMilliseconds: 10_000))
        let plan = planner.plan(situation(confirmed: 55, now: 13_000, count: 8), reject)
        #expect(plan.removalCount == 3 && plan.nextMomentMilliseconds == 14_000)
        #expect(plan.losses.isEmpty)
        let strict = planner.plan(situation(confirmed: 55, now: 13_000, count: 8), StrictPolicy())
        #expect(strict.removalCount == 3 && strict.nextMomentMilliseconds == 14_000)
        // Unconfirmed ones do not, at any age.
        #expect(
            planner.plan(situation(confirmed: 0, now: .max, count: 8), StrictPolicy())
                == StrictRetentionPlan(
                    removalCount: 0, wantedCount: 0, fillBytes: 740, nextMomentMilliseconds: nil))
    }

    @Test("the minimum retention counts as fill and is not reclaimed for room")
    func minimumRetention() {
        let planner = planner(RetentionOptions(minimumRetentionMilliseconds: 10_000))
        let early = planner.plan(situation(confirmed: 55, now: 10_999), reject)
        #expect(early.removalCount == 0 && early.fillBytes == 900)
        #expect(early.nextMomentMilliseconds == 11_000)
        let later = planner.plan(situation(confirmed: 55, now: 11_000), reject)
        #expect(later.removalCount == 1 && later.fillBytes == 820)
        #expect(later.nextMomentMilliseconds == 12_000)
    }

    @Test("Decision 28: dropOldest names exactly the unconfirmed offsets that it removes")
    func dropOldest() {
        // One segment is confirmed and half the next: the fill is 820.
        let plan = planner().plan(situation(confirmed: 15), drop)
        #expect(plan.removalCount == 2 && plan.fillBytes == 740)
        #expect(plan.losses == [.init(offsets: 15..<20, reasons: .dropped)])
        // Confirmed ones suffice: nothing is dropped.
        #expect(planner().plan(situation(confirmed: 25), drop).losses.isEmpty)
        // Rejecting drops nothing.
        #expect(planner().plan(situation(confirmed: 15), reject).losses.isEmpty)
        // It passes the minimum retention, which is no loss.
        let young = planner(RetentionOptions(minimumRetentionMilliseconds: 1_000_000))
            .plan(situation(confirmed: 15), drop)
        #expect(young.losses == plan.losses && young.removalCount == 2)
        // Needing room below the high watermark is no reason to lose anything.
        let needed = situation(confirmed: 0, count: 8, isRoomNeeded: true)
        #expect(planner().plan(needed, drop).removalCount == 0)
    }

    @Test("expiry: announced at 80 %, then unconfirmed records go with all before them")
    func expiry() {
        let policy = StandardPolicy(unconfirmedLifetimeMilliseconds: 10_000)
        func plan(_ now: Int64, announcedBelow: UInt64 = 0, trusted: Bool = true) -> RetentionPlan {
            var situation = situation(confirmed: 15, now: now, count: 8, isClockTrusted: trusted)
            situation.expiryAnnouncedBelow = announcedBelow
            return planner().plan(situation, policy)
        }
        #expect(plan(9_999).warning == nil && plan(9_999).nextMomentMilliseconds == 10_000)
        let warned = plan(10_000)
        #expect(warned.warning == .init(offsets: 15..<20, atMilliseconds: 12_000))
        #expect(warned.expiryAnnouncedBelow == 20 && warned.nextMomentMilliseconds == 11_000)
        #expect(plan(10_000, announcedBelow: 20).warning == nil)
        #expect(
            plan(11_500, announcedBelow: 20).warning
                == .init(offsets: 20..<30, atMilliseconds: 13_000))
        #expect(plan(11_999).losses.isEmpty && plan(11_999).removalCount == 0)
        let expired = plan(12_000)
        #expect(expired.losses == [.init(offsets: 15..<20, reasons: .expired)])
        #expect(expired.removalCount == 2 && expired.fillBytes == 580)
        #expect(plan(13_000).losses == [.init(offsets: 15..<30, reasons: .expired)])
        // Decision 16: not while the clock is suspect.
        #expect(plan(13_000, trusted: false).losses.isEmpty)
        #expect(plan(13_000, trusted: false).warning == nil)
        #expect(plan(13_000, trusted: false).nextMomentMilliseconds == nil)
        // A confirmed segment within its minimum retention holds it up.
        func held(_ now: Int64) -> RetentionPlan {
            planner(RetentionOptions(minimumRetentionMilliseconds: 15_000)).plan(
                situation(confirmed: 15, now: now, count: 8), policy)
        }
        #expect(held(15_999).removalCount == 0 && held(15_999).nextMomentMilliseconds == 16_000)
        #expect(held(16_000).losses == [.init(offsets: 15..<60, reasons: .expired)])
    }

    @Test("a log that drops tells what expired from what was dropped")
    func expiredAndDropped() {
        let policy = StandardPolicy(whenFull: .dropOldest, unconfirmedLifetimeMilliseconds: 98_000)
        let plan = planner(RetentionOptions(highWatermark: 0.6, lowWatermark: 0.5))
            .plan(situation(confirmed: 5), policy)
        #expect(
            plan.losses == [
                .init(offsets: 5..<20, reasons: .expired),
                .init(offsets: 20..<50, reasons: .dropped),
            ])
        #expect(plan.removalCount == 5 && plan.fillBytes == 500)
    }

    @Test("only sealed segments are removed; what else is wanted is named")
    func unsealed() {
        var situation = situation(confirmed: 0)
        situation.segments[1].isSealed = false
        let plan = planner().plan(situation, drop)
        #expect(plan.removalCount == 1 && plan.wantedCount == 2)
        #expect(plan.losses == [.init(offsets: 0..<10, reasons: .dropped)])
        situation.confirmedOffset = 100
        let strict = planner().plan(situation, StrictPolicy())
        #expect(strict.removalCount == 1 && strict.wantedCount == 2 && strict.fillBytes == 100)
    }

    @Test("Promise 9: a strict plan has no member in which a loss could stand")
    func strictPlanHasNoLosses() {
        let plan = planner().plan(situation(confirmed: 0, isRoomNeeded: true), StrictPolicy())
        #expect(plan.removalCount == 0 && plan.wantedCount == 0)
        #expect(
            Mirror(reflecting: plan).children.compactMap(\.label) == [
                "removalCount", "wantedCount", "fillBytes", "nextMomentMilliseconds",
            ])
        #expect(Mirror(reflecting: StrictPolicy()).children.isEmpty)
    }

    @Test("an empty log and stamps from the ends of time are planned without a trap")
    func extremes() {
        let options = RetentionOptions(
            retentionMilliseconds: RetentionOptions.durationMillisecondsRange.upperBound)
        let policy = StandardPolicy(
            whenFull: .dropOldest,
            unconfirmedLifetimeMilliseconds: RetentionOptions.durationMillisecondsRange.upperBound)
        #expect(planner(options).plan(situation(confirmed: 0, count: 0), policy).removalCount == 0)
        for stamp in [Int64.min, 0, .max] {
            for now in [Int64.min, 0, .max] {
                for confirmed in [0, 35, 100] as [UInt64] {
                    var situation = situation(confirmed: confirmed, now: now)
                    for index in situation.segments.indices {
                        situation.segments[index].lastAppendMilliseconds = stamp
                    }
                    let plan = planner(options).plan(situation, policy)
                    #expect(plan.removalCount <= 10)
                }
            }
        }
    }
}
