/// What a log may do with records that no reader has confirmed when it runs out of room or they grow
/// old. The safety profile has no such choice: its case carries a type without one.
public enum LogPolicy: Hashable, Sendable {
    case standard(StandardPolicy)
    case silStrict(StrictPolicy)

    /// Which profile the policy belongs to.
    public var profile: Profile {
        switch self {
        case .standard: .standard
        case .silStrict: .silStrict
        }
    }

    /// - Throws: `rejected(.invalidOptions)` with a sentence that names the rule.
    public func validate() throws(LogError) {
        guard case .standard(let policy) = self,
            let lifetime = policy.unconfirmedLifetimeMilliseconds
        else { return }
        guard RetentionOptions.durationMillisecondsRange.contains(lifetime), lifetime > 0 else {
            throw .rejected(
                .invalidOptions(
                    "the lifetime of unconfirmed records is from 1 millisecond to 100 years, not "
                        + "\(lifetime) milliseconds; change it or leave it out for none"))
        }
    }

    /// - Throws: `rejected(.invalidOptions)` for a cursor that this policy cannot keep its word to:
    ///   under `silStrict` every cursor is required, since detaching one skips what it has not
    ///   confirmed.
    func validate(_ cursor: some RetentionCursor) throws(LogError) {
        guard case .silStrict = self else { return }
        guard cursor.required, cursor.maximumLagBytes == nil, cursor.maximumLagMilliseconds == nil
        else {
            throw .rejected(
                .invalidOptions(
                    "sil_strict never skips an unconfirmed record, so cursor \(cursor.name) of "
                        + "\(cursor.owner) must be required and without a maximum lag"))
        }
    }
}

/// The choices of the standard profile.
public struct StandardPolicy: Hashable, Sendable {
    /// What happens at the high watermark when nothing confirmed is left to reclaim.
    public enum WhenFull: String, Hashable, Sendable, CaseIterable {
        /// New records are refused, with the fill and a hint when to retry.
        case reject
        /// The oldest sealed segments go, confirmed or not, until the low watermark is reached. What
        /// no reader had confirmed becomes a gap.
        case dropOldest = "drop_oldest"
    }

    /// Seven days, in milliseconds.
    public static let unconfirmedLifetimeDefaultMilliseconds: Int64 = 7 * 24 * 3600 * 1000

    /// What happens at the high watermark.
    public var whenFull: WhenFull
    /// The age from which unconfirmed records may be removed, in milliseconds from 1 to 100 years;
    /// nil: never. Announced by an event at 80 % of it.
    public var unconfirmedLifetimeMilliseconds: Int64?

    /// By default nothing is dropped, and what is unconfirmed for seven days expires.
    public init(
        whenFull: WhenFull = .reject,
        unconfirmedLifetimeMilliseconds: Int64? = unconfirmedLifetimeDefaultMilliseconds
    ) {
        self.whenFull = whenFull
        self.unconfirmedLifetimeMilliseconds = unconfirmedLifetimeMilliseconds
    }
}

/// The safety profile: a full log refuses, and an unconfirmed record stays. There is nothing to
/// choose, so there is nothing to choose wrongly.
public struct StrictPolicy: Hashable, Sendable {
    /// There is one strict policy.
    public init() {}
}
