internal import Facts
internal import RPC

/// What becomes of those who have a connection open when trust changes.
struct Reverification: Sendable {
    /// By the certificate's fingerprint: whether its holder is still who it was.
    private(set) var answers: [String: Bool] = [:]
    private(set) var refusals: [CallerRefusal] = []

    /// Asks the verifier that is to be in force about each of them. Blocks.
    init(_ callers: [LiveCaller], _ verifier: IdentityVerifier) {
        for live in callers {
            guard let certificate = live.caller.certificate else { continue }
            switch verifier.verify(leafDER: live.leafDER, direction: .incoming) {
            case .success(let now):
                let isSame =
                    now.kind == live.caller.kind
                    && now.identity.utf8.elementsEqual(live.caller.identity.utf8)
                answers[certificate.fingerprint] = isSame
                if !isSame {
                    refusals.append(
                        CallerRefusal(
                            ServiceError(
                                .draining,
                                "\(live.caller.identity) is another entry of the configuration now; "
                                    + "connect again."),
                            kind: "entry_changed", names: certificate.names,
                            fingerprint: certificate.fingerprint))
                }
            case .failure(let refusal):
                answers[certificate.fingerprint] = false
                refusals.append(refusal)
            }
        }
    }
}
