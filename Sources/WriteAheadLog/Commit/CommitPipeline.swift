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
        /// Nil while everything is new.
        private(set) var outcomes: [PreparedOutcome]?
        /// The commit that answers about existing records wait for.
        var dependency: CommitGroup?
        /// Records whose keys are new as far as memory knows: the runs decide.
        var unresolved: [Int] = []

        mutating func set(_ outcome: PreparedOutcome, _ index: Int, _ count: Int) {
            if outcomes == nil { outcomes = .init(repeating: .new, count: count) }
            outcomes![index] = outcome
        }
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
    var keys: KeyTable
    /// What is durable, and what it will be once everything admitted is.
    private(set) var state: LogState
    private(set) var admittedState: LogState
    private(set) var staged = StagedCommit()
    private var idleCommit: StagedCommit? = StagedCommit()
    private var endedGroups: [CommitGroup] = []
    private static let endedGroupsMaximum = 4
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
        keys = KeyTable(durableEndOffset: nextOffset)
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
        keys.restore(key, KeyTable.Entry(offset: offset, content: content))
    }

    /// Changes what only the state slots hold: losses, flags, clock.
    mutating func changeSlotFacts(_ change: (inout LogState) -> Void) {
        change(&state)
        change(&admittedState)
    }

    // MARK: - Reserve

    /// A batch with so many keys is looked up under the lock, as long as memory has the answers: that
    /// is cheaper than to give the lock back and take it again.
    private static let probedKeyCountMaximum = 8

    /// Reserves all keys of a batch or none.
    ///
    /// - Parameter runs: asked for keys that are in no memory of their own; what they cannot answer
    ///   without the disk stays unresolved.
    mutating func reserve(_ batch: AppendBatch, owner: UInt64, probing runs: KeyRunSet? = nil)
        -> Reservation
    {
        var reserved = Reserved()
        for index in 0..<batch.count {
            if index % CommitPipeline.prefetchedKeyCount == 0 { prefetchKeys(batch, from: index) }
            guard let key = batch.key(of: index) else { continue }
            let content = batch.content(of: index)
            switch keys.find(key) {
            case .absent:
                keys.reserve(key, content: content, owner: owner, index: index)
                if hasRuns, runs?.lookUpInMemory(key) != .absent {
                    reserved.unresolved.append(index)
                }
            case .durable(let entry):
                reserved.set(
                    entry.content == content
                        ? .existing(offset: entry.offset)
                        : .conflict(offset: entry.offset, stored: entry.content),
                    index, batch.count)
            case .pending(let other):
                if let offset = other.offset {
                    reserved.dependency = CommitPipeline.later(
                        reserved.dependency, group(of: offset), staged.group)
                    reserved.set(
                        other.content == content
                            ? .existing(offset: offset)
                            : .conflict(offset: offset, stored: other.content), index, batch.count)
                } else if other.owner == owner {
                    reserved.set(
                        other.content == content
                            ? .duplicate(of: other.index) : .conflictWithin(of: other.index),
                        index, batch.count)
                } else {
                    release(batch, upTo: index, owner: owner)
                    return .mustWait
                }
            }
        }
        return .reserved(reserved)
    }

    /// Keys whose places in memory are on the way before the first of them is looked for.
    private static let prefetchedKeyCount = 16

    private func prefetchKeys(_ batch: AppendBatch, from index: Int) {
        for index in index..<min(index + CommitPipeline.prefetchedKeyCount, batch.count) {
            if let key = batch.key(of: index) { keys.prefetch(key) }
        }
    }

    /// The commit that an offset was admitted to.
    private func group(of offset: UInt64) -> CommitGroup {
        guard let outGroup, offset < staged.firstOffset || staged.recordCount == 0 else {
            return staged.group
        }
        return outGroup
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
        for index in 0..<batch.count {
            let stored: KeyTable.Entry
            switch reserved.outcomes?[index] ?? .new {
            case .duplicate(let original), .conflictWithin(let original):
                guard let entry = found[original] else { continue }
                stored = entry
            case .new:
                guard let entry = found[index] else { continue }
                stored = entry
                keys.release(batch.key(of: index)!, owner: owner, index: index)
            case .existing, .conflict: continue
            }
            reserved.set(
                stored.content == batch.content(of: index)
                    ? .existing(offset: stored.offset)
                    : .conflict(offset: stored.offset, stored: stored.content),
                index, batch.count)
        }
        return true
    }

    /// Drops the reservations of a batch that was not admitted.
    mutating func release(_ batch: AppendBatch, upTo count: Int? = nil, owner: UInt64) {
        // The last ones first: their places in the table can be used again at once.
        for index in (0..<(count ?? batch.count)).reversed() {
            if let key = batch.key(of: index) {
                keys.release(key, owner: owner, index: index)
            }
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
        if batch.payloadBytesMaximum > limits.payloadBytes {
            return .rejected(
                .payloadTooLarge(
                    bytes: batch.payloadBytesMaximum, maximumBytes: limits.payloadBytes))
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
    ///
    /// - Parameter runs: the present ones, for a batch of few keys.
    mutating func append(
        _ batch: AppendBatch, registers: [RegisterUpdate], probing runs: KeyRunSet? = nil,
        wallMilliseconds: Int64
    ) -> Admission {
        if let refusal = check(batch) { return .refused(refusal) }
        guard batch.keyedCount > 0 else {
            return admit(
                batch, outcomes: nil, prepared: nil, owner: 0, dependency: nil,
                registers: registers, wallMilliseconds: wallMilliseconds)
        }
        let isProbed = runs != nil && batch.keyedCount <= CommitPipeline.probedKeyCountMaximum
        guard !hasRuns || isProbed else { return .mustLookUp }
        let owner = takeOwner()
        switch reserve(batch, owner: owner, probing: runs) {
        case .mustWait: return .mustWait
        case .reserved(let reserved):
            guard reserved.unresolved.isEmpty else {
                release(batch, owner: owner)
                return .mustLookUp
            }
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
            prepared.batch, outcomes: prepared.knownOutcomes, prepared: prepared,
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
        guard let dispositions = prepared?.dispositions else {
            return outcomes?.contains(.new) ?? true
        }
        for (index, disposition) in dispositions.enumerated() {
            switch disposition {
            case .skip: continue
            case .replace: return true
            case .asPrepared: if outcomes?[index] ?? .new == .new { return true }
            }
        }
        return false
    }

    /// Copies what is new into the staged commit and gives it offsets.
    private mutating func place(
        _ batch: AppendBatch, outcomes: [PreparedOutcome]?,
        dispositions: [PreparedBatch.Disposition]?, replacements: AppendBatch?,
        timeMilliseconds: Int64
    ) -> AppendOutcomes {
        if dispositions == nil, outcomes?.allSatisfy({ $0 == .new }) ?? true {
            // Everything is new: the blocks were made before the lock.
            let first = nextOffset
            place(batch, timeMilliseconds: timeMilliseconds)
            return AppendOutcomes(firstOffset: first, count: batch.count)
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
                        .conflict(offset: $0, stored: batch.content(of: original))
                    } ?? .skipped)
            }
        }
        place(new, timeMilliseconds: timeMilliseconds)
        return AppendOutcomes(given)
    }

    private mutating func place(_ batch: AppendBatch, timeMilliseconds: Int64) {
        batch.seal()
        for index in 0..<batch.groupCount {
            let group = batch.group(index)
            staged.append(
                block: group, from: batch, firstOffset: nextOffset,
                timeMilliseconds: timeMilliseconds)
            nextOffset += UInt64(group.entryCount)
        }
    }

    /// Moves the keys of new records from reserved to admitted; those that were left out are free.
    private mutating func publishPending(
        _ batch: AppendBatch, _ given: AppendOutcomes, owner: UInt64
    ) {
        guard batch.keyedCount > 0 else { return }
        for index in 0..<batch.count {
            guard let key = batch.key(of: index) else { continue }
            if case .appended(let offset) = given[index] {
                if keys.admit(key, owner: owner, index: index, offset: offset) {
                    staged.keyCount += 1
                }
            } else {
                keys.release(key, owner: owner, index: index)
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
                    outcomes: AppendOutcomes([]), epoch: state.epoch, sequence: 0, fill: fill,
                    nextOffset: nextOffset)))
    }

    /// The append time of everything in the staged commit, which becomes durable at one moment; nil
    /// before its first record has set it.
    var stagedTimeMilliseconds: Int64? {
        staged.recordCount > 0 ? staged.lastTimeMilliseconds : nil
    }

    /// The staged commit's group, when anything is staged.
    var stagedGroup: CommitGroup? { staged.isEmpty ? nil : staged.group }

    /// The commit after whose end everything admitted so far is durable; nil when it is already.
    var lastGroup: CommitGroup? { stagedGroup ?? outGroup }

    /// Adds an answer that is given when the staged commit has ended, also when nothing else is in it.
    mutating func attach(_ answer: CommitGroup.Answer) { staged.group.answers.append(answer) }

    /// Takes a group back whose end everyone was told, for a later commit.
    mutating func recycle(_ group: CommitGroup) {
        if endedGroups.count < CommitPipeline.endedGroupsMaximum { endedGroups.append(group) }
    }

    /// A group for the next commit: one that was used before, unless somebody still looks at it.
    private mutating func takeGroup() -> CommitGroup {
        for place in endedGroups.indices
        where endedGroups[place].isRead && isKnownUniquelyReferenced(&endedGroups[place]) {
            let group = endedGroups.remove(at: place)
            group.reuse()
            return group
        }
        return CommitGroup()
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
        staged.controlBlockBytes =
            stagedControlBytes > 0 ? FormatLimits.blockHeaderBytes + stagedControlBytes : 0
        stagedControlBytes = 0
        outGroup = staged.group
        return staged
    }

    /// Lets the next frame begin in memory where it will in a block of the file.
    func placeNextFrame(at start: Int) { staged.place(at: start) }

    /// The commit is durable: its keys and changes are everyone's.
    mutating func finished(_ commit: StagedCommit) {
        if commit.recordCount > 0 {
            keys.finished(
                keyCount: commit.keyCount,
                endOffset: commit.firstOffset + UInt64(commit.recordCount))
        }
        for change in commit.changes { state.apply(change) }
        giveBack(commit)
    }

    /// Nothing of the commit was written: it and what was staged behind it never were.
    /// - Returns: the group that was staged behind it, to fail after the commit's own.
    mutating func rejected(_ commit: StagedCommit) -> CommitGroup {
        if commit.recordCount > 0 {
            keys.forget(from: commit.firstOffset)
            lastSequence -= 1
            nextOffset = commit.firstOffset
        }
        admittedState = state
        let groupBehind = staged.group
        for group in [commit.group, groupBehind] { group.doom = .rejected(.noSpace) }
        let behind = staged
        staged = StagedCommit()
        stagedControlBytes = 0
        behind.reset(takeGroup())
        giveBack(commit)
        return groupBehind
    }

    /// A write failed: nothing is retried, everything pending has an unknown outcome.
    mutating func poisoned(_ commit: StagedCommit, _ cause: PoisonCause) -> CommitGroup {
        poison = cause
        let groupBehind = staged.group
        staged = StagedCommit()
        // What was admitted and not made durable stands for nobody any more.
        admittedState = state
        giveBack(commit)
        return groupBehind
    }

    private mutating func giveBack(_ commit: StagedCommit) {
        // The group is still needed by those who wait; the buffers are used again.
        commit.reset(takeGroup())
        idleCommit = commit
        outGroup = nil
    }
}
