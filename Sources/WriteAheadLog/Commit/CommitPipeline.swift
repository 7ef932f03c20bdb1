/// The commit path as a state machine without threads, locks or I/O: appends are reserved and
/// admitted into the staged commit, the staged commit is taken, its end is told.
///
///     reserve -> admit -> takeStaged -> finished(durable | rejected | unknown)
///
/// One commit is out at a time. Whatever is admitted meanwhile is the next one. The log around it
/// holds its lock for every call and runs the I/O in between.
struct CommitPipeline {
    /// What a caller holds after admission.
    struct Ticket {
        /// The commit whose end answers it; nil when everything asked for is durable already.
        var group: CommitGroup?
        var receipt: AppendReceipt
    }

    enum Admission {
        case admitted(Ticket)
        /// A key is reserved by someone else, or the staged commit is full: ask again after a change.
        case mustWait
        /// Its keys have to be looked up in the runs first: reserve, look up, resolve, admit.
        case mustLookUp
        case refused(LogError)
    }

    enum Reservation {
        case reserved(Reserved)
        case mustWait
    }

    /// What is known of a batch whose keys are reserved.
    struct Reserved {
        var outcomes: [PreparedOutcome]
        /// The commit that answers about existing records wait for.
        var dependency: CommitGroup?
        /// Records whose keys are new as far as memory knows: the runs decide.
        var unresolved: [Int] = []
    }

    struct Limits {
        var payloadBytes: Int
        var dataBytes: Int
        var capacityBytes: UInt64
    }

    /// Whether new records are let in.
    enum Gate: Equatable {
        case open
        case closed(RejectionReason)
        /// Opening would have to read too much: wait until the next checkpoint.
        case waiting
    }

    let limits: Limits
    var keys = KeyTable()
    /// What is durable, and what it will be once everything admitted is.
    private(set) var state: LogState
    private(set) var admittedState: LogState
    private(set) var staged = StagedCommit()
    private var idleCommit: StagedCommit? = StagedCommit()
    /// The group of the commit that is out.
    private var outGroup: CommitGroup?
    /// The offset that the next record gets.
    private(set) var nextOffset: UInt64
    private var nextRevision: UInt64
    private var nextOwner: UInt64 = 1
    private var lastTimeMilliseconds: Int64
    private var stagedControlBytes = 0
    private(set) var lastSequence: UInt64
    private(set) var poison: PoisonCause?
    /// Bytes that may not be reclaimed now, for the fill in receipts.
    var fillBytes: UInt64 = 0
    var gate = Gate.open
    /// Whether there are key runs to look into.
    var hasRuns = false

    init(
        limits: Limits, state: LogState, nextOffset: UInt64, lastSequence: UInt64,
        lastTimeMilliseconds: Int64
    ) {
        self.limits = limits
        self.state = state
        admittedState = state
        self.nextOffset = nextOffset
        self.lastSequence = lastSequence
        self.lastTimeMilliseconds = lastTimeMilliseconds
        nextRevision = state.revision + 1
    }

    var fill: Double { Double(fillBytes) / Double(limits.capacityBytes) }

    mutating func takeOwner() -> UInt64 {
        nextOwner += 1
        return nextOwner - 1
    }

    /// A key found while the log is opened.
    mutating func restore(key: Digest256, offset: UInt64, content: Digest256) {
        keys.publish(key, KeyTable.Entry(offset: offset, content: content))
    }

    /// Changes what only the state slots hold: losses, flags, clock.
    mutating func changeSlotFacts(_ change: (inout LogState) -> Void) {
        change(&state)
        change(&admittedState)
    }

    // MARK: - Reserve

    /// Reserves all keys of a batch or none.
    mutating func reserve(_ batch: AppendBatch, owner: UInt64) -> Reservation {
        var outcomes: [PreparedOutcome] = []
        outcomes.reserveCapacity(batch.count)
        var dependency: CommitGroup?
        var unresolved: [Int] = []
        for (index, record) in batch.entries.enumerated() {
            guard let key = record.key, let content = record.content else {
                outcomes.append(.new)
                continue
            }
            if let other = keys.pending[key] {
                if let admitted = other.admitted {
                    dependency = CommitPipeline.later(dependency, admitted.group, staged.group)
                    outcomes.append(
                        other.content == content
                            ? .existing(offset: admitted.offset)
                            : .conflict(offset: admitted.offset, stored: other.content))
                } else if other.owner == owner {
                    outcomes.append(
                        other.content == content
                            ? .duplicate(of: Int(other.index))
                            : .conflictWithin(of: Int(other.index)))
                } else {
                    release(batch, upTo: index, owner: owner)
                    return .mustWait
                }
            } else if let durable = keys.durable(key) {
                outcomes.append(
                    durable.content == content
                        ? .existing(offset: durable.offset)
                        : .conflict(offset: durable.offset, stored: durable.content))
            } else {
                keys.pending[key] = KeyTable.Pending(
                    owner: owner, index: Int32(index), content: content, admitted: nil)
                outcomes.append(.new)
                if hasRuns { unresolved.append(index) }
            }
        }
        return .reserved(
            Reserved(outcomes: outcomes, dependency: dependency, unresolved: unresolved))
    }

    /// Takes what the runs said about the unresolved records. A key that is in a run is no longer
    /// reserved; later records of the batch with the same key are judged by what the run holds.
    ///
    /// - Returns: false when some answer has to wait until the runs are whole again.
    mutating func resolve(
        _ batch: AppendBatch, _ reserved: inout Reserved, owner: UInt64,
        answers: [KeyAnswer]
    ) -> Bool {
        var found: [Int: KeyTable.Entry] = [:]
        for (index, answer) in zip(reserved.unresolved, answers) {
            switch answer {
            case .absent: break
            case .retryLater: return false
            case .found(let offset, let content):
                found[index] = KeyTable.Entry(offset: offset, content: content)
            }
        }
        reserved.unresolved = []
        guard !found.isEmpty else { return true }
        for index in reserved.outcomes.indices {
            let stored: KeyTable.Entry
            switch reserved.outcomes[index] {
            case .duplicate(let original), .conflictWithin(let original):
                guard let entry = found[original] else { continue }
                stored = entry
            case .new:
                guard let entry = found[index] else { continue }
                stored = entry
                keys.release(batch.entries[index].key!, owner: owner)
            case .existing, .conflict: continue
            }
            reserved.outcomes[index] =
                stored.content == batch.entries[index].content
                ? .existing(offset: stored.offset)
                : .conflict(offset: stored.offset, stored: stored.content)
        }
        return true
    }

    /// Drops the reservations of a batch that was not admitted.
    mutating func release(_ batch: AppendBatch, upTo count: Int? = nil, owner: UInt64) {
        for record in batch.entries.prefix(count ?? batch.count) {
            if let key = record.key { keys.release(key, owner: owner) }
        }
    }

    /// Of two commits the one that ends later: the staged one ends after any other.
    private static func later(
        _ first: CommitGroup?, _ second: CommitGroup, _ staged: CommitGroup
    ) -> CommitGroup {
        first === staged ? staged : second
    }

    // MARK: - Admit

    /// Refuses what can never be admitted, before anything is reserved.
    func check(_ batch: AppendBatch) -> LogError? {
        if let poison { return .poisoned(poison) }
        guard batch.count > 0 else { return .rejected(.emptyBatch) }
        for record in batch.entries where record.payloadBytes > limits.payloadBytes {
            return .rejected(
                .payloadTooLarge(bytes: record.payloadBytes, maximumBytes: limits.payloadBytes))
        }
        let bytes = CommitPipeline.storedBytes(batch)
        if bytes > limits.dataBytes {
            return .rejected(.batchTooLarge(bytes: bytes, maximumBytes: limits.dataBytes))
        }
        return nil
    }

    /// The most that a batch can take, whichever of its records are new: two neighbouring blocks
    /// together hold more than 64 KiB, and there is no more of them than of records.
    private static func storedBytes(_ batch: AppendBatch) -> Int {
        let blocks = min(batch.count, 2 * batch.byteCount / FormatLimits.blockBytes + 1)
        return batch.byteCount + FormatLimits.blockHeaderBytes * blocks
    }

    /// Appends a batch in one step: reserves, admits, or leaves no trace.
    mutating func append(
        _ batch: AppendBatch, registers: [RegisterUpdate], wallMilliseconds: Int64
    ) -> Admission {
        if let refusal = check(batch) { return .refused(refusal) }
        guard batch.keyedCount > 0 else {
            return admit(
                batch, outcomes: nil, prepared: nil, owner: 0, dependency: nil,
                registers: registers, wallMilliseconds: wallMilliseconds)
        }
        guard !hasRuns else { return .mustLookUp }
        let owner = takeOwner()
        switch reserve(batch, owner: owner) {
        case .mustWait: return .mustWait
        case .reserved(let reserved):
            let admission = admit(
                batch, outcomes: reserved.outcomes, prepared: nil, owner: owner,
                dependency: reserved.dependency, registers: registers,
                wallMilliseconds: wallMilliseconds)
            if case .admitted = admission { return admission }
            release(batch, owner: owner)
            return admission
        }
    }

    /// Admits a prepared batch; on `mustWait` its reservations stay.
    mutating func admit(
        _ prepared: PreparedBatch, registers: [RegisterUpdate], wallMilliseconds: Int64
    ) -> Admission {
        if let poison { return .refused(.poisoned(poison)) }
        if let failure = prepared.dependency?.doom {
            // A record that this batch met in the queue was never written after all.
            return .refused(failure)
        }
        return admit(
            prepared.batch, outcomes: prepared.outcomes, prepared: prepared,
            owner: prepared.owner, dependency: prepared.dependency, registers: registers,
            wallMilliseconds: wallMilliseconds)
    }

    private mutating func admit(
        _ batch: AppendBatch, outcomes: [PreparedOutcome]?, prepared: PreparedBatch?,
        owner: UInt64, dependency: CommitGroup?, registers: [RegisterUpdate],
        wallMilliseconds: Int64
    ) -> Admission {
        let replacementBytes = prepared?.replacements.map { CommitPipeline.storedBytes($0) } ?? 0
        let worst = CommitPipeline.storedBytes(batch) + replacementBytes
        if worst > limits.dataBytes {
            return .refused(.rejected(.batchTooLarge(bytes: worst, maximumBytes: limits.dataBytes)))
        }
        if gate != .open, CommitPipeline.writesRecords(outcomes, prepared) {
            switch gate {
            case .open: break
            case .closed(let reason): return .refused(.rejected(reason))
            case .waiting: return .mustWait
            }
        }
        if staged.bodyBytes > 0, staged.bodyBytes + worst > limits.dataBytes { return .mustWait }
        switch stage(registers) {
        case .some(let refusal): return refusal
        case .none: break
        }

        let time = max(lastTimeMilliseconds, wallMilliseconds)
        let first = nextOffset
        if staged.recordCount == 0 { staged.firstOffset = first }
        let given = place(
            batch, outcomes: outcomes, dispositions: prepared?.dispositions,
            replacements: prepared?.replacements, timeMilliseconds: time)
        if nextOffset > first {
            lastTimeMilliseconds = time
            staged.lastTimeMilliseconds = time
            staged.recordCount += Int(nextOffset - first)
        }
        publishPending(batch, given, owner: owner)

        let wrote = nextOffset > first || !registers.isEmpty
        if wrote { staged.callerCount += 1 }
        let receipt = AppendReceipt(
            outcomes: given, epoch: state.epoch,
            sequence: nextOffset > first ? lastSequence + 1 : 0, fill: fill, nextOffset: nextOffset)
        return .admitted(
            Ticket(
                group: wrote
                    ? staged.group : dependency.flatMap { $0.isFinished ? nil : $0 },
                receipt: receipt))
    }

    /// Whether a batch has anything that takes an offset: only that is refused under backpressure.
    private static func writesRecords(_ outcomes: [PreparedOutcome]?, _ prepared: PreparedBatch?)
        -> Bool
    {
        guard let outcomes else { return true }
        for (index, outcome) in outcomes.enumerated() {
            switch prepared?.dispositions?[index] ?? .asPrepared {
            case .skip: continue
            case .replace: return true
            case .asPrepared: if outcome == .new { return true }
            }
        }
        return false
    }

    /// Copies what is new into the staged commit and gives it offsets.
    private mutating func place(
        _ batch: AppendBatch, outcomes: [PreparedOutcome]?,
        dispositions: [PreparedBatch.Disposition]?, replacements: AppendBatch?,
        timeMilliseconds: Int64
    ) -> [AppendOutcome] {
        if dispositions == nil, outcomes?.allSatisfy({ $0 == .new }) ?? true {
            // Everything is new: the blocks were made before the lock.
            let first = nextOffset
            place(batch, timeMilliseconds: timeMilliseconds)
            return (first..<nextOffset).map { .appended(offset: $0) }
        }
        let new = AppendBatch(capacityBytes: batch.byteCount)
        var given: [AppendOutcome] = []
        given.reserveCapacity(batch.count)
        for index in 0..<batch.count {
            let offset = nextOffset + UInt64(new.count)
            switch dispositions?[index] ?? .asPrepared {
            case .skip:
                given.append(.skipped)
                continue
            case .replace(let replacement):
                new.copy(replacement, of: replacements!)
                given.append(.appended(offset: offset))
                continue
            case .asPrepared: break
            }
            switch outcomes?[index] ?? .new {
            case .new:
                new.copy(index, of: batch)
                given.append(.appended(offset: offset))
            case .existing(let offset): given.append(.existing(offset: offset))
            case .conflict(let offset, let stored):
                given.append(.conflict(offset: offset, stored: stored))
            case .duplicate(let original):
                given.append(given[original].offset.map { .existing(offset: $0) } ?? .skipped)
            case .conflictWithin(let original):
                given.append(
                    given[original].offset.map {
                        .conflict(offset: $0, stored: batch.entries[original].content!)
                    } ?? .skipped)
            }
        }
        place(new, timeMilliseconds: timeMilliseconds)
        return given
    }

    private mutating func place(_ batch: AppendBatch, timeMilliseconds: Int64) {
        batch.seal()
        for group in batch.groups {
            staged.append(
                block: group, from: batch, firstOffset: nextOffset,
                timeMilliseconds: timeMilliseconds)
            nextOffset += UInt64(group.entryCount)
        }
    }

    /// Moves the keys of new records from reserved to admitted; those that were left out are free.
    private mutating func publishPending(
        _ batch: AppendBatch, _ given: [AppendOutcome], owner: UInt64
    ) {
        guard batch.keyedCount > 0 else { return }
        for (index, record) in batch.entries.enumerated() {
            guard let key = record.key, let pending = keys.pending[key], pending.owner == owner,
                pending.admitted == nil, Int(pending.index) == index
            else { continue }
            if case .appended(let offset) = given[index] {
                keys.pending[key]!.admitted = (offset, staged.group)
                staged.keys.append(
                    StagedCommit.NewKey(
                        key: key,
                        entry: KeyTable.Entry(offset: offset, content: pending.content)))
            } else {
                keys.pending.removeValue(forKey: key)
            }
        }
    }

    // MARK: - State

    /// Stages register updates after comparing each with what is admitted; all or none.
    private mutating func stage(_ registers: [RegisterUpdate]) -> Admission? {
        guard !registers.isEmpty else { return nil }
        // More of them could have no room in any commit, and would wait for it for ever.
        guard registers.count <= FormatLimits.registerCountMaximum else {
            return .refused(
                .rejected(
                    .tooMany(what: "registers", maximum: FormatLimits.registerCountMaximum)))
        }
        var changes: [StateChange] = []
        var newCount = 0
        for update in registers {
            let name = Array(update.name.utf8)
            guard name.count <= FormatLimits.registerNameBytesMaximum else {
                return .refused(
                    .rejected(
                        .nameTooLong(
                            name: update.name,
                            maximumBytes: FormatLimits.registerNameBytesMaximum)))
            }
            guard update.value.count <= FormatLimits.registerValueBytesMaximum else {
                return .refused(
                    .rejected(
                        .payloadTooLarge(
                            bytes: update.value.count,
                            maximumBytes: FormatLimits.registerValueBytesMaximum)))
            }
            let current = admittedState.register(name)
            guard current?.value == update.expected else {
                return .refused(.rejected(.registerMismatch(name: update.name)))
            }
            if current == nil { newCount += 1 }
            if admittedState.registers.count + newCount > FormatLimits.registerCountMaximum {
                return .refused(
                    .rejected(
                        .tooMany(what: "registers", maximum: FormatLimits.registerCountMaximum)))
            }
            changes.append(
                .register(
                    LogState.Register(
                        revision: nextRevision + UInt64(changes.count), name: name,
                        value: update.value)))
        }
        return stage(changes) ? nil : .mustWait
    }

    /// Stages changes whose revisions follow on; false when the commit has no room for them.
    private mutating func stage(_ changes: [StateChange]) -> Bool {
        let bytes = changes.reduce(0) {
            $0 + FormatLimits.recordHeaderBytes + $1.encodePayload().count
        }
        guard stagedControlBytes + bytes <= FormatLimits.controlBytesMaximum else { return false }
        stagedControlBytes += bytes
        for change in changes {
            precondition(change.revision == nextRevision, "revisions follow on")
            nextRevision += 1
            admittedState.apply(change)
            staged.changes.append(change)
        }
        return true
    }

    /// Admits register updates without records.
    mutating func set(_ registers: [RegisterUpdate]) -> Admission {
        if let poison { return .refused(.poisoned(poison)) }
        if let refusal = stage(registers) { return refusal }
        return admittedChange()
    }

    /// Admits a cursor's new state.
    mutating func set(_ cursor: Cursor, isDeleted: Bool = false) -> Admission {
        if let poison { return .refused(.poisoned(poison)) }
        let change = StateChange.cursor(
            LogState.CursorState(revision: nextRevision, cursor: cursor, isDeleted: isDeleted))
        // Before it is encoded: a text has 16 bits for its length.
        let textBytes = cursor.owner.utf8.count + cursor.name.utf8.count
            + cursor.initialisation.utf8.count
        guard textBytes <= FormatLimits.cursorBytesMaximum,
            change.encodePayload().count <= FormatLimits.cursorBytesMaximum
        else {
            return .refused(
                .rejected(
                    .nameTooLong(
                        name: cursor.name, maximumBytes: FormatLimits.cursorBytesMaximum)))
        }
        if !isDeleted, admittedState.cursor(cursor.identity) == nil,
            admittedState.cursors.count >= FormatLimits.cursorCountMaximum
        {
            return .refused(
                .rejected(.tooMany(what: "cursors", maximum: FormatLimits.cursorCountMaximum)))
        }
        return stage([change]) ? admittedChange() : .mustWait
    }

    private mutating func admittedChange() -> Admission {
        staged.callerCount += 1
        return .admitted(
            Ticket(
                group: staged.group,
                receipt: AppendReceipt(
                    outcomes: [], epoch: state.epoch, sequence: 0, fill: fill,
                    nextOffset: nextOffset)))
    }

    /// The staged commit's group, when anything is staged.
    var stagedGroup: CommitGroup? { staged.isEmpty ? nil : staged.group }

    /// The commit after whose end everything admitted so far is durable; nil when it is already.
    var lastGroup: CommitGroup? { stagedGroup ?? outGroup }

    /// Adds an answer that is given when the staged commit has ended, also when nothing else is in it.
    mutating func attach(toStaged answer: @escaping @Sendable (LogError?) -> Void) {
        staged.group.completions.append(answer)
    }

    /// Takes what is staged out of the way after a poison.
    mutating func dropStaged() -> CommitGroup {
        let group = staged.group
        staged = StagedCommit()
        admittedState = state
        return group
    }

    /// A failure outside a commit, of the state slot, stops the log as one in a commit does.
    mutating func poison(_ cause: PoisonCause) {
        if poison == nil { poison = cause }
    }

    // MARK: - Commit

    /// Takes the staged commit for writing. One is out at a time.
    mutating func takeStaged() -> StagedCommit {
        guard let next = idleCommit else { preconditionFailure("one commit is out at a time") }
        idleCommit = nil
        defer { staged = next }
        if staged.recordCount > 0 { lastSequence += 1 }
        stagedControlBytes = 0
        outGroup = staged.group
        return staged
    }

    /// The commit is durable: its keys and changes are everyone's.
    mutating func finished(_ commit: StagedCommit) {
        for new in commit.keys { keys.publish(new.key, new.entry) }
        for change in commit.changes { state.apply(change) }
        giveBack(commit)
    }

    /// Nothing of the commit was written: it and what was staged behind it never were.
    /// - Returns: the groups to fail, in order.
    mutating func rejected(_ commit: StagedCommit) -> [CommitGroup] {
        for new in commit.keys + staged.keys { keys.pending.removeValue(forKey: new.key) }
        if commit.recordCount > 0 {
            lastSequence -= 1
            nextOffset = commit.firstOffset
        }
        admittedState = state
        let groups = [commit.group, staged.group]
        for group in groups { group.doom = .rejected(.noSpace) }
        let behind = staged
        staged = StagedCommit()
        stagedControlBytes = 0
        behind.reset()
        giveBack(commit)
        return groups
    }

    /// A write failed: nothing is retried, everything pending has an unknown outcome.
    mutating func poisoned(_ commit: StagedCommit, _ cause: PoisonCause) -> [CommitGroup] {
        poison = cause
        let groups = [commit.group, staged.group]
        staged = StagedCommit()
        // What was admitted and not made durable stands for nobody any more.
        admittedState = state
        giveBack(commit)
        return groups
    }

    private mutating func giveBack(_ commit: StagedCommit) {
        // The group is still needed by those who wait; the buffers are used again.
        commit.reset()
        idleCommit = commit
        outGroup = nil
    }
}
