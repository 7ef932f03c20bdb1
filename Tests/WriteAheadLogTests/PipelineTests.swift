import Glibc
import Synchronization
import Testing

@testable import WriteAheadLog

/// Keys, groups, registers and the forms of append.
@Suite("The commit path")
struct PipelineTests {
    /// A log whose segment syncs are held up once `hold` is set.
    private func gated(_ fault: MemoryDisk.Fault? = nil) throws -> (Log, MemoryDisk, DiskGate, FaultTests.Flag) {
        let disk = MemoryDisk()
        let gate = DiskGate()
        let hold = FaultTests.Flag()
        let log = try openLog(disk)
        #expect(eventually { spareIsReady(disk) })
        disk.setHook { call in
            guard hold.isSet, call.path == DecisionTableTests.segment,
                call.operation == .synchronise
            else { return nil }
            gate.pass()
            return fault
        }
        return (log, disk, gate, hold)
    }

    @Test("a duplicate of a record in flight is answered when the original is durable (decision 10)")
    func duplicateInFlight() throws {
        let (log, _, gate, hold) = try gated()
        hold.set(true)
        let answers = Answers()
        log.append(try oneRecord([1], key: "k")) { answers.take($0) }
        #expect(eventually { gate.heldCount == 1 })
        log.append(try oneRecord([1], key: "k")) { answers.take($0) }
        log.append(try oneRecord([2], key: "k")) { answers.take($0) }
        usleep(50_000)
        #expect(answers.count == 0 && log.headOffset == 0)
        #expect(try log.lookUp(digest("key k")) == nil)
        gate.open()
        #expect(eventually { answers.count == 3 })
        let outcomes = answers.results.withLock { $0.map { try? $0.get().outcomes[0] } }
        #expect(outcomes[0] == .appended(offset: 0) && outcomes[1] == .existing(offset: 0))
        #expect(outcomes[2]?.offset == 0)
        if case .conflict = outcomes[2] {} else { Issue.record("\(outcomes)") }
        log.close()
    }

    @Test("when that commit fails the duplicate's outcome is as unknown as the original's")
    func duplicateOfFailed() throws {
        let (log, _, gate, hold) = try gated(.error(EIO))
        hold.set(true)
        let answers = Answers()
        log.append(try oneRecord([1], key: "k")) { answers.take($0) }
        #expect(eventually { gate.heldCount == 1 })
        log.append(try oneRecord([1], key: "k")) { answers.take($0) }
        gate.open()
        #expect(eventually { answers.count == 2 })
        for result in answers.results.withLock({ $0 }) {
            guard case .failure(.outcomeUnknown(let cause)) = result else {
                Issue.record("\(result)")
                continue
            }
            #expect(cause.error.operation == .synchronise)
        }
        #expect(log.headOffset == 0)
        log.close()
    }

    @Test("after a failure a confirmation that was only admitted is not taken for durable")
    func confirmationAfterPoison() throws {
        let disk = MemoryDisk()
        let broken = FaultTests.Flag()
        let log = try openLog(disk)
        _ = try log.append(oneRecord([1]))
        _ = try log.append(oneRecord([2]))
        try log.createCursor(Cursor(owner: "o", name: "n"))
        disk.setHook { call in
            broken.isSet && call.isManifest && call.operation == .synchronise ? .error(EIO) : nil
        }
        broken.set(true)
        for _ in 0..<2 {
            #expect(throws: LogError.self) {
                try log.confirm(owner: "o", name: "n", nextOffset: 2)
            }
        }
        #expect(log.cursor(owner: "o", name: "n")?.nextOffset == 0)
        log.close()
    }

    @Test("one commit is one frame: a batch of many blocks with registers survives whole")
    func oneFrame() throws {
        let disk = MemoryDisk()
        var log = try openLog(disk)
        let batch = AppendBatch()
        for number in 0..<30 { try batch.add(payload: payload(number, bytes: 10_000)) }
        let receipt = try log.append(
            batch,
            registers: [
                RegisterUpdate(name: "a", expected: nil, value: [1]),
                RegisterUpdate(name: "b", expected: nil, value: [2]),
            ])
        #expect(receipt.sequence == 1 && log.statistics().counters.commits == 1)
        let image = disk.copy()
        let torn = disk.copy()
        log.close()
        log = try openLog(image)
        #expect(log.recovery.frameCount == 1 && log.recovery.recordCount == 30)
        #expect(log.register("a") == [1] && log.register("b") == [2])
        log.close()
        // With its last byte damaged nothing of it is left.
        torn.edit(DecisionTableTests.segment) { bytes in
            bytes[bytes.lastIndex { $0 != 0 }!] ^= 1
        }
        log = try openLog(torn)
        #expect(log.recovery.decision == .torn && log.headOffset == 0)
        #expect(log.register("a") == nil && log.register("b") == nil)
        log.close()
    }

    @Test("completions run before the next batch is taken, so that what they append joins it")
    func completionsFirst() throws {
        let disk = MemoryDisk()
        let log = try openLog(disk)
        let rounds = 20
        let width = 16
        let left = Atomic(rounds * width)
        // On a busy machine the first ones would be through before the last ones are submitted.
        let areSubmitted = Atomic(false)
        disk.setHook { call in
            while call.isSegment, !areSubmitted.load(ordering: .acquiring) { usleep(100) }
            return nil
        }
        @Sendable func submit(_ number: Int, _ round: Int) {
            log.append(try! oneRecord(payload(number))) { result in
                guard case .success = result else { return }
                left.wrappingSubtract(1, ordering: .relaxed)
                if round + 1 < rounds { submit(number, round + 1) }
            }
        }
        for number in 0..<width { submit(number, 0) }
        areSubmitted.store(true, ordering: .releasing)
        #expect(eventually { left.load(ordering: .relaxed) == 0 })
        // One commit a round once all are in one batch, a few more at the start.
        #expect(log.statistics().counters.commits <= UInt64(rounds + width))
        #expect(log.headOffset == UInt64(rounds * width))
        log.close()
    }

    @Test("two batches with the same keys in other orders cannot wait for each other (decision 26)")
    func noDeadlock() throws {
        let log = try openLog(MemoryDisk())
        let done = Atomic(0)
        let threads = (0..<4).map { writer in
            EngineThread(name: "writer") {
                for round in 0..<50 {
                    let batch = AppendBatch()
                    let keys = (0..<6).map { "\(round)-\($0)" }
                    for key in writer % 2 == 0 ? keys : keys.reversed() {
                        try! batch.add(key: digest(key), content: digest(key), payload: [1])
                    }
                    let prepared = try! log.prepare(batch)
                    if writer == 3, round % 5 == 0 {
                        prepared.skip(0)
                        if round % 10 == 0 { continue }  // dropped
                    }
                    _ = try! log.commit(prepared)
                }
                done.wrappingAdd(1, ordering: .relaxed)
            }
        }
        #expect(eventually { done.load(ordering: .relaxed) == 4 })
        for thread in threads { thread.join() }
        #expect(log.headOffset == 300 && log.statistics().keyCount == 300)
        log.close()
    }

    @Test("a reserved key holds another appender up until it is released, and then is free")
    func released() throws {
        let log = try openLog(MemoryDisk())
        var prepared: PreparedBatch? = try log.prepare(oneRecord([1], key: "k"))
        #expect(prepared?.outcomes == [.new])
        let answers = Answers()
        log.append(try oneRecord([1], key: "k")) { answers.take($0) }
        log.append(try oneRecord([9])) { answers.take($0) }
        usleep(30_000)
        #expect(answers.count == 0)
        prepared = nil
        #expect(eventually { answers.count == 2 })
        let offsets = answers.results.withLock { $0.map { try? $0.get().outcomes[0] } }
        #expect(offsets == [.appended(offset: 0), .appended(offset: 1)])
        log.close()
    }

    @Test("a key that a commit of nothing leaves out is free for those who wait for it")
    func leftOut() throws {
        let log = try openLog(MemoryDisk())
        let prepared = try log.prepare(oneRecord([1], key: "k"))
        let answers = Answers()
        log.append(try oneRecord([1], key: "k")) { answers.take($0) }
        log.append(try oneRecord([9])) { answers.take($0) }
        let blocked = BlockingCall { try log.append(oneRecord([1], key: "k")) }
        usleep(30_000)
        #expect(answers.count == 0)
        prepared.skip(0)
        #expect(try log.commit(prepared).outcomes == [.skipped])
        #expect(eventually { answers.count == 2 && blocked.result != nil })
        let outcomes = answers.results.withLock { $0.map { try? $0.get().outcomes[0] } }
        #expect(outcomes.contains(.appended(offset: 1)))
        #expect(log.headOffset == 2)
        log.close()
    }

    @Test("a state slot that fails at rest wakes who waits for room in the commit behind it")
    func poisonAtRest() throws {
        let disk = MemoryDisk()
        let gate = DiskGate()
        let hold = FaultTests.Flag()
        let log = try openLog(disk)
        #expect(eventually { spareIsReady(disk) })
        disk.setHook { call in
            guard hold.isSet, call.isManifest, call.operation == .synchronise else { return nil }
            gate.pass()
            return .error(EIO)
        }
        _ = try log.append(oneRecord([1]))
        hold.set(true)
        #expect(eventually { gate.heldCount == 1 })
        // More than one commit takes: some wait for room.
        let calls = (0..<8).map { number in
            BlockingCall { try log.append(oneRecord(payload(number, bytes: 100_000))) }
        }
        usleep(50_000)
        gate.open()
        #expect(eventually { calls.allSatisfy { $0.result != nil } })
        for call in calls {
            switch call.result {
            case .failure(.outcomeUnknown), .failure(.poisoned): break
            default: Issue.record("\(String(describing: call.result))")
            }
        }
        log.close()
    }

    @Test("a key twice in one batch is decided in the batch's order, also with other content")
    func withinBatch() throws {
        let log = try openLog(MemoryDisk())
        let batch = try oneRecord([1], key: "k")
        try batch.add(key: digest("key k"), content: digest("other"), payload: [2])
        let same = try oneRecord([1], key: "k")
        batch.copy(0, of: same)
        let stored = same.content(of: 0)
        #expect(
            try log.append(batch).outcomes == [
                .appended(offset: 0), .conflict(offset: 0, stored: stored), .existing(offset: 0),
            ])
        log.close()
    }

    @Test("registers are compared and set with the records, in frames and in the slot (decision 27)")
    func registers() throws {
        let disk = MemoryDisk()
        var log = try openLog(disk)
        var expected: [UInt8]?
        var image = disk
        for number in 0..<12 {
            // Values may go down: revisions order them, not the values.
            let value = [UInt8(20 - number)]
            let update = [RegisterUpdate(name: "p", expected: expected, value: value)]
            if number % 3 == 2 {
                try log.setRegisters(update)
            } else {
                _ = try log.append(oneRecord(payload(number, bytes: 120_000)), registers: update)
            }
            expected = value
            #expect(throws: LogError.rejected(.registerMismatch(name: "p"))) {
                try log.setRegisters([RegisterUpdate(name: "p", expected: nil, value: [1])])
            }
            image = image.copy()
            log.close()
            log = try openLog(image)
            #expect(log.register("p") == value, "after change \(number)")
        }
        log.close()
        log = try openLog(disk)
        #expect(throws: LogError.self) {
            try log.setRegisters([
                RegisterUpdate(name: "x", expected: nil, value: .init(repeating: 0, count: 513))
            ])
        }
        #expect(throws: LogError.self) {
            try log.setRegisters([
                RegisterUpdate(
                    name: String(repeating: "n", count: 65), expected: nil, value: [])
            ])
        }
        log.close()
    }

    @Test("concurrent compare-and-set of one register lets exactly one win each time")
    func registerRace() async throws {
        let log = try openLog(MemoryDisk())
        let wins = await withTaskGroup(of: Int.self) { group in
            for writer in 0..<8 {
                group.addTask {
                    var wins = 0
                    for _ in 0..<20 {
                        let current = log.register("c")
                        let batch = AppendBatch()
                        try! batch.add(payload: [UInt8(writer)])
                        let count = (current?[0] ?? 0) + 1
                        let result: Result<AppendReceipt, LogError> =
                            await withUnsafeContinuation { continuation in
                                log.append(
                                    batch,
                                    registers: [
                                        RegisterUpdate(
                                            name: "c", expected: current, value: [count])
                                    ]
                                ) { continuation.resume(returning: $0) }
                            }
                        if case .success = result { wins += 1 }
                    }
                    return wins
                }
            }
            return await group.reduce(0, +)
        }
        #expect(log.register("c") == [UInt8(wins)] && log.headOffset == UInt64(wins))
        log.close()
    }

    @Test("close makes what is queued durable and answers everything")
    func closing() throws {
        let disk = MemoryDisk()
        let log = try openLog(disk)
        let answers = Answers()
        for number in 0..<200 { log.append(try oneRecord(payload(number))) { answers.take($0) } }
        log.close()
        #expect(answers.count == 200)
        #expect(throws: LogError.closed) { _ = try log.append(oneRecord([1])) }
        let reopened = try openLog(disk)
        #expect(reopened.headOffset == 200 && reopened.recovery.decision == .cleanEnd)
        reopened.close()
    }

    @Test("a log that a completion held last stays locked until its state is recorded")
    func lastHolder() throws {
        let disk = MemoryDisk()
        let gate = DiskGate()
        let hold = FaultTests.Flag()
        let answers = Answers()
        disk.setHook { call in
            guard hold.isSet, call.isManifest, call.operation == .synchronise, gate.heldCount == 0
            else { return nil }
            gate.pass()
            return nil
        }
        // On a thread of its own, which may turn out to be the last holder instead.
        _ = EngineThread(name: "holder") {
            PipelineTests.append(to: try! openLog(disk)) { result in
                hold.set(true)
                answers.take(result)
            }
        }
        #expect(eventually { gate.heldCount == 1 })
        #expect(answers.count == 1)
        #expect(throws: LogError.locked(directory: logPath)) { _ = try openLog(disk) }
        gate.open()
        var log: Log?
        #expect(
            eventually {
                log = try? openLog(disk)
                return log != nil
            })
        #expect(log?.headOffset == 1)
        log?.close()
    }

    /// Appends a record; the completion is then all that holds the log.
    private static func append(
        to log: Log, _ completion: @escaping @Sendable (Result<AppendReceipt, LogError>) -> Void
    ) {
        log.append(try! oneRecord([1])) { result in
            withExtendedLifetime(log) { completion(result) }
        }
    }

    @Test("the profile decides where frames lie: silStrict never rewrites an acknowledged block")
    func silStrictBlocks() throws {
        for physical: UInt32 in [512, 4096, 16384, 65536] {
            let disk = MemoryDisk(blocks: (512, physical))
            let block = UInt64(max(4096, physical))
            let acknowledged = Mutex<[String: Set<UInt64>]>([:])
            let rewritten = Mutex<[String]>([])
            let pending = Mutex<[String: Set<UInt64>]>([:])
            disk.setHook { call in
                guard call.isSegment else { return nil }
                if call.operation == .write, call.byteCount != 262_144 {
                    let end = (call.position + UInt64(call.byteCount) - 1) / block
                    for number in call.position / block...end {
                        if acknowledged.withLock({ $0[call.path]?.contains(number) ?? false }) {
                            rewritten.withLock { $0.append("\(call.path) \(number)") }
                        }
                        _ = pending.withLock {
                            $0[call.path, default: []].insert(number)
                        }
                    }
                } else if call.operation == .synchronise {
                    let blocks = pending.withLock { $0.removeValue(forKey: call.path) } ?? []
                    acknowledged.withLock { $0[call.path, default: []].formUnion(blocks) }
                }
                return nil
            }
            let options = LogOptions(
                profile: .silStrict, capacityBytes: 64 << 20, segmentBytes: 1 << 20)
            var payloads: [[UInt8]] = []
            for life in 0..<3 {
                // What is rewritten densely is another file, which nobody was told of.
                let log = try openLog(disk, options, environment: .still)
                for number in 0..<20 {
                    payloads.append(payload(life * 100 + number, bytes: number * 2500))
                    _ = try log.append(oneRecord(payloads.last!))
                }
                #expect(try contents(log) == payloads)
                log.close()
            }
            #expect(rewritten.withLock { $0 } == [], "blocks of \(physical)")
            let report = try LogInspector(directory: logPath, disk: disk).verify()
            #expect(report.isSound && report.recordCount == 60, "\(report.damage)")
        }
    }
}
