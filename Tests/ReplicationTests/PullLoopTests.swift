import Buffers
import Dispatch
import Facts
import Replication
import Synchronization
import Testing

@Suite struct PullLoopTests {
    private func loop(
        _ source: SourceDouble, _ receiver: ReceiverDouble, _ pool: BlockingPool,
        origin: String = "plant-a", keyedBy: PageIntake.KeyRule = .identifier
    ) -> PullLoop {
        PullLoop(
            source: source,
            materialisation: materialisation(receiver, origin: origin, keyedBy: keyedBy),
            pool: pool, log: { _ in })
    }

    private func isDone(_ source: SourceDouble, _ receiver: ReceiverDouble) -> Bool {
        source.cursor?.nextOffset == source.store.headOffset
            && receiver.position?.nextOffset == source.store.headOffset
    }

    /// Each fact exactly once and in order, and everything confirmed.
    private func expectWhole(
        _ source: SourceDouble, _ receiver: ReceiverDouble, _ what: Comment = ""
    ) throws {
        #expect(try messages(receiver) == messages(source.store), what)
        #expect(source.cursor?.nextOffset == source.store.headOffset, what)
        #expect(receiver.position?.nextOffset == source.store.headOffset, what)
    }

    @Test("spec 19.106: with buffers in memory facts cross, and what comes later follows")
    func factsCross() async throws {
        let pool = BlockingPool(name: "test", threadCount: 2)
        let (source, receiver) = (try SourceDouble(10), ReceiverDouble())
        let loop = loop(source, receiver, pool)
        await loop.start()
        try await eventually("the first facts cross") { isDone(source, receiver) }
        try source.append(10..<17)
        try await eventually("the next facts cross") { isDone(source, receiver) }
        let report = await loop.report()
        #expect(report.status == .pulling && report.materialisedCount == 17)
        #expect(report.redeliveredCount == 0 && report.failureCount == 0)
        await loop.stop()
        try expectWhole(source, receiver)
        pool.stop()
    }

    /// Has nothing, and says so at once however long it is asked to wait.
    private final class HastySource: PullSource {
        let inner: SourceDouble
        let waitMilliseconds: Int
        private let count = Mutex(0)
        var fetchCount: Int { count.withLock { $0 } }

        init(_ inner: SourceDouble, waitMilliseconds: Int) {
            (self.inner, self.waitMilliseconds) = (inner, waitMilliseconds)
        }

        func open(position: SourcePosition?, receiver: SourcePosition) async throws(PullFailure)
            -> SourcePosition
        {
            try await inner.open(position: position, receiver: receiver)
        }

        func fetch(from offset: UInt64, position: SourcePosition, receiver: SourcePosition)
            async throws(PullFailure) -> [UInt8]
        {
            count.withLock { $0 += 1 }
            return inner.page(from: offset)
        }

        func confirm(position: SourcePosition, receiver: SourcePosition) async throws(PullFailure)
            -> UInt64
        {
            try await inner.confirm(position: position, receiver: receiver)
        }
    }

    @Test func `a source that does not wait is asked ten times a second`() async throws {
        let pool = BlockingPool(name: "test", threadCount: 2)
        let (source, receiver) = (try SourceDouble(0), ReceiverDouble())
        let hasty = HastySource(source, waitMilliseconds: 5_000)
        let loop = PullLoop(
            source: hasty, materialisation: materialisation(receiver), pool: pool, log: { _ in })
        await loop.start()
        try await Task.sleep(for: .seconds(1))
        let count = hasty.fetchCount
        #expect(count <= 11)
        // What it has after all comes as before.
        try source.append(0..<3)
        try await eventually("the facts cross") { isDone(source, receiver) }
        await loop.stop()
        pool.stop()
    }

    @Test func `a full receiver pauses without failing and goes on when there is room`()
        async throws
    {
        let pool = BlockingPool(name: "test", threadCount: 2)
        let told = Mutex<[PullMachine.Status]>([])
        let (source, receiver) = (try SourceDouble(10), ReceiverDouble())
        receiver.setFull(true)
        let loop = PullLoop(
            source: source, materialisation: materialisation(receiver), pool: pool,
            log: { status in told.withLock { $0.append(status) } })
        await loop.start()
        try await eventually("it is tried again and again") { receiver.refusedCount >= 4 }
        let paused = await loop.report()
        guard case .blocked(PullMachine.forwardFull, _) = paused.status else {
            Issue.record("it is \(paused.status)")
            return
        }
        #expect(paused.failureCount == 0)
        #expect(source.cursor?.nextOffset == 0 && receiver.headOffset == 0)
        receiver.setFull(false)
        try await eventually("everything crosses") { isDone(source, receiver) }
        #expect(await loop.report().failureCount == 0)
        await loop.stop()
        // Told once, however often it was tried.
        let pauses = told.withLock {
            $0.filter { if case .blocked = $0 { true } else { false } }.count
        }
        #expect(pauses == 1)
        try expectWhole(source, receiver)
        pool.stop()
    }

    /// Every step of a run, at the source and at the receiver, goes wrong once.
    @Test(arguments: Fault.allCases)
    func `a failure at any step loses nothing and doubles nothing`(_ fault: Fault) async throws {
        let pool = BlockingPool(name: "test", threadCount: 2)
        let failures: [PullFailure] = [
            .unavailable("cut"), .refused(.historyMismatch, "overtaken"),
            .refused(.internal, "broken"),
        ]
        var hits = 0
        for step in 0..<26 {
            hits += try await withThrowingTaskGroup(of: Bool.self) { group in
                for failure in failures {
                    group.addTask {
                        let plan = Plan(at: step)
                        let source = try SourceDouble(
                            12, plan: plan, fault: fault, failure: failure)
                        let receiver = ReceiverDouble(plan: plan, fault: fault)
                        let loop = self.loop(source, receiver, pool)
                        await loop.start()
                        try await eventually("step \(step) with \(failure)") {
                            self.isDone(source, receiver)
                        }
                        await loop.stop()
                        try self.expectWhole(source, receiver, "step \(step) with \(failure)")
                        return plan.isHit
                    }
                }
                return try await group.reduce(0) { $0 + ($1 ? 1 : 0) }
            }
        }
        #expect(hits >= 14 * failures.count, "the steps were reached")
        pool.stop()
    }

    /// The receiver ends at any step, done or not, and another one goes on over the same buffer.
    @Test(arguments: Fault.allCases)
    func `a receiver that is killed at any step goes on from its position`(_ fault: Fault)
        async throws
    {
        let pool = BlockingPool(name: "test", threadCount: 2)
        for step in 0..<20 {
            let plan = Plan(at: step)
            let source = try SourceDouble(12, plan: plan, fault: fault)
            let receiver = ReceiverDouble(plan: plan, fault: fault)
            let first = loop(source, receiver, pool)
            await first.start()
            try await eventually("step \(step) is reached") {
                plan.isHit || isDone(source, receiver)
            }
            await first.stop()
            let durable = receiver.position?.nextOffset ?? 0
            #expect(source.cursor?.nextOffset ?? 0 <= durable)
            #expect(receiver.headOffset == durable)
            let second = loop(source, receiver, pool)
            await second.start()
            try await eventually("step \(step) is recovered") { isDone(source, receiver) }
            await second.stop()
            try expectWhole(source, receiver, "step \(step)")
        }
        pool.stop()
    }

    @Test func `failures at random moments while facts flow lose nothing`() async throws {
        let seed = UInt64.random(in: .min ... .max)
        print("PullLoop seed \(seed)")
        var random = SplitMix(state: seed)
        let pool = BlockingPool(name: "test", threadCount: 2)
        let (source, receiver) = (try SourceDouble(5), ReceiverDouble())
        var loop = loop(source, receiver, pool)
        await loop.start()
        var head = 5
        for _ in 0..<25 {
            let more = Int.random(in: 1...9, using: &random)
            try source.append(head..<head + more)
            head += more
            switch Int.random(in: 0..<4, using: &random) {
            case 0:
                source.setReachable(false)
                try await Task.sleep(for: .milliseconds(20))
                source.setReachable(true)
            case 1:
                await loop.stop()
                loop = self.loop(source, receiver, pool)
                await loop.start()
            case 2: _ = await loop.redeliver(count: 7)
            default: try await Task.sleep(for: .milliseconds(30))
            }
        }
        try await eventually("seed \(seed)") { isDone(source, receiver) }
        await loop.stop()
        try expectWhole(source, receiver, "seed \(seed)")
        pool.stop()
    }

    @Test func `the end waits for a commit that is out`() async throws {
        let pool = BlockingPool(name: "test", threadCount: 2)
        let began = Mutex(false)
        let gate = DispatchSemaphore(value: 0)
        let source = try SourceDouble(3)
        let receiver = ReceiverDouble(hold: {
            began.withLock { $0 = true }
            gate.wait()
        })
        let loop = loop(source, receiver, pool)
        await loop.start()
        try await eventually("a commit is out") { began.withLock { $0 } }
        let ended = Mutex(false)
        let stopping = Task {
            await loop.stop()
            ended.withLock { $0 = true }
        }
        try await Task.sleep(for: .milliseconds(50))
        #expect(!ended.withLock { $0 })
        #expect(receiver.headOffset == 0)
        gate.signal()
        await stopping.value
        #expect(receiver.headOffset == 3)
        let report = await loop.report()
        #expect(report.status == .stopped && report.position?.nextOffset == 3)
        pool.stop()
    }

    @Test func `a cut while a commit is out neither loses nor repeats it`() async throws {
        let pool = BlockingPool(name: "test", threadCount: 2)
        let began = Mutex(0)
        let gate = DispatchSemaphore(value: 0)
        let source = try SourceDouble(6)
        let receiver = ReceiverDouble(hold: {
            let count = began.withLock { value in
                value += 1
                return value
            }
            if count == 1 { gate.wait() }
        })
        let loop = loop(source, receiver, pool)
        await loop.start()
        try await eventually("a commit is out") { began.withLock { $0 == 1 } }
        source.setReachable(false)
        try await eventually("the cut is seen") {
            if case .unavailable = await loop.report().status { true } else { false }
        }
        source.setReachable(true)
        try await Task.sleep(for: .milliseconds(300))
        #expect(began.withLock { $0 } == 1, "another commit began beside the one that is out")
        gate.signal()
        try await eventually("everything crosses") { isDone(source, receiver) }
        await loop.stop()
        #expect(await loop.report().redeliveredCount == 0)
        try expectWhole(source, receiver)
        pool.stop()
    }

    @Test func `redelivery is recognised and changes nothing`() async throws {
        let pool = BlockingPool(name: "test", threadCount: 2)
        let (source, receiver) = (try SourceDouble(12), ReceiverDouble())
        let loop = loop(source, receiver, pool)
        #expect(await loop.redeliver(count: 3) == nil)
        await loop.start()
        try await eventually("everything crosses") { isDone(source, receiver) }
        #expect(await loop.redeliver(count: 8) == 4)
        try await eventually("it comes again") { await loop.report().redeliveredCount == 8 }
        #expect(await loop.redeliver(count: 1_000) == 0)
        try await eventually("all of it comes again") {
            await loop.report().redeliveredCount == 20
        }
        await loop.stop()
        #expect(await loop.report().materialisedCount == 12)
        try expectWhole(source, receiver)
        pool.stop()
    }

    @Test func `a page that one commit cannot take is committed in parts`() async throws {
        let pool = BlockingPool(name: "test", threadCount: 2)
        let source = try SourceDouble(23, pageCount: 10)
        let receiver = ReceiverDouble(recordsMaximum: 3)
        let loop = loop(source, receiver, pool)
        await loop.start()
        try await eventually("everything crosses") { isDone(source, receiver) }
        await loop.stop()
        #expect(await loop.report().failureCount == 0)
        try expectWhole(source, receiver)
        pool.stop()
    }

    @Test func `the first history refusal is asked again and the second blocks`() async throws {
        let pool = BlockingPool(name: "test", threadCount: 2)
        let (source, receiver) = (try SourceDouble(4), ReceiverDouble())
        source.refuseHistory(1)
        let first = loop(source, receiver, pool)
        await first.start()
        try await eventually("it passes at the second asking") { isDone(source, receiver) }
        await first.stop()
        source.refuseHistory(.max)
        try source.append(4..<6)
        let second = loop(source, receiver, pool)
        await second.start()
        try await eventually("it blocks") {
            if case .blocked("history_mismatch", _) = await second.report().status {
                true
            } else {
                false
            }
        }
        #expect(receiver.headOffset == 4)
        // Put right, it goes on by itself.
        source.refuseHistory(0)
        try await eventually("it goes on") { isDone(source, receiver) }
        await second.stop()
        try expectWhole(source, receiver)
        pool.stop()
    }

    @Test func `a page that is no page, or does not go on, blocks`() async throws {
        // No protobuf, nothing at all, and an empty page that would move on to offset 9.
        for broken in [[0xFF, 0xFF, 0xFF], [], [0x10, 9]] as [[UInt8]] {
            let pool = BlockingPool(name: "test", threadCount: 2)
            let (source, receiver) = (try SourceDouble(4), ReceiverDouble())
            source.changePages { $0 = broken }
            let loop = loop(source, receiver, pool)
            await loop.start()
            try await eventually("it blocks") {
                if case .blocked("malformed_request", _) = await loop.report().status {
                    true
                } else {
                    false
                }
            }
            await loop.stop()
            #expect(receiver.headOffset == 0 && receiver.position?.nextOffset == 0)
            pool.stop()
        }
    }

    @Test func `facts of another zone are not taken as the origin's`() async throws {
        let pool = BlockingPool(name: "test", threadCount: 2)
        let (source, receiver) = (try SourceDouble(2, zone: "plant-b"), ReceiverDouble())
        let loop = loop(source, receiver, pool)
        await loop.start()
        try await eventually("it blocks") {
            if case .blocked("from_zone_not_allowed", _) = await loop.report().status {
                true
            } else {
                false
            }
        }
        await loop.stop()
        #expect(receiver.headOffset == 0 && source.cursor?.nextOffset == 0)
        pool.stop()
    }

    @Test func `a stream that is keyed by content takes one id with two contents`() async throws {
        let pool = BlockingPool(name: "test", threadCount: 2)
        let source = try SourceDouble(0)
        for value in [1, 2] {
            let fact = try encoded(0, value: value)
            source.store.append([
                KeyedFact(
                    key: fact.contentDigest, contentDigest: fact.contentDigest,
                    storedRecord: fact.storedRecord)
            ]) { _ in }
        }
        let receiver = ReceiverDouble()
        let loop = loop(source, receiver, pool, keyedBy: .content)
        await loop.start()
        try await eventually("both cross") { isDone(source, receiver) }
        await loop.stop()
        try expectWhole(source, receiver)
        pool.stop()
    }
}
