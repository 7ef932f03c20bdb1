internal import Facts
internal import RPC
internal import Synchronization

/// NotifyAvailable: a peer says that it has something new. Advisory: it ends waits and moves nothing, and what
/// comes more often than once a second is ignored.
final class NoticeReceiver: Sendable {
    static let intervalMilliseconds: Int64 = 1_000

    private let gates: PeerGates
    private let resume: @Sendable (_ peer: String) -> Void
    private let clock: @Sendable () -> Int64
    private let lastAt = Mutex<[String: Int64]>([:])

    /// - Parameters:
    ///   - resume: the pulls from a peer that wait try again.
    ///   - clock: milliseconds of a clock that never jumps.
    init(
        gates: PeerGates, clock: @escaping @Sendable () -> Int64 = { MonotonicClock.milliseconds },
        resume: @escaping @Sendable (_ peer: String) -> Void
    ) {
        self.gates = gates
        self.clock = clock
        self.resume = resume
    }

    func receive(_ request: RPCRequest) throws(ServiceError) -> [UInt8] {
        _ = try WireCodec.decodeRequest(
            Bsfg_V1_NotifyAvailableRequest.self, request.body, request.encoding)
        guard case .peer(let id) = request.caller.kind else {
            throw ServiceError(.identityNotAuthorised, "only peers say what they have")
        }
        if isDue(id) {
            gates.invited(by: id)
            resume(id)
        }
        return WireCodec.encode(Bsfg_V1_NotifyAvailableResponse(), request.encoding)
    }

    /// Peers are those of the configuration, so what is remembered stays small.
    private func isDue(_ peer: String) -> Bool {
        let now = clock()
        return lastAt.withLock { lastAt in
            if let last = lastAt[peer], now - last < NoticeReceiver.intervalMilliseconds {
                return false
            }
            lastAt[peer] = now
            return true
        }
    }
}
