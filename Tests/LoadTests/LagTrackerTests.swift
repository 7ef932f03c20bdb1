import Testing

@testable import Load

@Suite struct LagTrackerTests {
    @Test func `A lag ends when the other log reaches past the last fact of the call`() {
        var tracker = LagTracker()
        tracker.acknowledged(
            endOffset: 10, count: 10, scheduledNanoseconds: 1_000_000, isMeasured: true)
        tracker.seen(head: 9, atNanoseconds: 2_000_000)
        #expect(tracker.lags.count == 0)
        tracker.seen(head: 10, atNanoseconds: 4_000_000)
        #expect(tracker.lags.count == 10)
        #expect(tracker.lags.maximumMicroseconds == 3_000)
    }

    @Test func `Facts that are there before their acknowledgement count from when they were seen`() {
        var tracker = LagTracker()
        tracker.seen(head: 5, atNanoseconds: 2_000_000)
        tracker.acknowledged(
            endOffset: 5, count: 5, scheduledNanoseconds: 1_000_000, isMeasured: true)
        #expect(tracker.lags.maximumMicroseconds == 1_000)
    }

    @Test func `Acknowledgements out of order are each found`() {
        var tracker = LagTracker()
        for end in [30, 10, 20] as [UInt64] {
            tracker.acknowledged(endOffset: end, count: 10, scheduledNanoseconds: 0, isMeasured: true)
        }
        tracker.seen(head: 10, atNanoseconds: 1_000_000)
        #expect(tracker.lags.count == 10)
        tracker.seen(head: 30, atNanoseconds: 2_000_000)
        #expect(tracker.lags.count == 30)
    }

    @Test func `The warm-up's facts are not measured`() {
        var tracker = LagTracker()
        tracker.acknowledged(endOffset: 3, count: 3, scheduledNanoseconds: 0, isMeasured: false)
        tracker.seen(head: 3, atNanoseconds: 1_000)
        #expect(tracker.lags.count == 0)
    }
}
