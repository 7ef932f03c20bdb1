internal import Buffers
internal import Facts
internal import Logging

/// Partitions that the operator asks for: durable first, then in force.
actor Partitions {
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

    func close(_ closure: Bsfg_Admin_V1_OperatorClosure) async throws(ServiceError) {
        await beginChange()
        defer { endChange() }
        try await store(gates.closures.filter { $0.peer != closure.peer } + [closure])
        logger.notice(
            "partition",
            metadata: [
                "event": "operator_partition", "peer": "\(closure.peer)",
                "reason": "\(closure.reason)", "until_unix_ms": "\(closure.untilUnixMs)",
            ])
        await gates.close(closure)
    }

    /// - Returns: false when the gate was not closed.
    func open(_ peer: String, why: String) async throws(ServiceError) -> Bool {
        await beginChange()
        defer { endChange() }
        let closures = gates.closures
        guard closures.contains(where: { $0.peer == peer }) else { return false }
        try await store(closures.filter { $0.peer != peer })
        logger.notice(
            "reconcile",
            metadata: ["event": "operator_reconcile", "peer": "\(peer)", "reason": "\(why)"])
        return await gates.open(peer)
    }

    /// - Parameter now: milliseconds since 1970: a deadline holds over a restart.
    func endThoseDue(at now: Int64) async {
        for closure in gates.closures where closure.untilUnixMs > 0 && closure.untilUnixMs <= now {
            do throws(ServiceError) {
                _ = try await open(closure.peer, why: "its time is over")
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
