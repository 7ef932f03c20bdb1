/// Decides when changed certificate files are read again, and when it has taken too long that they
/// cannot be used. A value without I/O: it is shown the files' state now and then.
struct CertificateWatchMachine: Sendable {
    /// How long files may be unusable, as between the two halves of a new pair, before it is an alarm; and how often
    /// they are read again although they stayed as they are.
    static let patienceMilliseconds: Int64 = 30_000

    /// How long a file has to stay as it is before it is read: who writes a long one, or another with it, is mostly
    /// done by then. With a look's interval and the reading it is still within the two seconds that a revoked caller
    /// may stay. One that goes on changing holds up no other.
    static let quietMilliseconds: Int64 = 800

    /// How long a file may go on changing before all are read in spite of it.
    static let unrestMilliseconds: Int64 = 5_000

    enum Action: Sendable, Equatable {
        case none
        case reload
        case alarm(String)
        /// The files that there was an alarm for can be used now.
        case recovered
    }

    /// What was in the files when they were last put in force or refused; nil when nobody read them then.
    private var tried: CertificateFileState?
    private var seen: CertificateFileState
    /// When each was first seen as it is; what is not here was so before the first look.
    private var seenSinceMilliseconds: [CertificateFileState.Difference: Int64] = [:]
    /// When the files were first seen to be others than those that were tried.
    private var differsSinceMilliseconds: Int64?
    /// Since when each cause has kept files out, and when they were last tried.
    private var failure: (sinceMilliseconds: [String: Int64], triedMilliseconds: Int64)?
    /// The causes that there was an alarm for and that last.
    private var alarmed: Set<String> = []
    private var hasAlarmed = false

    /// - Parameter state: of the files in force.
    init(_ state: CertificateFileState) {
        tried = state
        seen = state
    }

    /// A look at the files. All are read when one that changed has stayed as it is for a while, so that few are read
    /// half-written.
    mutating func look(_ state: CertificateFileState, atMilliseconds now: Int64) -> Action {
        for difference in state.differences(from: seen) { seenSinceMilliseconds[difference] = now }
        seen = state
        if isDue(state, now) {
            (tried, differsSinceMilliseconds) = (state, nil)
            return .reload
        }
        // A certificate that was not valid yet may be now, and an operator's reload may have taken what was refused.
        if let failure {
            let awaited =
                failure.sinceMilliseconds.filter { !alarmed.contains($0.key) }.values.min()
                ?? failure.triedMilliseconds
            if now - awaited >= Self.patienceMilliseconds { return .reload }
        }
        return .none
    }

    private mutating func isDue(_ state: CertificateFileState, _ now: Int64) -> Bool {
        // Nobody read what was tried last.
        guard let tried else { return true }
        let differences = state.differences(from: tried)
        guard !differences.isEmpty else {
            differsSinceMilliseconds = nil
            return false
        }
        let since = differsSinceMilliseconds ?? now
        differsSinceMilliseconds = since
        return now - since >= Self.unrestMilliseconds
            || differences.contains { difference in
                seenSinceMilliseconds[difference].map { now - $0 >= Self.quietMilliseconds } ?? true
            }
    }

    /// The files could not be read now, whatever is in them: the next look comes back to it.
    mutating func postponed() { tried = nil }

    /// What became of a reload.
    /// - Parameter causes: what is kept out, by names that stay the same: a second one is an alarm of its own,
    ///   however long the first one lasts.
    mutating func reloaded(
        failure sentence: String?, causes: Set<String> = ["files"], atMilliseconds now: Int64
    ) -> Action {
        guard let sentence else {
            defer { (failure, alarmed, hasAlarmed) = (nil, [], false) }
            return hasAlarmed ? .recovered : .none
        }
        let before = failure?.sinceMilliseconds ?? [:]
        let since = Dictionary(uniqueKeysWithValues: causes.map { ($0, before[$0] ?? now) })
        failure = (since, now)
        alarmed.formIntersection(causes)
        let due = since.filter { !alarmed.contains($0.key) && now - $0.value >= Self.patienceMilliseconds }
        guard !due.isEmpty else { return .none }
        alarmed.formUnion(due.keys)
        hasAlarmed = true
        return .alarm(sentence)
    }
}
