internal import ArgumentParser
internal import Gateway
internal import Glibc
internal import RPC

/// Which node a command talks to, and as whom: the node on this machine through its administration
/// socket, or any node over mutual TLS.
struct NodeConnection: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "The node on this machine, by its configuration. Environment: BSFG_CONFIG.",
            valueName: "DIR"))
    var config: String?

    @Option(
        help: ArgumentHelp(
            "The node on this machine, by its administration socket.", valueName: "PATH"))
    var socket: String?

    @Option(
        help: ArgumentHelp(
            "A node over the network, with --cert, --key and --ca. Environment: BSFG_ENDPOINT.",
            valueName: "host:port"))
    var endpoint: String?

    @Option(
        help: ArgumentHelp(
            "Our certificate (PEM). Environment: BSFG_CERT.", valueName: "FILE"))
    var cert: String?

    @Option(help: ArgumentHelp("Its key (PEM). Environment: BSFG_KEY.", valueName: "FILE"))
    var key: String?

    @Option(
        help: ArgumentHelp(
            "The CA that the node's certificate is to chain to. Environment: BSFG_CA.",
            valueName: "FILE"))
    var ca: String?

    /// What a command needs of its connection.
    enum Need {
        /// Whoever may append may do it either way.
        case any
        /// What only the operator of the machine may do.
        case administration
        /// What belongs to a certificate, such as a consumer.
        case identity
    }

    enum Route {
        case socket(path: String)
        case endpoint(HostPort)
    }

    /// The route that the options name, else the environment's.
    func route(_ need: Need) throws -> Route {
        let named = [("--config", config), ("--socket", socket), ("--endpoint", endpoint)]
            .filter { $0.1 != nil }.map(\.0)
        guard named.count <= 1 else {
            throw CommandFailure(
                .usage, "\(named.joined(separator: " and ")) exclude each other; give one")
        }
        if endpoint == nil, socket != nil || config != nil,
            [cert, key, ca].contains(where: { $0 != nil })
        {
            throw CommandFailure(
                .usage, "--cert, --key and --ca go with --endpoint; \(named[0]) needs none")
        }
        let route = try chosen(need)
        switch (need, route) {
        case (.administration, .endpoint):
            throw CommandFailure(
                .usage,
                "a node administers nothing over the network; run this on its machine with "
                    + "--config DIR or --socket PATH")
        case (.identity, .socket):
            throw CommandFailure(
                .usage,
                "consumers belong to a certificate; give --endpoint, --cert, --key and --ca (or "
                    + "BSFG_ENDPOINT, BSFG_CERT, BSFG_KEY and BSFG_CA)")
        default: return route
        }
    }

    private func chosen(_ need: Need) throws -> Route {
        if let socket { return .socket(path: socket) }
        if let config { return .socket(path: try Self.socketPath(config)) }
        if let endpoint { return .endpoint(try Self.hostPort(endpoint, "--endpoint")) }
        let environmentEndpoint = Self.environment("BSFG_ENDPOINT")
        let environmentConfig = Self.environment("BSFG_CONFIG")
        // Where both are set, the one that the command can use.
        if let directory = environmentConfig, need != .identity || environmentEndpoint == nil {
            return .socket(path: try Self.socketPath(directory))
        }
        if let text = environmentEndpoint {
            return .endpoint(try Self.hostPort(text, "BSFG_ENDPOINT"))
        }
        let ways: [(Need, String)] = [
            (.administration, "--config DIR or --socket PATH (or BSFG_CONFIG)"),
            (.identity, "--endpoint, --cert, --key and --ca (or BSFG_ENDPOINT and so on)"),
        ]
        let wanted =
            need == .any
            ? ways.map(\.1).joined(separator: ", or ") : ways.first { $0.0 == need }!.1
        throw CommandFailure(.usage, "say which node: \(wanted)")
    }

    /// The socket of a node's configuration.
    static func socketPath(_ directory: String) throws -> String {
        do {
            return try CommandFailure.wrap { try NodeConfiguration.load(directory: directory) }
                .adminSocketPath
        } catch let failure as CommandFailure {
            // A node that runs goes on with what it read before.
            guard let path = NodeConfiguration.likelySocketPath(directory: directory) else { throw failure }
            throw CommandFailure(
                failure.status,
                "\(failure.message)\na node that still runs can be called with: --socket \(shellQuoted(path))")
        }
    }

    /// A variable that is set and not empty.
    static func environment(_ name: String) -> String? {
        guard let value = getenv(name), value.pointee != 0 else { return nil }
        return String(cString: value)
    }

    private static func hostPort(_ text: String, _ option: String) throws -> HostPort {
        guard let address = HostPort(text) else {
            throw CommandFailure(
                .usage, "\(option) is host:port, as in plant-a.example:9443, not '\(text)'")
        }
        return address
    }

    /// A client for what the command needs; nothing is sent yet.
    func client(_ need: Need) throws -> RPCClient {
        switch try route(need) {
        case .socket(let path): return RPCClient(unixSocket: path)
        case .endpoint(let address):
            let credentials = try credentials()
            return try CommandFailure.calling { () throws(RPCClientError) in
                try RPCClient(
                    RPCClientConfiguration(host: address.host, port: address.port),
                    tls: credentials.tls(host: address.host),
                    verifier: credentials.verifier(host: address.host))
            }
        }
    }

    func adminClient() throws -> AdminClient { AdminClient(try client(.administration)) }

    private func credentials() throws -> ClientCredentials {
        let values = [
            ("--cert", cert ?? Self.environment("BSFG_CERT"), "BSFG_CERT"),
            ("--key", key ?? Self.environment("BSFG_KEY"), "BSFG_KEY"),
            ("--ca", ca ?? Self.environment("BSFG_CA"), "BSFG_CA"),
        ]
        let missing = values.filter { $0.1 == nil }
        guard missing.isEmpty else {
            throw CommandFailure(
                .usage,
                "--endpoint needs \(missing.map(\.0).joined(separator: " and ")) too (or "
                    + "\(missing.map(\.2).joined(separator: " and ")))")
        }
        return try ClientCredentials(
            certificateFile: values[0].1!, keyFile: values[1].1!, authorityFile: values[2].1!)
    }
}

/// A certificate, its key and the CA to trust, read from files.
struct ClientCredentials {
    let certificateChain: [UInt8]
    let privateKey: [UInt8]
    let trustRoots: [UInt8]
    let anchors: TrustAnchors

    init(certificateFile: String, keyFile: String, authorityFile: String) throws {
        do throws(CertificateError) {
            let maximum = X509Certificate.fileBytesMaximum
            if let sentence = PrivateKey.exposure(file: keyFile) { throw CertificateError(sentence) }
            let chain = try X509Certificate.all(file: certificateFile)
            guard let leaf = chain.first, try PrivateKey(file: keyFile).belongs(to: leaf) else {
                throw CertificateError("\(keyFile) is not the key of \(certificateFile)")
            }
            certificateChain = try SmallFile.read(certificateFile, bytesMaximum: maximum)
            privateKey = try SmallFile.read(keyFile, bytesMaximum: maximum)
            trustRoots = try SmallFile.read(authorityFile, bytesMaximum: maximum)
            anchors = try TrustAnchors(files: [authorityFile])
        } catch {
            throw CommandFailure(.usage, error.sentence)
        }
    }

    func tls(host: String) -> RPCClientTLS {
        RPCClientTLS(
            certificateChain: certificateChain, privateKey: privateKey, trustRoots: trustRoots,
            // Only names are told to the server (RFC 6066, section 3).
            serverName: IPAddress(host) == nil ? host : nil)
    }

    /// The node must chain to the CA and name the host that was called.
    func verifier(host: String) -> @Sendable ([UInt8]) async -> ServiceRefusal? {
        let verifier = EndpointVerifier(anchors: anchors, host: host)
        return { leaf in
            do throws(CertificateRefusal) {
                _ = try verifier.check(leafDER: leaf)
                return nil
            } catch {
                return ServiceRefusal(reason: error.kind.rawValue, sentence: error.sentence)
            }
        }
    }
}
