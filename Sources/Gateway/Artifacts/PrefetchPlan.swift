internal import Buffers

/// Which artifacts are fetched next, and when one that failed is tried again. Without I/O.
struct PrefetchPlan: Sendable {
    /// How a fetch ended.
    enum Outcome: Sendable, Equatable {
        case stored
        /// The other side does not give it to us: asked again seldom, and nothing waits for it.
        case notGranted
        /// It is not there, or its bytes are not those that the fact names: somebody has to look.
        case missing
        /// The other side cannot be reached, or asks to wait; or our own store has no room.
        case unavailable(retryAfterMilliseconds: Int)
    }

    private struct Attempt: Sendable {
        var failures = 0
        var nextMilliseconds: Int64 = 0
        var isUnderWay = false
        var isRefused = false
    }

    static let concurrentPerPeer = 2
    /// From the first second, doubled each time.
    static let backoffMaximumMilliseconds: Int64 = 300_000
    static let refusedMilliseconds: Int64 = 600_000
    static let unavailableMaximumMilliseconds: Int64 = 10_000

    private var attempts: [ArtifactName: Attempt] = [:]
    private var underWay: [String: Int] = [:]

    /// Whether the peer may be asked for one more at the same time.
    func hasPlace(_ peer: String) -> Bool {
        underWay[peer, default: 0] < PrefetchPlan.concurrentPerPeer
    }

    /// Whether a fetch may begin now; if so it counts from here on.
    mutating func begin(_ name: ArtifactName, peer: String, now: Int64) -> Bool {
        let attempt = attempts[name] ?? Attempt()
        guard !attempt.isUnderWay, attempt.nextMilliseconds <= now,
            hasPlace(peer)
        else { return false }
        attempts[name, default: Attempt()].isUnderWay = true
        underWay[peer, default: 0] += 1
        return true
    }

    /// - Returns: how often it has failed in a row; 0: not at all.
    mutating func end(_ name: ArtifactName, peer: String, _ outcome: Outcome, now: Int64) -> Int {
        underWay[peer, default: 1] -= 1
        var attempt = attempts[name] ?? Attempt()
        attempt.isUnderWay = false
        attempt.isRefused = outcome == .notGranted
        switch outcome {
        case .stored:
            attempts[name] = nil
            return 0
        case .notGranted:
            attempt.nextMilliseconds = now + PrefetchPlan.refusedMilliseconds
        case .missing:
            attempt.failures += 1
            attempt.nextMilliseconds =
                now
                + min(PrefetchPlan.backoffMaximumMilliseconds, 1_000 << min(attempt.failures - 1, 9))
        case .unavailable(let milliseconds):
            attempt.nextMilliseconds =
                now
                + min(
                    PrefetchPlan.unavailableMaximumMilliseconds, Int64(max(1_000, milliseconds)))
        }
        attempts[name] = attempt
        return attempt.failures
    }

    /// Whether the other side has said that it does not give it to us.
    func isRefused(_ name: ArtifactName) -> Bool { attempts[name]?.isRefused ?? false }

    func failures(_ name: ArtifactName) -> Int { attempts[name]?.failures ?? 0 }

    /// Forgets what is not pending any more.
    mutating func keep(_ isPending: (ArtifactName) -> Bool) {
        attempts = attempts.filter { $0.value.isUnderWay || isPending($0.key) }
    }
}
