internal import Buffers
internal import Facts
internal import Logging
internal import Replication
internal import RPC

/// What a node consists of beside its logs and its server, put together: who may do what, the pulls, the gates
/// between them, and what changes all of it while it runs.
struct NodeParts: Sendable {
    let access: Access
    let pulls: Pulls
    /// Nil where the configuration has no artifacts.
    let artifacts: NodeArtifacts?
    let driver: GateDriver
    let reloader: Reloader
    let certificateWatch: CertificateWatch
    let verifier: ReloadableVerifier
    let administration: FederationAdministration
    let notices: NoticeSender
    let noticeReceiver: NoticeReceiver
    let beginNotices: @Sendable () async -> Void

    /// Blocks.
    init(
        _ configuration: NodeConfiguration, _ credentials: NodeCredentials, logs: StreamLogs,
        pool: BlockingPool, waits: HeadWaits, watch: LogWatch, custody: NodeCustody, logger: Logger,
        now: @escaping @Sendable () -> Int64, server: @escaping @Sendable () -> RPCServer?
    ) throws(NodeError) {
        let live = LiveConfiguration(configuration)
        let closures = OperatorClosures(dataDirectory: configuration.dataDirectory)
        let gateLog = GateLog(logger)
        let gates = PeerGates(
            try closures.load(peers: configuration.peers.map(\.id)), tell: { gateLog.write($0, $1, $2) })
        gates.configure(configuration)
        let artifacts = try NodeArtifacts.open(configuration, credentials, logs, gates, logger)
        self.artifacts = artifacts
        let pulls = try Pulls(
            configuration, logs, pool, custody, gates, logger,
            mayConfirm: { await artifacts?.waitForBytes($0) }
        ) { (peer, endpoint) throws(NodeError) in
            try PeerConnection.connect(peer, endpoint, configuration, credentials)
        }
        gates.attach(
            GateHooks(
                interrupt: {
                    await pulls.interrupt(peer: $0, $1)
                    await artifacts?.prefetch.interrupt(peer: $0)
                },
                resume: { await pulls.resume(peer: $0) },
                greet: { await pulls.greet(peer: $0) },
                endPolls: { waits.interrupt() }))
        let partitions = Partitions(gates: gates, file: closures, pool: pool, logger: logger)
        access = Access(live, gates: gates)
        self.pulls = pulls
        driver = GateDriver(
            live: live, gates: gates, pulls: pulls, logs: logs, partitions: partitions, now: now)
        let verifier = ReloadableVerifier(credentials.verifier)
        self.verifier = verifier
        let notices = NoticeSender(logs: logs, gates: gates, logger: logger)
        self.notices = notices
        beginNotices = {
            await notices.apply(configuration, changedPeers: []) { (peer, endpoint) throws(NodeError) in
                try PeerConnection.connect(peer, endpoint, configuration, credentials)
            }
        }
        noticeReceiver = NoticeReceiver(gates: gates) { peer in
            Task { await pulls.resume(peer: peer) }
        }
        let reloader = Reloader(
            live: live, verifier: verifier, credentials: credentials, logs: logs, pulls: pulls,
            artifacts: artifacts, gates: gates, waits: waits, notices: notices, faults: custody.faults,
            pool: pool, logger: logger, server: server
        ) { watch.watch($0) }
        self.reloader = reloader
        certificateWatch = CertificateWatch(
            credentials.fileState, live: live, reloader: reloader, pool: pool, logger: logger)
        administration = FederationAdministration(
            live: live, gates: gates, partitions: partitions, pulls: pulls, custody: custody, now: now,
            refusals: { server()?.recentRefusals ?? RecentRefusals() }
        ) { (caller) async throws(ServiceError) in try await reloader.reload(by: caller) }
    }
}
