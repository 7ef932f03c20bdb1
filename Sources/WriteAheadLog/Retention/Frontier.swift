/// What retention has to know of a cursor.
protocol RetentionCursor {
    var owner: String { get }
    var name: String { get }
    /// Everything below is confirmed.
    var nextOffset: UInt64 { get }
    /// Truncation waits for it whatever its lag.
    var required: Bool { get }
    var isDetached: Bool { get }
    /// The lag beyond which a cursor that is not required is detached; nil: no such limit.
    var maximumLagBytes: UInt64? { get }
    var maximumLagMilliseconds: Int64? { get }
}

/// A cursor that truncation stops waiting for. It holds until the detachment is durable.
struct CursorDetachment: Equatable, Sendable {
    var owner: String
    var name: String
    var reason: String
}

/// Up to where records count as confirmed, and which cursors that waits for.
enum Frontier {
    /// Whether truncation waits for a cursor: it is attached, and required or with a maximum lag. One
    /// that is not required and has no maximum lag never holds. Under `silStrict` every attached
    /// cursor does.
    ///
    /// A cursor beyond its maximum lag holds until it is detached durably (`detachments`): it must
    /// not lose a record while it still counts as a reader.
    static func holds(_ cursor: some RetentionCursor, _ policy: LogPolicy) -> Bool {
        guard !cursor.isDetached else { return false }
        if cursor.required || policy.profile == .silStrict { return true }
        return cursor.maximumLagBytes != nil || cursor.maximumLagMilliseconds != nil
    }

    /// From where on a cursor's records are kept for it. One that was left behind and attached again is not
    /// waited for below the head of that moment: what it missed long ago must not fill the log.
    private static func heldFrom(
        _ cursor: some RetentionCursor, _ policy: LogPolicy, _ attachedAt: [CursorIdentity: UInt64]
    ) -> UInt64 {
        guard !attachedAt.isEmpty, !cursor.required, policy.profile == .standard else {
            return cursor.nextOffset
        }
        let identity = CursorIdentity(owner: cursor.owner, name: cursor.name)
        return max(cursor.nextOffset, attachedAt[identity] ?? 0)
    }

    /// The offset below which every record is confirmed: the least of the cursors that hold. With
    /// none nothing is confirmed, unless the log is terminal: then everything durable is. Nothing is
    /// either while a reader that was declared has no cursor: it is owed what the log still has.
    ///
    /// - Parameter attachedAt: the head when a cursor was attached again.
    static func confirmedOffset(
        cursors: some Collection<some RetentionCursor>, awaited: [AwaitedReader], policy: LogPolicy,
        isTerminal: Bool, headOffset: UInt64, attachedAt: [CursorIdentity: UInt64] = [:]
    ) -> UInt64 {
        guard awaited.allSatisfy({ reader in cursors.contains(where: reader.has) }) else { return 0 }
        var least: UInt64?
        for cursor in cursors where holds(cursor, policy) {
            let offset = heldFrom(cursor, policy, attachedAt)
            least = min(least ?? offset, offset)
        }
        return min(least ?? (isTerminal ? headOffset : 0), headOffset)
    }

    /// The cursors whose maximum lag is exceeded, and the next moment at which time alone adds one.
    ///
    /// A lag is never overstated: its bytes are those of the segments wholly behind the cursor's
    /// position, its age that of the youngest record in the cursor's segment. Required cursors are
    /// never among them, nor any under `silStrict`; and none by age while the clock is suspect.
    /// O(segments + cursors x log segments).
    ///
    /// - Parameter attachedAt: the head when a cursor was attached again. Its lag counts from there, so that its
    ///   reader has the time to catch up.
    static func detachments(
        cursors: some Sequence<some RetentionCursor>, policy: LogPolicy,
        situation: RetentionSituation, attachedAt: [CursorIdentity: UInt64] = [:]
    ) -> (detachments: [CursorDetachment], nextMomentMilliseconds: Int64?) {
        guard case .standard = policy else { return ([], nil) }
        var found: [CursorDetachment] = []
        var next: Int64?
        // bytesFrom[i]: of segment i and everything after it. The active segment is the last but one
        // entry; after it there is nothing.
        var bytesFrom = [UInt64](repeating: 0, count: situation.segments.count + 2)
        bytesFrom[situation.segments.count] = situation.activeBytes
        for index in situation.segments.indices.reversed() {
            bytesFrom[index] = bytesFrom[index + 1] + situation.segments[index].bytes
        }
        for cursor in cursors where !cursor.required && !cursor.isDetached {
            let offset = heldFrom(cursor, policy, attachedAt)
            guard offset < situation.headOffset else { continue }
            let closed = situation.firstSegment(endingAfter: offset)
            let own = closed ?? situation.segments.count
            let base = closed.map { situation.segments[$0].baseOffset } ?? situation.activeBaseOffset
            let lag = bytesFrom[base >= offset ? own : own + 1]
            if let limit = cursor.maximumLagBytes, lag > limit {
                found.append(
                    CursorDetachment(
                        owner: cursor.owner, name: cursor.name,
                        reason: "\(lag) bytes behind, more than its maximum lag of \(limit) bytes"))
                continue
            }
            guard let limit = cursor.maximumLagMilliseconds, situation.isClockTrusted else { continue }
            let stamp =
                closed.map { situation.segments[$0].lastAppendMilliseconds }
                ?? situation.activeLastAppendMilliseconds
            let exceeded = RetentionSituation.moment(
                RetentionSituation.moment(stamp, plus: limit), plus: 1)
            if exceeded <= situation.nowMilliseconds {
                found.append(
                    CursorDetachment(
                        owner: cursor.owner, name: cursor.name,
                        reason: "unconfirmed records are older than its maximum lag of \(limit) "
                            + "milliseconds"))
            } else {
                next = min(next ?? .max, exceeded)
            }
        }
        return (found, next)
    }
}
