internal import Facts

extension CertificateRefusal {
    /// What the refused side gets as the answer to its first request, and what the refuser logs.
    package var callerRefusal: CallerRefusal {
        CallerRefusal(
            ServiceError(.identityNotAuthorised, sentence), kind: kind.rawValue,
            names: names.map(\.description), fingerprint: fingerprint)
    }
}

extension IdentityVerifier: CallerVerifier {
    package func verify(
        leafDER: [UInt8], direction: CallDirection
    ) -> Result<Caller, CallerRefusal> {
        do {
            return .success(try check(leafDER: leafDER, direction: direction))
        } catch {
            return .failure(error.callerRefusal)
        }
    }

    /// The verifier for connections to one peer.
    package func server(peer id: String) -> any CallerVerifier {
        PeerServerVerifier(identities: self, peer: id)
    }
}

/// Accepts exactly one peer's certificate, by its entry and not by the host name that was called.
private struct PeerServerVerifier: CallerVerifier {
    let identities: IdentityVerifier
    let peer: String

    var generation: UInt64 { identities.generation }

    func verify(leafDER: [UInt8], direction: CallDirection) -> Result<Caller, CallerRefusal> {
        precondition(direction == .outgoing, "a peer's server is verified on the way out")
        do {
            return .success(try identities.check(serverLeafDER: leafDER, peer: peer))
        } catch {
            return .failure(error.callerRefusal)
        }
    }
}

extension EndpointVerifier: CallerVerifier {
    package var generation: UInt64 { 1 }

    package func verify(
        leafDER: [UInt8], direction: CallDirection
    ) -> Result<Caller, CallerRefusal> {
        precondition(direction == .outgoing, "an endpoint is verified on the way out")
        do {
            return .success(try check(leafDER: leafDER))
        } catch {
            return .failure(error.callerRefusal)
        }
    }
}
