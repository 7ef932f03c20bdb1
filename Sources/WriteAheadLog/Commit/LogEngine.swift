/// Threads and locks around the commit pipeline.
///
/// Whoever holds the commit token (`isCommitting`) owns the segment writer; everything else is
/// guarded by `monitor`. A blocking caller that finds no commit in flight takes the token and commits
/// on its own thread; what queued meanwhile is handed to the committer thread.
final class LogEngine: @unchecked Sendable {
    typealias Completion = @Sendable (Result<AppendReceipt, LogError>) -> Void

    /// An append in completion form that could not be admitted yet.
    private struct Deferred {
        var batch: AppendBatch
        var registers: [RegisterUpdate]
        var completion: Completion
    }

    private static let deferredCountMaximum = 4096
    private static let deferredBytesMaximum = 64 << 20
    private static let changeAttemptsMaximum = 256
    /// How long after the last commit the state slot records it.
    private static let idleNanoseconds: Int64 = 1_000_000_000

    let monitor = Monitor()
    private let work = Monitor.Condition()
    private let progress = Monitor.Condition()
    private let headMoved = Monitor.Condition()
    private let environment: LogEnvironment
    private let writer: SegmentWriter
    private let preparer: SegmentPreparer
    private var committer: EngineThread?

    // Guarded by `monitor`.
    private(set) var pipeline: CommitPipeline
    private(set) var segments: [SegmentIndex]
    private(set) var headOffset: UInt64
    private(set) var isClosed = false
    /// Everything is written and nothing runs any more.
    private var isEnded = false
    private var isCommitting = false
    private var isHandedOver = false
    private var slotIsStale = false
    /// The committer sleeps until the idle moment and need not be woken to learn of it.
    private var isTimerArmed = false
    private var lastCommitNanoseconds: Int64 = 0
    private var meanSyncNanoseconds: Int64 = 0
    /// While the committer waits a moment for callers to come back: how many it waits for.
    private var gatherTarget = 0
    private var headWaiters = 0
    private var progressWaiters = 0
    private var deferred: [Deferred] = []
    private var deferredBytes = 0
    private var observers: [UInt64: @Sendable (UInt64) -> Void] = [:]
    private var nextObserver: UInt64 = 1
    private(set) var counters = LogCounters()

    init(_ opened: LogOpening.Opened, environment: LogEnvironment) {
        writer = opened.writer
        preparer = opened.preparer
        pipeline = opened.pipeline
        segments = opened.segments
        headOffset = opened.pipeline.nextOffset
        self.environment = environment
        pipeline.usedBytes = usedBytes()
    }

    /// - Parameter atEnd: called once, when nothing will be written any more.
    func start(atEnd: @escaping @Sendable () -> Void) {
        preparer.start()
        committer = EngineThread(name: "bsfg-commit") { [self] in
            runCommitter()
            preparer.stop()
            atEnd()
            monitor.withLock {
                isEnded = true
                progress.broadcast()
            }
        }
    }

    /// Drains what is queued, records the state, ends the threads. On the committing thread, where a
    /// completion may have held the log last, it only begins to: that thread ends by itself.
    func close() {
        monitor.lock()
        let isFirst = !isClosed
        if isFirst {
            isClosed = true
            work.broadcast()
            progress.broadcast()
            headMoved.broadcast()
        } else if committer?.isCurrent != true {
            while !isEnded { monitor.wait(progress) }
        }
        monitor.unlock()
        if isFirst { committer?.join() }
    }

    // MARK: - Blocking form

    func append(_ batch: AppendBatch, registers: [RegisterUpdate]) throws(LogError) -> AppendReceipt {
        batch.seal()
        return try admitAndWait { pipeline, now in
            pipeline.append(batch, registers: registers, wallMilliseconds: now)
        }
    }

    func commit(_ prepared: PreparedBatch, registers: [RegisterUpdate]) throws(LogError)
        -> AppendReceipt
    {
        precondition(!prepared.isFinished, "a prepared batch is committed once")
        prepared.batch.seal()
        prepared.replacements?.seal()
        return try admitAndWait { pipeline, now in
            let admission = pipeline.admit(prepared, registers: registers, wallMilliseconds: now)
            if case .admitted = admission { prepared.isFinished = true }
            return admission
        }
    }

    func prepare(_ batch: AppendBatch) throws(LogError) -> PreparedBatch {
        batch.seal()
        monitor.lock()
        defer { monitor.unlock() }
        if let refusal = pipeline.check(batch) { throw refusal }
        let owner = pipeline.takeOwner()
        while true {
            guard !isClosed else { throw .closed }
            if let poison = pipeline.poison { throw .poisoned(poison) }
            switch pipeline.reserve(batch, owner: owner) {
            case .reserved(let outcomes, let dependency):
                return PreparedBatch(
                    batch: batch, outcomes: outcomes, owner: owner, dependency: dependency,
                    release: { [self] in release($0) })
            case .mustWait:
                waitForProgress()
            }
        }
    }

    func set(registers: [RegisterUpdate]) throws(LogError) {
        guard !registers.isEmpty else { return }
        try admitChange { pipeline, _ in pipeline.set(registers) }
    }

    /// A change without records needs no space. It is refused for lack of it only when it rode in a
    /// commit whose records had none; then it goes again, until it goes alone.
    private func admitChange(
        _ admit: (inout CommitPipeline, _ wallMilliseconds: Int64) -> CommitPipeline.Admission
    ) throws(LogError) {
        for _ in 1..<LogEngine.changeAttemptsMaximum {
            do throws(LogError) {
                _ = try admitAndWait(admit)
                return
            } catch {
                guard error == .rejected(.noSpace) else { throw error }
            }
        }
        _ = try admitAndWait(admit)
    }

    /// Changes a cursor: `change` sees the state with everything admitted and answers with the new
    /// cursor, nil to leave it as it is, or an error.
    func setCursor(
        isDeleted: Bool = false,
        _ change: (LogState, _ headOffset: UInt64) -> Result<Cursor?, LogError>
    ) throws(LogError) {
        try admitChange { [self] pipeline, _ in
            switch change(pipeline.admittedState, headOffset) {
            case .failure(let error): return .refused(error)
            case .success(nil):
                // Nothing changes, but what is admitted and not yet durable must become so before
                // anyone is told that it stands.
                return .admitted(
                    CommitPipeline.Ticket(
                        group: pipeline.lastGroup,
                        receipt: AppendReceipt(
                            outcomes: [], epoch: pipeline.state.epoch, sequence: 0,
                            fill: pipeline.fill, nextOffset: pipeline.nextOffset)))
            case .success(let cursor?): return pipeline.set(cursor, isDeleted: isDeleted)
            }
        }
    }

    private func admitAndWait(
        _ admit: (inout CommitPipeline, _ wallMilliseconds: Int64) -> CommitPipeline.Admission
    ) throws(LogError) -> AppendReceipt {
        monitor.lock()
        while true {
            guard !isClosed else {
                monitor.unlock()
                throw .closed
            }
            switch admit(&pipeline, environment.wallMilliseconds()) {
            case .refused(let error):
                monitor.unlock()
                throw error
            case .mustWait:
                waitForProgress()
            case .admitted(let ticket):
                guard let group = ticket.group else {
                    // Nothing is written, so no commit's end tells those who wait for the keys that
                    // a prepared batch had reserved and left out.
                    progressed()
                    monitor.unlock()
                    return ticket.receipt
                }
                if !isCommitting, pipeline.stagedGroup === group {
                    isCommitting = true
                    commitAndPassOn()
                } else {
                    endGatheringWhenComplete()
                    monitor.unlock()
                }
                if let failure = group.wait() { throw failure }
                return ticket.receipt
            }
        }
    }

    private func waitForProgress() {
        progressWaiters += 1
        monitor.wait(progress)
        progressWaiters -= 1
    }

    private func release(_ prepared: PreparedBatch) {
        monitor.withLock {
            pipeline.release(prepared.batch, owner: prepared.owner)
            progressed()
        }
    }

    // MARK: - Completion form

    /// Never blocks. The completion runs on the committing thread, or on the caller's when the
    /// answer is known at once.
    func append(
        _ batch: AppendBatch, registers: [RegisterUpdate], completion: @escaping Completion
    ) {
        batch.seal()
        monitor.lock()
        if isClosed {
            monitor.unlock()
            return completion(.failure(.closed))
        }
        if deferred.isEmpty {
            if let answer = enqueue(batch, registers, completion) {
                monitor.unlock()
                return completion(answer)
            }
        } else if !deferAppend(batch, registers, completion) {
            monitor.unlock()
            return completion(.failure(.rejected(.overloaded)))
        }
        monitor.unlock()
    }

    /// Admits or defers; an answer when neither is needed or possible.
    private func enqueue(
        _ batch: AppendBatch, _ registers: [RegisterUpdate], _ completion: @escaping Completion
    ) -> Result<AppendReceipt, LogError>? {
        switch pipeline.append(
            batch, registers: registers, wallMilliseconds: environment.wallMilliseconds())
        {
        case .refused(let error): return .failure(error)
        case .mustWait:
            return deferAppend(batch, registers, completion)
                ? nil : .failure(.rejected(.overloaded))
        case .admitted(let ticket):
            guard let group = ticket.group else { return .success(ticket.receipt) }
            if group === pipeline.staged.group || !group.isFinished {
                return attach(completion, ticket)
            }
            return group.result.map { .failure($0) } ?? .success(ticket.receipt)
        }
    }

    private func attach(
        _ completion: @escaping Completion, _ ticket: CommitPipeline.Ticket
    ) -> Result<AppendReceipt, LogError>? {
        let receipt = ticket.receipt
        let answer: @Sendable (LogError?) -> Void = { failure in
            completion(failure.map { .failure($0) } ?? .success(receipt))
        }
        // When the group's commit is out, its completions belong to the committing thread: the
        // answer rides behind it, on the staged one, which ends later and fails if it failed.
        pipeline.attach(toStaged: answer)
        handOver()
        return nil
    }

    private func deferAppend(
        _ batch: AppendBatch, _ registers: [RegisterUpdate], _ completion: @escaping Completion
    ) -> Bool {
        guard deferred.count < LogEngine.deferredCountMaximum,
            deferredBytes + batch.byteCount <= LogEngine.deferredBytesMaximum
        else { return false }
        deferred.append(Deferred(batch: batch, registers: registers, completion: completion))
        deferredBytes += batch.byteCount
        return true
    }

    /// Gives the committer thread the token when nobody has it.
    private func handOver() {
        endGatheringWhenComplete()
        guard !isCommitting else { return }
        isCommitting = true
        isHandedOver = true
        work.signal()
    }

    /// Something changed that an admission may wait for. Returns answers to be given without lock.
    private func progressed() {
        if progressWaiters > 0 { progress.broadcast() }
        if !deferred.isEmpty { handOver() }
    }

    /// Admits deferred appends in order until one has to wait still.
    private func admitDeferred() -> [() -> Void] {
        var answers: [() -> Void] = []
        while let first = deferred.first {
            if isClosed {
                answers.append { first.completion(.failure(.closed)) }
            } else {
                switch pipeline.append(
                    first.batch, registers: first.registers,
                    wallMilliseconds: environment.wallMilliseconds())
                {
                case .mustWait: return answers
                case .refused(let error): answers.append { first.completion(.failure(error)) }
                case .admitted(let ticket):
                    if ticket.group == nil {
                        answers.append { first.completion(.success(ticket.receipt)) }
                    } else {
                        let completion = first.completion
                        pipeline.attach(toStaged: { failure in
                            completion(failure.map { .failure($0) } ?? .success(ticket.receipt))
                        })
                    }
                }
            }
            deferredBytes -= first.batch.byteCount
            deferred.removeFirst()
        }
        return answers
    }

    // MARK: - Committing

    /// Commits once on the calling thread, which holds lock and token; passes the token on when more
    /// has queued meanwhile. Returns without the lock.
    private func commitAndPassOn() {
        commitStaged()
        monitor.lock()
        if pipeline.staged.isEmpty, deferred.isEmpty {
            isCommitting = false
            if isClosed || (slotIsStale && !isTimerArmed) { work.signal() }
        } else {
            isHandedOver = true
            work.signal()
        }
        monitor.unlock()
    }

    /// Takes the staged commit, writes it, tells everyone. Called with lock and token, returns
    /// without the lock, and with the token.
    private func commitStaged() {
        let commit = pipeline.takeStaged()
        let group = commit.group
        let state = pipeline.state
        monitor.unlock()

        let began = environment.monotonicNanoseconds()
        let result = Result { () throws(SegmentWriter.Failure) in
            try writer.perform(commit, state: state)
        }
        let ended = environment.monotonicNanoseconds()

        monitor.lock()
        lastCommitNanoseconds = ended
        meanSyncNanoseconds += (ended - began - meanSyncNanoseconds) / 8
        var failure: LogError?
        var groups = [group]
        switch result {
        case .success(let written):
            finished(commit, written)
        case .failure(.noSpace):
            failure = .rejected(.noSpace)
            groups = pipeline.rejected(commit)
        case .failure(.unknown(let error)):
            let cause = PoisonCause(error: error)
            failure = .outcomeUnknown(cause)
            groups = pipeline.poisoned(commit, cause)
        }
        let answers = admitDeferred()
        if progressWaiters > 0 { progress.broadcast() }
        if headWaiters > 0 { headMoved.broadcast() }
        let head = headOffset
        let told = observers.isEmpty || failure != nil ? [] : Array(observers.values)
        monitor.unlock()

        for group in groups { group.finish(failure) }
        for answer in answers { answer() }
        for observer in told { observer(head) }
    }

    private func finished(_ commit: StagedCommit, _ written: SegmentWriter.Written) {
        counters.commits += 1
        counters.records += UInt64(commit.recordCount)
        let time = commit.lastTimeMilliseconds
        pipeline.finished(commit)
        slotIsStale = true
        guard case .frame(let position, let header, let endPosition, let rolled) = written else {
            return
        }
        counters.bytes += endPosition - position
        if rolled {
            // The table has closed the segment before and begun this one.
            let table = writer.table
            segments[segments.count - 1].entry = table.segments[table.segments.count - 2]
            segments.append(
                SegmentIndex(
                    entry: table.segments[table.segments.count - 1], header: writer.header))
            counters.rolls += 1
        }
        segments[segments.count - 1].append(
            frameAt: position, header: header, greatestTimeMilliseconds: time,
            endPosition: endPosition)
        headOffset = header.endOffset
        pipeline.usedBytes = usedBytes()
    }

    /// Closed segments count whole, the last one as far as it is written.
    private func usedBytes() -> UInt64 {
        var bytes = segments[segments.count - 1].endPosition
        bytes += UInt64(segments.count - 1) * writer.table.segmentBytes
        return bytes
    }

    private func runCommitter() {
        monitor.lock()
        while true {
            if isHandedOver {
                isHandedOver = false
                drain()
                continue
            }
            if isClosed, !isCommitting { break }
            if slotIsStale, !isCommitting, pipeline.poison == nil {
                let due = lastCommitNanoseconds + LogEngine.idleNanoseconds
                if environment.monotonicNanoseconds() >= due {
                    isCommitting = true
                    recordIdle()
                    continue
                }
                isTimerArmed = true
                _ = monitor.wait(work, untilNanoseconds: due)
                isTimerArmed = false
            } else {
                monitor.wait(work)
            }
        }
        if !pipeline.staged.isEmpty || !deferred.isEmpty {
            isCommitting = true
            drain()
        }
        if pipeline.poison == nil {
            isCommitting = true
            recordIdle()
        }
        monitor.unlock()
    }

    /// Commits until nothing is queued. Called and left with the lock; gives the token back.
    private func drain() {
        while true {
            let answers = admitDeferred()
            if !answers.isEmpty {
                monitor.unlock()
                for answer in answers { answer() }
                monitor.lock()
                continue
            }
            guard !pipeline.staged.isEmpty else { break }
            guard pipeline.poison == nil else {
                // Admitted only to carry an answer: nothing can be written any more.
                failStagedAfterPoison()
                continue
            }
            let callers = pipeline.staged.callerCount
            commitStaged()
            monitor.lock()
            gather(callers)
        }
        isCommitting = false
    }

    private func failStagedAfterPoison() {
        let group = pipeline.dropStaged()
        let cause = pipeline.poison!
        monitor.unlock()
        group.finish(.outcomeUnknown(cause))
        monitor.lock()
    }

    /// After many callers were answered their next appends are on the way: a short moment, at most a
    /// quarter of a sync, makes them one commit instead of two. A single writer never waits.
    private func gather(_ callers: Int) {
        guard callers > 1 else { return }
        let deadline = environment.monotonicNanoseconds() + meanSyncNanoseconds / 4
        gatherTarget = callers
        while pipeline.staged.callerCount < callers, !isClosed {
            if !monitor.wait(work, untilNanoseconds: deadline) { break }
        }
        gatherTarget = 0
    }

    private func endGatheringWhenComplete() {
        if gatherTarget > 0, pipeline.staged.callerCount >= gatherTarget { work.signal() }
    }

    private func recordIdle() {
        let state = pipeline.state
        monitor.unlock()
        // Both slots: with one only, its damage would be a silent return to the state before.
        let failure = Result { () throws(DiskError) in
            try writer.writeStateSlot(state)
            try writer.writeStateSlot(state)
        }
        monitor.lock()
        slotIsStale = false
        isCommitting = false
        if case .failure(let error) = failure {
            pipeline.poison(PoisonCause(error: error))
            // No commit ends any more that would wake those who wait for room in the next one.
            if progressWaiters > 0 { progress.broadcast() }
        }
        if !pipeline.staged.isEmpty || !deferred.isEmpty, !isHandedOver {
            isCommitting = true
            isHandedOver = true
        }
    }

    // MARK: - Reading

    /// What a reader needs to read from `offset`, or nil when the offset is at the head.
    func place(of offset: UInt64) throws(LogError) -> SegmentIndex? {
        monitor.lock()
        defer { monitor.unlock() }
        let first = segments[0].entry.baseOffset
        guard offset >= first, offset <= headOffset else {
            throw .offsetOutOfRange(offset: offset, first: first, head: headOffset)
        }
        guard offset < headOffset else { return nil }
        var low = 0
        var high = segments.count
        while low < high {
            let middle = (low + high) / 2
            if segments[middle].entry.baseOffset <= offset { low = middle + 1 } else { high = middle }
        }
        return segments[low - 1]
    }

    /// Sleeps until the head is beyond `offset`; false when the time was over first.
    func waitForRecords(at offset: UInt64, timeoutMilliseconds: Int) -> Bool {
        monitor.lock()
        defer { monitor.unlock() }
        let deadline =
            environment.monotonicNanoseconds()
            + Int64(min(max(0, timeoutMilliseconds), 1 << 40)) * 1_000_000
        headWaiters += 1
        defer { headWaiters -= 1 }
        while headOffset <= offset, !isClosed {
            if !monitor.wait(headMoved, untilNanoseconds: deadline) { break }
        }
        return headOffset > offset
    }

    func observe(_ handler: @escaping @Sendable (UInt64) -> Void) -> UInt64 {
        monitor.withLock {
            defer { nextObserver += 1 }
            observers[nextObserver] = handler
            return nextObserver
        }
    }

    func removeObserver(_ number: UInt64) {
        monitor.withLock { _ = observers.removeValue(forKey: number) }
    }
}

/// What a log did since it was opened.
public struct LogCounters: Hashable, Sendable {
    public var commits: UInt64 = 0
    public var records: UInt64 = 0
    public var bytes: UInt64 = 0
    public var rolls: UInt64 = 0
}
