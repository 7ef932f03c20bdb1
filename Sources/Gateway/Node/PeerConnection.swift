internal import Facts
internal import Replication
internal import RPC
internal import SwiftProtobuf

/// A connection to a peer, as pulls use it: calls in binary protobuf, several at a time.
struct PeerConnection: Sendable {
    /// Procedure, body, milliseconds.
    var call: @Sendable (String, [UInt8], Int) async throws(RPCClientError) -> [UInt8]
    var close: @Sendable () async -> Void
}

extension PeerConnection {
    static func connect(
        _ peer: PeerConfiguration, _ endpoint: HostPort, _ configuration: NodeConfiguration,
        _ credentials: NodeCredentials
    ) throws(NodeError) -> PeerConnection {
        let client = try client(peer, endpoint, configuration, credentials)
        return PeerConnection(
            call: { (procedure, body, milliseconds) async throws(RPCClientError) in
                try await client.call(
                    procedure, body, timeoutMilliseconds: milliseconds,
                    answerBytesMaximum: answerBytesMaximum(procedure))
            }, close: { await client.close() })
    }

    /// Only pages are longer than a few fields; nil: the client's limit.
    static func answerBytesMaximum(_ procedure: String) -> Int? {
        procedure == Procedure.fetchFacts.rawValue ? nil : RPCClient.smallAnswerBytes
    }

    /// Mutual TLS to a peer's endpoint, whose certificate must be that of its entry.
    static func client(
        _ peer: PeerConfiguration, _ endpoint: HostPort, _ configuration: NodeConfiguration,
        _ credentials: NodeCredentials
    ) throws(NodeError) -> RPCClient {
        do throws(RPCClientError) {
            let client = try RPCClient(
                settings(peer, endpoint, configuration), tls: try tls(peer, credentials),
                verifier: verifier(peer, credentials))
            credentials.outgoing.add(client, peer: peer.id)
            return client
        } catch {
            throw NodeError("no connection to \(peer.id) can be set up: \(error)")
        }
    }

    static func settings(
        _ peer: PeerConfiguration, _ endpoint: HostPort, _ configuration: NodeConfiguration
    ) -> RPCClientConfiguration {
        var settings = RPCClientConfiguration(host: endpoint.host, port: endpoint.port)
        settings.acceptsLZ4 = peer.compression == .lz4
        configuration.peerLimits.apply(to: &settings)
        return settings
    }

    /// Everything from memory: what was read and checked together is used together.
    static func tls(
        _ peer: PeerConfiguration, _ credentials: NodeCredentials
    ) throws(RPCClientError) -> RPCClientTLS {
        let entry = credentials.verifier.entries.first { $0.kind == .peer(id: peer.id) }
        return RPCClientTLS(
            certificateChain: credentials.chain.flatMap(\.pem), privateKey: credentials.keyPEM,
            trustRoots: entry?.anchors.certificates.flatMap(\.pem) ?? [],
            trustNames: entry?.anchors.names ?? [],
            serverName: serverName(peer.identity))
    }

    /// An identity that could be a host's full name is told, so that a listener can choose by it. TLS refuses to
    /// tell any other: an address, or what is longer than a name may be.
    private static func serverName(_ identity: String) -> String? {
        let isHostName = CertificateAuthority.isHostName(identity) && IPAddress(identity) == nil
        return isHostName && identity.utf8.contains(UInt8(ascii: ".")) ? identity : nil
    }

    static func verifier(
        _ peer: PeerConfiguration, _ credentials: NodeCredentials
    ) -> @Sendable ([UInt8]) async -> ServiceRefusal? {
        let verifier = credentials.verifier.server(peer: peer.id)
        return { leaf in
            switch verifier.verify(leafDER: leaf, direction: .outgoing) {
            case .success: nil
            case .failure(let refusal):
                ServiceRefusal(reason: refusal.kind, sentence: refusal.error.message)
            }
        }
    }

    static func hello(zone: String) -> [UInt8] {
        var hello = Bsfg_V1_HelloRequest()
        hello.zone = zone
        hello.release = NodeRelease.name
        hello.formatMax = messageFormatMaximum
        return WireCodec.encode(hello, .proto)
    }
}
