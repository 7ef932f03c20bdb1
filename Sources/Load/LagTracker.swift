/// How long facts are on their way: from the time their call was to be sent until they stand in the other
/// zone's log. A state machine without I/O.
package struct LagTracker: Sendable {
    private struct Batch {
        var endOffset: UInt64
        var scheduledNanoseconds: UInt64
        var count: Int
        var isMeasured: Bool
    }

    /// Acknowledged and not yet seen, in the order of their offsets.
    private var waiting: [Batch] = []
    private var seenHead: UInt64 = 0
    private var seenAtNanoseconds: UInt64 = 0
    package private(set) var lags = Latencies()

    package init() {}

    /// Facts that end before `endOffset` are acknowledged.
    package mutating func acknowledged(
        endOffset: UInt64, count: Int, scheduledNanoseconds: UInt64, isMeasured: Bool
    ) {
        let batch = Batch(
            endOffset: endOffset, scheduledNanoseconds: scheduledNanoseconds, count: count,
            isMeasured: isMeasured)
        // The other zone may have them before the producer hears of it.
        guard endOffset > seenHead else { return record(batch, at: seenAtNanoseconds) }
        let place = waiting.lastIndex { $0.endOffset < endOffset }.map { $0 + 1 } ?? 0
        waiting.insert(batch, at: place)
    }

    /// The other zone's log reaches up to `head`.
    package mutating func seen(head: UInt64, atNanoseconds now: UInt64) {
        guard head > seenHead else { return }
        (seenHead, seenAtNanoseconds) = (head, now)
        let count = waiting.prefix { $0.endOffset <= head }.count
        for batch in waiting[..<count] { record(batch, at: now) }
        waiting.removeFirst(count)
    }

    private mutating func record(_ batch: Batch, at time: UInt64) {
        guard batch.isMeasured else { return }
        lags.record(
            nanoseconds: max(time, batch.scheduledNanoseconds) - batch.scheduledNanoseconds,
            count: batch.count)
    }
}
