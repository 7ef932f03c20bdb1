package import Buffers
package import Facts

/// The source as a pull sees it; the gateway makes one over RPC, tests make their own.
package protocol PullSource: Sendable {
    /// Opens the cursor; `position` is nil when nothing was ever received.
    func open(position: SourcePosition?, receiver: SourcePosition) async throws(PullFailure)
        -> SourcePosition
    /// How long `fetch` waits where there is nothing yet.
    var waitMilliseconds: Int { get }
    /// The bytes of a `FetchFactsResponse`.
    func fetch(from offset: UInt64, position: SourcePosition, receiver: SourcePosition)
        async throws(PullFailure) -> [UInt8]
    func confirm(position: SourcePosition, receiver: SourcePosition) async throws(PullFailure)
        -> UInt64
}

/// Why a call to the source did not succeed.
package enum PullFailure: Error, Sendable {
    /// Not reached, or asked to come back: tried again by itself.
    case unavailable(String)
    case refused(ErrorReason, String)
    /// Our own configuration or release stops the stream until it changes; a word of ours and why.
    case blocked(reason: String, sentence: String)
    /// The own forward buffer has no room; milliseconds until it is worth another try.
    case full(String, retryAfterMilliseconds: Int)
}

/// What a pull has done and where it stands.
package struct PullReport: Sendable {
    package var status: PullMachine.Status
    package var position: SourcePosition?
    package var confirmedOffset: UInt64?
    package var sourceHeadOffset: UInt64?
    package var pageCount: UInt64 = 0
    package var fetchedCount: UInt64 = 0
    package var materialisedCount: UInt64 = 0
    /// Delivered below the position, and delivered with a key that was there.
    package var redeliveredCount: UInt64 = 0
    /// Offsets below the position that were asked for again and came in order, as they are stored.
    package var recognisedCount: UInt64 = 0
    /// Those of them for which nothing is here to hold them against.
    package var uncomparedCount: UInt64 = 0
    /// Entries that came again with another id or other content than what is stored.
    package var alteredCount: UInt64 = 0
    package var confirmCount: UInt64 = 0
    package var quarantinedCount: UInt64 = 0
    package var failureCount: UInt64 = 0
}

/// Drives a `PullMachine`: performs its actions one task each and tells it what became of them.
///
/// Calls belong to a generation of the machine: a reset cancels them, and what they answer still is
/// ignored. A commit belongs to none: it cannot be taken back, so the machine always hears of its
/// end.
package actor PullLoop {
    private struct Running {
        var task: Task<Void, Never>
        /// Nil for a commit, which is never cancelled.
        var generation: UInt64?
    }

    /// A source that answers that it has nothing, and does not wait before, is asked this often.
    private static let earlyPauseMilliseconds = 100

    private let source: any PullSource
    private let buffer: any ForwardBuffer
    private let pool: BlockingPool
    private let materialisation: PageMaterialisation
    /// Waits until the source may hear that everything received is here; nil: at once.
    private let mayConfirm: (@Sendable () async -> Void)?
    private let log: @Sendable (PullMachine.Status) -> Void
    private var machine: PullMachine
    /// Read ahead, in order, without the one that is being committed.
    private var pages: [ReceivedPage] = []
    /// How often the bytes at an offset came and were not what was sent.
    private var fetchCounts: [UInt64: Int] = [:]
    private var counts: PullReport
    /// What was asked for again and has not come yet; nil when nothing was.
    private var awaitedAgain: Range<UInt64>?
    private var running: [UInt64: Running] = [:]
    private var nextTask: UInt64 = 0
    private var told: PullMachine.Status?
    private var isStarted = false

    /// - Parameters:
    ///   - pagesAhead: how many pages may be held, from 1 to `PullMachine.pagesAheadMaximum`.
    ///   - mayConfirm: waited for before each confirm; returns early when its task is cancelled.
    ///   - log: called when the status changes.
    package init(
        source: any PullSource, materialisation: PageMaterialisation, pool: BlockingPool,
        pagesAhead: Int = PullMachine.pagesAheadMaximum,
        mayConfirm: (@Sendable () async -> Void)? = nil,
        log: @escaping @Sendable (PullMachine.Status) -> Void
    ) {
        self.source = source
        self.materialisation = materialisation
        buffer = materialisation.buffer
        self.pool = pool
        self.mayConfirm = mayConfirm
        self.log = log
        machine = PullMachine(
            durable: materialisation.buffer.position, pagesAhead: pagesAhead)
        counts = PullReport(status: .connecting)
    }

    /// Begins; a second time nothing happens.
    package func start() {
        guard !isStarted else { return }
        isStarted = true
        perform(machine.start())
    }

    /// The gate has closed: gives up every call, and waits for a commit that is out. The loop opens its
    /// cursor again when it is let through.
    package func interrupt(_ sentence: String) async {
        guard isStarted, machine.status != .stopped else { return }
        pages = []
        perform(machine.unavailable(sentence, durable: buffer.position, jitter: 0))
        for call in running.values where call.generation == nil { await call.task.value }
    }

    /// The peer is there: a wait for another try is over.
    package func resume() { perform(machine.resumed()) }

    /// Ends every call and waits for a commit that is out.
    package func stop() async {
        machine.stop()
        pages = []
        let tasks = running.values.map(\.task)
        perform([])
        for task in tasks { await task.value }
    }

    package func report() -> PullReport {
        var report = counts
        report.status = machine.status
        report.position = machine.durable ?? buffer.position
        report.confirmedOffset = machine.confirmedOffset
        return report
    }

    /// The duplicate drill: fetches the last `count` offsets below the position again, through the
    /// ordinary path.
    /// - Returns: from where; nil while the pull is not running.
    package func redeliver(count: UInt64) -> UInt64? {
        guard let position = machine.durable else { return nil }
        let from = position.nextOffset - min(count, position.nextOffset)
        let actions = machine.redeliver(from: from)
        guard !actions.isEmpty else { return nil }
        pages = []
        awaitedAgain = from < position.nextOffset ? from..<position.nextOffset : nil
        perform(actions)
        return from
    }

    /// An offset counts once, and only after all before it: so a source that leaves some out, or serves one of
    /// them over and over, is seen not to have served the rest.
    private func count(_ redelivered: [RedeliveredEntry]) {
        for entry in redelivered {
            if entry.isAltered { counts.alteredCount += 1 }
            guard let awaited = awaitedAgain, entry.offsets.contains(awaited.lowerBound) else { continue }
            let next = min(entry.offsets.upperBound + 1, awaited.upperBound)
            switch entry.verdict {
            case .same: counts.recognisedCount += next - awaited.lowerBound
            case .uncompared: counts.uncomparedCount += next - awaited.lowerBound
            case .altered: break
            }
            awaitedAgain = next < awaited.upperBound ? next..<awaited.upperBound : nil
        }
    }

    /// An operator decided about a halt or a history: begins again from the durable position.
    /// One that waits to be started does so with that position.
    package func startAgain() {
        guard isStarted else { return }
        pages = []
        fetchCounts = [:]
        perform(machine.startAgain(durable: buffer.position))
    }

    /// The entry that the source has at an offset now; nil when it has none there.
    package func entry(at offset: UInt64) async throws(PullFailure) -> ReceivedEntry? {
        guard let position = machine.durable ?? buffer.position else { return nil }
        let bytes = try await source.fetch(from: offset, position: position, receiver: receiver)
        return try await PullLoop.decode(bytes).entries.first { $0.offset == offset }
    }

    private func perform(_ actions: [PullMachine.Action]) {
        if machine.status != told {
            told = machine.status
            log(machine.status)
        }
        for call in running.values {
            if let generation = call.generation, generation != machine.generation {
                call.task.cancel()
            }
        }
        for action in actions {
            if action == .commit {
                // Taken here and not by the task: by the time that runs there may be other pages.
                guard let position = machine.durable else {
                    preconditionFailure("nothing is committed before receiving began")
                }
                let page = pages.removeFirst()
                run(generation: nil) { await $0.commit(page, at: position) }
            } else {
                let generation = machine.generation
                run(generation: generation) { await $0.call(action, generation) }
            }
        }
    }

    private func run(
        generation: UInt64?, _ body: @escaping @Sendable (PullLoop) async -> Void
    ) {
        let number = nextTask
        nextTask += 1
        let task = Task { [weak self] in
            guard let self else { return }
            await body(self)
            await self.ended(number)
        }
        running[number] = Running(task: task, generation: generation)
    }

    private func ended(_ number: UInt64) { running.removeValue(forKey: number) }

    private func call(_ action: PullMachine.Action, _ generation: UInt64) async {
        guard generation == machine.generation else { return }
        do throws(PullFailure) {
            switch action {
            case .open: try await open(generation)
            case .fetch(let offset): try await fetch(offset, generation)
            case .commit: preconditionFailure("a commit is no call")
            case .confirm(let position): try await confirm(position, generation)
            case .wait(let milliseconds):
                try? await Task.sleep(for: .milliseconds(milliseconds))
                guard generation == machine.generation else { return }
                perform(machine.waited())
            }
        } catch {
            guard generation == machine.generation else { return }
            fail(error)
        }
    }

    private func fail(_ failure: PullFailure, isCommit: Bool = false) {
        guard machine.status != .stopped else { return }
        counts.failureCount += 1
        pages = []
        let jitter = Double.random(in: 0..<1)
        switch failure {
        case .unavailable(let sentence), .full(let sentence, _):
            perform(
                machine.unavailable(
                    sentence, isCommit: isCommit, durable: buffer.position, jitter: jitter))
        case .refused(let reason, let sentence):
            perform(
                machine.refused(
                    reason: reason.rawValue, sentence, isHistory: reason == .historyMismatch,
                    isCommit: isCommit, durable: buffer.position, jitter: jitter))
        case .blocked(let reason, let sentence):
            perform(
                machine.refused(
                    reason: reason, sentence, isHistory: false, isCommit: isCommit,
                    durable: buffer.position, jitter: jitter))
        }
    }

    /// Ourselves, as the source's cursor is bound to us.
    private var receiver: SourcePosition {
        SourcePosition(
            logUUID: buffer.identifier, epoch: buffer.epoch, nextOffset: buffer.headOffset)
    }

    private func open(_ generation: UInt64) async throws(PullFailure) {
        let known = buffer.position
        let start = try await source.open(position: known, receiver: receiver)
        guard generation == machine.generation else { return }
        if known == nil {
            // Where receiving began is durable before the first page is asked for.
            let buffer = buffer
            try await onDisk { () throws(BufferError) in try buffer.begin(at: start) }
            guard generation == machine.generation else { return }
        }
        perform(machine.opened(at: known ?? start, haltSentence: buffer.halt?.sentence))
    }

    private func fetch(_ offset: UInt64, _ generation: UInt64) async throws(PullFailure) {
        guard let position = machine.durable else { return }
        let began = ContinuousClock.now
        let bytes = try await source.fetch(from: offset, position: position, receiver: receiver)
        let page = try await PullLoop.decode(bytes)
        guard generation == machine.generation else { return }
        // An empty page moves nothing, another one moves on.
        guard let nextOffset = page.nextOffset,
            page.entries.isEmpty ? nextOffset == offset : nextOffset > offset
        else {
            throw .refused(.malformedRequest, "the page does not say where the next one begins")
        }
        if let sentence = PageIntake.stray(page, from: offset, to: nextOffset) {
            throw .refused(.malformedRequest, sentence)
        }
        counts.pageCount += 1
        counts.fetchedCount += UInt64(page.entries.count)
        counts.sourceHeadOffset = page.headOffset ?? counts.sourceHeadOffset
        if !page.entries.isEmpty {
            materialisation.reached(.received)
            for offset in PageIntake.damaged(page, from: position.nextOffset)
            // A source that names other offsets each time does not fill the memory.
            where fetchCounts[offset] != nil || fetchCounts.count < FactLimits.pageFacts {
                fetchCounts[offset, default: 0] += 1
            }
            pages.append(page)
        }
        let isEarly =
            page.entries.isEmpty
            && began.duration(to: .now) < .milliseconds(source.waitMilliseconds / 2)
        if isEarly {
            try? await Task.sleep(for: .milliseconds(PullLoop.earlyPauseMilliseconds))
            guard generation == machine.generation else { return }
        }
        perform(
            machine.fetched(isEmpty: page.entries.isEmpty, isEarly: isEarly, nextOffset: nextOffset))
    }

    /// Recomputes every digest of the page, beside the actor: commits and confirms go on meanwhile.
    @concurrent private static func decode(_ bytes: [UInt8]) async throws(PullFailure)
        -> ReceivedPage
    {
        do throws(MalformedRecord) {
            return try ReceivedPage(bytes)
        } catch {
            throw .refused(.malformedRequest, error.sentence)
        }
    }

    private func commit(_ page: ReceivedPage, at position: SourcePosition) async {
        let (materialisation, fetchCounts) = (materialisation, fetchCounts)
        do throws(PullFailure) {
            let result = try await onDisk { () throws(BufferError) in
                try materialisation.materialise(page, at: position, fetchCounts: fetchCounts)
            }
            switch result {
            case .success(let outcome): try finished(outcome, page)
            case .failure(let refusal): throw .refused(refusal.reason, refusal.sentence)
            }
        } catch {
            if machine.isDroppedCommitOut {
                perform(machine.staleCommitFailed(durable: buffer.position))
            } else if case .full(let sentence, let milliseconds) = error {
                pauseForRoom(page, sentence, PullMachine.forwardFull, milliseconds)
            } else {
                fail(error, isCommit: true)
            }
        }
    }

    /// What became of a page whose records are durable as far as it could be taken.
    private func finished(_ outcome: PageMaterialisation.Outcome, _ page: ReceivedPage)
        throws(PullFailure)
    {
        counts.redeliveredCount += UInt64(outcome.redeliveredCount)
        count(outcome.redelivered)
        counts.materialisedCount += UInt64(outcome.newCount)
        counts.quarantinedCount += UInt64(outcome.quarantinedCount)
        fetchCounts = fetchCounts.filter { $0.key >= outcome.position.nextOffset }
        switch outcome.end {
        case .whole: perform(machine.committed(outcome.position))
        case .halted(let halt):
            if !machine.isDroppedCommitOut { pages = [] }
            perform(machine.halted(halt.sentence, at: outcome.position))
        case .quarantineFull(let sentence):
            guard !machine.isDroppedCommitOut else {
                throw .unavailable(sentence)
            }
            pauseForRoom(page, sentence, PullMachine.quarantineFull, 5_000)
        case .blocked(let reason, let sentence):
            throw .blocked(reason: reason, sentence: sentence)
        case .damaged(let sentence): throw .refused(.digestMismatch, sentence)
        }
    }

    /// The page waits for room and is committed again after a while; a part of it may be in already.
    private func pauseForRoom(
        _ page: ReceivedPage, _ sentence: String, _ reason: String, _ milliseconds: Int
    ) {
        pages.insert(page, at: 0)
        perform(
            machine.full(
                sentence, reason: reason, durable: buffer.position,
                retryAfterMilliseconds: milliseconds))
    }

    private func confirm(_ position: SourcePosition, _ generation: UInt64)
        async throws(PullFailure)
    {
        if let mayConfirm {
            await mayConfirm()
            guard generation == machine.generation else { return }
        }
        let next = try await source.confirm(position: position, receiver: receiver)
        guard generation == machine.generation else { return }
        guard next >= position.nextOffset else {
            throw .refused(
                .malformedRequest,
                "the source confirms up to \(next) when told \(position.nextOffset)")
        }
        materialisation.reached(.confirmSent)
        counts.confirmCount += 1
        perform(machine.confirmed(through: next))
    }

    /// What the own disk refuses blocks the stream or waits for it; the source is not to blame.
    private func onDisk<Value: Sendable>(
        _ body: @escaping @Sendable () throws(BufferError) -> Value
    ) async throws(PullFailure) -> Value {
        do throws(BufferError) {
            return try await pool.run(body)
        } catch {
            switch error.kind {
            case .full:
                throw .full(
                    "the forward log takes nothing more: \(error.sentence)",
                    retryAfterMilliseconds: error.retryAfterMilliseconds)
            case .busy, .positionMoved: throw .unavailable(error.sentence)
            case .conflict: throw .refused(.conflictingDuplicate, error.sentence)
            case .stopped, .outcomeUnknown, .corrupt: throw .refused(.logPoisoned, error.sentence)
            case .invalid, .batchTooLarge: throw .refused(.tooLarge, error.sentence)
            case .outOfRange, .gap, .cursorNotFound, .cursorExists, .cursorDetached:
                throw .refused(.malformedRequest, error.sentence)
            }
        }
    }
}
