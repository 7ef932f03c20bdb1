internal import FoundationEssentials
package import RPC

/// How to call a node: a peer of `peers.yaml` as our own node would, or another one by its address; with our
/// certificate, or with another.
package struct PeerLink: Sendable {
    /// The peer's id, or the address.
    package let name: String
    package let endpoint: HostPort
    /// The entry that the node is verified by; nil: its certificate has to name the host.
    package let peer: PeerConfiguration?
    /// SHA-256 of our certificate, as the other side notes it.
    let fingerprint: String
    private let verifier: @Sendable ([UInt8]) async -> ServiceRefusal?
    private let tls: RPCClientTLS
    private let timeoutMilliseconds: Int

    /// To a peer, whose certificate must be that of its entry.
    /// - Parameter timeoutMilliseconds: of each step.
    /// - Throws: `CertificateError` for a peer without an endpoint.
    package init(
        peer: PeerConfiguration, credentials: NodeCredentials, timeoutMilliseconds: Int = 5_000
    ) throws(CertificateError) {
        guard let endpoint = peer.endpoint else {
            throw CertificateError(
                "the peer \(peer.id) has no endpoint in peers.yaml; give it one there, or probe "
                    + "host:port")
        }
        do throws(RPCClientError) {
            tls = try PeerConnection.tls(peer, credentials)
        } catch {
            throw CertificateError(error.description)
        }
        name = peer.id
        self.endpoint = endpoint
        self.peer = peer
        fingerprint = credentials.leaf.fingerprintHexadecimal
        verifier = PeerConnection.verifier(peer, credentials)
        self.timeoutMilliseconds = timeoutMilliseconds
    }

    /// To whatever node is at an address. Its certificate must chain to our own CAs and name the host.
    /// - Throws: `CertificateError` for CA files that cannot be read.
    package init(
        endpoint: HostPort, configuration: NodeConfiguration, credentials: NodeCredentials,
        timeoutMilliseconds: Int = 5_000
    ) throws(CertificateError) {
        let anchors = try TrustAnchors(files: configuration.tls.authorityFiles)
        name = endpoint.description
        self.endpoint = endpoint
        peer = nil
        fingerprint = credentials.leaf.fingerprintHexadecimal
        let host = EndpointVerifier(anchors: anchors, host: endpoint.host)
        verifier = { leaf in
            do throws(CertificateRefusal) {
                _ = try host.check(leafDER: leaf)
                return nil
            } catch {
                return ServiceRefusal(reason: error.kind.rawValue, sentence: error.sentence)
            }
        }
        tls = RPCClientTLS(
            certificateChain: credentials.chain.flatMap(\.pem), privateKey: credentials.keyPEM,
            trustRoots: anchors.certificates.flatMap(\.pem), trustNames: anchors.names,
            serverName: IPAddress(endpoint.host) == nil ? endpoint.host : nil)
        self.timeoutMilliseconds = timeoutMilliseconds
    }

    /// - Parameter answerBytesMaximum: of every answer; who it is and what it refuses it says in little.
    private func settings(
        answerBytesMaximum: Int = RPCClient.smallAnswerBytes
    ) -> RPCClientConfiguration {
        var settings = RPCClientConfiguration(host: endpoint.host, port: endpoint.port)
        settings.connectTimeoutMilliseconds = timeoutMilliseconds
        settings.handshakeTimeoutMilliseconds = timeoutMilliseconds
        settings.callTimeoutMilliseconds = timeoutMilliseconds
        settings.responseBytes = answerBytesMaximum
        return settings
    }

    func client(
        answerBytesMaximum: Int = RPCClient.smallAnswerBytes
    ) throws(RPCClientError) -> RPCClient {
        try RPCClient(settings(answerBytesMaximum: answerBytesMaximum), tls: tls, verifier: verifier)
    }

    /// With another certificate, or with none where both are empty. Who the server is, is verified all the
    /// same.
    func client(chain: [UInt8], key: [UInt8]) throws(RPCClientError) -> RPCClient {
        var other = tls
        other.certificateChain = chain
        other.privateKey = key
        return try RPCClient(settings(), tls: other, verifier: verifier)
    }

    /// Why a server is not the one that this leads to, by its leaf (DER); nil where it is.
    func refusal(of leaf: [UInt8]) async -> ServiceRefusal? { await verifier(leaf) }

    // MARK: - What a call finds out

    /// Name, TCP, TLS, identity, answer; then the clocks and what we are there.
    /// - Parameter refuser: where it is given, why we were refused is read there.
    package func visit(_ refuser: Refuser? = nil) async -> PeerVisit {
        let mark = await refuser?.mark()
        let probe = await PeerProbe.run(settings(), tls: tls, verifier: verifier)
        var visit = PeerVisit(reach: PeerReach(steps: probe.results.map(PeerReach.Step.init)))
        visit.error = probe.error
        visit.reach.certificateNotAfter = probe.serverCertificate
            .flatMap { try? X509Certificate(der: $0) }?.notAfter
        if probe.isGood { await ask(&visit) }
        visit.reach.failure =
            visit.error?.transportKind?.rawValue ?? visit.error?.failure?.reason
        if let refuser, let mark, visit.mayBeRefused {
            visit.reach.refusal = await refuser.refusal(after: mark, fingerprint: fingerprint)
        }
        return visit
    }

    private func ask(_ visit: inout PeerVisit) async {
        do throws(RPCClientError) {
            let client = try client()
            // The first call pays for the connection; the second one's answer times the clocks.
            _ = try await NodeHealth.ask(client)
            let asked = PeerLink.nowMilliseconds()
            let health = try await NodeHealth.ask(client)
            let answered = PeerLink.nowMilliseconds()
            await client.close()
            visit.health = health
            visit.reach.zone = health.zone
            visit.reach.identity = health.identity
            visit.reach.release = health.release
            visit.reach.state = health.status
            visit.reach.roles = health.callerRoles
            if let theirs = health.timeUnixMilliseconds {
                visit.reach.clockMilliseconds = PeerLink.clockMilliseconds(
                    theirs: theirs, ours: (asked + answered) / 2)
                visit.reach.clockUncertaintyMilliseconds = (answered - asked) / 2 + 1
            }
        } catch {
            visit.error = error
            visit.reach.steps.append(
                PeerReach.Step(
                    name: PeerProbe.Step.health.rawValue, isGood: false, sentence: error.description))
        }
    }

    /// Theirs minus ours; as far as an `Int64` goes, for their clock may say anything.
    static func clockMilliseconds(theirs: Int64, ours: Int64) -> Int64 {
        let (difference, isBeyond) = theirs.subtractingReportingOverflow(ours)
        guard isBeyond else { return difference }
        return theirs < ours ? .min : .max
    }

    static func nowMilliseconds() -> Int64 {
        Int64((Date().timeIntervalSince1970 * 1_000).rounded())
    }
}

/// A call to a node and what came of it.
package struct PeerVisit: Sendable {
    package internal(set) var reach: PeerReach
    /// What the node says of itself and of us; nil where it did not come to that.
    package internal(set) var health: NodeHealth?
    /// Why not.
    package internal(set) var error: RPCClientError?

    /// Whether what failed may have been the other side's decision.
    var mayBeRefused: Bool {
        switch error {
        case nil: false
        case .status: true
        case .transport(let kind, _):
            kind == .tls || kind == .certificateRefused || kind == .closed
        }
    }
}
