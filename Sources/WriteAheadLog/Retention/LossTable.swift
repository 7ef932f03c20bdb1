// The losses of a log: which offsets no reader will get though not every reader had them. It lives
// in the state slot (see LogState) and is durable before the removal that it describes.
//
// Spans are sorted, do not overlap, and neighbours that touch differ in their reasons. A record is
// lost once: offsets that are in the table keep the reason they went in with. So declaring the same
// loss again, as after a crash between table and removal, changes nothing.
//
// At most 256 spans. One more merges the oldest two, which both lie wholly below the log's first
// offset. What lay between them was reclaimed after everybody had confirmed it, and the merged span
// says so with the reason `reclaimed`: from then on it covers records that were not lost, but never
// one that can still be read. At most 254 spans reach above the first offset, so that there are
// always two to merge and a removal never fails for want of a span. Spans leave in no other way.

struct LossTable: Equatable, Sendable {
    static let spanCountMaximum = FormatLimits.lossCountMaximum
    /// Of spans among the records that the log still holds.
    static let heldSpanCountMaximum = spanCountMaximum - 2

    private(set) var spans: [LogState.Loss] = []

    init() {}

    /// Takes what a state slot holds.
    ///
    /// - Throws: `invalid` unless the spans are as `declare` leaves them.
    init(_ stored: [LogState.Loss]) throws(FormatError) {
        guard stored.count <= LossTable.spanCountMaximum else {
            throw .invalid("a loss table has too many spans")
        }
        var next: UInt64 = 0
        for span in stored {
            guard span.first >= next, span.last >= span.first,
                span.last < FormatLimits.counterMaximum
            else { throw .invalid("the spans of a loss table are not in order") }
            next = span.last + 1
        }
        spans = stored
    }

    /// Enters a loss. O(spans).
    ///
    /// - Parameters:
    ///   - offsets: not empty, below 2^62.
    ///   - timeMilliseconds: of the declaration, since 1970.
    ///   - firstOffset: the first offset that the log holds when the removal that this loss describes
    ///     is done.
    /// - Throws: `rejected(.tooMany)` when the loss reaches above `firstOffset` and there are 254 such
    ///   spans; nothing is changed then, and nothing may be given up. Never for a removal.
    mutating func declare(
        _ offsets: Range<UInt64>, reasons: GapReasons, timeMilliseconds: Int64, firstOffset: UInt64
    ) throws(LogError) {
        precondition(!offsets.isEmpty, "a loss has offsets")
        precondition(offsets.upperBound <= FormatLimits.counterMaximum, "offsets end at 2^62")
        var changed: [LogState.Loss] = []
        changed.reserveCapacity(spans.count + 2)
        var start = offsets.lowerBound
        func add(_ span: LogState.Loss) {
            guard let before = changed.last, before.last + 1 == span.first,
                before.reasons == span.reasons
            else {
                changed.append(span)
                return
            }
            changed[changed.count - 1].last = span.last
            changed[changed.count - 1].timeMilliseconds = max(
                before.timeMilliseconds, span.timeMilliseconds)
        }
        /// What is new below `end`.
        func addNew(upTo end: UInt64) {
            guard start < end else { return }
            add(
                LogState.Loss(
                    first: start, last: end - 1, timeMilliseconds: timeMilliseconds,
                    reasons: reasons.rawValue))
            start = end
        }
        for span in spans {
            addNew(upTo: min(offsets.upperBound, span.first))
            add(span)
            start = max(start, span.last + 1)
        }
        addNew(upTo: offsets.upperBound)
        let heldCount = changed.count { $0.last >= firstOffset }
        guard
            offsets.upperBound <= firstOffset || heldCount <= LossTable.heldSpanCountMaximum
        else {
            throw .rejected(
                .tooMany(what: "separate losses", maximum: LossTable.heldSpanCountMaximum))
        }
        while changed.count > LossTable.spanCountMaximum {
            precondition(changed[1].last < firstOffset, "two spans lie below the first offset")
            LossTable.mergeOldest(&changed)
        }
        spans = changed
    }

    private static func mergeOldest(_ spans: inout [LogState.Loss]) {
        let later = spans.remove(at: 1)
        let earlier = spans[0]
        var reasons = earlier.reasons | later.reasons
        if earlier.last + 1 < later.first { reasons |= GapReasons.reclaimed.rawValue }
        spans[0] = LogState.Loss(
            first: earlier.first, last: later.last,
            timeMilliseconds: max(earlier.timeMilliseconds, later.timeMilliseconds),
            reasons: reasons)
    }

    /// What a reader at `offset` meets: everything from there to the next offset that the log holds,
    /// or nil when that is `offset` itself. O(spans).
    ///
    /// - Parameter isDetached: the reader's cursor is detached, so that truncation did not wait.
    func gap(at offset: UInt64, firstOffset: UInt64, isDetached: Bool = false) -> Gap? {
        var end = max(offset, firstOffset)
        var reasons: GapReasons = []
        var time: Int64?
        var declared = offset  // Everything from `offset` up to here is in a span.
        for span in spans where span.last >= offset {
            // One that begins where the missing part ends continues it.
            guard span.first <= end else { break }
            reasons.formUnion(GapReasons(rawValue: span.reasons))
            time = max(time ?? span.timeMilliseconds, span.timeMilliseconds)
            if span.first <= declared { declared = span.last + 1 }
            end = max(end, span.last + 1)
        }
        guard end > offset else { return nil }
        if declared < end { reasons.insert(.reclaimed) }
        if isDetached { reasons.insert(.detached) }
        return Gap(offsets: offset..<end, reasons: reasons, timeMilliseconds: time)
    }

    /// The first declared loss at or after `offset` begins here; `.max` when there is none.
    func start(atOrAfter offset: UInt64) -> UInt64 {
        spans.first { $0.last >= offset }.map { max($0.first, offset) } ?? .max
    }

    /// The declared losses within `offsets`, cut to it; those that touch are one, with the reasons of
    /// both. What a confirmation passes over. O(spans).
    func gaps(in offsets: Range<UInt64>) -> [Gap] {
        var gaps: [Gap] = []
        for span in spans {
            let part = (span.first..<span.last + 1).clamped(to: offsets)
            guard !part.isEmpty else { continue }
            if let before = gaps.last, before.offsets.upperBound == part.lowerBound {
                gaps[gaps.count - 1] = Gap(
                    offsets: before.offsets.lowerBound..<part.upperBound,
                    reasons: before.reasons.union(GapReasons(rawValue: span.reasons)),
                    timeMilliseconds: max(
                        before.timeMilliseconds ?? span.timeMilliseconds, span.timeMilliseconds))
            } else {
                gaps.append(
                    Gap(
                        offsets: part, reasons: GapReasons(rawValue: span.reasons),
                        timeMilliseconds: span.timeMilliseconds))
            }
        }
        return gaps
    }

    /// Where a removal ends whose losses became durable and whose segments are still there, because
    /// the process ended in between: opening removes every closed segment below it before anything
    /// is read. Nil when there is none.
    func unfinishedRemovalEnd(firstOffset: UInt64) -> UInt64? {
        let removed = GapReasons.dropped.union(.expired).rawValue
        return spans.last { $0.reasons & removed != 0 && $0.last >= firstOffset }.map { $0.last + 1 }
    }
}
