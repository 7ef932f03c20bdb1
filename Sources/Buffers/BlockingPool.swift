internal import WriteAheadLog

/// Threads for calls that block on a disk, so that neither an event loop nor the cooperative pool
/// ever does. The queue is bounded.
package final class BlockingPool: @unchecked Sendable {
    private let monitor = Monitor()
    private let work = Monitor.Condition()
    private let queueMaximum: Int
    // Guarded by `monitor`.
    private var queue: [@Sendable () -> Void] = []
    private var isStopping = false
    private var threads: [EngineThread] = []

    package init(name: String, threadCount: Int, queueMaximum: Int = 4_096) {
        self.queueMaximum = queueMaximum
        threads = (0..<threadCount).map { _ in EngineThread(name: name) { [self] in run() } }
    }

    /// Runs a closure on one of the threads; false when the queue is full or the pool stopped.
    package func submit(_ body: @escaping @Sendable () -> Void) -> Bool {
        monitor.lock()
        defer { monitor.unlock() }
        guard !isStopping, queue.count < queueMaximum else { return false }
        queue.append(body)
        work.signal()
        return true
    }

    /// Runs a closure on one of the threads and gives its result to the task that waits.
    package func run<Value: Sendable>(
        _ body: @escaping @Sendable () throws(BufferError) -> Value
    ) async throws(BufferError) -> Value {
        let result: Result<Value, BufferError> = await withCheckedContinuation { continuation in
            let isTaken = submit {
                continuation.resume(returning: Result { () throws(BufferError) in try body() })
            }
            if !isTaken {
                continuation.resume(
                    returning: .failure(
                        BufferError(
                            .busy, "too many calls wait for the disk; retry shortly",
                            retryAfterMilliseconds: 1_000)))
            }
        }
        return try result.get()
    }

    /// Finishes what is queued and ends the threads.
    package func stop() {
        monitor.withLock {
            isStopping = true
            work.broadcast()
        }
        for thread in threads { thread.join() }
        threads = []
    }

    private func run() {
        monitor.lock()
        while true {
            if !queue.isEmpty {
                let body = queue.removeFirst()
                monitor.unlock()
                body()
                monitor.lock()
            } else if isStopping {
                break
            } else {
                monitor.wait(work)
            }
        }
        monitor.unlock()
    }
}
