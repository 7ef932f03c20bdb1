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

    /// What the operators of both sides are shown of those who were refused.
    let recentRefusals = Mutex(RecentRefusals())
    /// What others can make the log say.
    let lines = Mutex(LineBudget())

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
