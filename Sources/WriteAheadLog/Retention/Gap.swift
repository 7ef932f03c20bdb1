/// Offsets that a reader asks for and the log no longer has.
public struct Gap: Hashable, Sendable {
    /// Every offset that is missing; never empty.
    public var offsets: Range<UInt64>
    /// Why they are missing; never empty.
    public var reasons: GapReasons
    /// When the latest of the losses was declared, in milliseconds since 1970; nil where records
    /// were only reclaimed, of which the log keeps no time.
    public var timeMilliseconds: Int64?

    /// A gap of at least one offset.
    public init(offsets: Range<UInt64>, reasons: GapReasons, timeMilliseconds: Int64?) {
        self.offsets = offsets
        self.reasons = reasons
        self.timeMilliseconds = timeMilliseconds
    }
}

/// Why records are missing; several when a gap is made of several losses. The values are on disk.
public struct GapReasons: OptionSet, Hashable, Sendable {
    /// One bit a reason.
    public let rawValue: UInt32

    /// Reasons as they are on disk; unknown bits are kept.
    public init(rawValue: UInt32) { self.rawValue = rawValue }

    /// Removed unconfirmed, to make room.
    public static let dropped = GapReasons(rawValue: 1)
    /// Removed unconfirmed, past the lifetime of unconfirmed records.
    public static let expired = GapReasons(rawValue: 2)
    /// Damaged and given up.
    public static let corrupt = GapReasons(rawValue: 4)
    /// Removed while the reader's cursor was detached.
    public static let detached = GapReasons(rawValue: 8)
    /// Removed after every reader that truncation waits for had confirmed: no loss, but not there
    /// for one that comes later.
    public static let reclaimed = GapReasons(rawValue: 16)

    /// The names of those that are set, in the order of their values.
    public var names: [String] {
        [
            (GapReasons.dropped, "dropped"), (.expired, "expired"), (.corrupt, "corrupt"),
            (.detached, "detached"), (.reclaimed, "reclaimed"),
        ].filter { contains($0.0) }.map(\.1)
    }
}
