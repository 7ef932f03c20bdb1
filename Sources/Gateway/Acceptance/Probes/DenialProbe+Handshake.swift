internal import Facts
internal import RPC

/// Callers who are to be refused by their certificate.
extension DenialProbe {
    /// Connects with a certificate, or with none, that the peer has to refuse.
    func handshake(_ name: String, _ certificate: Certificate) async -> Denial {
        let client: RPCClient
        do throws(RPCClientError) {
            client = try link.client(chain: certificate.chain, key: certificate.key)
        } catch {
            // Nobody was asked.
            return Denial(
                name: name, verdict: .notChecked, reason: error.transportKind?.rawValue ?? "",
                sentence: error.description)
        }
        let mark = await refuser?.mark()
        var denial = await attempt(name, client)
        await client.close()
        if let refuser, let mark, denial.verdict != .allowed {
            let noted = await refuser.refusal(after: mark, fingerprint: certificate.fingerprint)
            if let noted { denial.take(noted, by: link.name, isOfThis: refuser.isLive) }
        }
        return denial
    }

    /// With the certificate of somebody whom the peer does not list.
    func unlistedCaller(_ certificate: Certificate) async -> Denial {
        var denial = await handshake("unlisted_identity", certificate)
        denial.requireUnlisted(by: link.name)
        return denial
    }

    private func attempt(_ name: String, _ client: RPCClient) async -> Denial {
        do throws(RPCClientError) {
            let answer = try await client.get("/health")
            guard answer.status == 200 else { throw .status(client.failure(of: answer)) }
            return Denial(
                name: name, verdict: .allowed, reason: "",
                sentence: "/health was answered and the caller had to be refused")
        } catch {
            var denial = Denial(name: name, handshake: error)
            guard error.transportKind == .certificateRefused else { return denial }
            // The alert may come before we know whose it is.
            if let stranger = await stranger(client) {
                denial.verdict = .notChecked
                denial.sentence += "; but \(stranger)"
            }
            return denial
        }
    }

    /// Why what a client is connected to is not the peer; nil where it is.
    private func stranger(_ client: RPCClient) async -> String? {
        guard let leaf = await client.serverCertificate() else {
            return "who refused did not show who it is"
        }
        return await link.refusal(of: leaf).map { "who refused is not \(link.name): \($0.sentence)" }
    }
}

extension Denial {
    /// What the end of a call says of a caller who had to be refused. Only what the other side says itself is a
    /// refusal: its alert about the certificate, or its answer. That the connection ended, or never came about,
    /// shows nothing: it has other causes, our own trust among them.
    init(name: String, handshake error: RPCClientError) {
        switch error {
        case .transport(.certificateRefused, let sentence):
            self.init(name: name, verdict: .refused, reason: "tls", sentence: sentence)
        case .transport(let kind, let sentence):
            self.init(name: name, verdict: .notChecked, reason: kind.rawValue, sentence: sentence)
        case .status(let failure):
            let reason = failure.reason ?? failure.code
            let isIdentity = reason.utf8.elementsEqual(
                ErrorReason.identityNotAuthorised.rawValue.utf8)
            self.init(
                name: name, verdict: isIdentity ? .refused : .notChecked, reason: reason,
                sentence: failure.description)
        }
    }

    /// What an answer to a call that had to be refused says. What the peer could not do at the moment, for want of room
    /// or behind a gate that its operator closed, it neither gave nor refused.
    init(name: String, failure: RPCFailure, isExpected: Bool) {
        let isLater = failure.serviceError?.retryable ?? (failure.code == ConnectCode.unavailable.rawValue)
        self.init(
            name: name, verdict: isExpected ? .refused : isLater ? .notChecked : .allowed,
            reason: failure.reason ?? failure.code, sentence: failure.description)
    }

    private static let unlistedReasons = [
        ErrorReason.identityNotAuthorised.rawValue, CertificateRefusal.Kind.noMatchingIdentity.rawValue,
        CertificateRefusal.Kind.notAuthorised.rawValue,
    ]

    /// A certificate may be refused for its dates or its CA: that says nothing of who is not listed.
    mutating func requireUnlisted(by refuser: String) {
        guard verdict == .refused, !Self.unlistedReasons.contains(where: { $0.utf8.elementsEqual(reason.utf8) })
        else { return }
        verdict = .notChecked
        sentence +=
            reason.utf8.elementsEqual("tls".utf8)
            ? "; whether for who it is or for the certificate itself \(refuser) alone knows: --peer-admin SOCKET or "
                + "--evidence FILE"
            : "; that is not for who it is: give a certificate in date, of a CA that \(refuser) trusts"
    }

    /// What the refuser noted of the certificate.
    /// - Parameter isOfThis: it was noted in this attempt. Then it is the refusal also where we saw only that the
    ///   connection ended; whoever showed no certificate cannot be told from others who did not either.
    mutating func take(_ refusal: NodeRefusal, by refuser: String, isOfThis: Bool) {
        if verdict != .refused {
            guard isOfThis, !refusal.fingerprint.isEmpty, refusal.isOfCertificate else { return }
            verdict = .refused
        }
        note(refusal, by: refuser)
        reason = refusal.reason
    }
}

extension NodeRefusal {
    /// Whether it was for what the certificate is, and not for want of room.
    var isOfCertificate: Bool {
        if place.utf8.elementsEqual(Refusal.Place.handshake.rawValue.utf8) { return true }
        return place.utf8.elementsEqual(Refusal.Place.certificate.rawValue.utf8)
            && (CertificateRefusal.Kind(rawValue: reason) != nil
                || reason.utf8.elementsEqual(ErrorReason.identityNotAuthorised.rawValue.utf8))
    }
}
