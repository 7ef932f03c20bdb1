import Testing

@testable import WriteAheadLog

@Suite("Retention: policy and options")
struct RetentionPolicyTests {
    /// The sentence of a refused configuration.
    func sentence<Value>(_ body: () throws(LogError) -> Value) -> String? {
        do {
            _ = try body()
        } catch {
            if case .rejected(.invalidOptions(let text)) = error { return text }
        }
        return nil
    }

    @Test("Promise 9: asking sil_strict to drop fails with the rule's name")
    func strictCannotDrop() {
        #expect(
            sentence { () throws(LogError) in
                try LogPolicy.parse(profile: "sil_strict", whenFull: "drop_oldest")
            }
                == "sil_strict never drops an unconfirmed record, so it cannot drop_oldest when full; "
                + "use reject, or the standard profile")
        #expect(
            sentence { () throws(LogError) in
                try LogPolicy.parse(profile: "sil_strict", unconfirmedLifetime: .milliseconds(1))
            }
                == "sil_strict never expires an unconfirmed record, so it takes no lifetime for them; "
                + "leave it out, or use the standard profile")
    }

    @Test("names become policies")
    func names() throws {
        let week: Int64 = 604_800_000
        #expect(
            try LogPolicy.parse(profile: "standard")
                == .standard(.init(whenFull: .reject, unconfirmedLifetimeMilliseconds: week)))
        #expect(
            try LogPolicy.parse(
                profile: "standard", whenFull: "drop_oldest", unconfirmedLifetime: .never)
                == .standard(.init(whenFull: .dropOldest, unconfirmedLifetimeMilliseconds: nil)))
        #expect(
            try LogPolicy.parse(profile: "standard", unconfirmedLifetime: .milliseconds(5))
                == .standard(.init(unconfirmedLifetimeMilliseconds: 5)))
        for whenFull in [nil, "reject"] {
            for lifetime in [LifetimeSetting.unspecified, .never] {
                let policy = try LogPolicy.parse(
                    profile: "sil_strict", whenFull: whenFull, unconfirmedLifetime: lifetime)
                #expect(policy == .silStrict(StrictPolicy()) && policy.profile == .silStrict)
            }
        }
    }

    @Test("unknown names and impossible lifetimes are refused with what would be right")
    func unknown() {
        #expect(
            sentence { () throws(LogError) in try LogPolicy.parse(profile: "strict") }
                == "there is no profile strict; the profiles are standard and sil_strict")
        #expect(
            sentence { () throws(LogError) in
                try LogPolicy.parse(profile: "sil_strict", whenFull: "drop")
            } == "a full log can reject or drop_oldest, not drop")
        for lifetime in [0, -1, Int64.max] {
            #expect(
                sentence { () throws(LogError) in
                    try LogPolicy.parse(
                        profile: "standard", unconfirmedLifetime: .milliseconds(lifetime))
                }?.contains("not \(lifetime) milliseconds") == true)
        }
    }

    @Test("under sil_strict every cursor is required and without a maximum lag")
    func strictCursors() throws {
        let strict = LogPolicy.silStrict(StrictPolicy())
        try strict.validate(TestCursor())
        for cursor in [
            TestCursor(required: false), TestCursor(maximumLagBytes: 1),
            TestCursor(maximumLagMilliseconds: 1),
        ] {
            #expect(
                sentence { () throws(LogError) in try strict.validate(cursor) }?.hasPrefix(
                    "sil_strict never skips an unconfirmed record") == true)
            try LogPolicy.standard(StandardPolicy()).validate(cursor)
        }
    }

    @Test("options outside their ranges are refused by name")
    func options() throws {
        try RetentionOptions().validate()
        try RetentionOptions(highWatermark: 0.95, lowWatermark: 0.1, retentionMilliseconds: 0)
            .validate()
        let wrong: [(RetentionOptions, String)] = [
            (.init(highWatermark: 0.96), "the high watermark"),
            (.init(highWatermark: .nan), "the high watermark"),
            (.init(lowWatermark: 0.09), "the low watermark is a share"),
            (.init(highWatermark: 0.5, lowWatermark: 0.5), "must be below the high watermark"),
            (.init(retentionMilliseconds: -1), "the retention is from"),
            (.init(minimumRetentionMilliseconds: .max), "the minimum retention is from"),
            (.init(dedupeHorizonMilliseconds: -1), "the dedupe horizon is from"),
            (
                .init(retentionMilliseconds: 1, minimumRetentionMilliseconds: 2),
                "is shorter than the minimum"
            ),
            (.init(freeSpaceReserveBytes: 1 << 51), "a free space reserve"),
        ]
        for (options, part) in wrong {
            let text = sentence { () throws(LogError) in try options.validate() }
            #expect(text?.contains(part) == true, "\(text ?? "accepted"): \(part)")
        }
    }
}

/// A cursor as retention sees it.
struct TestCursor: RetentionCursor {
    var owner = "owner"
    var name = "name"
    var nextOffset: UInt64 = 0
    var required = true
    var isDetached = false
    var maximumLagBytes: UInt64?
    var maximumLagMilliseconds: Int64?
}
