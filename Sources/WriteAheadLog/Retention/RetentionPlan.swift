/// What retention wants of a log under `silStrict`: the removal of confirmed segments. There is no
/// place in it for a loss.
struct StrictRetentionPlan: Equatable, Sendable {
    /// How many of the oldest closed segments to remove now; all are sealed.
    var removalCount: Int
    /// The same if all were sealed: the caller seals up to here and plans again.
    var wantedCount: Int
    /// Used bytes less those that may be reclaimed now, sealed or not.
    var fillBytes: UInt64
    /// The next moment of the guarded clock at which time alone changes the plan; nil: none.
    var nextMomentMilliseconds: Int64?
}

/// What retention wants of a log under the standard profile.
struct RetentionPlan: Equatable, Sendable {
    struct Loss: Equatable, Sendable {
        var offsets: Range<UInt64>
        var reasons: GapReasons
    }

    struct ExpiryWarning: Equatable, Sendable {
        var offsets: Range<UInt64>
        /// When the first of them goes, by the guarded clock.
        var atMilliseconds: Int64
    }

    var removalCount: Int
    var wantedCount: Int
    var fillBytes: UInt64
    var nextMomentMilliseconds: Int64?
    /// Exactly the unconfirmed records of the segments to remove; durable before the removal. In
    /// order, and those that touch differ in their reasons.
    var losses: [Loss]
    /// Unconfirmed records that are past 80 % of their lifetime and were not announced yet.
    var warning: ExpiryWarning?
    /// For the next plan's situation once the warning is out.
    var expiryAnnouncedBelow: UInt64
}
