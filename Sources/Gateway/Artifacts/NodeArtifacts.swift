internal import Buffers
internal import Facts
internal import Logging
internal import RPC
internal import Synchronization
internal import WriteAheadLog

/// The artifacts of a node, put together: the store, what follows references, fetches and sweeps.
final class NodeArtifacts: Sendable {
    /// Threads of their own: a large file never makes a fact wait for a thread.
    private static let diskThreads = 2
    private static let confirmLookMilliseconds = 100

    let store: any ArtifactStore
    let pool: BlockingPool
    let follower: ReferenceFollower
    let prefetch: ArtifactPrefetch
    private let sweeper: ArtifactSweeper
    private let logger: Logger
    private let sweeps: SweepLoop
    private let logs: StreamLogs
    private let clients: Mutex<[String: RPCClient]>

    /// Opens the store. Blocks.
    /// - Parameter clients: the peers that facts are pulled from, by id.
    private init(
        _ configuration: NodeConfiguration, _ artifacts: ArtifactConfiguration, _ logs: StreamLogs,
        _ clients: [String: RPCClient], _ gates: PeerGates, _ logger: Logger
    ) throws(NodeError) {
        self.logs = logs
        self.clients = Mutex(clients)
        self.logger = logger
        do throws(ArtifactError) {
            let opened = try FileArtifactStore(
                directory: "\(configuration.dataDirectory)/artifacts",
                capacityBytes: artifacts.capacityBytes
            ) { digest in
                logger.critical(
                    "an artifact's bytes were changed on the disk",
                    metadata: [
                        "event": "artifact_damaged", "alert": "DigestMismatch",
                        "digest": "sha256:\(digest)",
                    ])
            }
            if !opened.isWhole {
                logger.critical(
                    """
                    names of artifacts were lost by the disk: what facts refer to is looked for again, what was put \
                    here has to be put again
                    """,
                    metadata: ["event": "artifact_names_lost", "alert": "ArtifactMissing"])
            }
            store = opened
        } catch {
            throw NodeError(error.sentence)
        }
        pool = BlockingPool(name: "bsfg-artifact", threadCount: NodeArtifacts.diskThreads)
        follower = ReferenceFollower(logs.all, store, logger)
        sweeper = ArtifactSweeper(
            configuration: artifacts, logs: logs, store: store, follower: follower)
        prefetch = ArtifactPrefetch(
            store, pool, peers: NodeArtifacts.deliverers(configuration, logs),
            sources: clients.mapValues { ArtifactPeer(client: $0) },
            mayAsk: { gates.refusal(to: $0) == nil }, now: { MonotonicClock.milliseconds }, logger)
        sweeps = SweepLoop(
            sweeper, pool, everyMilliseconds: artifacts.sweepIntervalMilliseconds, logger)
    }

    /// The artifacts that a configuration asks for, with a connection of their own to each peer that
    /// facts are pulled from. Blocks.
    static func open(
        _ configuration: NodeConfiguration, _ credentials: NodeCredentials, _ logs: StreamLogs,
        _ gates: PeerGates, _ logger: Logger
    ) throws(NodeError) -> NodeArtifacts? {
        guard let artifacts = configuration.artifacts else { return nil }
        return try NodeArtifacts(
            configuration, artifacts, logs, try connect(configuration, credentials, [:]), gates,
            logger)
    }

    /// - Parameter known: connections that go on.
    private static func connect(
        _ configuration: NodeConfiguration, _ credentials: NodeCredentials,
        _ known: [String: RPCClient]
    ) throws(NodeError) -> [String: RPCClient] {
        var clients = known
        for cursor in configuration.cursors where clients[cursor.peer] == nil {
            guard let peer = configuration.peer(id: cursor.peer), let endpoint = peer.endpoint else {
                continue
            }
            clients[peer.id] = try PeerConnection.client(peer, endpoint, configuration, credentials)
        }
        return clients
    }

    /// Which peer delivers the facts of a log.
    private static func deliverers(_ configuration: NodeConfiguration, _ logs: StreamLogs)
        -> [[UInt8]: String]
    {
        var peers: [[UInt8]: String] = [:]
        for cursor in configuration.cursors {
            guard let log = logs.log(stream: cursor.stream, origin: cursor.origin) else { continue }
            peers[log.buffer.identifier] = cursor.peer
        }
        return peers
    }

    /// Follows the references of logs that were opened, too.
    func follow(_ opened: [StreamLog]) { follower.follow(opened) }

    /// Puts a new configuration in force: connections of peers that changed or that nothing is pulled
    /// from any more end, new ones are made.
    func apply(
        _ configuration: NodeConfiguration, _ credentials: NodeCredentials,
        changedPeers: Set<String>
    ) async throws(NodeError) {
        let before = clients.withLock { $0 }
        let usedPeers = Set(configuration.cursors.map(\.peer))
        let ended = before.filter { changedPeers.contains($0.key) || !usedPeers.contains($0.key) }
        let made = try NodeArtifacts.connect(
            configuration, credentials, before.filter { ended[$0.key] == nil })
        clients.withLock { $0 = made }
        await prefetch.apply(
            peers: NodeArtifacts.deliverers(configuration, logs),
            sources: made.mapValues { ArtifactPeer(client: $0) })
        for (peer, client) in ended {
            await prefetch.interrupt(peer: peer)
            await client.close()
        }
    }

    func service(_ access: Access) -> ArtifactService {
        ArtifactService(access: access, zone: access.configuration.zone, store: store, pool: pool)
    }

    func streaming(_ access: Access) -> ArtifactStreaming {
        ArtifactStreaming(access: access, store: store, pool: pool)
    }

    func start() async {
        follower.start()
        await prefetch.start()
        await sweeps.start()
    }

    func stop() async {
        await sweeps.stop()
        await prefetch.stop()
        follower.stop()
        for client in clients.withLock({ Array($0.values) }) { await client.close() }
    }

    /// After the last request is answered. Blocks.
    func close() {
        pool.stop()
        store.close()
    }

    /// Waits until the bytes that a log's facts refer to are here, up to its present head: what the
    /// confirm of a `sil_strict` stream does before it lets the source forget.
    func waitForBytes(_ log: StreamLog) async {
        let identifier = log.buffer.identifier
        let head = log.buffer.headOffset
        var awaited: Set<ArtifactName>?
        while !Task.isCancelled {
            if let names = awaited {
                awaited = await prefetch.stillAwaited(names)
            } else if follower.position(log) >= head {
                // Once: later facts may refer to the same, and to others that nobody has to wait for here.
                awaited = await prefetch.awaited(log: identifier)
            }
            if awaited?.isEmpty == true { return }
            try? await Task.sleep(for: .milliseconds(NodeArtifacts.confirmLookMilliseconds))
        }
    }
}

/// A peer's artifacts, over RPC.
private struct ArtifactPeer: ArtifactSource {
    let client: RPCClient

    func read(
        _ path: String, _ headers: [(name: String, value: String)], _ download: @escaping RPCDownload
    ) async throws(RPCClientError) -> RPCResponse {
        try await client.stream("GET", path, headers: headers, download: download)
    }
}

/// Sweeps now and then.
private actor SweepLoop {
    private let sweeper: ArtifactSweeper
    private let pool: BlockingPool
    private let everyMilliseconds: Int64
    private let logger: Logger
    private var loop: Task<Void, Never>?

    init(
        _ sweeper: ArtifactSweeper, _ pool: BlockingPool, everyMilliseconds: Int64, _ logger: Logger
    ) {
        self.sweeper = sweeper
        self.pool = pool
        self.everyMilliseconds = everyMilliseconds
        self.logger = logger
    }

    func start() {
        loop = Task { [weak self, everyMilliseconds] in
            while !Task.isCancelled {
                try? await Task.sleep(for: .milliseconds(everyMilliseconds))
                if !Task.isCancelled { await self?.sweep() }
            }
        }
    }

    func stop() async {
        loop?.cancel()
        await loop?.value
    }

    private func sweep() async {
        let (sweeper, logger) = (sweeper, logger)
        await withCheckedContinuation { continuation in
            let isTaken = pool.submit {
                do throws(ArtifactError) {
                    if let report = try sweeper.sweep(), report.names > 0 {
                        logger.info(
                            "artifacts swept",
                            metadata: [
                                "names": "\(report.names)", "blobs": "\(report.blobs)",
                                "bytes": "\(report.bytes)",
                            ])
                    }
                } catch {
                    logger.error("artifacts not swept: \(error.sentence)")
                }
                continuation.resume()
            }
            if !isTaken { continuation.resume() }
        }
    }
}
