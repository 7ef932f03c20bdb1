/// Tasks that the answers of a commit let go on, gathered while the answers are given and run behind them, so
/// that what they append is one commit again. Belongs to the committer thread.
struct ResumedTasks {
    typealias Job = (job: UnownedJob, executor: UnownedTaskExecutor)

    private var gathered: [Job] = []
    /// Used again, so that nothing is allocated.
    private var running: [Job] = []
    private(set) var isGathering = false

    mutating func beginGathering() { isGathering = true }

    mutating func append(_ job: UnownedJob, _ executor: UnownedTaskExecutor) {
        gathered.append((job, executor))
    }

    /// How many were gathered. What these jobs enqueue themselves is none of them.
    mutating func endGathering() -> Int {
        isGathering = false
        running.removeAll(keepingCapacity: true)
        swap(&gathered, &running)
        return running.count
    }

    subscript(number: Int) -> Job { running[number] }
}

extension LogEngine {
    /// Takes a part of a task that an answer let go on; false when it did not come from one of the committer
    /// thread's, and must run elsewhere.
    func resume(_ job: UnownedJob, on executor: UnownedTaskExecutor) -> Bool {
        guard committer?.isCurrent == true, resumedTasks.isGathering else { return false }
        resumedTasks.append(job, executor)
        return true
    }

    /// Gives answers, then runs the tasks that they let go on. With the token, without the lock.
    func tell(_ answers: () -> Void) {
        guard committer?.isCurrent == true else { return answers() }
        resumedTasks.beginGathering()
        answers()
        for number in 0..<resumedTasks.endGathering() {
            let resumed = resumedTasks[number]
            resumed.job.runSynchronously(on: resumed.executor)
        }
    }
}
