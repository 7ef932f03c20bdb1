/// What the holder of the commit token does: commits, the idle slot, and the maintainer's work on the
/// manifest between two commits.
extension LogEngine {
    /// Work that changes what the writer owns. Its failure stops the log.
    final class TokenWork {
        let run: (SegmentWriter) throws(DiskError) -> Void
        var isDone = false
        /// Nil when it was done; set before `isDone`.
        var failure: DiskError?

        init(_ run: @escaping (SegmentWriter) throws(DiskError) -> Void) { self.run = run }
    }

    /// Gives the committer thread the token when nobody has it.
    func handOver() {
        endGatheringWhenComplete()
        guard environment.threads, !isCommitting else { return }
        isCommitting = true
        isHandedOver = true
        work.signal()
    }

    /// Commits once on the calling thread, which holds lock and token; passes the token on when more
    /// has queued meanwhile. Returns without the lock.
    func commitAndPassOn() {
        let group = pipeline.staged.group
        commitStaged()
        monitor.lock()
        pipeline.recycle(group)
        if environment.threads, !pipeline.staged.isEmpty || !deferred.isEmpty || !tokenWork.isEmpty {
            isHandedOver = true
            work.signal()
        } else {
            isCommitting = false
            if isClosed || (slotIsStale && !isTimerArmed) { work.signal() }
        }
        monitor.unlock()
    }

    /// Takes the staged commit, writes it, tells everyone. Called with lock and token, returns
    /// without the lock, and with the token.
    private func commitStaged() {
        let commit = pipeline.takeStaged()
        pipeline.placeNextFrame(at: writer.frameStart(after: commit))
        let group = commit.group
        takeClock()
        let state = pipeline.state
        let began = environment.monotonicNanoseconds()
        writer.retentionMilliseconds = upkeep.clock.now(monotonicNanoseconds: began)
        monitor.unlock()

        let result = Result { () throws(SegmentWriter.Failure) in
            try writer.perform(commit, state: state)
        }
        let ended = environment.monotonicNanoseconds()

        monitor.lock()
        lastCommitNanoseconds = ended
        meanSyncNanoseconds += (ended - began - meanSyncNanoseconds) / 8
        var failure: LogError?
        var behind: CommitGroup?
        switch result {
        case .success(let written):
            finished(commit, written)
        case .failure(.noSpace):
            failure = .rejected(.noSpace)
            behind = pipeline.rejected(commit)
            counters.refusals += 1
            wantMaintenance()
        case .failure(.unknown(let error)):
            let cause = PoisonCause(error: error)
            failure = .outcomeUnknown(cause)
            behind = pipeline.poisoned(commit, cause)
            poisoned(cause)
        }
        let answers = admitDeferred()
        if progressWaiters > 0 { progress.broadcast() }
        if headWaiters > 0 { headMoved.broadcast() }
        let head = headOffset
        let told = observers.isEmpty || failure != nil ? [] : Array(observers.values)
        monitor.unlock()

        tell {
            group.finish(failure)
            behind?.finish(failure)
            for answer in answers { answer() }
            for observer in told { observer(head) }
        }
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
        recordsWritten(endPosition - position, rolled: rolled)
    }

    private func poisoned(_ cause: PoisonCause) {
        events.emit(.poisoned(cause))
        wantMaintenance()
    }

    // MARK: - The committer thread

    func runCommitter() {
        monitor.lock()
        while true {
            if isHandedOver {
                isHandedOver = false
                drain()
                continue
            }
            if isClosed, !isCommitting, upkeep.isEnded { break }
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
        finishWriting()
        monitor.unlock()
    }

    /// The last commits and the last state of a log that is closed. Called and left with the lock.
    func finishWriting() {
        isFinishing = true
        if !pipeline.staged.isEmpty || !deferred.isEmpty {
            isCommitting = true
            drain()
        }
        if pipeline.poison == nil {
            isCommitting = true
            recordIdle()
        }
    }

    /// Commits until nothing is queued. Called and left with the lock; gives the token back.
    private func drain() {
        while step() {}
        isCommitting = false
    }

    /// One piece of the token holder's work; false when there is none. Called and left with the lock.
    private func step() -> Bool {
        if !tokenWork.isEmpty {
            runTokenWork()
            return true
        }
        if lookUpDeferred() { return true }
        let answers = admitDeferred()
        if !answers.isEmpty {
            monitor.unlock()
            for answer in answers { answer() }
            monitor.lock()
            return true
        }
        // What waits behind the first is not to become a commit each.
        if lookUpDeferredInMemory() { return true }
        guard !pipeline.staged.isEmpty else { return false }
        guard pipeline.poison == nil else {
            // Admitted only to carry an answer: nothing can be written any more.
            failStagedAfterPoison()
            return true
        }
        let callers = pipeline.staged.callerCount
        let group = pipeline.staged.group
        commitStaged()
        monitor.lock()
        pipeline.recycle(group)
        gather(callers)
        return true
    }

    /// One commit of what is queued, for a log without threads; false when nothing was.
    func stepCommit() -> Bool {
        monitor.lock()
        defer { monitor.unlock() }
        precondition(!environment.threads, "the committer's thread does this")
        isCommitting = true
        defer { isCommitting = false }
        return step()
    }

    /// Records the state as a log does that was idle for a while; for a log without threads.
    func stepIdle() {
        monitor.lock()
        defer { monitor.unlock() }
        precondition(!environment.threads, "the committer's thread does this")
        guard slotIsStale, pipeline.poison == nil else { return }
        isCommitting = true
        recordIdle()
    }

    /// Without threads only this call can change what an admission waits for. With the lock.
    func makeProgress() {
        if !pipeline.staged.isEmpty {
            isCommitting = true
            commitStaged()
            monitor.lock()
            isCommitting = false
            return
        }
        let gate = pipeline.gate
        monitor.unlock()
        let didWork = maintain()
        monitor.lock()
        precondition(
            didWork || pipeline.gate != gate,
            "without threads nobody gives back what this call waits for")
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
        guard environment.threads, callers > 1, tokenWork.isEmpty else { return }
        let deadline = environment.monotonicNanoseconds() + meanSyncNanoseconds / 4
        gatherTarget = callers
        while pipeline.staged.callerCount < callers, !isClosed, tokenWork.isEmpty {
            if !monitor.wait(work, untilNanoseconds: deadline) { break }
        }
        gatherTarget = 0
    }

    func endGatheringWhenComplete() {
        if gatherTarget > 0, pipeline.staged.callerCount >= gatherTarget { work.signal() }
    }

    private func recordIdle() {
        takeClock()
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
        if case .failure(let error) = failure { stop(error) }
        if environment.threads, !pipeline.staged.isEmpty || !deferred.isEmpty || !tokenWork.isEmpty,
            !isHandedOver
        {
            isCommitting = true
            isHandedOver = true
        }
    }

    /// A failure outside a commit stops the log as one in a commit does. With the lock.
    private func stop(_ error: DiskError) {
        let cause = PoisonCause(error: error)
        guard pipeline.poison == nil else { return }
        pipeline.poison(cause)
        poisoned(cause)
        // No commit ends any more that would wake those who wait for room in the next one.
        if progressWaiters > 0 { progress.broadcast() }
    }

    // MARK: - Between commits

    /// Runs `body` while no commit is out, as the holder of the token, and waits for its end. Called
    /// without the lock. False when the log is stopped, or is by this failure.
    func betweenCommits(_ body: @escaping (SegmentWriter) throws(DiskError) -> Void) -> Bool {
        let item = TokenWork(body)
        requireOtherThread()
        monitor.lock()
        defer { monitor.unlock() }
        guard pipeline.poison == nil, !isFinishing else { return false }
        tokenWork.append(item)
        if environment.threads {
            if gatherTarget > 0 { work.signal() }
            handOver()
            while !item.isDone { monitor.wait(maintenance) }
        } else {
            precondition(!isCommitting, "one thread does one thing at a time")
            isCommitting = true
            runTokenWork()
            isCommitting = false
        }
        return item.failure == nil
    }

    private func runTokenWork() {
        let item = tokenWork.removeFirst()
        if let poison = pipeline.poison {
            item.failure = poison.error
        } else {
            monitor.unlock()
            do throws(DiskError) { try item.run(writer) } catch { item.failure = error }
            monitor.lock()
            if let failure = item.failure { stop(failure) }
        }
        item.isDone = true
        maintenance.broadcast()
    }
}
