/// Runs the tasks of a program that appends to one log. What a commit of the log's own thread lets go on runs
/// there, all of it before the next commit is taken, and so shares that one: no thread is woken. Everything
/// else of these tasks runs on one thread of the executor's own.
///
///     let executor = AppendExecutor(log)
///     Task(executorPreference: executor) { try await log.append(batch) }
///
/// For tasks that do little between two appends: as a completion's, their work holds up the log, and must
/// not block. Others are better off with Swift's own pool, which wakes a thread for nearly every task. The
/// thread ends with the last reference to the executor, which every task that prefers it holds too.
///
/// Source: Swift Evolution SE-0417, *Task executor preference*.
public final class AppendExecutor: TaskExecutor {
    private let engine: LogEngine
    private let jobs = Jobs()
    private let thread: EngineThread

    /// - Parameter log: which its tasks append to; one log may have any number of executors.
    public init(_ log: Log) {
        engine = log.engine
        let jobs = jobs
        thread = EngineThread(name: "bsfg-tasks") {
            var taken: [UnownedJob] = []
            while jobs.take(into: &taken) {
                for job in taken { job.runSynchronously(on: jobs.executor!) }
            }
        }
        jobs.executor = asUnownedTaskExecutor()
    }

    deinit {
        // Not joined: the last reference may go on the committing thread, for which this one may wait.
        jobs.end()
        thread.letGo()
    }

    /// Queues a part of a task. Constant time; called by the runtime.
    public func enqueue(_ job: consuming ExecutorJob) {
        let job = UnownedJob(job)
        if !engine.resume(job, on: asUnownedTaskExecutor()) { jobs.add(job) }
    }

    /// What the thread and those who enqueue share.
    private final class Jobs: @unchecked Sendable {
        private let monitor = Monitor()
        private let changed = Monitor.Condition()
        /// Set before there is a job.
        var executor: UnownedTaskExecutor?
        // Guarded by `monitor`.
        private var queued: [UnownedJob] = []
        private var isSleeping = false
        private var isEnding = false

        func add(_ job: UnownedJob) {
            monitor.lock()
            queued.append(job)
            // With the lock: the job may be the last one, and end before a signal behind it.
            if isSleeping { changed.signal() }
            isSleeping = false
            monitor.unlock()
        }

        func end() {
            monitor.withLock {
                isEnding = true
                changed.signal()
            }
        }

        /// Waits for jobs and takes all of them, in order; false when there will be none any more.
        func take(into jobs: inout [UnownedJob]) -> Bool {
            jobs.removeAll(keepingCapacity: true)
            monitor.lock()
            defer { monitor.unlock() }
            while queued.isEmpty {
                guard !isEnding else { return false }
                isSleeping = true
                monitor.wait(changed)
            }
            isSleeping = false
            swap(&queued, &jobs)
            return true
        }
    }
}
