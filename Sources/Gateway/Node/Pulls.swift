internal import Buffers
internal import Facts
internal import Logging
internal import Replication
internal import RPC
internal import Synchronization

/// Everything this node pulls: one loop for each entry of `cursors.yaml`, one connection for each
/// peer, none waiting for another.
final class Pulls: Sendable {
    typealias Connect = (PeerConfiguration, HostPort) throws(NodeError) -> PeerConnection

    /// How far a pull has come, for its peer's gate.
    struct Progress: Sendable {
        var peer: String
        var stream: GateStream
        var offset: UInt64
        var blocked: String?
    }

    struct Pull: Sendable {
        var configuration: CursorConfiguration
        var peer: PeerConfiguration
        var log: StreamLog
        var loop: PullLoop
        var source: RPCPullSource
        /// Held until the operator starts it (`start: manual`, and nothing was ever received).
        var isHeld: Bool

        var stream: GateStream {
            GateStream(stream: configuration.stream, origin: configuration.origin)
        }
    }

    private struct State {
        var pulls: [Pull] = []
        var connections: [String: PeerConnection] = [:]
        var isRunning = false
    }

    private let state = Mutex(State())
    private let zone: String
    private let logs: StreamLogs
    private let pool: BlockingPool
    private let custody: NodeCustody
    private let lines: PullLines
    private let gates: PeerGates
    /// Waits until a source may hear that what it sent is here.
    private let mayConfirm: (@Sendable (StreamLog) async -> Void)?

    /// - Parameter connect: makes the one connection that all pulls from a peer share.
    init(
        _ configuration: NodeConfiguration, _ logs: StreamLogs, _ pool: BlockingPool,
        _ custody: NodeCustody, _ gates: PeerGates, _ logger: Logger,
        mayConfirm: (@Sendable (StreamLog) async -> Void)? = nil, connect: Connect
    ) throws(NodeError) {
        zone = configuration.zone
        self.logs = logs
        self.pool = pool
        self.custody = custody
        lines = PullLines(logger: logger)
        self.gates = gates
        self.mayConfirm = mayConfirm
        let made = try make(configuration.cursors, configuration, [:], connect)
        state.withLock {
            $0.pulls = made.pulls
            $0.connections = made.connections
        }
        keepGates(configuration.peers.map(\.id))
    }

    private var pulls: [Pull] { state.withLock { $0.pulls } }

    /// - Parameter known: connections that go on.
    private func make(
        _ cursors: [CursorConfiguration], _ configuration: NodeConfiguration,
        _ known: [String: PeerConnection], _ connect: Connect
    ) throws(NodeError) -> (pulls: [Pull], connections: [String: PeerConnection]) {
        var connections = known
        var pulls: [Pull] = []
        let share = PageShare(pullCount: configuration.cursors.count)
        for cursor in cursors {
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
                connection: connection, peer: peer, pull: cursor, zone: zone,
                profile: log.stream.profile.rawValue, pageBytes: share.pageBytes, gates: gates)
            let lines = lines
            pulls.append(
                Pull(
                    configuration: cursor, peer: peer, log: log,
                    loop: PullLoop(
                        source: source,
                        materialisation: custody.materialisation(forward, log, cursor.origin),
                        pool: pool, pagesAhead: share.pagesAhead,
                        mayConfirm: Pulls.hold(log, mayConfirm),
                        log: { lines.tell($0, cursor) }),
                    source: source,
                    isHeld: peer.start == .manual && forward.position == nil))
        }
        return (pulls, connections)
    }

    /// Only a `sil_strict` stream lets its confirm wait.
    private static func hold(
        _ log: StreamLog, _ mayConfirm: (@Sendable (StreamLog) async -> Void)?
    ) -> (@Sendable () async -> Void)? {
        guard let mayConfirm, log.stream.profile == .silStrict else { return nil }
        return { await mayConfirm(log) }
    }

    // MARK: - Running

    func start() async {
        let due = state.withLock { state in
            state.isRunning = true
            return state.pulls.filter { !$0.isHeld }
        }
        for pull in due { await pull.loop.start() }
    }

    func stop() async {
        let (pulls, connections) = state.withLock { state in
            state.isRunning = false
            return (state.pulls, Array(state.connections.values))
        }
        await Pulls.stop(pulls)
        for connection in connections { await connection.close() }
    }

    private static func stop(_ pulls: [Pull]) async {
        await withTaskGroup(of: Void.self) { group in
            for pull in pulls { group.addTask { await pull.loop.stop() } }
        }
    }

    /// Puts a new configuration in force: pulls whose entry is gone or whose peer changed end, new ones
    /// begin, the others notice nothing. The logs of new ones are open already.
    func apply(
        _ configuration: NodeConfiguration, changedPeers: Set<String>, connect: Connect
    ) async throws(NodeError) {
        let before = state.withLock { $0 }
        func stays(_ pull: Pull) -> Bool {
            configuration.cursors.contains(pull.configuration)
                && !changedPeers.contains(pull.peer.id)
        }
        let staying = before.pulls.filter(stays)
        let cursors = configuration.cursors.filter { cursor in
            !staying.contains { $0.configuration == cursor }
        }
        var connections = before.connections
        let usedPeers = Set(configuration.cursors.map(\.peer))
        let closed = connections.filter {
            changedPeers.contains($0.key) || !usedPeers.contains($0.key)
        }
        for id in closed.keys { connections[id] = nil }
        let made = try make(cursors, configuration, connections, connect)
        // Two loops must not feed one log: the old ones have ended before a new one begins.
        await Pulls.stop(before.pulls.filter { !stays($0) })
        for connection in closed.values { await connection.close() }
        let due = state.withLock { state in
            // Read again: the operator may have started one meanwhile.
            state.pulls = state.pulls.filter(stays) + made.pulls
            state.connections = made.connections
            return state.isRunning ? made.pulls.filter { !$0.isHeld } : []
        }
        keepGates(configuration.peers.map(\.id))
        for pull in due { await pull.loop.start() }
    }

    /// Starts what `start: manual` holds.
    /// - Returns: what was started.
    func startHeld(_ chosen: [Pull]) async {
        let streams = Set(chosen.map(\.stream))
        let peers = Set(chosen.map(\.peer.id))
        state.withLock { state in
            for index in state.pulls.indices where streams.contains(state.pulls[index].stream) {
                state.pulls[index].isHeld = false
            }
        }
        keepGates(Array(peers))
        for pull in chosen { await pull.loop.start() }
    }

    /// A gate waits for the streams that are pulled, not for those that the operator has not started.
    private func keepGates(_ peers: [String]) {
        let pulls = pulls
        for peer in peers {
            gates.keep(peer, pulls.filter { $0.peer.id == peer && !$0.isHeld }.map(\.stream))
        }
    }

    // MARK: - For the gates

    func interrupt(peer: String, _ sentence: String) async {
        await withTaskGroup(of: Void.self) { group in
            for pull in pulls where pull.peer.id == peer {
                group.addTask { await pull.loop.interrupt(sentence) }
            }
        }
    }

    func resume(peer: String) async {
        for pull in pulls where pull.peer.id == peer { await pull.loop.resume() }
    }

    /// Says hello on the connection of a peer's pulls.
    func greet(peer: String) async {
        guard let source = pulls.first(where: { $0.peer.id == peer && !$0.isHeld })?.source else {
            return
        }
        await source.greet()
    }

    func progress() async -> [Progress] {
        var all: [Progress] = []
        for pull in pulls where !pull.isHeld {
            let report = await pull.loop.report()
            var blocked: String?
            if case .blocked(let reason, _) = report.status { blocked = reason }
            all.append(
                Progress(
                    peer: pull.peer.id, stream: pull.stream,
                    offset: report.position?.nextOffset ?? 0, blocked: blocked))
        }
        return all
    }

    // MARK: - For the operator

    /// The pulls of a peer, of one stream or origin where they are named.
    func pulls(peer: String, stream: String, origin: String) -> [Pull] {
        pulls.filter {
            $0.peer.id.utf8.elementsEqual(peer.utf8)
                && (stream.isEmpty || $0.configuration.stream.utf8.elementsEqual(stream.utf8))
                && (origin.isEmpty || $0.configuration.origin.utf8.elementsEqual(origin.utf8))
        }
    }

    /// Fetches the last `count` offsets below a pull's position again.
    /// - Returns: from where, or nil when that is not pulled now.
    func redeliver(stream: String, origin: String, count: UInt64) async -> UInt64? {
        await pull(stream: stream, origin: origin)?.loop.redeliver(count: count)
    }

    /// A stream of an origin comes from one peer.
    func pull(stream: String, origin: String) -> Pull? {
        pulls.first {
            $0.configuration.stream.utf8.elementsEqual(stream.utf8)
                && $0.configuration.origin.utf8.elementsEqual(origin.utf8)
        }
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
            case .connecting: status.state = pull.isHeld ? "manual" : "connecting"
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
            status.recognised = report.recognisedCount
            status.uncompared = report.uncomparedCount
            status.altered = report.alteredCount
            status.confirms = report.confirmCount
            status.failures = report.failureCount
            all.append(status)
        }
        return all
    }
}
