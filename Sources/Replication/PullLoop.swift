package import Buffers
package import Facts

/// The source as a pull sees it; the gateway makes one over RPC, tests make their own.
package protocol PullSource: Sendable {
    /// Opens the cursor; `position` is nil when nothing was ever received.
    func open(position: SourcePosition?, receiver: SourcePosition) async throws(PullFailure)
        -> SourcePosition
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
    package var confirmCount: UInt64 = 0
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

    private let source: any PullSource
    private let buffer: any ForwardBuffer
    private let pool: BlockingPool
    private let origin: [UInt8]
    private let keyedBy: PageIntake.KeyRule
    /// Waits until the source may hear that everything received is here; nil: at once.
    private let mayConfirm: (@Sendable () async -> Void)?
    private let log: @Sendable (PullMachine.Status) -> Void
    private var machine: PullMachine
    /// Read ahead, in order, without the one that is being committed.
    private var pages: [ReceivedPage] = []
    private var counts: PullReport
    private var running: [UInt64: Running] = [:]
    private var nextTask: UInt64 = 0
    private var told: PullMachine.Status?

    /// - Parameters:
    ///   - keyedBy: what makes two facts of the stream the same one.
    ///   - mayConfirm: waited for before each confirm; returns early when its task is cancelled.
    ///   - log: called when the status changes.
    package init(
        source: any PullSource, buffer: any ForwardBuffer, pool: BlockingPool, origin: String,
        keyedBy: PageIntake.KeyRule = .identifier,
        mayConfirm: (@Sendable () async -> Void)? = nil,
        log: @escaping @Sendable (PullMachine.Status) -> Void
    ) {
        self.source = source
        self.buffer = buffer
        self.pool = pool
        self.origin = Array(origin.utf8)
        self.keyedBy = keyedBy
        self.mayConfirm = mayConfirm
        self.log = log
        machine = PullMachine(durable: buffer.position)
        counts = PullReport(status: .connecting)
    }

    package func start() { perform(machine.start()) }

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
        perform(actions)
        return from
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
        perform(machine.opened(at: known ?? start))
    }

    private func fetch(_ offset: UInt64, _ generation: UInt64) async throws(PullFailure) {
        guard let position = machine.durable else { return }
        let bytes = try await source.fetch(from: offset, position: position, receiver: receiver)
        let page = try await PullLoop.decode(bytes)
        guard generation == machine.generation else { return }
        // An empty page moves nothing, another one moves on.
        guard let nextOffset = page.nextOffset,
            page.entries.isEmpty ? nextOffset == offset : nextOffset > offset
        else {
            throw .refused(.malformedRequest, "the page does not say where the next one begins")
        }
        counts.pageCount += 1
        counts.fetchedCount += UInt64(page.entries.count)
        counts.sourceHeadOffset = page.headOffset ?? counts.sourceHeadOffset
        if !page.entries.isEmpty { pages.append(page) }
        perform(machine.fetched(isEmpty: page.entries.isEmpty, nextOffset: nextOffset))
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
        let (buffer, origin, keyedBy) = (buffer, origin, keyedBy)
        do throws(PullFailure) {
            let result = try await onDisk { () throws(BufferError) in
                try PullLoop.materialise(page, at: position, origin, keyedBy, in: buffer)
            }
            let (to, redelivered, materialised) = try result.get()
            counts.redeliveredCount += UInt64(redelivered)
            counts.materialisedCount += UInt64(materialised)
            perform(machine.committed(to))
        } catch {
            if machine.isDroppedCommitOut {
                perform(machine.staleCommitFailed(durable: buffer.position))
            } else if case .full(let sentence, let milliseconds) = error {
                pages.insert(page, at: 0)
                perform(
                    machine.full(
                        sentence, durable: buffer.position, retryAfterMilliseconds: milliseconds))
            } else {
                fail(error, isCommit: true)
            }
        }
    }

    private typealias Materialised = (position: SourcePosition, redelivered: Int, new: Int)

    /// Judges a page and commits what is new together with the position. Blocks.
    private static func materialise(
        _ page: ReceivedPage, at position: SourcePosition, _ origin: [UInt8],
        _ keyedBy: PageIntake.KeyRule, in buffer: any ForwardBuffer
    ) throws(BufferError) -> Result<Materialised, PullFailure> {
        let intake: PageIntake
        do throws(PageIntake.Refusal) {
            intake = try PageIntake(page, at: position, origin: origin, keyedBy: keyedBy)
        } catch {
            return .failure(.refused(error.reason, error.sentence))
        }
        let taken = intake.records.count
        let new = try put(intake, 0..<taken, in: buffer)
        return .success((intake.position, intake.redeliveredCount + taken - new, new))
    }

    /// One commit, or where the log takes only smaller ones (small segments) several, each with the
    /// position that it reaches.
    /// - Returns: how many records are new.
    private static func put(
        _ intake: PageIntake, _ range: Range<Int>, in buffer: any ForwardBuffer
    ) throws(BufferError) -> Int {
        guard !range.isEmpty else { return 0 }
        do throws(BufferError) {
            let receipt = try buffer.putIfAbsent(
                Array(intake.records[range]), from: intake.position(after: range.lowerBound),
                to: intake.position(after: range.upperBound))
            return receipt.outcomes.count { if case .appended = $0 { true } else { false } }
        } catch {
            guard error.kind == .batchTooLarge, range.count > 1 else { throw error }
            let middle = range.lowerBound + range.count / 2
            return try put(intake, range.lowerBound..<middle, in: buffer)
                + put(intake, middle..<range.upperBound, in: buffer)
        }
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
