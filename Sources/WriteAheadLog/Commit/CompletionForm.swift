/// The form of append that never blocks: admitted at once, or deferred to the committer thread.
extension LogEngine {
    /// An append that could not be admitted yet.
    struct Deferred {
        enum Stage {
            case new
            /// Reserved; its keys have to be looked up in the runs.
            case reserved(CommitPipeline.Reserved, owner: UInt64)
            case prepared(PreparedBatch)
        }

        var batch: AppendBatch
        var registers: [RegisterUpdate]
        var completion: Completion
        var stage = Stage.new
    }

    private static let deferredCountMaximum = 4096
    private static let deferredBytesMaximum = 64 << 20

    /// The completion runs on the committing thread, or on the caller's when the answer is known at
    /// once.
    func append(
        _ batch: AppendBatch, registers: [RegisterUpdate], completion: @escaping Completion
    ) {
        batch.seal()
        monitor.lock()
        if isClosed {
            monitor.unlock()
            return completion(.failure(.closed))
        }
        if deferred.isEmpty,
            case .admitted(let ticket) = pipeline.append(
                batch, registers: registers, probing: runs, wallMilliseconds: appendTime()),
            ticket.group === pipeline.staged.group
        {
            // Nearly always: nothing to look up and room in the staged commit.
            attach(completion, ticket)
            monitor.unlock()
            return
        }
        let append = Deferred(batch: batch, registers: registers, completion: completion)
        let answer = deferred.isEmpty ? admit(append) : deferUntilLater(append)
        monitor.unlock()
        if let answer { completion(answer) }
    }

    /// Admits or defers; an answer when neither is needed or possible. Called and left with the lock.
    private func admit(_ append: Deferred) -> Result<AppendReceipt, LogError>? {
        var append = append
        if append.batch.keyedCount > 0, pipeline.hasRuns {
            if let refusal = pipeline.check(append.batch) { return .failure(refusal) }
            let owner = pipeline.takeOwner()
            guard case .reserved(let reserved) = pipeline.reserve(append.batch, owner: owner) else {
                return deferUntilLater(append)
            }
            append.stage = .reserved(reserved, owner: owner)
            lookUpInMemory(&append)
            guard !isClosed else {
                giveUp(append)
                return .failure(.closed)
            }
        }
        switch attempt(append) {
        case .done: return nil
        case .answer(let answer): return answer
        case .later(let append): return deferUntilLater(append)
        }
    }

    /// Looks reserved keys up without the lock, as long as memory has the answers: nearly always. What
    /// needs the disk is left to the committer thread. Called and left with the lock.
    private func lookUpInMemory(_ append: inout Deferred) {
        guard case .reserved(var reserved, let owner) = append.stage else { return }
        let runs = runs
        monitor.unlock()
        var answers: [KeyAnswer] = []
        answers.reserveCapacity(reserved.unresolved.count)
        for index in reserved.unresolved {
            guard let answer = runs.lookUpInMemory(append.batch.key(of: index)!) else { break }
            answers.append(answer)
        }
        monitor.lock()
        guard answers.count == reserved.unresolved.count,
            pipeline.resolve(append.batch, &reserved, owner: owner, answers: answers)
        else { return }
        append.stage = .prepared(
            PreparedBatch(
                batch: append.batch, outcomes: reserved.outcomes, owner: owner,
                dependency: reserved.dependency, release: { [self] in release($0) }))
    }

    private enum Attempt {
        /// Its answer comes with a commit.
        case done
        case answer(Result<AppendReceipt, LogError>)
        case later(Deferred)
    }

    private func attempt(_ append: Deferred) -> Attempt {
        var append = append
        if case .new = append.stage, append.batch.keyedCount > 0, pipeline.hasRuns {
            if let refusal = pipeline.check(append.batch) { return .answer(.failure(refusal)) }
            // A few keys that memory has the answers to need not wait for the disk.
            if let answered = attemptInMemory(append) { return answered }
            let owner = pipeline.takeOwner()
            if case .reserved(let reserved) = pipeline.reserve(append.batch, owner: owner) {
                append.stage = .reserved(reserved, owner: owner)
            }
            return .later(append)
        }
        if case .reserved = append.stage { return .later(append) }
        let admission: CommitPipeline.Admission
        let now = appendTime()
        if case .prepared(let prepared) = append.stage {
            admission = pipeline.admit(
                prepared, registers: append.registers, wallMilliseconds: now)
            switch admission {
            case .admitted: prepared.isFinished = true
            case .refused:
                // Given back here: its end would take the lock that is held.
                pipeline.release(append.batch, owner: prepared.owner)
                prepared.isFinished = true
            case .mustWait, .mustLookUp: break
            }
        } else {
            admission = pipeline.append(
                append.batch, registers: append.registers, wallMilliseconds: now)
        }
        switch admission {
        case .refused(let error):
            noteRefusal(error)
            return .answer(.failure(error))
        case .mustWait, .mustLookUp: return .later(append)
        case .admitted(let ticket): return admitted(append, ticket)
        }
    }

    /// Nil when a key has to be looked up outside the lock.
    private func attemptInMemory(_ append: Deferred) -> Attempt? {
        switch pipeline.append(
            append.batch, registers: append.registers, probing: runs, wallMilliseconds: appendTime())
        {
        case .mustLookUp: return nil
        case .mustWait: return .later(append)
        case .refused(let error):
            noteRefusal(error)
            return .answer(.failure(error))
        case .admitted(let ticket): return admitted(append, ticket)
        }
    }

    private func admitted(_ append: Deferred, _ ticket: CommitPipeline.Ticket) -> Attempt {
        guard let group = ticket.group else { return .answer(.success(ticket.receipt)) }
        if group === pipeline.staged.group || !group.isFinished {
            attach(append.completion, ticket)
            return .done
        }
        return .answer(group.result.map { .failure($0) } ?? .success(ticket.receipt))
    }

    private func attach(_ completion: @escaping Completion, _ ticket: CommitPipeline.Ticket) {
        // When the group's commit is out, its answers belong to the committing thread: this one rides
        // behind it, on the staged one, which ends later and fails if it failed.
        pipeline.attach(CommitGroup.Answer(completion: completion, receipt: ticket.receipt))
        handOver()
    }

    private func deferUntilLater(_ append: Deferred) -> Result<AppendReceipt, LogError>? {
        guard deferred.count < LogEngine.deferredCountMaximum,
            deferredBytes + append.batch.byteCount <= LogEngine.deferredBytesMaximum
        else {
            giveUp(append)
            return .failure(.rejected(.overloaded))
        }
        deferred.append(append)
        deferredBytes += append.batch.byteCount
        handOver()
        return nil
    }

    /// Frees what an append that will not be admitted has reserved. With the lock.
    private func giveUp(_ append: Deferred) {
        switch append.stage {
        case .new: break
        case .reserved(_, let owner): pipeline.release(append.batch, owner: owner)
        case .prepared(let prepared):
            pipeline.release(append.batch, owner: prepared.owner)
            prepared.isFinished = true
        }
    }

    /// Admits deferred appends in order until one has to wait still. With the lock.
    ///
    /// - Returns: answers to be given without it.
    func admitDeferred() -> [() -> Void] {
        var answers: [() -> Void] = []
        while let first = deferred.first {
            let completion = first.completion
            if isClosed {
                giveUp(first)
                answers.append { completion(.failure(.closed)) }
            } else {
                switch attempt(first) {
                case .done: break
                case .answer(let answer): answers.append { completion(answer) }
                case .later(let append):
                    deferred[0] = append
                    return answers
                }
            }
            deferredBytes -= first.batch.byteCount
            deferred.removeFirst()
        }
        return answers
    }

    /// Looks the first deferred append's keys up in memory, so that it is part of the next commit and not
    /// of one of its own. By the holder of the token only, which is the only one that takes appends from the
    /// queue's front; called and left with the lock.
    ///
    /// - Returns: whether it can be admitted now.
    func lookUpDeferredInMemory() -> Bool {
        guard var first = deferred.first, case .reserved = first.stage else { return false }
        lookUpInMemory(&first)
        guard case .prepared = first.stage else { return false }
        deferred[0] = first
        return true
    }

    /// Looks the first deferred append's keys up on the disk when it waits for that. On the committer
    /// thread only, which is the only one that takes appends from the queue's front; called and left
    /// with the lock.
    ///
    /// - Returns: whether something was looked up.
    func lookUpDeferred() -> Bool {
        guard let first = deferred.first, case .reserved(let reserved, let owner) = first.stage
        else { return false }
        do throws(LogError) {
            let prepared = try resolved(first.batch, reserved, owner: owner)
            deferred[0].stage = .prepared(prepared)
        } catch {
            deferred.removeFirst()
            deferredBytes -= first.batch.byteCount
            monitor.unlock()
            first.completion(.failure(error))
            monitor.lock()
        }
        return true
    }
}
