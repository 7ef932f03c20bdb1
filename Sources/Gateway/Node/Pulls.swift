internal import Buffers
internal import Facts
internal import Logging
internal import Replication
internal import RPC

/// Everything this node pulls: one loop for each entry of `cursors.yaml`, one connection for each
/// peer, none waiting for another.
final class Pulls: Sendable {
    private struct Pull: Sendable {
        var configuration: CursorConfiguration
        var log: StreamLog
        var loop: PullLoop
        var isManual: Bool
    }

    private let pulls: [Pull]
    private let connections: [PeerConnection]

    /// - Parameter connect: makes the one connection that all pulls from a peer share.
    init(
        _ configuration: NodeConfiguration, _ logs: StreamLogs, _ pool: BlockingPool,
        _ logger: Logger, mayConfirm: (@Sendable (StreamLog) async -> Void)? = nil,
        connect: (PeerConfiguration, HostPort) throws(NodeError) -> PeerConnection
    ) throws(NodeError) {
        var connections: [String: PeerConnection] = [:]
        var pulls: [Pull] = []
        for cursor in configuration.cursors {
            guard let peer = configuration.peer(id: cursor.peer),
                let log = logs.log(stream: cursor.stream, origin: cursor.origin),
                let forward = log.forward
            else { preconditionFailure("cursors were checked with the configuration") }
            guard let endpoint = peer.endpoint else {
                throw NodeError(
                    "cursors.yaml pulls \(cursor.stream) from \(peer.id), which has no endpoint "
                        + "in peers.yaml; add one")
            }
            let connection: PeerConnection
            if let known = connections[peer.id] {
                connection = known
            } else {
                connection = try connect(peer, endpoint)
                connections[peer.id] = connection
            }
            let source = RPCPullSource(
                connection: connection, peer: peer, pull: cursor, zone: configuration.zone,
                profile: log.stream.profile.rawValue)
            pulls.append(
                Pull(
                    configuration: cursor, log: log,
                    loop: PullLoop(
                        source: source, buffer: forward, pool: pool, origin: cursor.origin,
                        keyedBy: log.stream.idempotency == .content ? .content : .identifier,
                        mayConfirm: Pulls.hold(log, mayConfirm),
                        log: { Pulls.tell($0, cursor, logger) }),
                    isManual: peer.start == .manual))
        }
        self.pulls = pulls
        self.connections = Array(connections.values)
    }

    /// Only a `sil_strict` stream lets its confirm wait.
    private static func hold(
        _ log: StreamLog, _ mayConfirm: (@Sendable (StreamLog) async -> Void)?
    ) -> (@Sendable () async -> Void)? {
        guard let mayConfirm, log.stream.profile == .silStrict else { return nil }
        return { await mayConfirm(log) }
    }

    static func connect(
        _ peer: PeerConfiguration, _ endpoint: HostPort, _ configuration: NodeConfiguration,
        _ credentials: NodeCredentials
    ) throws(NodeError) -> PeerConnection {
        let client = try client(peer, endpoint, configuration, credentials)
        return PeerConnection(
            call: { (procedure, body, milliseconds) async throws(RPCClientError) in
                try await client.call(procedure, body, timeoutMilliseconds: milliseconds)
            }, close: { await client.close() })
    }

    /// Mutual TLS to a peer's endpoint, whose certificate must be that of its entry.
    static func client(
        _ peer: PeerConfiguration, _ endpoint: HostPort, _ configuration: NodeConfiguration,
        _ credentials: NodeCredentials
    ) throws(NodeError) -> RPCClient {
        do {
            let verifier = credentials.verifier.server(peer: peer.id)
            var trust: [UInt8] = []
            for file in peer.authorityFiles {
                trust += try SmallFile.read(file, bytesMaximum: X509Certificate.fileBytesMaximum)
                trust.append(UInt8(ascii: "\n"))
            }
            let tls = RPCClientTLS(
                certificateChain: credentials.chain.flatMap(\.pem),
                privateKey: try SmallFile.read(
                    configuration.tls.keyFile, bytesMaximum: X509Certificate.fileBytesMaximum),
                trustRoots: trust,
                // A name that could be a host's is told, so that a listener can choose by it.
                serverName: peer.identity.contains(".") ? peer.identity : nil)
            return try RPCClient(
                RPCClientConfiguration(host: endpoint.host, port: endpoint.port), tls: tls
            ) { leaf in
                switch verifier.verify(leafDER: leaf, direction: .outgoing) {
                case .success: nil
                case .failure(let error):
                    ServiceRefusal(reason: error.reason.rawValue, sentence: error.message)
                }
            }
        } catch {
            throw NodeError("no connection to \(peer.id) can be set up: \(error)")
        }
    }

    private static func tell(
        _ status: PullMachine.Status, _ cursor: CursorConfiguration, _ logger: Logger
    ) {
        let metadata: Logger.Metadata = [
            "peer": "\(cursor.peer)", "stream": "\(cursor.stream)", "origin": "\(cursor.origin)",
        ]
        switch status {
        case .connecting: logger.debug("connecting", metadata: metadata)
        case .pulling: logger.info("peer reachable, pulling", metadata: metadata)
        case .unavailable(let sentence):
            logger.warning("source unavailable: \(sentence)", metadata: metadata)
        case .blocked(PullMachine.forwardFull, let sentence):
            // Nobody did anything wrong: it goes on by itself once there is room.
            logger.warning(
                "pull paused: \(sentence)",
                metadata: metadata.merging([
                    "event": "\(PullMachine.forwardFull)", "alert": "StoreFillHigh",
                ]) { $1 })
        case .blocked(let reason, let sentence):
            logger.error("stream blocked, \(reason): \(sentence)", metadata: metadata)
        case .stopped: break
        }
    }

    func start() async {
        for pull in pulls where !pull.isManual { await pull.loop.start() }
    }

    func stop() async {
        await withTaskGroup(of: Void.self) { group in
            for pull in pulls { group.addTask { await pull.loop.stop() } }
        }
        for connection in connections { await connection.close() }
    }

    /// Fetches the last `count` offsets below a pull's position again.
    /// - Returns: from where, or nil when that is not pulled now.
    func redeliver(stream: String, origin: String, count: UInt64) async -> UInt64? {
        let pull = pulls.first {
            $0.configuration.stream.utf8.elementsEqual(stream.utf8)
                && $0.configuration.origin.utf8.elementsEqual(origin.utf8)
        }
        return await pull?.loop.redeliver(count: count)
    }

    func status() async -> [Bsfg_Admin_V1_PullStatus] {
        var all: [Bsfg_Admin_V1_PullStatus] = []
        for pull in pulls {
            let report = await pull.loop.report()
            var status = Bsfg_Admin_V1_PullStatus()
            status.peer = pull.configuration.peer
            status.stream = pull.configuration.stream
            status.origin = pull.configuration.origin
            switch report.status {
            case .connecting: status.state = pull.isManual ? "manual" : "connecting"
            case .pulling: status.state = "pulling"
            case .stopped: status.state = "stopped"
            case .unavailable(let sentence):
                status.state = "unavailable"
                status.sentence = sentence
            case .blocked(let reason, let sentence):
                status.state = "blocked"
                status.reason = reason
                status.sentence = sentence
            }
            if let position = report.position { status.nextOffset = position.nextOffset }
            // The machine counts the next one; on the wire the last confirmed one is told.
            if let next = report.confirmedOffset, next > 0 { status.confirmedOffset = next - 1 }
            if let head = report.sourceHeadOffset { status.sourceHeadOffset = head }
            status.pages = report.pageCount
            status.fetched = report.fetchedCount
            status.materialised = report.materialisedCount
            status.redelivered = report.redeliveredCount
            status.confirms = report.confirmCount
            status.failures = report.failureCount
            all.append(status)
        }
        return all
    }
}
