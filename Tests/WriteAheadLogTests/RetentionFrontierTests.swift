import Testing

@testable import WriteAheadLog

@Suite("Retention: the frontier")
struct RetentionFrontierTests {
    static let standard = LogPolicy.standard(StandardPolicy())
    static let strict = LogPolicy.silStrict(StrictPolicy())

    func confirmed(
        _ cursors: [TestCursor], _ policy: LogPolicy = standard, isTerminal: Bool = false,
        awaited: [AwaitedReader] = []
    ) -> UInt64 {
        Frontier.confirmedOffset(
            cursors: cursors, awaited: awaited, policy: policy, isTerminal: isTerminal, headOffset: 100)
    }

    @Test("Decision 13: with no cursor that holds nothing is confirmed, unless the log is terminal")
    func decision13() {
        #expect(confirmed([]) == 0)
        #expect(confirmed([], isTerminal: true) == 100)
        let idle = TestCursor(nextOffset: 7, required: false)
        let detached = TestCursor(nextOffset: 7, isDetached: true)
        #expect(confirmed([idle, detached]) == 0)
        #expect(confirmed([idle, detached], isTerminal: true) == 100)
    }

    @Test("a declared reader is waited for before it has a cursor, whoever else has read")
    func awaited() {
        let reader = AwaitedReader(owner: "owner", name: "late")
        let other = TestCursor(name: "other", nextOffset: 40)
        #expect(confirmed([other]) == 40)
        #expect(confirmed([other], awaited: [reader]) == 0)
        #expect(confirmed([], isTerminal: true, awaited: [reader]) == 0)
        let own = TestCursor(name: "late", nextOffset: 10)
        #expect(confirmed([other, own], awaited: [reader]) == 10)
        // Of a cursor that exists it is known what is owed to it.
        let detached = TestCursor(name: "late", nextOffset: 10, isDetached: true)
        #expect(confirmed([other, detached], awaited: [reader]) == 40)
        let foreign = TestCursor(owner: "somebody", name: "late", nextOffset: 10)
        #expect(confirmed([other, foreign], awaited: [reader]) == 0)
    }

    @Test("the least of the cursors that hold decides")
    func least() {
        let cursors = [
            TestCursor(nextOffset: 40), TestCursor(nextOffset: 30),
            TestCursor(nextOffset: 3, required: false), TestCursor(nextOffset: 2, isDetached: true),
        ]
        #expect(confirmed(cursors) == 30)
        #expect(confirmed(cursors, isTerminal: true) == 30)
        let lagging = TestCursor(nextOffset: 20, required: false, maximumLagBytes: 1)
        #expect(confirmed(cursors + [lagging]) == 20)
        let aged = TestCursor(nextOffset: 10, required: false, maximumLagMilliseconds: 1)
        #expect(confirmed(cursors + [aged]) == 10)
        #expect(confirmed([TestCursor(nextOffset: 500)]) == 100)
        // Under sil_strict every attached cursor holds.
        #expect(confirmed(cursors, Self.strict) == 3)
    }

    /// Segments of 10 offsets and 100 bytes, last appended at 1000, 2000, 3000; an active one.
    func situation(now: Int64, isClockTrusted: Bool = true) -> RetentionSituation {
        RetentionSituation(
            segments: (0..<3 as Range<UInt64>).map {
                RetentionSegment(
                    baseOffset: $0 * 10, endOffset: $0 * 10 + 10, bytes: 100,
                    lastAppendMilliseconds: Int64($0 + 1) * 1000, isSealed: true)
            },
            activeBaseOffset: 30, activeBytes: 50, activeLastAppendMilliseconds: 3500,
            headOffset: 35, runBytes: 0, spareBytes: 0, confirmedOffset: 0, nowMilliseconds: now,
            isClockTrusted: isClockTrusted, isRoomNeeded: false, missingFreeBytes: 0, expiryAnnouncedBelow: 0)
    }

    @Test("a cursor beyond its lag in bytes is detached, one at it is not")
    func lagBytes() {
        func detached(_ offset: UInt64, _ limit: UInt64) -> Bool {
            let cursor = TestCursor(nextOffset: offset, required: false, maximumLagBytes: limit)
            return !Frontier.detachments(
                cursors: [cursor], policy: Self.standard, situation: situation(now: 0)
            ).detachments.isEmpty
        }
        // At a segment's first offset its bytes count, within it they do not.
        #expect(detached(0, 349) && !detached(0, 350))
        #expect(detached(1, 249) && !detached(1, 250))
        #expect(detached(10, 249) && !detached(10, 250))
        #expect(detached(29, 49) && !detached(29, 50))
        #expect(detached(30, 49) && !detached(30, 50))
        #expect(!detached(31, 0) && !detached(35, 0))
    }

    @Test("a cursor that was attached again counts its lag from the head of that moment")
    func lagSinceAttached() {
        func detached(attachedAt head: UInt64?, _ limit: UInt64) -> Bool {
            let cursor = TestCursor(nextOffset: 0, required: false, maximumLagBytes: limit)
            let identity = CursorIdentity(owner: cursor.owner, name: cursor.name)
            return !Frontier.detachments(
                cursors: [cursor], policy: Self.standard, situation: situation(now: 0),
                attachedAt: head.map { [identity: $0] } ?? [:]
            ).detachments.isEmpty
        }
        #expect(detached(attachedAt: nil, 100) && !detached(attachedAt: 35, 0))
        #expect(detached(attachedAt: 20, 149) && !detached(attachedAt: 20, 150))
        func confirmed(_ cursor: TestCursor, _ policy: LogPolicy) -> UInt64 {
            Frontier.confirmedOffset(
                cursors: [cursor], awaited: [], policy: policy, isTerminal: false, headOffset: 35,
                attachedAt: [CursorIdentity(owner: cursor.owner, name: cursor.name): 20])
        }
        let optional = TestCursor(nextOffset: 3, required: false, maximumLagBytes: 1)
        #expect(confirmed(optional, Self.standard) == 20 && confirmed(optional, Self.strict) == 3)
        #expect(confirmed(TestCursor(nextOffset: 3, required: true), Self.standard) == 3)
        #expect(
            confirmed(TestCursor(nextOffset: 30, required: false, maximumLagBytes: 1), Self.standard)
                == 30)
    }

    @Test("a cursor beyond its lag in age is detached, and the moment is known before")
    func lagAge() {
        func result(_ offset: UInt64, now: Int64, isClockTrusted: Bool = true) -> (Int, Int64?) {
            let cursor = TestCursor(
                nextOffset: offset, required: false, maximumLagMilliseconds: 10_000)
            let found = Frontier.detachments(
                cursors: [cursor], policy: Self.standard,
                situation: situation(now: now, isClockTrusted: isClockTrusted))
            return (found.detachments.count, found.nextMomentMilliseconds)
        }
        #expect(result(5, now: 11_000) == (0, 11_001))
        #expect(result(5, now: 11_001) == (1, nil))
        #expect(result(10, now: 11_001) == (0, 12_001))
        #expect(result(32, now: 13_500) == (0, 13_501))
        #expect(result(32, now: 13_501) == (1, nil))
        #expect(result(35, now: .max) == (0, nil))
        #expect(result(5, now: .max, isClockTrusted: false) == (0, nil))
    }

    @Test("required and detached cursors, and all under sil_strict, are never detached by lag")
    func neverDetached() {
        let lagging = TestCursor(required: false, maximumLagBytes: 0, maximumLagMilliseconds: 0)
        func count(_ cursor: TestCursor, _ policy: LogPolicy) -> Int {
            Frontier.detachments(
                cursors: [cursor], policy: policy, situation: situation(now: .max)
            ).detachments.count
        }
        #expect(count(lagging, Self.standard) == 1)
        #expect(count(lagging, Self.strict) == 0)
        var required = lagging
        required.required = true
        #expect(count(required, Self.standard) == 0)
        var detached = lagging
        detached.isDetached = true
        #expect(count(detached, Self.standard) == 0)
        let found = Frontier.detachments(
            cursors: [lagging], policy: Self.standard, situation: situation(now: 0)
        ).detachments
        #expect(
            found == [
                CursorDetachment(
                    owner: "owner", name: "name",
                    reason: "350 bytes behind, more than its maximum lag of 0 bytes")
            ])
    }
}
