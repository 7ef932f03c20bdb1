/// The lifetime of unconfirmed records as a configuration gives it.
public enum LifetimeSetting: Hashable, Sendable {
    /// The configuration does not speak of it: the profile's default.
    case unspecified
    case never
    case milliseconds(Int64)
}

extension LogPolicy {
    /// The policy that a configuration file or a command line asks for.
    ///
    /// - Parameters:
    ///   - profile: `standard` or `sil_strict`.
    ///   - whenFull: `reject` or `drop_oldest`; nil: `reject`.
    /// - Throws: `rejected(.invalidOptions)`, with one sentence that names the rule, for a name that
    ///   does not exist and for what `sil_strict` cannot do.
    public static func parse(
        profile: String, whenFull: String? = nil, unconfirmedLifetime: LifetimeSetting = .unspecified
    ) throws(LogError) -> LogPolicy {
        guard let known = Profile.allCases.first(where: { $0.name == profile }) else {
            throw .rejected(
                .invalidOptions(
                    "there is no profile \(profile); the profiles are "
                        + Profile.allCases.map(\.name).joined(separator: " and ")))
        }
        var wanted = StandardPolicy.WhenFull.reject
        if let whenFull {
            guard let choice = StandardPolicy.WhenFull(rawValue: whenFull) else {
                throw .rejected(
                    .invalidOptions(
                        "a full log can "
                            + StandardPolicy.WhenFull.allCases.map(\.rawValue)
                            .joined(separator: " or ") + ", not \(whenFull)"))
            }
            wanted = choice
        }
        switch known {
        case .standard:
            let policy = LogPolicy.standard(
                StandardPolicy(
                    whenFull: wanted,
                    unconfirmedLifetimeMilliseconds: unconfirmedLifetime.standardMilliseconds))
            try policy.validate()
            return policy
        case .silStrict:
            guard wanted == .reject else {
                throw .rejected(
                    .invalidOptions(
                        "sil_strict never drops an unconfirmed record, so it cannot drop_oldest when "
                            + "full; use reject, or the standard profile"))
            }
            if case .milliseconds = unconfirmedLifetime {
                throw .rejected(
                    .invalidOptions(
                        "sil_strict never expires an unconfirmed record, so it takes no lifetime for "
                            + "them; leave it out, or use the standard profile"))
            }
            return .silStrict(StrictPolicy())
        }
    }
}

extension LifetimeSetting {
    fileprivate var standardMilliseconds: Int64? {
        switch self {
        case .unspecified: StandardPolicy.unconfirmedLifetimeDefaultMilliseconds
        case .never: nil
        case .milliseconds(let value): value
        }
    }
}
