internal import Buffers
internal import Facts
internal import Logging
internal import Synchronization

/// Puts changed certificates, keys, CA files and CRLs in force by itself.
final class CertificateWatch: Sendable {
    static let intervalMilliseconds: Int64 = 200
    /// Between two attempts to keep CRLs that could not be kept.
    private static let keepingMilliseconds: Int64 = 1_000

    /// Of the files that are in force at the start.
    private let first: CertificateFileState
    private let live: LiveConfiguration
    private let reloader: Reloader
    private let pool: BlockingPool
    private let logger: Logger
    private let tasks = Mutex<[Task<Void, Never>]>([])

    init(
        _ first: CertificateFileState, live: LiveConfiguration, reloader: Reloader, pool: BlockingPool,
        logger: Logger
    ) {
        self.first = first
        self.live = live
        self.reloader = reloader
        self.pool = pool
        self.logger = logger
    }

    func start() {
        tasks.withLock { tasks in
            tasks = [
                Task { [self] in
                    var machine = CertificateWatchMachine(first)
                    while await CertificateWatch.pause(CertificateWatch.intervalMilliseconds) {
                        guard let now = await state() else { continue }
                        await act(machine.look(now, atMilliseconds: MonotonicClock.milliseconds), &machine)
                    }
                },
                // A disk that takes long to fail holds up no look.
                Task { [self] in
                    while await CertificateWatch.pause(CertificateWatch.keepingMilliseconds) {
                        await reloader.keepUnkeptRevocations()
                    }
                },
            ]
        }
    }

    /// False when it is to end.
    private static func pause(_ milliseconds: Int64) async -> Bool {
        try? await Task.sleep(for: .milliseconds(milliseconds))
        return !Task.isCancelled
    }

    func stop() async {
        let running = tasks.withLock { tasks in
            defer { tasks = [] }
            return tasks
        }
        for task in running { task.cancel() }
        for task in running { await task.value }
    }

    /// Nil when the disk has too much to do now.
    private func state() async -> CertificateFileState? {
        let files = NodeCredentials.watchedFiles(live.current)
        let stale = await reloader.staleLists
        return try? await pool.run { () throws(BufferError) in
            CertificateFileState(files, staleLists: stale)
        }
    }

    private func act(
        _ action: CertificateWatchMachine.Action, _ machine: inout CertificateWatchMachine
    ) async {
        switch action {
        case .none: break
        case .reload:
            var failure: String?
            do throws(ServiceError) {
                try await reloader.reloadCertificates()
            } catch where error.reason == .overloaded {
                return machine.postponed()
            } catch {
                failure = error.message
            }
            let causes = await reloader.refusedCauses
            await act(
                machine.reloaded(
                    failure: failure, causes: causes, atMilliseconds: MonotonicClock.milliseconds), &machine)
        case .alarm(let sentence):
            logger.error(
                "certificate files have been unusable for half a minute: \(sentence)",
                metadata: ["event": "certificates_unusable", "alert": "CertificateReload"])
        case .recovered:
            logger.notice(
                "the certificate files can be used again",
                metadata: ["event": "certificates_usable"])
        }
    }
}
