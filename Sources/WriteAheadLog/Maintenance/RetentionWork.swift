/// Retention at work: what the planner decides is made durable and done, in the order that a crash at
/// any point leaves exact: losses, then the table without the segments, then the files.
extension LogEngine {
    static let freeSpaceNanoseconds: Int64 = 1_000_000_000
    static let clockNanoseconds: Int64 = 1_000_000_000

    // MARK: - While records come in

    /// A commit added bytes to the log. With the lock.
    func recordsWritten(_ byteCount: UInt64, rolled: Bool) {
        upkeep.uncheckpointedBytes += byteCount
        upkeep.wasWrittenSinceAsked = true
        if rolled {
            upkeep.closedBytes += segments[segments.count - 2].entry.fileBytes
            upkeep.isPlanStale = true
        }
        let wasOpen = pipeline.gate == .open
        judgeGate()
        if rolled || isCheckpointDue || (wasOpen && pipeline.gate != .open) { wantMaintenance() }
    }

    /// Everything that takes space and counts against the capacity.
    private var usedBytes: UInt64 {
        upkeep.closedBytes + segments[segments.count - 1].endPosition + runs.byteCount
            + upkeep.spareBytes
    }

    /// Whether new records are let in. O(1). With the lock.
    func judgeGate() {
        let used = usedBytes
        let fill = used - min(used, upkeep.reclaimableBytes)
        pipeline.fillBytes = fill
        let now = environment.monotonicNanoseconds() / 1_000_000
        for event in upkeep.gate.update(
            fillBytes: fill, usedBytes: used, monotonicMilliseconds: now)
        {
            if case .alarmRaised = event {
                let wall = environment.wallMilliseconds()
                pipeline.changeSlotFacts {
                    $0.flags |= LogState.Flags.alarm
                    $0.alarmMilliseconds = wall
                }
                slotIsStale = true
                if !isTimerArmed { work.signal() }
            }
            upkeep.isPlanStale = true
            events.emit(event)
        }
        let before = pipeline.gate
        pipeline.gate = gate()
        // Who waits for a checkpoint is let in, or refused when it fails.
        if before != pipeline.gate, pipeline.gate == .open || before == .waiting { progressed() }
    }

    private func gate() -> CommitPipeline.Gate {
        if case .noSpace(let free) = upkeep.freeSpace.refusal {
            return .closed(.lowSpace(freeBytes: free))
        }
        if case .backpressure(let fill, let milliseconds) = upkeep.gate.refusal {
            return .closed(.full(fill: fill, retryAfterMilliseconds: Int(milliseconds)))
        }
        guard upkeep.uncheckpointedBytes < FormatLimits.uncheckpointedBytesLimit else {
            // Waiting for a checkpoint that fails would be waiting for ever.
            return upkeep.isCheckpointFailing ? .closed(.noSpace) : .waiting
        }
        return .open
    }

    /// An append was refused. With the lock.
    func noteRefusal(_ error: LogError) {
        switch error {
        case .rejected(.full), .rejected(.lowSpace), .rejected(.noSpace): counters.refusals += 1
        default: break
        }
    }

    /// A confirmation may let segments go. With the lock.
    func cursorsMoved() {
        guard segments.count > 1 else { return }
        upkeep.isPlanStale = true
        wantMaintenance()
    }

    /// The state that is about to be recorded takes retention's time along. With the lock.
    func takeClock() {
        let clock = upkeep.storedClock
        pipeline.changeSlotFacts { $0.retentionMilliseconds = clock }
    }

    // MARK: - Looking around

    /// Asks the clocks and the file system, each once a second at most. Without the lock.
    func lookAround() {
        let now = environment.monotonicNanoseconds()
        monitor.lock()
        let askClock = now - upkeep.clockObservedNanoseconds >= LogEngine.clockNanoseconds
        let askSpace =
            options.retention.freeSpaceReserveBytes > 0
            && (upkeep.wasWrittenSinceAsked || upkeep.freeSpace.isLow)
            && (upkeep.freeSpaceAskedNanoseconds == .min
                || now - upkeep.freeSpaceAskedNanoseconds >= LogEngine.freeSpaceNanoseconds)
        if let due = upkeep.nextMomentNanoseconds, now >= due {
            upkeep.nextMomentNanoseconds = nil
            upkeep.isPlanStale = true
        }
        monitor.unlock()
        if askClock { observeClock(now) }
        if askSpace { observeSpace(now) }
    }

    private func observeSpace(_ now: Int64) {
        let free: UInt64
        do throws(DiskError) { free = try disk.freeBytes(directory) } catch {
            monitor.withLock { upkeep.freeSpaceAskedNanoseconds = now }
            return events.emit(.derivedWorkFailed(what: "free space", error))
        }
        monitor.lock()
        upkeep.freeSpaceAskedNanoseconds = now
        upkeep.wasWrittenSinceAsked = false
        let event = upkeep.freeSpace.update(freeBytes: free)
        if event != nil {
            upkeep.isPlanStale = true
            judgeGate()
        }
        monitor.unlock()
        guard let event else { return }
        events.emit(event)
        if case .spaceRecovered = event {
            preparer.retry()
            monitor.withLock { upkeep.derivedRetryNanoseconds = [:] }
        }
    }

    private func observeClock(_ now: Int64) {
        monitor.lock()
        upkeep.clockObservedNanoseconds = now
        let observation = upkeep.clock.observe(environment.reading)
        if observation.becameSuspect != nil || observation.becameTrusted || observation.shift != nil {
            upkeep.isPlanStale = true
        }
        let stored = upkeep.clock.stored
        monitor.unlock()
        if let reason = observation.becameSuspect { events.emit(.clockSuspect(reason: reason.text)) }
        if observation.becameTrusted { events.emit(.clockTrusted) }
        guard let shift = observation.shift else {
            return monitor.withLock { upkeep.storedClock = stored }
        }
        // The times of segments move with the clock, durably before the clock itself.
        _ = betweenCommits { [self] (writer) throws(DiskError) in
            // Into both slots: records would look older than they are by one that is read instead.
            try writer.changeTable(removing: true) { table in
                for place in table.segments.indices {
                    table.segments[place].retentionMilliseconds = shift.apply(
                        table.segments[place].retentionMilliseconds)
                }
            }
            monitor.withLock {
                for place in segments.indices {
                    segments[place].entry.retentionMilliseconds = shift.apply(
                        segments[place].entry.retentionMilliseconds)
                }
                upkeep.storedClock = stored
            }
        }
    }

    // MARK: - Changes while the log is open

    func changeRetention(_ retention: RetentionOptions, _ policy: LogPolicy) throws(LogError) {
        try retention.validate()
        try policy.validate()
        guard policy.profile == options.profile else {
            throw .rejected(
                .invalidOptions(
                    "a log keeps its profile for life; open another log for another one"))
        }
        monitor.lock()
        self.policy = policy
        isTerminal = retention.isTerminal
        awaitedReaders = retention.awaitedReaders
        upkeep.planner = RetentionPlanner(options: retention, capacityBytes: options.capacityBytes)
        upkeep.gate.change(
            options: retention, policy: policy, capacityBytes: options.capacityBytes)
        let (_, happenings) = judgeRetention()
        upkeep.isPlanStale = true
        wantMaintenance()
        monitor.unlock()
        happenings.forEach(events.emit)
    }

    // MARK: - The plan

    private struct Plan {
        var removalCount: Int
        var losses: [RetentionPlan.Loss] = []
    }

    /// Removes what is to go; false when nothing is.
    func retentionStep() -> Bool {
        guard monitor.withLock({ upkeep.isPlanStale }) else { return false }
        if detachCursors() { return true }
        monitor.lock()
        let (plan, happenings) = judgeRetention()
        monitor.unlock()
        happenings.forEach(events.emit)
        guard plan.removalCount > 0 else { return false }
        return remove(plan)
    }

    /// What retention knows of the log now. With the lock.
    private func situation() -> RetentionSituation {
        let active = segments[segments.count - 1]
        let now = upkeep.clock.now(monotonicNanoseconds: environment.monotonicNanoseconds())
        return RetentionSituation(
            segments: segments.dropLast().map { index in
                RetentionSegment(
                    baseOffset: index.entry.baseOffset, endOffset: index.endOffset,
                    bytes: index.entry.fileBytes,
                    lastAppendMilliseconds: index.entry.retentionMilliseconds != 0
                        ? index.entry.retentionMilliseconds : index.entry.greatestTimeMilliseconds,
                    isSealed: index.entry.isSealed)
            },
            activeBaseOffset: active.entry.baseOffset, activeBytes: active.endPosition,
            activeLastAppendMilliseconds: now, headOffset: headOffset, runBytes: runs.byteCount,
            spareBytes: upkeep.spareBytes,
            confirmedOffset: confirmedOffset,
            nowMilliseconds: now, isClockTrusted: upkeep.clock.isTrusted,
            isRoomNeeded: upkeep.gate.isClosed || upkeep.isRoomNeeded,
            missingFreeBytes: upkeep.freeSpace.missingBytes,
            expiryAnnouncedBelow: upkeep.expiryAnnouncedBelow)
    }

    /// Below it everything is confirmed. A cursor that is being made holds already, one that is being
    /// moved or removed still does.
    private var confirmedOffset: UInt64 {
        let cursors = pipeline.state.cursors + pipeline.admittedState.cursors
        return Frontier.confirmedOffset(
            cursors: cursors.map(\.cursor), awaited: awaitedReaders, policy: policy,
            isTerminal: isTerminal, headOffset: headOffset, attachedAt: upkeep.attachedAt)
    }

    /// Makes the plan, and with it judges the gate. With the lock.
    ///
    /// - Returns: the plan and what is to be told.
    private func judgeRetention() -> (Plan, [LogEvent]) {
        upkeep.isPlanStale = false
        let situation = situation()
        upkeep.closedBytes = situation.segmentBytes
        upkeep.isRoomNeeded = upkeep.planner.isRoomNeeded(situation)
        var plan: Plan
        let fillBytes: UInt64
        var happenings: [LogEvent] = []
        switch policy {
        case .silStrict(let policy):
            let strict = upkeep.planner.plan(situation, policy)
            plan = Plan(removalCount: strict.removalCount)
            fillBytes = strict.fillBytes
            upkeep.nextMomentNanoseconds = moment(strict.nextMomentMilliseconds, situation)
        case .standard(let policy):
            let standard = upkeep.planner.plan(situation, policy)
            plan = Plan(removalCount: standard.removalCount, losses: standard.losses)
            fillBytes = standard.fillBytes
            upkeep.nextMomentNanoseconds = moment(standard.nextMomentMilliseconds, situation)
            upkeep.expiryAnnouncedBelow = standard.expiryAnnouncedBelow
            if let warning = standard.warning {
                happenings.append(
                    .expiryApproaching(
                        offsets: warning.offsets, atMilliseconds: warning.atMilliseconds))
            }
        }
        upkeep.reclaimableBytes = situation.usedBytes - fillBytes
        judgeGate()
        return (plan, happenings)
    }

    /// A moment of retention's clock as one of the monotonic clock, a millisecond later so that it has
    /// come then; within a day, after which it is looked at again.
    private func moment(_ milliseconds: Int64?, _ situation: RetentionSituation) -> Int64? {
        milliseconds.map { moment in
            let wait = min(max(0, moment - situation.nowMilliseconds), 24 * 3600 * 1000)
            return environment.monotonicNanoseconds() + (wait + 1) * 1_000_000
        }
    }

    /// The first look at a log that was opened.
    func beginRetention() {
        let (_, happenings) = judgeRetention()
        upkeep.isPlanStale = true
        happenings.forEach(events.emit)
    }

    /// Lets go of cursors that are too far behind; true when there was one.
    private func detachCursors() -> Bool {
        monitor.lock()
        let found = Frontier.detachments(
            cursors: pipeline.state.cursors.map(\.cursor), policy: policy,
            situation: situation(), attachedAt: upkeep.attachedAt)
        monitor.unlock()
        var didDetach = false
        for detachment in found.detachments {
            guard
                (try? detach(
                    owner: detachment.owner, name: detachment.name, reason: detachment.reason))
                    != nil
            else { continue }
            didDetach = true
        }
        return didDetach
    }

    func detach(owner: String, name: String, reason: String) throws(LogError) {
        let identity = CursorIdentity(owner: owner, name: name)
        try setCursor { state, _ in
            guard var cursor = state.cursor(identity)?.cursor else {
                return .failure(.cursorNotFound(owner: owner, name: name))
            }
            guard cursor.detachReason == nil else { return .success(nil) }
            cursor.detachReason = reason
            return .success(cursor)
        }
        monitor.withLock { _ = upkeep.attachedAt.removeValue(forKey: identity) }
        events.emit(.cursorDetached(owner: owner, name: name, reason: reason))
    }

    // MARK: - Removal

    /// Removes segments from the front. The checkpoint must lie behind them, so one is taken first
    /// where it does not; on a disk without room for that the checkpoint goes with them, and the next
    /// opening reads what is left of the log.
    private func remove(_ plan: Plan) -> Bool {
        let (needsCheckpoint, isFailing) = monitor.withLock {
            (
                upkeep.checkpointSegmentID.map { id in
                    segments.prefix(plan.removalCount).contains { $0.entry.id == id }
                } ?? true,
                upkeep.isCheckpointFailing
            )
        }
        let keepsKeys = options.retention.dedupeHorizonMilliseconds > 0
        if needsCheckpoint, !isFailing {
            monitor.withLock { upkeep.isPlanStale = true }
            return takeCheckpoint()
        }
        if keepsKeys, needsCheckpoint || !areKeysKept(belowSegment: plan.removalCount) {
            // Keys that outlive their records are in a run, twice, before the records go.
            monitor.withLock { upkeep.isPlanStale = true }
            return false
        }
        var removed: [SegmentIndex] = []
        var goneRuns: [RunEntry] = []
        var declared: [Gap] = []
        var happenings: [LogEvent] = []
        let isDone = betweenCommits { [self] (writer) throws(DiskError) in
            monitor.lock()
            // Made again under the token: a cursor may have come in between that needs the records.
            let (plan, announced) = judgeRetention()
            happenings += announced
            let count = min(plan.removalCount, segments.count - 1)
            guard count > 0, let losses = losses(of: plan, firstOffset: segments[count].entry.baseOffset)
            else { return monitor.unlock() }
            precondition(
                options.profile == .standard || segments[count - 1].endOffset <= confirmedOffset,
                "the safety profile removes confirmed records only")
            let first = segments[count].entry.baseOffset
            pipeline.changeSlotFacts { $0.losses = losses.table }
            declared = losses.declared
            upkeep.removingBelow = first
            takeClock()
            let state = pipeline.state
            monitor.unlock()
            if !declared.isEmpty {
                try writer.writeStateSlot(state)
                try writer.writeStateSlot(state)
            }
            let before = writer.table.runs
            try writer.changeTable(removing: true) {
                $0.removeFirst(count, runsBelow: keepsKeys ? nil : first)
            }
            goneRuns = before.filter { !writer.table.runs.contains($0) }
            let table = writer.table
            monitor.withLock {
                removed = Array(segments.prefix(count))
                segments.removeFirst(count)
                upkeep.anchorDigest = table.anchor.digest
                upkeep.checkpointSegmentID = table.checkpoint?.segmentID
                publish(
                    runs: runs.runs.filter { run in !goneRuns.contains { $0.id == run.entry.id } },
                    missing: runs.missing)
                counters.segmentsRemoved += UInt64(count)
                let (_, announced) = judgeRetention()
                happenings += announced
                upkeep.isPlanStale = true
            }
        }
        // What could not be removed is still there; what was is below the first offset by now.
        monitor.withLock { upkeep.removingBelow = 0 }
        happenings.forEach(events.emit)
        guard isDone, !removed.isEmpty else { return false }
        for gap in declared {
            events.emit(.gapDeclared(gap))
            if gap.reasons.contains(.expired) { events.emit(.expired(offsets: gap.offsets)) }
        }
        events.emit(
            .truncated(
                offsets: removed[0].entry.baseOffset..<removed[removed.count - 1].endOffset))
        discard(removed)
        removeRunFiles(goneRuns)
        return true
    }

    /// The loss table with a plan's losses; nil when it has no room for one between records that
    /// stay: then nothing may be removed.
    private func losses(of plan: Plan, firstOffset: UInt64) -> (table: LossTable, declared: [Gap])? {
        var table = pipeline.state.losses
        let time = environment.wallMilliseconds()
        var declared: [Gap] = []
        for loss in plan.losses {
            do throws(LogError) {
                try table.declare(
                    loss.offsets, reasons: loss.reasons, timeMilliseconds: time,
                    firstOffset: firstOffset)
            } catch { return nil }
            declared.append(
                Gap(offsets: loss.offsets, reasons: loss.reasons, timeMilliseconds: time))
        }
        return (table, declared)
    }

    /// Gives the files of removed segments to the preparer, or removes them. One is used again only
    /// when nobody reads it: no reader of this process, no other process, no other name.
    func discard(_ removed: [SegmentIndex]) {
        var didRemove = false
        // What is short of space has more use for the space than for a spare.
        let isShortOfSpace = monitor.withLock { upkeep.freeSpace.isLow }
        for index in removed {
            let id = index.entry.id
            files.forget(id)
            if !isShortOfSpace, preparer.wantsRecycled, isUnused(index) {
                preparer.recycle(id)
                continue
            }
            do throws(DiskError) {
                try disk.remove(files.path(id))
                didRemove = true
            } catch {
                // In no table any more: the next opening removes it.
                events.emit(.derivedWorkFailed(what: "removal", error))
            }
        }
        if didRemove { try? disk.synchroniseDirectory(directory) }
    }

    private func isUnused(_ index: SegmentIndex) -> Bool {
        guard monitor.withLock({ pins[index.entry.id] == nil }),
            index.entry.fileBytes == segmentBytes
        else { return false }
        do throws(DiskError) {
            let file = try disk.open(files.path(index.entry.id), .read)
            guard try file.linkCount() == 1 else { return false }
            // Held for this moment only: who comes later reads the table without the segment.
            let lock = try disk.lock(directory + "/" + LogInspector.lockName, exclusive: true)
            lock?.release()
            return lock != nil
        } catch { return false }
    }

    /// Declares records lost that cannot be read any more, where the profile may say so.
    func declareDamage(_ ranges: [Range<UInt64>]) {
        guard case .standard = options.policy, !ranges.isEmpty else { return }
        var declared: [Gap] = []
        let isDone = betweenCommits { [self] (writer) throws(DiskError) in
            monitor.lock()
            let time = environment.wallMilliseconds()
            let first = segments[0].entry.baseOffset
            for offsets in ranges {
                let offsets = offsets.clamped(to: first..<headOffset)
                var table = pipeline.state.losses
                guard !offsets.isEmpty,
                    (try? table.declare(
                        offsets, reasons: .corrupt, timeMilliseconds: time, firstOffset: first))
                        != nil,
                    table != pipeline.state.losses
                else { continue }
                declared.append(
                    Gap(offsets: offsets, reasons: .corrupt, timeMilliseconds: time))
                pipeline.changeSlotFacts { $0.losses = table }
            }
            let state = pipeline.state
            monitor.unlock()
            guard !declared.isEmpty else { return }
            try writer.writeStateSlot(state)
            try writer.writeStateSlot(state)
        }
        guard isDone else { return }
        for gap in declared { events.emit(.gapDeclared(gap)) }
    }

    // MARK: - The alarm

    /// Ends the alarm that a full log of the safety profile raised.
    ///
    /// - Returns: false when there was none.
    func acknowledgeAlarm(by name: String, reason: String) throws(LogError) -> Bool {
        monitor.lock()
        guard !isClosed else {
            monitor.unlock()
            throw .closed
        }
        let event = upkeep.gate.acknowledgeAlarm(by: name, reason: reason)
        if event != nil { pipeline.changeSlotFacts { $0.flags &= ~LogState.Flags.alarm } }
        monitor.unlock()
        guard let event else { return false }
        let isDone = betweenCommits { [self] (writer) throws(DiskError) in
            let state = monitor.withLock { pipeline.state }
            try writer.writeStateSlot(state)
            try writer.writeStateSlot(state)
        }
        guard isDone else {
            throw monitor.withLock({ pipeline.poison }).map { .outcomeUnknown($0) } ?? .closed
        }
        events.emit(event)
        return true
    }
}

extension GuardedClock.SuspectReason {
    var text: String {
        switch self {
        case .closedIntervalUnknown: "how long the log was closed is not known"
        case .jumpedForwards(let milliseconds): "it jumped \(milliseconds) ms forwards"
        case .jumpedBackwards(let milliseconds): "it jumped \(milliseconds) ms back"
        }
    }
}
