import Glibc
@testable import WriteAheadLog

// A log in a directory, with its threads, as an embedder uses it: only what it allocates itself is
// counted, for the callers here use their batches and closures again.

private let payloadBytes = 256

private func openLog(_ directory: String) throws -> Log {
    try Log.open(
        directory: directory + "/log",
        options: LogOptions(capacityBytes: 512 << 20, segmentBytes: 64 << 20))
}

/// An operation is one record, so many of them in a batch, appended by the blocking form.
private func blockingCase(records recordCount: Int, keyed: Bool = false) -> MicroCase {
    MicroCase(
        name: "append-blocking-\(recordCount)" + (keyed ? "-keys" : ""),
        operation: "a record appended by the blocking form, \(recordCount) in a batch"
    ) { directory in
        let log = try openLog(directory)
        let payload = sampleBytes(payloadBytes)
        let batch = AppendBatch(capacityBytes: 2 * recordCount * payloadBytes)
        var number: UInt64 = 0
        return { operations in
            try payload.withUnsafeBytes { payload in
                for _ in 0..<max(1, operations / recordCount) {
                    batch.removeAll()
                    for _ in 0..<recordCount {
                        number += 1
                        let digest = keyed ? sampleDigest(number) : nil
                        try batch.add(key: digest, content: digest, payload: payload)
                    }
                    _ = try log.append(batch)
                }
            }
        }
    }
}

/// The same by the completion form, with 64 batches on their way.
private func completionCase(records recordCount: Int, keyed: Bool = false) -> MicroCase {
    MicroCase(
        name: "append-completion-\(recordCount)" + (keyed ? "-keys" : ""),
        operation: "a record appended by the completion form, \(recordCount) in a batch"
    ) { directory in
        let log = try openLog(directory)
        let payload = sampleBytes(payloadBytes)
        let window = CompletionWindow(batchCount: 64, batchBytes: 2 * recordCount * payloadBytes)
        // Their tables have the size that they need.
        for batch in window.batches {
            for _ in 0..<recordCount { try batch.add(payload: payload) }
            batch.seal()
        }
        var number: UInt64 = 0
        return { operations in
            try payload.withUnsafeBytes { payload in
                for _ in 0..<max(1, operations / recordCount) {
                    let place = window.take()
                    let batch = window.batches[place]
                    batch.removeAll()
                    for _ in 0..<recordCount {
                        number += 1
                        let digest = keyed ? sampleDigest(number) : nil
                        try batch.add(key: digest, content: digest, payload: payload)
                    }
                    log.append(batch, completion: window.completions[place].run)
                }
            }
            window.waitForAll()
        }
    }
}

/// Batches with their completions, made once; those that are not on their way form a stack.
private final class CompletionWindow: @unchecked Sendable {
    /// A closure in an array of closures would be wrapped anew each time that it is taken out.
    struct Completion {
        var run: @Sendable (Result<AppendReceipt, LogError>) -> Void
    }

    let batches: [AppendBatch]
    private(set) var completions: [Completion] = []
    private var free: [Int]
    private let lock: UnsafeMutablePointer<pthread_mutex_t> = .allocate(capacity: 1)
    private let moved: UnsafeMutablePointer<pthread_cond_t> = .allocate(capacity: 1)

    init(batchCount: Int, batchBytes: Int) {
        batches = (0..<batchCount).map { _ in AppendBatch(capacityBytes: batchBytes) }
        free = Array(0..<batchCount)
        pthread_mutex_init(lock, nil)
        pthread_cond_init(moved, nil)
        completions = (0..<batchCount).map { place in
            Completion { [unowned self] result in
                guard case .success = result else { preconditionFailure("an append failed") }
                giveBack(place)
            }
        }
    }

    deinit {
        pthread_mutex_destroy(lock)
        pthread_cond_destroy(moved)
        lock.deallocate()
        moved.deallocate()
    }

    func take() -> Int {
        pthread_mutex_lock(lock)
        defer { pthread_mutex_unlock(lock) }
        while free.isEmpty { pthread_cond_wait(moved, lock) }
        return free.removeLast()
    }

    private func giveBack(_ place: Int) {
        pthread_mutex_lock(lock)
        free.append(place)
        pthread_cond_signal(moved)
        pthread_mutex_unlock(lock)
    }

    func waitForAll() {
        pthread_mutex_lock(lock)
        while free.count < batches.count { pthread_cond_wait(moved, lock) }
        pthread_mutex_unlock(lock)
    }
}

let appendCases = [
    blockingCase(records: 1),
    blockingCase(records: 100),
    blockingCase(records: 100, keyed: true),
    completionCase(records: 1),
    completionCase(records: 100),
    completionCase(records: 100, keyed: true),
]
