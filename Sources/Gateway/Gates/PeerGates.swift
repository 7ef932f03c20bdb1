internal import Facts
internal import Replication
internal import RPC
internal import Synchronization

/// What a gate has done to it from outside the state machines.
struct GateHooks: Sendable {
    /// Drops what the pulls from a peer have under way and waits for their commits.
    var interrupt: @Sendable (_ peer: String, _ sentence: String) async -> Void
    /// The pulls from a peer that wait try again.
    var resume: @Sendable (_ peer: String) async -> Void
    /// Calls a peer's hello.
    var greet: @Sendable (_ peer: String) async -> Void
    /// Ends the long polls that are served.
    var endPolls: @Sendable () -> Void
}

/// Every peer's gates. They are driven by what happens on the wire; the machines decide, and what they ask
/// for is done here.
final class PeerGates: Sendable {
    enum Side: String, Sendable {
        case inbound, outbound
    }

    /// A log that a peer reads, as its source sees it.
    struct ReadLog: Sendable {
        var stream: GateStream
        var confirmedOffset: UInt64
        var headOffset: UInt64
        /// Why the peer cannot go on.
        var blocked: String?
    }

    private struct Peer {
        var inbound: InboundGate?
        var outbound: OutboundGate?
        var closure: Bsfg_Admin_V1_OperatorClosure?
        /// Pages and confirmations of this peer that are being answered.
        var serving = 0
        let changes = Wakeups()
    }

    private let peers = Mutex<[String: Peer]>([:])
    private let hooks = Mutex<GateHooks?>(nil)
    private let clock: @Sendable () -> Int64
    private let tell: @Sendable (_ peer: String, Side, GateAction) -> Void
    /// Something changed that the driver looks at.
    let changes = Wakeups()

    /// - Parameters:
    ///   - closures: what the operator keeps closed.
    ///   - clock: milliseconds of a clock that never jumps.
    ///   - tell: hears of every action, in order for each peer; must not block.
    init(
        _ closures: [Bsfg_Admin_V1_OperatorClosure] = [],
        clock: @escaping @Sendable () -> Int64 = { MonotonicClock.milliseconds },
        tell: @escaping @Sendable (_ peer: String, Side, GateAction) -> Void = { _, _, _ in }
    ) {
        self.clock = clock
        self.tell = tell
        peers.withLock { peers in
            for closure in closures { peers[closure.peer, default: Peer()].closure = closure }
        }
    }

    func attach(_ hooks: GateHooks) { self.hooks.withLock { $0 = hooks } }

    /// Who there is by configuration: a peer that we pull from has an inbound gate, one that something is
    /// granted to an outbound one.
    func configure(_ configuration: NodeConfiguration) {
        let now = clock()
        peers.withLock { peers in
            for id in Array(peers.keys) where configuration.peer(id: id) == nil {
                peers[id]?.inbound = nil
                peers[id]?.outbound = nil
            }
            for peer in configuration.peers {
                var known = peers[peer.id] ?? Peer()
                let isPulled = configuration.cursors.contains {
                    $0.peer.utf8.elementsEqual(peer.id.utf8)
                }
                if !isPulled {
                    known.inbound = nil
                } else if known.inbound == nil {
                    var gate = InboundGate(at: now)
                    if let closure = known.closure {
                        _ = gate.closeByOperator(closure.reason, at: now)
                    }
                    known.inbound = gate
                }
                if !peer.authorized || peer.streams.isEmpty {
                    known.outbound = nil
                } else if known.outbound == nil {
                    var gate = OutboundGate()
                    if let closure = known.closure { _ = gate.closeByOperator(closure.reason) }
                    known.outbound = gate
                }
                peers[peer.id] = known
            }
        }
        changes.wakeAll()
    }

    // MARK: - Our pulls

    /// Returns when a call may be made.
    /// - Throws: `unavailable` when the task is cancelled before.
    func permit(_ peer: String, _ stream: GateStream) async throws(PullFailure) {
        while true {
            guard !Task.isCancelled else { throw .unavailable("the call was given up") }
            let now = clock()
            let decision = peers.withLock { peers -> (InboundGate.Permit, Wakeups, UInt64)? in
                guard let changes = peers[peer]?.changes else { return nil }
                let seen = changes.count
                guard let permit = peers[peer]?.inbound?.permit(stream, at: now) else { return nil }
                return (permit, changes, seen)
            }
            guard let (permit, changes, seen) = decision else { return }
            guard case .wait(let milliseconds) = permit else { return }
            await changes.wait(after: seen, milliseconds: milliseconds)
        }
    }

    var nowMilliseconds: Int64 { clock() }

    func answered(_ peer: String, _ answer: InboundGate.Answer) {
        inbound(peer) { $0.answered(answer, at: $1) }
    }

    func failed(_ peer: String, _ sentence: String, began: Int64) {
        let jitter = Double.random(in: 0..<1)
        inbound(peer) { $0.failed(sentence, began: began, at: $1, jitter: jitter) }
    }

    func abandoned(_ peer: String, _ stream: GateStream) {
        inbound(peer) { gate, _ in gate.abandoned(stream) }
    }

    /// A cursor was opened at the peer.
    func opened(_ peer: String, _ stream: GateStream, local: UInt64, head: UInt64) {
        inbound(peer) { gate, _ in gate.opened(stream, local: local, peer: head) }
        changes.wakeAll()
    }

    /// The streams that are pulled from a peer now.
    func keep(_ peer: String, _ streams: [GateStream]) {
        inbound(peer) { gate, _ in gate.keep(streams) }
    }

    func progress(_ peer: String, _ stream: GateStream, offset: UInt64, blocked: String?) {
        inbound(peer) { gate, _ in gate.progress(stream, offset: offset, blocked: blocked) }
    }

    /// The peer says that it has something: the next probe need not wait.
    func invited(by peer: String) { inbound(peer) { $0.invite(at: $1) } }

    // MARK: - What we serve

    /// The peer made an authenticated request.
    func called(by peer: String) {
        let now = clock()
        let actions = peers.withLock { peers -> [GateAction] in
            guard let actions = peers[peer]?.outbound?.called(at: now) else { return [] }
            for action in actions { tell(peer, .outbound, action) }
            return actions
        }
        if !actions.isEmpty { changes.wakeAll() }
    }

    /// Where the peer stands in what it reads here.
    func reads(_ peer: String, _ logs: [ReadLog]) {
        outbound(peer) { gate, now in
            var actions = gate.reconcile(
                logs.map { ($0.stream, $0.confirmedOffset, $0.headOffset) })
            actions += gate.keep(logs.map(\.stream))
            for log in logs {
                actions += gate.progress(
                    log.stream, offset: log.confirmedOffset, blocked: log.blocked)
            }
            return actions + gate.tick(at: now)
        }
    }

    /// Why a peer is not served facts and artifacts at the moment; nil when it is.
    func refusal(to peer: String) -> ServiceError? {
        guard let closure = peers.withLock({ $0[peer]?.closure }) else { return nil }
        return PeerGates.refusal(closure)
    }

    private static func refusal(_ closure: Bsfg_Admin_V1_OperatorClosure) -> ServiceError {
        ServiceError(
            .gateClosed,
            "the operator closed the gate to \(closure.peer) (\(closure.reason)); call again when it "
                + "is open")
    }

    /// Whether a page or confirmation of the peer is being answered, a long poll among them.
    func isServing(_ peer: String) -> Bool { peers.withLock { $0[peer]?.serving ?? 0 > 0 } }

    /// Answers a peer's call through the gate: counted while it is in flight, refused while the operator
    /// keeps the gate closed.
    func serve(
        _ peer: String, _ respond: @escaping @Sendable (RPCReply) -> Void,
        _ body: (@escaping @Sendable (RPCReply) -> Void) -> Void
    ) {
        let closure = peers.withLock { peers -> Bsfg_Admin_V1_OperatorClosure? in
            if let closure = peers[peer]?.closure { return closure }
            peers[peer, default: Peer()].serving += 1
            return nil
        }
        if let closure { return respond(.failure(PeerGates.refusal(closure))) }
        body { [self] reply in
            respond(reply)
            let idle = peers.withLock { peers -> Wakeups? in
                peers[peer]?.serving -= 1
                return peers[peer]?.serving == 0 ? peers[peer]?.changes : nil
            }
            idle?.wakeAll()
        }
    }

    // MARK: - The operator

    /// Closes both directions: nothing new begins, and our pulls have ended. The closure is durable before.
    func close(_ closure: Bsfg_Admin_V1_OperatorClosure) async {
        let peer = closure.peer
        let now = clock()
        peers.withLock { peers in
            peers[peer, default: Peer()].closure = closure
            for action in peers[peer]?.inbound?.closeByOperator(closure.reason, at: now) ?? [] {
                tell(peer, .inbound, action)
            }
            for action in peers[peer]?.outbound?.closeByOperator(closure.reason) ?? [] {
                tell(peer, .outbound, action)
            }
        }
        changes.wakeAll()
        let hooks = hooks.withLock { $0 }
        hooks?.endPolls()
        await hooks?.interrupt(peer, "the operator closed the gate (\(closure.reason))")
    }

    /// Waits until nothing of the peer is being answered: what is in work ends with its page.
    func served(_ peer: String) async {
        while !Task.isCancelled {
            let state = peers.withLock { peers in
                peers[peer].map { ($0.serving, $0.changes, $0.changes.count) }
            }
            guard let (serving, changes, seen) = state, serving > 0 else { return }
            await changes.wait(after: seen, milliseconds: 1_000)
        }
    }

    /// Opens what the operator closed; false when he had not.
    func open(_ peer: String) async -> Bool {
        let now = clock()
        let wasClosed = peers.withLock { peers -> Bool in
            guard peers[peer]?.closure != nil else { return false }
            peers[peer]?.closure = nil
            _ = peers[peer]?.inbound?.openByOperator(at: now)
            _ = peers[peer]?.outbound?.openByOperator()
            peers[peer]?.changes.wakeAll()
            return true
        }
        changes.wakeAll()
        if wasClosed { await hooks.withLock { $0 }?.resume(peer) }
        return wasClosed
    }

    var closures: [Bsfg_Admin_V1_OperatorClosure] {
        peers.withLock { $0.values.compactMap(\.closure) }
    }

    // MARK: - Time and sight

    /// Time has passed for the gates to peers that we pull from.
    func tick() {
        let jitter = Double.random(in: 0..<1)
        for peer in peers.withLock({ Array($0.keys) }) {
            inbound(peer) { $0.tick(at: $1, jitter: jitter) }
        }
    }

    /// Whether a gate is catching up, and is to be looked at often.
    var isReconciling: Bool {
        peers.withLock { peers in
            peers.values.contains {
                $0.inbound?.mode == .reconciling || $0.outbound?.mode == .reconciling
            }
        }
    }

    func status() -> [Bsfg_Admin_V1_Gate] {
        peers.withLock { peers in
            peers.sorted { $0.key < $1.key }.compactMap { id, peer in
                guard peer.inbound != nil || peer.outbound != nil || peer.closure != nil else {
                    return nil
                }
                return PeerGates.status(id, peer)
            }
        }
    }

    func status(of peer: String) -> Bsfg_Admin_V1_Gate {
        peers.withLock { PeerGates.status(peer, $0[peer] ?? Peer()) }
    }

    private static func status(_ id: String, _ peer: Peer) -> Bsfg_Admin_V1_Gate {
        var gate = Bsfg_Admin_V1_Gate()
        gate.peer = id
        var worst = peer.closure == nil ? GateMode.normal : .autonomous
        if let inbound = peer.inbound {
            worst = max(worst, inbound.mode)
            gate.inbound = direction(inbound.mode, inbound.reason, inbound.reconciliation)
            gate.inbound.breaker = inbound.breaker.rawValue
        }
        if let outbound = peer.outbound {
            worst = max(worst, outbound.mode)
            gate.outbound = direction(outbound.mode, outbound.reason, outbound.reconciliation)
        }
        gate.mode = worst.rawValue
        if let closure = peer.closure { gate.closure = closure }
        return gate
    }

    private static func direction(
        _ mode: GateMode, _ reason: String, _ reconciliation: Reconciliation
    ) -> Bsfg_Admin_V1_GateDirection {
        var direction = Bsfg_Admin_V1_GateDirection()
        direction.mode = mode.rawValue
        direction.reason = mode == .autonomous ? reason : ""
        direction.openStreams = reconciliation.open.map { open in
            open.blocked.map { "\(open.stream) (blocked: \($0))" } ?? "\(open.stream)"
        }
        return direction
    }

    // MARK: - Doing what the machines ask for

    private func inbound(_ peer: String, _ body: (inout InboundGate, Int64) -> [GateAction]) {
        let now = clock()
        let actions = peers.withLock { peers -> [GateAction] in
            guard var gate = peers[peer]?.inbound else { return [] }
            let actions = body(&gate, now)
            peers[peer]?.inbound = gate
            for action in actions { tell(peer, .inbound, action) }
            if actions.contains(.wake) { peers[peer]?.changes.wakeAll() }
            return actions
        }
        guard !actions.isEmpty else { return }
        changes.wakeAll()
        guard let hooks = hooks.withLock({ $0 }) else { return }
        for action in actions {
            switch action {
            case .closed(let sentence): Task { await hooks.interrupt(peer, sentence) }
            case .reachable: Task { await hooks.resume(peer) }
            case .greet: Task { await hooks.greet(peer) }
            default: break
            }
        }
    }

    private func outbound(_ peer: String, _ body: (inout OutboundGate, Int64) -> [GateAction]) {
        let now = clock()
        peers.withLock { peers in
            guard var gate = peers[peer]?.outbound else { return }
            let actions = body(&gate, now)
            peers[peer]?.outbound = gate
            for action in actions { tell(peer, .outbound, action) }
        }
    }
}
