import Testing

@testable import WriteAheadLog

@Suite("Changes of retention while a log is open, and cursors that begin at what is left")
struct LiveRetentionTests {
    private static let hour: Int64 = 3_600_000

    private static func truncated() throws -> StillLog {
        let still = try StillLog(
            LifecycleTests.options(
                .standard(StandardPolicy()),
                RetentionOptions(retentionMilliseconds: hour, isTerminal: true)))
        try still.append(0..<40)
        still.clock.advance(milliseconds: 2 * hour)
        still.settle()
        #expect(still.log.firstOffset > 0)
        return still
    }

    @Test("gateway decision 9: a cursor that is made holds what it begins at, and begins at nothing that is gone")
    func cursorsBeginAtWhatIsLeft() throws {
        let still = try Self.truncated()
        let first = still.log.firstOffset
        #expect(throws: LogError.self) {
            try still.log.createCursor(
                Cursor(owner: "o", name: "early", nextOffset: first - 1), notBelowFirst: true)
        }
        #expect(still.log.cursor(owner: "o", name: "early") == nil)
        try still.log.createCursor(
            Cursor(owner: "o", name: "n", nextOffset: first), notBelowFirst: true)
        try still.append(40..<80)
        still.clock.advance(milliseconds: 2 * Self.hour)
        still.settle()
        #expect(still.log.firstOffset == first, "truncation waits for it from then on")
        // Who resumes at a position of its own may begin below.
        try still.log.createCursor(Cursor(owner: "o", name: "resumed", nextOffset: first - 1))
    }

    @Test("a log that gets its first reader stops counting its records as confirmed")
    func readersComeAndGo() throws {
        let still = try StillLog(
            LifecycleTests.options(
                .standard(StandardPolicy(unconfirmedLifetimeMilliseconds: nil)),
                RetentionOptions(retentionMilliseconds: Self.hour, isTerminal: true)))
        try still.append(0..<20)
        try still.log.changeRetention(
            RetentionOptions(retentionMilliseconds: Self.hour, isTerminal: false),
            policy: .standard(StandardPolicy(unconfirmedLifetimeMilliseconds: nil)))
        still.clock.advance(milliseconds: 2 * Self.hour)
        still.settle()
        #expect(still.log.firstOffset == 0)
        try still.log.changeRetention(
            RetentionOptions(retentionMilliseconds: Self.hour, isTerminal: true),
            policy: .standard(StandardPolicy(unconfirmedLifetimeMilliseconds: nil)))
        still.settle()
        #expect(still.log.firstOffset > 0)
    }

    @Test("new watermarks and ages hold at once, wrong ones and another profile change nothing")
    func watermarks() throws {
        let still = try StillLog(LifecycleTests.options())
        try still.log.createCursor(Cursor(owner: "o", name: "n"))
        // Half of 16 MiB is above the low watermark to come and below the high one that stands.
        try still.append(0..<84)
        #expect(still.log.statistics().isAcceptingRecords)
        try still.log.changeRetention(
            RetentionOptions(highWatermark: 0.4, lowWatermark: 0.3),
            policy: .standard(StandardPolicy()))
        #expect(!still.log.statistics().isAcceptingRecords)
        #expect(throws: LogError.self) {
            try still.log.append(try oneRecord([1], key: "refused"))
        }
        try still.log.changeRetention(
            RetentionOptions(highWatermark: 0.9, lowWatermark: 0.85),
            policy: .standard(StandardPolicy()))
        _ = try still.log.append(try oneRecord([1], key: "taken"))
        #expect(throws: LogError.self) {
            try still.log.changeRetention(
                RetentionOptions(highWatermark: 0.4, lowWatermark: 0.5),
                policy: .standard(StandardPolicy()))
        }
        #expect(throws: LogError.self) {
            try still.log.changeRetention(RetentionOptions(), policy: .silStrict(StrictPolicy()))
        }
        _ = try still.log.append(try oneRecord([2], key: "still taken"))
    }

    @Test("room that was needed is made, also when the gate has opened before")
    func roomIsStillMade() throws {
        let narrow = RetentionOptions(highWatermark: 0.5, lowWatermark: 0.3)
        let still = try StillLog(LifecycleTests.options(.standard(StandardPolicy()), narrow))
        try still.log.createCursor(Cursor(owner: "o", name: "n"))
        var number = 0
        while still.log.statistics().isAcceptingRecords {
            try still.append(number..<number + 1)
            number += 1
        }
        try still.log.confirm(owner: "o", name: "n", nextOffset: UInt64(number))
        // The gate opens by this, and nothing was removed yet.
        try still.log.changeRetention(
            RetentionOptions(highWatermark: 0.9, lowWatermark: 0.3),
            policy: .standard(StandardPolicy()))
        #expect(still.log.statistics().isAcceptingRecords && still.log.firstOffset == 0)
        still.settle()
        #expect(still.log.firstOffset > 0)
        #expect(still.log.firstOffset < UInt64(number) - 10, "and no more than that")
    }

    @Test("the log's clock is the one that judges age")
    func clock() throws {
        let still = try StillLog(LifecycleTests.options())
        let before = still.log.clockMilliseconds
        still.clock.advance(milliseconds: 5_000)
        #expect(still.log.clockMilliseconds == before + 5_000)
    }
}
