import Buffers
import Facts
import Foundation
import Logging
import RPC
import Synchronization
import Testing
import WriteAheadLog

@testable import Gateway

/// What a reload changes in a node, over real files and certificates, with a listener on loopback that
/// answers what it is asked.
final class ReloadBench: Sendable {
    private struct Echo: RPCService {
        var procedures: Set<String> { ["/test/Echo"] }
        func admit(procedure: String, caller: Caller) -> ServiceError? { nil }
        func handle(_ request: RPCRequest, respond: @escaping @Sendable (RPCReply) -> Void) {
            respond(.message(request.body))
        }
        func timedOut(procedure: String) -> ServiceError { ServiceError(.deadlineExceeded) }
        func health(caller: Caller) -> [UInt8] { [] }
    }

    /// What the reloader asks and tells.
    final class Heard: Sendable {
        let server = Mutex<RPCServer?>(nil)
        /// How often a reload has begun.
        let begun = Mutex(0)
        let opened = Mutex<[String]>([])
        /// How many connections to peers can be made yet.
        let connections = Mutex(Int.max)
    }

    static let main = """
        zone: enterprise
        identity: enterprise-bsfg
        data: data
        listen: 127.0.0.1:0
        admin: {socket: admin.sock}
        tls: {ca: certs/ca.crt, certificate: certs/server.crt, key: certs/server.key}
        streams:
          - {name: facts.operational, capacity: 16MiB, segment: 1MiB}
        clients:
          - {identity: mes, roles: [producer], streams: [facts.operational]}

        """

    static let peers = """
        peers:
          - {id: plant-a, identity: plant-a-bsfg, endpoint: "127.0.0.1:1", authorized: true}

        """

    static let cursors = """
        cursors:
          - {peer: plant-a, stream: facts.operational}

        """

    let directory = NSTemporaryDirectory() + "reload-\(UUID().uuidString.prefix(8))"
    let authority: CertificateAuthority
    let logs: StreamLogs
    let pool: BlockingPool
    let custody: NodeCustody
    let waits = HeadWaits()
    let parts: NodeParts
    let reloader: Reloader
    let heard = Heard()

    /// - Parameters:
    ///   - diskThreads: of the pool that reloads read files on.
    ///   - diskQueue: how many more may wait for it.
    init(diskThreads: Int = 2, diskQueue: Int = 64) async throws {
        authority = try CertificateAuthority.make(name: "reload ca")
        try FileManager.default.createDirectory(
            atPath: directory, withIntermediateDirectories: true)
        for (name, text) in [
            ("bsfg.yaml", Self.main), ("peers.yaml", Self.peers), ("cursors.yaml", Self.cursors),
        ] {
            try Data(text.utf8).write(to: URL(fileURLWithPath: "\(directory)/\(name)"))
        }
        try authority.issue(
            CertificateRequest(identity: "enterprise-bsfg", addresses: ["127.0.0.1"])
        ).write(
            directory: "\(directory)/certs", name: "server", authority: authority.certificate, force: true)
        let configuration = try NodeConfiguration.load(directory: directory)
        let credentials = try NodeCredentials.load(configuration)
        let logger = Logger(label: "reload") { _ in SwiftLogNoOpLogHandler() }
        logs = try StreamLogs(configuration)
        pool = BlockingPool(name: "test-disk", threadCount: diskThreads, queueMaximum: diskQueue)
        custody = try NodeCustody(configuration, logger: logger)
        let heard = heard
        parts = try NodeParts(
            configuration, credentials, logs: logs, pool: pool, waits: waits,
            watch: LogWatch(logs, custody.faults, logger), custody: custody, logger: logger,
            now: { GatewayNode.nowMilliseconds() }, server: { heard.server.withLock { $0 } })
        reloader = Reloader(
            live: parts.access.live, verifier: parts.verifier, credentials: credentials, logs: logs,
            pulls: parts.pulls, artifacts: parts.artifacts, gates: parts.access.gates, waits: waits,
            notices: parts.notices, faults: custody.faults, pool: pool, logger: logger,
            connect: { (peer, endpoint, configuration, credentials) throws(NodeError) in
                let left = heard.connections.withLock { left in
                    left -= 1
                    return left
                }
                guard left >= 0 else { throw NodeError("no connection to \(peer.id)") }
                return try PeerConnection.connect(peer, endpoint, configuration, credentials)
            },
            server: {
                heard.begun.withLock { $0 += 1 }
                return heard.server.withLock { $0 }
            },
            opened: { logs in heard.opened.withLock { $0 += logs.map(\.stream.name) } })
        let server = try RPCServer(
            configuration: RPCServerConfiguration(
                listeners: [RPCListener(.tcp(host: "127.0.0.1", port: 0, accept: .all))],
                tls: credentials.serverTLS),
            service: Echo(), verifier: parts.verifier, logger: logger)
        heard.server.withLock { $0 = server }
        guard case .tcp(_, let port)? = try await server.start().first else {
            throw NodeError("no port")
        }
        self.port.withLock { $0 = port }
    }

    private let port = Mutex(0)

    deinit { try? FileManager.default.removeItem(atPath: directory) }

    var live: LiveConfiguration { parts.access.live }
    var server: RPCServer { heard.server.withLock { $0! } }

    func close() async {
        await server.stop(graceSeconds: 0)
        await parts.certificateWatch.stop()
        await parts.notices.stop()
        await parts.pulls.stop()
        waits.end()
        pool.stop()
        custody.close()
        logs.close()
    }

    func write(_ name: String, _ text: String) throws {
        try Data(text.utf8).write(to: URL(fileURLWithPath: "\(directory)/\(name)"))
    }

    /// Puts another pair in the node's place.
    func issue(_ identity: String = "enterprise-bsfg") throws {
        try authority.issue(CertificateRequest(identity: identity, addresses: ["127.0.0.1"])).write(
            directory: "\(directory)/certs", name: "server", authority: authority.certificate, force: true)
    }

    private final class Shown: Sendable {
        let fingerprint = Mutex<[UInt8]?>(nil)
    }

    /// What a new connection comes to.
    struct Visit: Sendable {
        /// Of the certificate that the node shows.
        var fingerprint: [UInt8]?
        /// Nil when the call was answered.
        var error: RPCClientError?
    }

    /// Calls the node over a new connection, trusting whatever one of these CAs issued.
    func visit(
        as holder: IssuedCertificate, trusting authorities: [CertificateAuthority]
    ) async throws -> Visit {
        let shown = Shown()
        let client = try client(as: holder, trusting: authorities) { leaf in
            shown.fingerprint.withLock { $0 = (try? X509Certificate(der: leaf))?.fingerprint }
        }
        var error: RPCClientError?
        do throws(RPCClientError) {
            _ = try await client.call("/test/Echo", [1])
        } catch let thrown {
            error = thrown
        }
        await client.close()
        return Visit(fingerprint: shown.fingerprint.withLock { $0 }, error: error)
    }

    /// A client of the node that takes whatever it shows.
    func client(
        as holder: IssuedCertificate, trusting authorities: [CertificateAuthority],
        shown: @escaping @Sendable ([UInt8]) -> Void = { _ in }
    ) throws -> RPCClient {
        try RPCClient(
            RPCClientConfiguration(host: "127.0.0.1", port: port.withLock { $0 }),
            tls: RPCClientTLS(
                certificateChain: holder.certificate.pem, privateKey: try holder.key.pem(),
                trustRoots: authorities.flatMap(\.certificate.pem)),
            verifier: { leaf in
                shown(leaf)
                return nil
            })
    }
}
