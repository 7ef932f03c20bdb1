internal import Glibc
internal import NIOCore
internal import NIOPosix

/// What stands between us and a node, step by step: name, TCP, TLS, identity, answer.
package struct PeerProbe: Sendable {
    package enum Step: String, Sendable, CaseIterable {
        case dns
        case tcp
        case tls
        case identity
        case health
    }

    package struct Result: Sendable {
        package var step: Step
        package var milliseconds: Double
        /// What was found, or the sentence that says why the step failed.
        package var text: String
        package var isGood: Bool
    }

    /// In order; the last one failed, or all are good.
    package private(set) var results: [Result] = []
    /// The addresses of the host's name.
    package private(set) var addresses: [String] = []
    /// The server's leaf (DER), where TLS came that far.
    package private(set) var serverCertificate: [UInt8]?
    /// The server's answer to `GET /health`, with its `date` header: their clock.
    package private(set) var health: RPCResponse?
    package private(set) var error: RPCClientError?

    package var isGood: Bool { error == nil }

    /// Runs the steps until one fails.
    package static func run(
        _ configuration: RPCClientConfiguration, tls: RPCClientTLS,
        verifier: @escaping @Sendable ([UInt8]) async -> ServiceRefusal?
    ) async -> PeerProbe {
        var probe = PeerProbe()
        do throws(RPCClientError) {
            try await probe.resolve(configuration)
            try await probe.connect(configuration)
            try await probe.call(configuration, tls, verifier)
        } catch {
            probe.error = error
        }
        return probe
    }

    private mutating func resolve(
        _ configuration: RPCClientConfiguration
    ) async throws(RPCClientError) {
        let start = NIODeadline.now()
        let host = configuration.host
        do {
            addresses = try await NIOThreadPool.singleton.runIfActive {
                try Self.allAddresses(host)
            }
        } catch {
            throw fail(
                .dns, start,
                .transport(
                    kind: .dns,
                    sentence: "the name '\(host)' has no address; check the endpoint, the "
                        + "resolver, and /etc/hosts"))
        }
        pass(.dns, start, addresses.joined(separator: ", "))
    }

    private struct NoAddress: Error {}

    /// Every address, in the order in which the system would try them. Blocking.
    private static func allAddresses(_ host: String) throws -> [String] {
        var hints = addrinfo()
        hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
        var list: UnsafeMutablePointer<addrinfo>?
        guard getaddrinfo(host, nil, &hints, &list) == 0 else { throw NoAddress() }
        defer { freeaddrinfo(list) }
        var addresses: [String] = []
        for entry in sequence(first: list, next: { $0?.pointee.ai_next }) {
            guard let entry = entry?.pointee else { break }
            var text = [CChar](repeating: 0, count: Int(NI_MAXHOST))
            let result = getnameinfo(
                entry.ai_addr, entry.ai_addrlen, &text, socklen_t(text.count), nil, 0,
                NI_NUMERICHOST)
            guard result == 0 else { continue }
            let bytes = text.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }
            addresses.append(String(decoding: bytes, as: UTF8.self))
        }
        guard !addresses.isEmpty else { throw NoAddress() }
        return addresses
    }

    private mutating func connect(
        _ configuration: RPCClientConfiguration
    ) async throws(RPCClientError) {
        let start = NIODeadline.now()
        do {
            let channel = try await ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton)
                .connectTimeout(.milliseconds(Int64(configuration.connectTimeoutMilliseconds)))
                .connect(host: configuration.host, port: configuration.port)
                .get()
            let address = channel.remoteAddress.flatMap(Self.text) ?? configuration.authority
            try? await channel.close()
            pass(.tcp, start, "connected to \(address)")
        } catch {
            throw fail(
                .tcp, start,
                TransportFailure.connecting(
                    error, to: configuration.authority,
                    timeoutMilliseconds: configuration.connectTimeoutMilliseconds))
        }
    }

    /// An address as it is written in a configuration.
    private static func text(_ address: SocketAddress) -> String? {
        guard let host = address.ipAddress, let port = address.port else { return nil }
        return address.protocol == .inet6 ? "[\(host)]:\(port)" : "\(host):\(port)"
    }

    private mutating func call(
        _ configuration: RPCClientConfiguration, _ tls: RPCClientTLS,
        _ verifier: @escaping @Sendable ([UInt8]) async -> ServiceRefusal?
    ) async throws(RPCClientError) {
        let start = NIODeadline.now()
        let client: RPCClient
        do {
            client = try RPCClient(configuration, tls: tls, verifier: verifier)
        } catch {
            throw fail(.tls, start, error)
        }
        do {
            let answer = try await client.get("/health")
            await finish(client)
            pass(.tls, start, "TLS 1.3, HTTP/2, our certificate is accepted")
            pass(.identity, start, "the server is who it should be")
            health = answer
            try answered(answer, start)
        } catch {
            if health != nil { throw error }
            await finish(client)
            let explained = serverCertificate.flatMap {
                ServerCertificateDiagnosis(tls: tls).explain(error, configuration.authority, leafDER: $0)
            }
            throw failCall(explained ?? error, start)
        }
    }

    private mutating func finish(_ client: RPCClient) async {
        serverCertificate = await client.serverCertificate()
        await client.close()
    }

    private mutating func answered(
        _ answer: RPCResponse, _ start: NIODeadline
    ) throws(RPCClientError) {
        guard answer.status == 200 else {
            throw fail(.health, start, .status(ConnectErrorBody.failure(answer)))
        }
        pass(.health, start, "GET /health answered 200")
    }

    private mutating func failCall(
        _ error: RPCClientError, _ start: NIODeadline
    ) -> RPCClientError {
        switch error.transportKind {
        case .identity:
            pass(.tls, start, "TLS 1.3")
            return fail(.identity, start, error)
        case .timeout:
            if serverCertificate == nil { return fail(.tls, start, error) }
            pass(.tls, start, "TLS 1.3")
            return fail(.health, start, error)
        default: return fail(.tls, start, error)
        }
    }

    private mutating func pass(_ step: Step, _ start: NIODeadline, _ text: String) {
        record(step, start, text, isGood: true)
    }

    private mutating func fail(
        _ step: Step, _ start: NIODeadline, _ error: RPCClientError
    ) -> RPCClientError {
        record(step, start, error.description, isGood: false)
        return error
    }

    private mutating func record(
        _ step: Step, _ start: NIODeadline, _ text: String, isGood: Bool
    ) {
        let elapsed = Double((NIODeadline.now() - start).nanoseconds) / 1e6
        results.append(Result(step: step, milliseconds: elapsed, text: text, isGood: isGood))
    }
}
