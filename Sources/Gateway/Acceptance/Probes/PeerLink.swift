internal import FoundationEssentials
package import RPC

/// How to call a peer of `peers.yaml`: as the node would, or with another certificate.
package struct PeerLink: Sendable {
    package let peer: PeerConfiguration
    package let endpoint: HostPort
    let verifier: @Sendable ([UInt8]) async -> ServiceRefusal?
    private let trustRoots: [UInt8]
    private let ownChain: [UInt8]
    private let ownKey: [UInt8]
    let timeoutMilliseconds: Int

    /// - Throws: `CertificateError` for a peer without an endpoint and for files that cannot be read.
    package init(
        peer: PeerConfiguration, configuration: NodeConfiguration, credentials: NodeCredentials,
        timeoutMilliseconds: Int = 5_000
    ) throws(CertificateError) {
        guard let endpoint = peer.endpoint else {
            throw CertificateError(
                "the peer \(peer.id) has no endpoint in peers.yaml, so nothing here can call it")
        }
        self.peer = peer
        self.endpoint = endpoint
        self.timeoutMilliseconds = timeoutMilliseconds
        var trust: [UInt8] = []
        for file in peer.authorityFiles {
            trust += try SmallFile.read(file, bytesMaximum: X509Certificate.fileBytesMaximum)
            trust.append(UInt8(ascii: "\n"))
        }
        trustRoots = trust
        ownChain = credentials.chain.flatMap(\.pem)
        ownKey = try SmallFile.read(
            configuration.tls.keyFile, bytesMaximum: X509Certificate.fileBytesMaximum)
        let identities = credentials.verifier
        let id = peer.id
        verifier = { leaf in
            do throws(CertificateRefusal) {
                _ = try identities.check(serverLeafDER: leaf, peer: id)
                return nil
            } catch {
                return ServiceRefusal(reason: error.kind.rawValue, sentence: error.sentence)
            }
        }
    }

    private var settings: RPCClientConfiguration {
        var settings = RPCClientConfiguration(host: endpoint.host, port: endpoint.port)
        settings.connectTimeoutMilliseconds = timeoutMilliseconds
        settings.handshakeTimeoutMilliseconds = timeoutMilliseconds
        settings.callTimeoutMilliseconds = timeoutMilliseconds
        return settings
    }

    private func tls(chain: [UInt8], key: [UInt8]) -> RPCClientTLS {
        RPCClientTLS(
            certificateChain: chain, privateKey: key, trustRoots: trustRoots,
            serverName: IPAddress(endpoint.host) == nil ? endpoint.host : nil)
    }

    package func client() throws(RPCClientError) -> RPCClient {
        try client(chain: ownChain, key: ownKey)
    }

    /// With another certificate, or with none where both are empty. Who the server is, is verified all the
    /// same.
    func client(chain: [UInt8], key: [UInt8]) throws(RPCClientError) -> RPCClient {
        try RPCClient(settings, tls: tls(chain: chain, key: key), verifier: verifier)
    }

    /// Name, TCP, TLS, identity, answer; then the clocks and what we are there.
    package func reach() async -> PeerReach {
        let probe = await PeerProbe.run(
            settings, tls: tls(chain: ownChain, key: ownKey), verifier: verifier)
        var reach = PeerReach(steps: probe.results.map(PeerReach.Step.init))
        reach.failure = probe.error?.transportKind?.rawValue ?? probe.error?.failure?.reason
        guard probe.isGood else { return reach }
        do throws(RPCClientError) {
            let client = try client()
            // The first call pays for the connection; the second one's answer times the clocks.
            _ = try await NodeHealth.ask(client)
            let asked = PeerLink.nowMilliseconds()
            let health = try await NodeHealth.ask(client)
            let answered = PeerLink.nowMilliseconds()
            reach.zone = health.zone
            reach.identity = health.identity
            reach.release = health.release
            reach.state = health.status
            reach.roles = health.callerRoles
            if let theirs = health.timeUnixMilliseconds {
                reach.clockMilliseconds = theirs - (asked + answered) / 2
                reach.clockUncertaintyMilliseconds = (answered - asked) / 2 + 1
            }
            await client.close()
        } catch {
            reach.steps.append(
                PeerReach.Step(name: "health", isGood: false, sentence: error.description))
        }
        return reach
    }

    static func nowMilliseconds() -> Int64 {
        Int64((Date().timeIntervalSince1970 * 1_000).rounded())
    }
}

/// What a call to a peer found out.
package struct PeerReach: Sendable, Codable, Equatable {
    package struct Step: Sendable, Codable, Equatable {
        package var name: String
        package var isGood: Bool
        package var sentence: String
    }

    package var steps: [Step]
    /// The kind of a transport failure, or the reason that the peer gave.
    package var failure: String?
    package var zone = ""
    package var identity = ""
    package var release = ""
    package var state = ""
    /// What we are there.
    package var roles: [String] = []
    /// Theirs minus ours.
    package var clockMilliseconds: Int64?
    package var clockUncertaintyMilliseconds: Int64 = 0

    package init(steps: [Step]) { self.steps = steps }

    package var failedStep: Step? { steps.first { !$0.isGood } }
}

extension PeerReach.Step {
    init(_ result: PeerProbe.Result) {
        self.init(name: result.step.rawValue, isGood: result.isGood, sentence: result.text)
    }
}
