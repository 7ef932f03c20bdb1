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
package actor PullLoop {
    private let source: any PullSource
    private let buffer: any ForwardBuffer
    private let pool: BlockingPool
    private let origin: [UInt8]
    private let log: @Sendable (PullMachine.Status) -> Void
    private var machine: PullMachine
    private var pages: [ReceivedPage] = []
    private var counts: PullReport
    private var tasks: [UInt64: Task<Void, Never>] = [:]
    private var nextTask: UInt64 = 0
    private var told: PullMachine.Status?

    /// - Parameter log: called when the status changes.
    package init(
        source: any PullSource, buffer: any ForwardBuffer, pool: BlockingPool, origin: String,
        log: @escaping @Sendable (PullMachine.Status) -> Void
    ) {
        self.source = source
        self.buffer = buffer
        self.pool = pool
        self.origin = Array(origin.utf8)
        self.log = log
        machine = PullMachine(durable: buffer.position)
        counts = PullReport(status: .connecting)
    }

    package func start() { perform(machine.start()) }

    /// Ends every call and waits for a commit that is out.
    package func stop() async {
        machine.stop()
        let running = Array(tasks.values)
        for task in running { task.cancel() }
        for task in running { await task.value }
    }

    package func report() -> PullReport {
        var report = counts
        report.status = machine.status
        report.position = machine.durable ?? buffer.position
        report.confirmedOffset = machine.confirmedOffset
        return report
    }

    /// The duplicate drill: fetches again from `offset`, at or below the position, through the
    /// ordinary path. False while the pull is not running.
    package func redeliver(from offset: UInt64) -> Bool {
        let actions = machine.redeliver(from: offset)
        pages = []
        perform(actions)
        return !actions.isEmpty
    }

    private func perform(_ actions: [PullMachine.Action]) {
        if machine.status != told {
            told = machine.status
            log(machine.status)
        }
        for action in actions {
            let generation = machine.generation
            let number = nextTask
            nextTask += 1
            tasks[number] = Task { [weak self] in
                await self?.run(action, generation)
                await self?.ended(number)
            }
        }
    }

    private func ended(_ number: UInt64) { tasks.removeValue(forKey: number) }

    private func run(_ action: PullMachine.Action, _ generation: UInt64) async {
        do throws(PullFailure) {
            switch action {
            case .open: try await open(generation)
            case .fetch(let offset): try await fetch(offset, generation)
            case .commit: try await commit(generation)
            case .confirm(let position): try await confirm(position, generation)
            case .wait(let milliseconds):
                try? await Task.sleep(for: .milliseconds(milliseconds))
                guard generation == machine.generation else { return }
                perform(machine.waited())
            }
        } catch {
            fail(error, generation)
        }
    }

    private func fail(_ failure: PullFailure, _ generation: UInt64) {
        guard generation == machine.generation, machine.status != .stopped else { return }
        counts.failureCount += 1
        pages = []
        let jitter = Double.random(in: 0..<1)
        switch failure {
        case .unavailable(let sentence):
            perform(machine.unavailable(sentence, durable: buffer.position, jitter: jitter))
        case .refused(let reason, let sentence):
            perform(
                machine.refused(
                    reason: reason.rawValue, sentence, isHistory: reason == .historyMismatch,
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
        perform(machine.opened(at: known ?? start))
    }

    private func fetch(_ offset: UInt64, _ generation: UInt64) async throws(PullFailure) {
        guard let position = machine.durable else { return }
        let bytes = try await source.fetch(from: offset, position: position, receiver: receiver)
        let page: ReceivedPage
        do throws(MalformedRecord) {
            page = try ReceivedPage(bytes)
        } catch {
            throw .refused(.malformedRequest, error.sentence)
        }
        guard generation == machine.generation else { return }
        guard let nextOffset = page.nextOffset, nextOffset >= offset else {
            throw .refused(.malformedRequest, "the page does not say where the next one begins")
        }
        counts.pageCount += 1
        counts.fetchedCount += UInt64(page.entries.count)
        counts.sourceHeadOffset = page.headOffset ?? counts.sourceHeadOffset
        if !page.entries.isEmpty { pages.append(page) }
        perform(machine.fetched(isEmpty: page.entries.isEmpty, nextOffset: nextOffset))
    }

    private func commit(_ generation: UInt64) async throws(PullFailure) {
        guard let page = pages.first, let position = machine.durable else { return }
        let (buffer, origin) = (buffer, origin)
        let result = try await onDisk { () throws(BufferError) in
            try PullLoop.materialise(page, at: position, origin, in: buffer)
        }
        let done = try result.get()
        counts.redeliveredCount += UInt64(done.redelivered)
        counts.materialisedCount += UInt64(done.new)
        guard generation == machine.generation else { return }
        pages.removeFirst()
        perform(machine.committed(done.position))
    }

    private struct Materialised {
        var position: SourcePosition
        var redelivered = 0
        var new = 0
    }

    /// Judges a page and commits what is new together with the position. Blocks. A log of small
    /// segments takes less in one commit than a page holds: then the page is taken in halves, each
    /// with its own position.
    private static func materialise(
        _ page: ReceivedPage, at position: SourcePosition, _ origin: [UInt8],
        in buffer: any ForwardBuffer
    ) throws(BufferError) -> Result<Materialised, PullFailure> {
        var done = Materialised(position: position)
        var ranges = [page.entries.indices]
        while let range = ranges.popLast() {
            let intake: PageIntake
            do throws(PageIntake.Refusal) {
                intake = try PageIntake(page, at: done.position, origin: origin, range)
            } catch {
                return .failure(.refused(error.reason, error.sentence))
            }
            do throws(BufferError) {
                try commit(intake, to: buffer, &done)
            } catch {
                guard error.kind == .invalid, range.count > 1 else { throw error }
                let middle = range.lowerBound + range.count / 2
                ranges += [middle..<range.upperBound, range.lowerBound..<middle]
            }
        }
        return .success(done)
    }

    private static func commit(
        _ intake: PageIntake, to buffer: any ForwardBuffer, _ done: inout Materialised
    ) throws(BufferError) {
        if intake.position != done.position {
            let receipt = try buffer.putIfAbsent(
                intake.records, from: done.position, to: intake.position)
            let new = receipt.outcomes.count { if case .appended = $0 { true } else { false } }
            done.new += new
            done.redelivered += receipt.outcomes.count - new
            done.position = intake.position
        }
        done.redelivered += intake.redeliveredCount
    }

    private func confirm(_ position: SourcePosition, _ generation: UInt64)
        async throws(PullFailure)
    {
        let next = try await source.confirm(position: position, receiver: receiver)
        guard generation == machine.generation else { return }
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
            case .full: throw .unavailable("the forward buffer is full: \(error.sentence)")
            case .positionMoved: throw .unavailable(error.sentence)
            case .conflict: throw .refused(.conflictingDuplicate, error.sentence)
            case .stopped, .outcomeUnknown, .corrupt: throw .refused(.logPoisoned, error.sentence)
            case .invalid: throw .refused(.tooLarge, error.sentence)
            case .outOfRange, .cursorNotFound, .cursorExists:
                throw .refused(.malformedRequest, error.sentence)
            }
        }
    }
}
