internal import Facts
internal import Logging
internal import NIOCore
internal import NIOPosix
internal import Synchronization

/// What all connections of a server share.
final class ServerCore: Sendable {
    let limits: RPCServerLimits
    let service: any RPCService
    let verifier: any CallerVerifier
    let procedures: Set<String>
    let streaming: (any StreamingService)?
    let admission: Admission
    let counters = ServerCounters()
    let liveCallers = LiveCallers()
    let logger: Logger
    /// Two threads that look at certificates: libcrypto and the disk never hold an event loop.
    let verification: WorkQueue
    /// Two threads that inflate and deflate what is too large for an event loop.
    let coding: WorkQueue
    private let stopping = Atomic<Bool>(false)

    private struct Denials {
        var bucket: TokenBucket
        /// Not written since the last that was.
        var leftOut = 0
    }

    private let denials = Mutex(
        Denials(
            bucket: TokenBucket(
                burst: 50, perSecond: 5, nowNanoseconds: NIODeadline.now().uptimeNanoseconds)))

    init(
        limits: RPCServerLimits, service: any RPCService, verifier: any CallerVerifier,
        logger: Logger
    ) {
        self.limits = limits
        self.service = service
        self.verifier = verifier
        self.logger = logger
        procedures = service.procedures
        streaming = service.streaming
        admission = Admission(limits)
        verification = WorkQueue(threads: 2, waiting: limits.verificationQueue)
        coding = WorkQueue(threads: 2, waiting: limits.codingQueue)
    }

    var isStopping: Bool { stopping.load(ordering: .relaxed) }

    func beginStopping() {
        stopping.store(true, ordering: .relaxed)
    }

    /// Says who asked for what it may not have. Somebody who goes on asking fills no disk with it: what is
    /// above a rate is counted only.
    func tellDenied(_ error: ServiceError, _ caller: Caller, _ path: String) {
        guard error.code == .permissionDenied else { return }
        let now = NIODeadline.now().uptimeNanoseconds
        let leftOut: Int? = denials.withLock { denials in
            guard denials.bucket.take(nowNanoseconds: now) else {
                denials.leftOut += 1
                return nil
            }
            defer { denials.leftOut = 0 }
            return denials.leftOut
        }
        guard let leftOut else { return }
        logger.notice(
            "access denied",
            metadata: [
                "event": "access_denied", "identity": "\(caller.identity)",
                "reason": "\(error.reason.rawValue)", "explanation": "\(error.message)",
                "path": "\(ConnectHead.shown(path))", "left_out": "\(leftOut)",
            ])
    }

    /// Says who was refused, for the other side's operator and for ours.
    func tellRefused(_ refusal: CallerRefusal, address: String, isOpen: Bool = false) {
        counters.refusedCaller(refusal.kind)
        logger.notice(
            isOpen ? "caller refused, its connection is closed" : "caller refused",
            metadata: [
                "event": "tls_refused", "direction": "\(CallDirection.incoming.rawValue)",
                "reason": "\(refusal.kind)", "explanation": "\(refusal.error.message)",
                "names": "\(refusal.names.joined(separator: " "))",
                "fingerprint": "\(refusal.fingerprint)", "address": "\(address)",
            ])
    }

    func overloaded(_ what: String) -> ServiceError {
        var error = ServiceError(.overloaded, "\(what); send the same call again later.")
        error.retryAfterMilliseconds = 1_000
        return error
    }
}

/// A few threads and a bounded line before them.
final class WorkQueue: Sendable {
    private let pool: NIOThreadPool
    private let limit: Int
    private let taken = Atomic<Int>(0)

    init(threads: Int, waiting: Int) {
        pool = NIOThreadPool(numberOfThreads: threads)
        limit = threads + waiting
        pool.start()
    }

    /// False when the line is full: then the work does not run.
    func submit(_ work: @escaping @Sendable () -> Void) -> Bool {
        if taken.add(1, ordering: .relaxed).newValue > limit {
            taken.subtract(1, ordering: .relaxed)
            return false
        }
        pool.submit { [self] state in
            taken.subtract(1, ordering: .relaxed)
            if state == .active { work() }
        }
        return true
    }

    func stop() async {
        try? await pool.shutdownGracefully()
    }
}
