internal import Facts
internal import Synchronization

/// The identities in force, replaced as a whole by a reload. Only the callers whose entry changed have to
/// connect again: what was found out about the others still holds.
package final class ReloadableVerifier: CallerVerifier {
    private struct State {
        var verifier: IdentityVerifier
        var generation: UInt64
        /// The generation in which an entry became what it is; at most one for each entry that ever was.
        var changed: [Caller.Kind: UInt64] = [:]
        /// What the last reload found out about the certificates of open connections, by fingerprint:
        /// whether each is still who it was.
        var reverified: [String: Bool] = [:]
    }

    private let state: Mutex<State>

    package init(_ verifier: IdentityVerifier) {
        state = Mutex(State(verifier: verifier, generation: verifier.generation))
    }

    package var identities: IdentityVerifier { state.withLock { $0.verifier } }

    package var generation: UInt64 { state.withLock { $0.generation } }

    /// - Parameters:
    ///   - changed: the entries that came, went or became others, in trust, name or grant.
    ///   - reverified: by fingerprint, whether a certificate with an open connection is still who it was.
    ///   - grants: puts in force what the callers of the new verifier may do. Nobody is verified or counts as
    ///     current meanwhile, so that nobody known by one trust gets what another's holder is granted.
    package func replace(
        with verifier: IdentityVerifier, changed: Set<Caller.Kind>,
        reverified: [String: Bool] = [:], grants: () -> Void = {}
    ) {
        state.withLock { state in
            precondition(verifier.generation > state.generation, "a reload has a generation of its own")
            state.verifier = verifier
            state.generation = verifier.generation
            state.reverified = reverified
            for kind in changed { state.changed[kind] = verifier.generation }
            grants()
        }
    }

    package func verify(
        leafDER: [UInt8], direction: CallDirection
    ) -> Result<Caller, CallerRefusal> {
        identities.verify(leafDER: leafDER, direction: direction)
    }

    package func isCurrent(_ caller: Caller, since generation: UInt64) -> Bool {
        state.withLock { state in
            // What was verified in the generation in force needs no second word.
            if generation == state.generation { return true }
            if let fingerprint = caller.certificate?.fingerprint,
                let answer = state.reverified[fingerprint]
            {
                return answer
            }
            return (state.changed[caller.kind] ?? 0) <= generation
        }
    }
}
