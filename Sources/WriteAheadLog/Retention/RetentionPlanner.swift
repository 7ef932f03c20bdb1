// What to remove, in this order:
//
// 1. confirmed segments past the retention age;
// 2. when room is needed, confirmed segments past the minimum retention, as many as bring the used
//    bytes down to the low watermark, or give the file system back what it is short of;
// 3. standard only: segments whose unconfirmed records are past their lifetime, with everything
//    before them; confirmed segments within their minimum retention hold that up;
// 4. standard with dropOldest, when the fill is still at the high watermark: whatever is oldest,
//    until the used bytes are below the low watermark. Not held up by the minimum retention.
//
// Room is needed from when the used bytes reach the high watermark, or the caller says so, until they are
// down to the low one: segments may be confirmed, and sealed, long after that. A file system
// that is short of space costs no unconfirmed record: others may have filled it. The unit is the
// closed segment, oldest first; the active one stays. Ages are those of a segment's last record.

/// The leading closed segments in which every record is confirmed. The safety profile's planner is
/// given these and nothing else, so that it cannot name an unconfirmed record.
private struct ConfirmedSegments {
    let segments: ArraySlice<RetentionSegment>

    init(_ situation: RetentionSituation) {
        segments = situation.segments.prefix { $0.endOffset <= situation.confirmedOffset }
    }
}

struct RetentionPlanner: Sendable {
    /// The part of a lifetime after which expiry is announced, in percent.
    static let warningPercent: Int64 = 80

    private let options: RetentionOptions
    private let highBytes: UInt64
    private let lowBytes: UInt64

    /// - Parameter options: validated.
    init(options: RetentionOptions, capacityBytes: UInt64) {
        self.options = options
        highBytes = UInt64(Double(capacityBytes) * options.highWatermark)
        lowBytes = UInt64(Double(capacityBytes) * options.lowWatermark)
    }

    /// The plan under `silStrict`. O(segments).
    func plan(_ situation: RetentionSituation, _ policy: StrictPolicy) -> StrictRetentionPlan {
        let confirmed = confirmedPlan(
            ConfirmedSegments(situation), usedBytes: situation.usedBytes,
            targetBytes: targetBytes(situation), now: situation.nowMilliseconds)
        return StrictRetentionPlan(
            removalCount: min(confirmed.wantedCount, sealedCount(situation)),
            wantedCount: confirmed.wantedCount,
            fillBytes: situation.usedBytes - confirmed.reclaimableBytes,
            nextMomentMilliseconds: confirmed.nextMomentMilliseconds)
    }

    /// The plan under the standard profile. O(segments).
    func plan(_ situation: RetentionSituation, _ policy: StandardPolicy) -> RetentionPlan {
        let confirmed = confirmedPlan(
            ConfirmedSegments(situation), usedBytes: situation.usedBytes,
            targetBytes: targetBytes(situation), now: situation.nowMilliseconds)
        let expiry = expiryPlan(situation, policy)
        var wanted = max(confirmed.wantedCount, expiry.expiredCount)
        let reclaimableCount = max(confirmed.reclaimableCount, wanted)
        let reclaimable = bytes(of: situation.segments.prefix(reclaimableCount))
        var fill = situation.usedBytes - reclaimable
        if policy.whenFull == .dropOldest, fill >= highBytes {
            wanted = reclaimableCount
            while wanted < situation.segments.count, fill > lowBytes {
                fill -= situation.segments[wanted].bytes
                wanted += 1
            }
        }
        let removal = min(wanted, sealedCount(situation))
        let warning = warning(situation, policy, after: wanted)
        return RetentionPlan(
            removalCount: removal, wantedCount: wanted, fillBytes: fill,
            nextMomentMilliseconds: [
                confirmed.nextMomentMilliseconds, expiry.nextMomentMilliseconds,
                warning.nextMomentMilliseconds,
            ].compactMap(\.self).min(),
            losses: losses(situation, policy, removalCount: removal), warning: warning.warning,
            expiryAnnouncedBelow: warning.announcedBelow)
    }

    private func sealedCount(_ situation: RetentionSituation) -> Int {
        situation.segments.prefix { $0.isSealed }.count
    }

    private func bytes(of segments: ArraySlice<RetentionSegment>) -> UInt64 {
        segments.reduce(0) { $0 + $1.bytes }
    }

    // MARK: - Confirmed records

    private struct ConfirmedPlan {
        var wantedCount: Int
        /// Past the minimum retention, whether room is needed or not.
        var reclaimableCount: Int
        var reclaimableBytes: UInt64
        var nextMomentMilliseconds: Int64?
    }

    /// Whether room is needed in a situation, and is therefore still needed in the next one.
    func isRoomNeeded(_ situation: RetentionSituation) -> Bool {
        situation.usedBytes >= (situation.isRoomNeeded ? lowBytes + 1 : highBytes)
    }

    /// What may stay used when room is needed.
    private func targetBytes(_ situation: RetentionSituation) -> UInt64 {
        let used = situation.usedBytes
        let afterRoom = isRoomNeeded(situation) ? lowBytes : used
        return min(afterRoom, used - min(used, situation.missingFreeBytes))
    }

    private func confirmedPlan(
        _ confirmed: ConfirmedSegments, usedBytes: UInt64, targetBytes: UInt64, now: Int64
    ) -> ConfirmedPlan {
        let segments = confirmed.segments
        let free = leading(segments, atAge: options.minimumRetentionMilliseconds, now)
        var wanted = 0
        var used = usedBytes
        var moments = [free.nextMomentMilliseconds]
        if let retention = options.retentionMilliseconds {
            let old = leading(segments, atAge: retention, now)
            wanted = old.count
            used -= bytes(of: segments.prefix(wanted))
            moments.append(old.nextMomentMilliseconds)
        }
        while wanted < free.count, used > targetBytes {
            used -= segments[wanted].bytes
            wanted += 1
        }
        return ConfirmedPlan(
            wantedCount: wanted, reclaimableCount: free.count,
            reclaimableBytes: bytes(of: segments.prefix(free.count)),
            nextMomentMilliseconds: moments.compactMap(\.self).min())
    }

    /// How many segments from the first on are at least so old, and when there is one more.
    private func leading(_ segments: ArraySlice<RetentionSegment>, atAge age: Int64, _ now: Int64)
        -> (count: Int, nextMomentMilliseconds: Int64?)
    {
        let count = segments.prefix { moment($0, age) <= now }.count
        return (count, count < segments.count ? moment(segments[count], age) : nil)
    }

    private func moment(_ segment: RetentionSegment, _ age: Int64) -> Int64 {
        RetentionSituation.moment(segment.lastAppendMilliseconds, plus: age)
    }

    // MARK: - Unconfirmed records

    /// How many leading segments go because the last of them is past its lifetime, and when that
    /// changes.
    private func expiryPlan(_ situation: RetentionSituation, _ policy: StandardPolicy) -> (
        expiredCount: Int, nextMomentMilliseconds: Int64?
    ) {
        guard let lifetime = policy.unconfirmedLifetimeMilliseconds, situation.isClockTrusted else {
            return (0, nil)
        }
        var expired = 0
        // When everything up to the segment may go.
        var due = Int64.min
        for (index, segment) in situation.segments.enumerated() {
            let isConfirmed = segment.endOffset <= situation.confirmedOffset
            due = max(
                due, moment(segment, isConfirmed ? options.minimumRetentionMilliseconds : lifetime))
            if isConfirmed { continue }
            guard due <= situation.nowMilliseconds else { return (expired, due) }
            expired = index + 1
        }
        return (expired, nil)
    }

    /// The unconfirmed records of the first segments, with the reason why each goes.
    private func losses(
        _ situation: RetentionSituation, _ policy: StandardPolicy, removalCount: Int
    ) -> [RetentionPlan.Loss] {
        var losses: [RetentionPlan.Loss] = []
        for segment in situation.segments.prefix(removalCount) {
            let first = max(segment.baseOffset, situation.confirmedOffset)
            guard first < segment.endOffset else { continue }
            let isExpired =
                situation.isClockTrusted
                && policy.unconfirmedLifetimeMilliseconds.map {
                    moment(segment, $0) <= situation.nowMilliseconds
                } ?? false
            let reasons: GapReasons = isExpired ? .expired : .dropped
            if let before = losses.last, before.reasons == reasons {
                losses[losses.count - 1].offsets = before.offsets.lowerBound..<segment.endOffset
            } else {
                losses.append(.init(offsets: first..<segment.endOffset, reasons: reasons))
            }
        }
        return losses
    }

    /// What to announce of the segments that stay.
    private func warning(
        _ situation: RetentionSituation, _ policy: StandardPolicy, after removed: Int
    ) -> (
        warning: RetentionPlan.ExpiryWarning?, announcedBelow: UInt64, nextMomentMilliseconds: Int64?
    ) {
        var announced = situation.expiryAnnouncedBelow
        guard let lifetime = policy.unconfirmedLifetimeMilliseconds, situation.isClockTrusted else {
            return (nil, announced, nil)
        }
        // Divided first: a hundred years times eighty still fits, but nothing has to rely on it.
        let age = lifetime / 100 * RetentionPlanner.warningPercent
            + lifetime % 100 * RetentionPlanner.warningPercent / 100
        var warning: RetentionPlan.ExpiryWarning?
        for segment in situation.segments.dropFirst(removed) {
            let first = max(segment.baseOffset, situation.confirmedOffset, announced)
            guard first < segment.endOffset else { continue }
            guard moment(segment, age) <= situation.nowMilliseconds else {
                return (warning, announced, moment(segment, age))
            }
            warning = RetentionPlan.ExpiryWarning(
                offsets: (warning?.offsets.lowerBound ?? first)..<segment.endOffset,
                atMilliseconds: min(warning?.atMilliseconds ?? .max, moment(segment, lifetime)))
            announced = segment.endOffset
        }
        return (warning, announced, nil)
    }
}
