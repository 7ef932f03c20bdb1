/// Decides when changed certificate files are read again, and when it has taken too long that they
/// cannot be used. A value without I/O: it is shown the files' state now and then.
struct CertificateWatchMachine: Sendable {
    /// How long files may be unusable, as between the two halves of a new pair, before it is an alarm; and how often
    /// they are read again although they stayed as they are.
    static let patienceMilliseconds: Int64 = 30_000

    /// How long files have to stay as they are before they are read: who writes several, or a long one, is
    /// mostly done by then. With a look's interval and the reading it is still within the two seconds that a
    /// revoked caller may stay.
    static let quietMilliseconds: Int64 = 800

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
    /// When `seen` was first seen so; nil for what was there before the first look.
    private var seenSinceMilliseconds: Int64?
    private var failure: (sinceMilliseconds: Int64, triedMilliseconds: Int64)?
    private var hasAlarmed = false

    /// - Parameter state: of the files in force.
    init(_ state: CertificateFileState) {
        tried = state
        seen = state
    }

    /// A look at the files. They are read when they have stayed as they are for a while, so that files which
    /// change together are mostly read together, and few are read half-written.
    mutating func look(_ state: CertificateFileState, atMilliseconds now: Int64) -> Action {
        if state != seen { (seen, seenSinceMilliseconds) = (state, now) }
        let isQuiet = seenSinceMilliseconds.map { now - $0 >= Self.quietMilliseconds } ?? true
        if state != tried, isQuiet {
            tried = state
            return .reload
        }
        // A certificate that was not valid yet may be now, and an operator's reload may have taken what was refused.
        if let failure {
            let awaited = hasAlarmed ? failure.triedMilliseconds : failure.sinceMilliseconds
            if now - awaited >= Self.patienceMilliseconds { return .reload }
        }
        return .none
    }

    /// The files could not be read now, whatever is in them: the next look comes back to it.
    mutating func postponed() { tried = nil }

    /// What became of a reload.
    mutating func reloaded(failure sentence: String?, atMilliseconds now: Int64) -> Action {
        guard let sentence else {
            defer { (failure, hasAlarmed) = (nil, false) }
            return hasAlarmed ? .recovered : .none
        }
        let since = failure?.sinceMilliseconds ?? now
        failure = (since, now)
        guard !hasAlarmed, now - since >= Self.patienceMilliseconds else { return .none }
        hasAlarmed = true
        return .alarm(sentence)
    }
}
