internal import CPlatform
internal import Synchronization

/// Everyone who waits for one commit. Blocking callers sleep on one word, so that a commit wakes
/// them all with one call; answers are given by the committing thread.
///
/// `answers` is guarded by the log's lock until the group is taken for its commit and belongs to
/// the committing thread from then on. The word changes once.
final class CommitGroup: @unchecked Sendable {
    /// What a caller that does not block is told, and how.
    struct Answer {
        var completion: @Sendable (Result<AppendReceipt, LogError>) -> Void
        var receipt: AppendReceipt
    }

    private static let pending: UInt32 = 0
    private static let finished: UInt32 = 1

    private let word: UnsafeMutablePointer<UInt32>
    /// Written before the word is released, read after it was acquired.
    private var failure: LogError?
    /// Set under the log's lock when its commit failed, before anyone is told: who comes in between
    /// must not build on it.
    var doom: LogError?
    var answers: [Answer] = []

    init() {
        word = .allocate(capacity: 1)
        word.initialize(to: CommitGroup.pending)
    }

    deinit { word.deallocate() }

    /// Publishes the result, wakes all waiters once and gives the answers in order.
    func finish(_ failure: LogError?) {
        self.failure = failure
        bsfg_store_release(word, CommitGroup.finished)
        bsfg_futex_wake_all(word)
        // Not copied: what a completion appends is another group's.
        answers.withUnsafeBufferPointer { answers in
            for index in answers.indices {
                answers[index].completion(
                    failure.map { .failure($0) } ?? .success(answers[index].receipt))
            }
        }
        answers.removeAll(keepingCapacity: true)
    }

    /// Makes it the group of another commit.
    ///
    /// - Precondition: nobody else has it.
    func reuse() {
        word.pointee = CommitGroup.pending
        failure = nil
        doom = nil
    }

    var isFinished: Bool { bsfg_load_acquire(word) == CommitGroup.finished }

    /// Callers that have not read the result yet.
    private let waiterCount = Atomic<Int>(0)

    /// Announces a call of `wait`. With the log's lock.
    func expectWaiter() { waiterCount.wrappingAdd(1, ordering: .relaxed) }

    /// Sleeps until the commit ended; returns its failure.
    ///
    /// - Precondition: it was announced.
    func wait() -> LogError? {
        while bsfg_load_acquire(word) == CommitGroup.pending {
            bsfg_futex_wait(word, CommitGroup.pending, -1)
        }
        defer { waiterCount.wrappingSubtract(1, ordering: .releasing) }
        return failure
    }

    /// Whether everyone who was announced has read the result.
    var isRead: Bool { waiterCount.load(ordering: .acquiring) == 0 }

    /// The result of a group that is known to be finished.
    var result: LogError? {
        precondition(isFinished)
        return failure
    }
}
