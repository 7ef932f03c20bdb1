/// A closed segment as retention sees it.
struct RetentionSegment: Equatable, Sendable {
    var baseOffset: UInt64
    /// One past its last record.
    var endOffset: UInt64
    /// What its removal gives back.
    var bytes: UInt64
    /// The guarded clock (`GuardedClock`) when its last record was appended.
    var lastAppendMilliseconds: Int64
    /// Only sealed segments are removed; the caller seals first.
    var isSealed: Bool
}

/// Everything that the decision what to remove depends on. Times are the guarded clock's.
struct RetentionSituation: Equatable, Sendable {
    /// The closed segments, oldest first, each beginning where the one before ends.
    var segments: [RetentionSegment]
    /// Where the active segment begins; it is never removed.
    var activeBaseOffset: UInt64
    var activeBytes: UInt64
    var activeLastAppendMilliseconds: Int64
    var headOffset: UInt64
    /// Of key runs.
    var runBytes: UInt64
    /// Of prepared segments, manifest and everything else that counts as used.
    var spareBytes: UInt64
    /// From `Frontier.confirmedOffset`.
    var confirmedOffset: UInt64
    var nowMilliseconds: Int64
    /// While false nothing unconfirmed expires.
    var isClockTrusted: Bool
    /// Room down to the low watermark is needed though the high one is not reached: the gate is
    /// closed, or room was needed before and was not made yet.
    var isRoomNeeded: Bool
    /// `FreeSpaceGuard.missingBytes`.
    var missingFreeBytes: UInt64
    /// Expiry of unconfirmed records below this offset was announced already.
    var expiryAnnouncedBelow: UInt64

    var segmentBytes: UInt64 { segments.reduce(0) { $0 + $1.bytes } }

    var usedBytes: UInt64 { segmentBytes + activeBytes + runBytes + spareBytes }

    /// The closed segment that holds `offset` or is the first after it; nil: the active one.
    func firstSegment(endingAfter offset: UInt64) -> Int? {
        var low = 0
        var high = segments.count
        while low < high {
            let middle = (low + high) / 2
            if segments[middle].endOffset > offset { high = middle } else { low = middle + 1 }
        }
        return low < segments.count ? low : nil
    }

    /// A time and a duration of any size, without overflow.
    static func moment(_ time: Int64, plus milliseconds: Int64) -> Int64 {
        let (sum, overflow) = time.addingReportingOverflow(milliseconds)
        return overflow ? .max : sum
    }
}
