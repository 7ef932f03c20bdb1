internal import Buffers
internal import Facts
internal import Logging

/// Partitions that the operator asks for: durable first, then in force.
actor Partitions {
    /// Who ends a partition whose time is over.
    private static let clock = "clock"

    private let gates: PeerGates
    private let file: OperatorClosures
    private let pool: BlockingPool
    private let logger: Logger
    private var isChanging = false
    private var waiting: [CheckedContinuation<Void, Never>] = []

    init(gates: PeerGates, file: OperatorClosures, pool: BlockingPool, logger: Logger) {
        self.gates = gates
        self.file = file
        self.pool = pool
        self.logger = logger
    }

    /// Returns when no page of the peer is in flight.
    /// - Parameters:
    ///   - caller: who asked for it.
    ///   - onlyOpen: what is closed already stays as it is.
    /// - Throws: `gateClosed` for a gate that is closed already, where it had to be open.
    func close(
        _ closure: Bsfg_Admin_V1_OperatorClosure, by caller: String, onlyOpen: Bool = false
    ) async throws(ServiceError) {
        try await put(closure, by: caller, onlyOpen: onlyOpen)
        // A slow page of this peer holds up nobody else's change.
        await gates.served(closure.peer)
    }

    private func put(
        _ closure: Bsfg_Admin_V1_OperatorClosure, by caller: String, onlyOpen: Bool
    ) async throws(ServiceError) {
        await beginChange()
        defer { endChange() }
        let standing = gates.closures.first { $0.peer.utf8.elementsEqual(closure.peer.utf8) }
        if let standing, onlyOpen {
            throw ServiceError(
                .gateClosed,
                "the operator closed the gate to \(closure.peer) already (\(standing.reason)); it stays as "
                    + "it is until bsfg admin reconcile")
        }
        try await store(gates.closures.filter { $0.peer != closure.peer } + [closure])
        logger.notice(
            "partition",
            metadata: [
                "event": "operator_partition", "peer": "\(closure.peer)",
                "by": "\(caller)", "reason": "\(closure.reason)", "until_unix_ms": "\(closure.untilUnixMs)",
            ])
        await gates.close(closure)
    }

    /// - Parameters:
    ///   - caller: who asked for it.
    ///   - isMeant: which closure is to end; another one stands.
    /// - Returns: false when the gate was not closed, or stays so.
    func open(
        _ peer: String, by caller: String, why: String,
        where isMeant: @Sendable (Bsfg_Admin_V1_OperatorClosure) -> Bool = { _ in true }
    ) async throws(ServiceError) -> Bool {
        await beginChange()
        defer { endChange() }
        let closures = gates.closures
        guard let closure = closures.first(where: { $0.peer == peer }), isMeant(closure) else {
            return false
        }
        try await store(closures.filter { $0.peer != peer })
        logger.notice(
            "reconcile",
            metadata: [
                "event": "operator_reconcile", "peer": "\(peer)", "by": "\(caller)", "reason": "\(why)",
            ])
        return await gates.open(peer)
    }

    /// - Parameter now: milliseconds since 1970: a deadline holds over a restart.
    func endThoseDue(at now: Int64) async {
        for closure in gates.closures where closure.untilUnixMs > 0 && closure.untilUnixMs <= now {
            do throws(ServiceError) {
                _ = try await open(closure.peer, by: Self.clock, why: "its time is over") { $0 == closure }
            } catch {
                // It stays closed and is tried again with the next look.
                logger.error("the partition of \(closure.peer) cannot end: \(error.message)")
            }
        }
    }

    /// One at a time from looking to being in force: of two at once the later would store what the earlier
    /// had not seen.
    private func beginChange() async {
        while isChanging { await withCheckedContinuation { waiting.append($0) } }
        isChanging = true
    }

    private func endChange() {
        isChanging = false
        if !waiting.isEmpty { waiting.removeFirst().resume() }
    }

    private func store(_ closures: [Bsfg_Admin_V1_OperatorClosure]) async throws(ServiceError) {
        let file = file
        do throws(BufferError) {
            try await pool.run { () throws(BufferError) in
                do throws(NodeError) {
                    try file.store(closures)
                } catch {
                    throw BufferError(.stopped, error.sentence)
                }
            }
        } catch {
            throw ServiceError(.internal, error.sentence)
        }
    }
}
