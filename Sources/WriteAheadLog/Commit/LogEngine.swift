/// Threads and locks around the commit pipeline.
///
/// Whoever holds the commit token (`isCommitting`) owns the segment writer; everything else is
/// guarded by `monitor`. A blocking caller that finds no commit in flight takes the token and commits
/// on its own thread; what queued meanwhile is handed to the committer thread. The maintainer's thread
/// does what need not be done at once; where that touches the manifest, the holder of the token does
/// it between two commits.
///
/// Its parts: this file has the state, the ends of its life and the blocking form of append;
/// `CompletionForm` the other one; `Committing` what the holder of the token does; `Reading` what
/// readers ask; the folder Maintenance the rest.
final class LogEngine: @unchecked Sendable {
    typealias Completion = @Sendable (Result<AppendReceipt, LogError>) -> Void

    static let changeAttemptsMaximum = 256
    /// How long after the last commit the state slot records it.
    static let idleNanoseconds: Int64 = 1_000_000_000

    let monitor = Monitor()
    let work = Monitor.Condition()
    let progress = Monitor.Condition()
    let headMoved = Monitor.Condition()
    let maintenance = Monitor.Condition()
    let disk: any Disk
    let directory: String
    let environment: LogEnvironment
    let options: LogOptions
    let identifier: LogIdentifier
    /// Of segments that are made now.
    let segmentBytes: UInt64
    let files: SegmentFiles
    let events: LogEventHub
    let preparer: SegmentPreparer
    /// Belongs to the holder of the commit token.
    let writer: SegmentWriter
    var committer: EngineThread?
    /// Belongs to the committer thread.
    var resumedTasks = ResumedTasks()
    var maintainer: EngineThread?

    // Guarded by `monitor`.
    var pipeline: CommitPipeline
    var segments: [SegmentIndex]
    /// Readers in each segment, by its id: its file is not used again under them.
    var pins: [UInt64: Int] = [:]
    var headOffset: UInt64
    var runs: KeyRunSet
    var isClosed = false
    /// The last commits are being written: nobody takes work for the holder of the token any more.
    var isFinishing = false
    /// Everything is written and nothing runs any more.
    var isEnded = false
    var isCommitting = false
    var isHandedOver = false
    /// Work of the maintainer for the holder of the token.
    var tokenWork: [TokenWork] = []
    var slotIsStale = false
    /// The committer sleeps until the idle moment and need not be woken to learn of it.
    var isTimerArmed = false
    var lastCommitNanoseconds: Int64 = 0
    var meanSyncNanoseconds: Int64 = 0
    /// While the committer waits a moment for callers to come back: how many it waits for.
    var gatherTarget = 0
    var headWaiters = 0
    var progressWaiters = 0
    var deferred: [Deferred] = []
    var deferredBytes = 0
    var observers: [UInt64: @Sendable (UInt64) -> Void] = [:]
    var nextObserver: UInt64 = 1
    var counters = LogCounters()
    /// What the maintainer knows between its steps.
    var upkeep: Upkeep
    /// What retention may do now: `options` has what it might when the log was opened.
    var policy: LogPolicy
    var isTerminal: Bool
    var awaitedReaders: [AwaitedReader]

    init(_ opened: LogOpening.Opened, _ opening: LogOpening, options: LogOptions) {
        disk = opening.disk
        directory = opening.directory
        environment = opening.environment
        self.options = options
        policy = options.policy
        isTerminal = options.retention.isTerminal
        awaitedReaders = options.retention.awaitedReaders
        identifier = opened.writer.table.identifier
        segmentBytes = opened.writer.table.segmentBytes
        files = SegmentFiles(disk: opening.disk, directory: opening.directory)
        events = LogEventHub()
        writer = opened.writer
        preparer = opened.preparer
        pipeline = opened.pipeline
        segments = opened.segments
        runs = opened.runs
        headOffset = opened.pipeline.nextOffset
        upkeep = Upkeep(opened, options: options, environment: opening.environment)
        pipeline.hasRuns = !runs.isEmpty
        opened.events.forEach(events.emit)
        beginRetention()
        if let suspicion = upkeep.clock.suspicion {
            events.emit(.clockSuspect(reason: suspicion.text))
        }
    }

    /// - Parameter atEnd: called once, when nothing will be written any more.
    func start(atEnd: @escaping @Sendable () -> Void) {
        preparer.start(threads: environment.threads) { [events] in events.emit(.spareFailed($0)) }
        self.atEnd = atEnd
        guard environment.threads else { return }
        // First, and so known to everyone who may ever wait for a commit.
        committer = EngineThread(name: "bsfg-commit") { [self] in
            runCommitter()
            end()
        }
        maintainer = EngineThread(name: "bsfg-maintain") { [self] in runMaintainer() }
    }

    private var atEnd: @Sendable () -> Void = {}

    private func end() {
        maintainer?.join()
        preparer.stop()
        events.finish()
        atEnd()
        monitor.withLock {
            isEnded = true
            progress.broadcast()
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
            maintenance.broadcast()
        } else if committer?.isCurrent != true {
            while environment.threads, !isEnded { monitor.wait(progress) }
        }
        if isFirst, !environment.threads {
            finishWriting()
            monitor.unlock()
            return end()
        }
        monitor.unlock()
        if isFirst { committer?.join() }
    }

    // MARK: - Blocking form

    func append(_ batch: AppendBatch, registers: [RegisterUpdate]) throws(LogError) -> AppendReceipt {
        batch.seal()
        let receipt = try admitAndWait { [self] pipeline, now in
            pipeline.append(batch, registers: registers, probing: runs, wallMilliseconds: now)
        }
        if let receipt { return receipt }
        // Its keys may be in the runs, which are on the disk: reserved meanwhile, nobody else can
        // append them.
        return try commit(try prepare(batch), registers: registers)
    }

    func commit(_ prepared: PreparedBatch, registers: [RegisterUpdate]) throws(LogError)
        -> AppendReceipt
    {
        precondition(!prepared.isFinished, "a prepared batch is committed once")
        prepared.batch.seal()
        prepared.replacements?.seal()
        let receipt = try admitAndWait { pipeline, now in
            let admission = pipeline.admit(prepared, registers: registers, wallMilliseconds: now)
            if case .admitted = admission { prepared.isFinished = true }
            return admission
        }
        guard let receipt else { preconditionFailure("a prepared batch was looked up") }
        return receipt
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
            case .reserved(let reserved):
                return try resolved(batch, reserved, owner: owner)
            case .mustWait:
                waitForProgress()
            }
        }
    }

    /// Looks reserved keys up in the runs, without the lock. Called and left with it.
    func resolved(_ batch: AppendBatch, _ reserved: CommitPipeline.Reserved, owner: UInt64)
        throws(LogError) -> PreparedBatch
    {
        var reserved = reserved
        if !reserved.unresolved.isEmpty {
            let runs = runs
            let keys = reserved.unresolved.map { batch.key(of: $0)! }
            monitor.unlock()
            let answers = runs.lookUp(keys)
            monitor.lock()
            noteDamage(runs)
            let isResolved = pipeline.resolve(
                batch, &reserved, owner: owner, answers: answers)
            if !isResolved { pipeline.release(batch, owner: owner) }
            progressed()
            guard isResolved else { throw .rejected(.indexRebuilding) }
        }
        return PreparedBatch(
            batch: batch, outcomes: reserved.outcomes, owner: owner,
            dependency: reserved.dependency, release: { [self] in release($0) })
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
                            outcomes: AppendOutcomes([]), epoch: pipeline.state.epoch, sequence: 0,
                            fill: pipeline.fill, nextOffset: pipeline.nextOffset)))
            case .success(let cursor?): return pipeline.set(cursor, isDeleted: isDeleted)
            }
        }
        monitor.withLock { cursorsMoved() }
    }

    /// The clock is read once a commit. With the lock.
    func appendTime() -> Int64 {
        pipeline.stagedTimeMilliseconds ?? environment.wallMilliseconds()
    }

    /// - Returns: nil when keys have to be looked up first.
    private func admitAndWait(
        _ admit: (inout CommitPipeline, _ wallMilliseconds: Int64) -> CommitPipeline.Admission
    ) throws(LogError) -> AppendReceipt? {
        monitor.lock()
        while true {
            guard !isClosed else {
                monitor.unlock()
                throw .closed
            }
            switch admit(&pipeline, appendTime()) {
            case .refused(let error):
                noteRefusal(error)
                monitor.unlock()
                throw error
            case .mustLookUp:
                monitor.unlock()
                return nil
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
                requireOtherThread()
                group.expectWaiter()
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

    /// Sleeps until something changed that an admission may wait for. Called and left with the lock.
    private func waitForProgress() {
        guard environment.threads else { return makeProgress() }
        requireOtherThread()
        progressWaiters += 1
        monitor.wait(progress)
        progressWaiters -= 1
    }

    /// What waits for a commit must not do so on the thread that commits.
    func requireOtherThread() {
        precondition(
            committer?.isCurrent != true,
            "a completion, or a task behind a commit, would wait here for its own thread")
    }

    func release(_ prepared: PreparedBatch) {
        monitor.withLock {
            pipeline.release(prepared.batch, owner: prepared.owner)
            progressed()
        }
    }

    /// Something changed that an admission may wait for.
    func progressed() {
        if progressWaiters > 0 { progress.broadcast() }
        if !deferred.isEmpty { handOver() }
    }
}

/// What a log did since it was opened.
public struct LogCounters: Hashable, Sendable {
    /// Durable commits with records or changes.
    public var commits: UInt64 = 0
    /// Records that became durable.
    public var records: UInt64 = 0
    /// Bytes of frames that became durable, with padding.
    public var bytes: UInt64 = 0
    /// Segments begun after the first.
    public var rolls: UInt64 = 0
    /// Appends that were refused because the log or its disk was full.
    public var refusals: UInt64 = 0
    /// Checkpoints that became durable.
    public var checkpoints: UInt64 = 0
    /// Closed segments that were verified, hashed and given their footer.
    public var segmentsSealed: UInt64 = 0
    /// Closed segments that were rewritten densely.
    public var segmentsRepacked: UInt64 = 0
    /// Segments that truncation took away.
    public var segmentsRemoved: UInt64 = 0
    /// Merges of key runs.
    public var runsMerged: UInt64 = 0
    /// Bytes of sealed segments that were read again and found right.
    public var bytesScrubbed: UInt64 = 0
}
