import Glibc
import Synchronization
import Testing

@testable import WriteAheadLog

@Suite("Engine decisions: keys")
struct KeyDecisions {
    // MARK: - 10

    @Test("decision 10: existing and conflict are answered when the original is durable, not before")
    func answeredWhenDurable() throws {
        let still = try StillLog(StillLog.options())
        let log = still.log
        let original = Answers()
        let others = Answers()
        let answeredDuringSync = Noted(-1)
        let isQueued = FaultTests.Flag()
        still.disk.setHook { call in
            if call.isSegment, call.operation == .synchronise, !isQueued.isSet {
                isQueued.set(true)
                log.append(try! keyedRecord("k", content: "a")) { others.take($0) }
                log.append(try! keyedRecord("k", content: "b")) { others.take($0) }
                answeredDuringSync.change { $0 = others.count }
            }
            return nil
        }
        log.append(try keyedRecord("k", content: "a")) { original.take($0) }
        #expect(original.count == 0)
        while log.stepCommit() {}
        #expect(answeredDuringSync.value == 0)
        #expect(try original.results.withLock { try $0[0].get().outcomes } == [.appended(offset: 0)])
        let outcomes = try others.results.withLock { try $0.map { try $0.get().outcomes[0] } }
        #expect(outcomes == [.existing(offset: 0), .conflict(offset: 0, stored: digest("a"))])
        #expect(log.headOffset == 1)
    }

    @Test("decision 10: when the original's commit fails, existing and conflict are outcome unknown too")
    func unknownTogether() throws {
        let still = try StillLog(StillLog.options())
        let log = still.log
        let answers = Answers()
        for content in ["a", "a", "b"] {
            log.append(try keyedRecord("k", content: content)) { answers.take($0) }
        }
        still.disk.setHook { call in
            call.isSegment && call.operation == .synchronise ? .error(EIO) : nil
        }
        while log.stepCommit() {}
        still.disk.setHook(nil)
        let results = answers.results.withLock { $0 }
        #expect(results.count == 3)
        for result in results {
            guard case .failure(.outcomeUnknown(let cause)) = result else {
                Issue.record("\(result)")
                continue
            }
            #expect(cause.error.code == EIO)
        }
        #expect(try log.lookUp(digest("k")) == nil && log.headOffset == 0)
    }

    @Test("decision 10: a full log answers existing and conflict, from memory and from runs")
    func underBackpressure() throws {
        let still = try StillLog(StillLog.options())
        try still.log.createCursor(Cursor(owner: "o", name: "n"))
        let (count, error) = try LifecycleTests.fill(still)
        guard case .rejected(.full) = error else {
            Issue.record("\(error)")
            return
        }
        for number in [0, count - 1] {
            let same = try still.log.append(
                oneRecord(payload(number, bytes: 100_000), key: "k\(number)"))
            #expect(same.outcomes == [.existing(offset: UInt64(number))])
            let other = try still.log.append(oneRecord([1], key: "k\(number)"))
            guard case .conflict(UInt64(number), _) = other.outcomes[0] else {
                Issue.record("\(other.outcomes)")
                continue
            }
        }
        // A batch with one new record is refused as a whole.
        let mixed = AppendBatch()
        try mixed.add(key: digest("key k0"), content: digest("c"), payload: [1])
        try mixed.add(key: digest("new"), content: digest("c"), payload: [1])
        guard case .rejected(.full)? = refusal({ _ = try still.log.append(mixed) }) else {
            Issue.record("a new record was taken by a full log")
            return
        }
        #expect(still.log.headOffset == UInt64(count))
    }

    @Test("decision 10: a durable key is found at every moment of its way from memory into a run")
    func alwaysVisible() throws {
        let still = try StillLog(StillLog.options())
        let log = still.log
        let looked = Noted((count: 0, missed: 0))
        let isLooking = FaultTests.Flag()
        still.disk.setHook { call in
            guard !isLooking.isSet else { return nil }
            isLooking.set(true)
            defer { isLooking.set(false) }
            let head = log.headOffset
            guard head > 0 else { return nil }
            for number in [0, head / 2, head - 1] {
                let found = (try? log.lookUp(digest("key k\(number)")))??.offset
                looked.change {
                    $0.count += 1
                    if found != number { $0.missed += 1 }
                }
            }
            return nil
        }
        try still.append(0..<60)
        still.disk.setHook(nil)
        #expect(log.statistics().counters.checkpoints >= 3)
        #expect(looked.value.count > 500 && looked.value.missed == 0)
    }

    @Test("decision 10: a key twice in one batch is decided in the batch's order")
    func twiceInOneBatch() throws {
        let still = try StillLog(StillLog.options())
        let batch = AppendBatch()
        for content in ["a", "a", "b", "a"] {
            try batch.add(key: digest("k"), content: digest(content), payload: [1])
        }
        let receipt = try still.log.append(batch)
        #expect(
            receipt.outcomes == [
                .appended(offset: 0), .existing(offset: 0),
                .conflict(offset: 0, stored: digest("a")), .existing(offset: 0),
            ])
        #expect(still.log.headOffset == 1)
    }

    // MARK: - 11

    /// A log whose records 0 ..< firstOffset are gone and whose keys are remembered.
    static func beyondRetention(_ profile: Profile) throws -> StillLog {
        let still = try StillLog(
            StillLog.options(
                profile,
                RetentionOptions(dedupeHorizonMilliseconds: 3_600_000, isTerminal: true)))
        try still.append(0..<220)
        #expect(still.log.firstOffset > 30)
        return still
    }

    @Test("decision 11: keys beyond retention are kept twice and answered with the whole stored digest")
    func keptTwice() throws {
        let still = try Self.beyondRetention(.standard)
        let first = still.log.firstOffset
        let gone = try still.table.runs.filter { $0.firstOffset < first }
        #expect(!gone.isEmpty && gone.allSatisfy { $0.copies == 2 })
        for run in gone {
            let files = KeyRunCopy.allCases.map {
                still.disk.files[logPath + "/" + KeyRunLayout.fileName(id: run.id, copy: $0)]
            }
            #expect(files[0] != nil && files[0] == files[1])
        }
        let stored = try #require(try still.log.lookUp(digest("key k7")))
        #expect(stored.offset == 7)
        for life in [still, try still.afterKill()] {
            let again = try life.log.append(oneRecord(payload(7, bytes: 100_000), key: "k7"))
            #expect(again.outcomes == [.existing(offset: 7)])
            let other = try life.log.append(oneRecord([1], key: "k7"))
            #expect(other.outcomes == [.conflict(offset: 7, stored: stored.content)])
        }
    }

    /// Flips a bit of every page with keys in the given copies of the runs beyond retention.
    static func damage(_ still: StillLog, _ copies: [KeyRunCopy]) throws {
        for run in try still.table.runs where run.firstOffset < still.log.firstOffset {
            for copy in copies {
                still.disk.edit(logPath + "/" + KeyRunLayout.fileName(id: run.id, copy: copy)) {
                    bytes in
                    for page in stride(from: 4096, to: bytes.count, by: 4096) {
                        bytes[page + 1000] ^= 1
                    }
                }
            }
        }
    }

    @Test("decision 11: with one copy damaged the other answers, and the damaged one is written again")
    func oneCopyDamaged() throws {
        for copy in KeyRunCopy.allCases {
            let still = try Self.beyondRetention(.silStrict)
            let whole = still.disk.files.filter { $0.key.contains(".run") }
            try Self.damage(still, [copy])
            #expect(still.disk.files.filter { $0.key.contains(".run") } != whole)
            try still.reopen()
            for number in [0, 5, 20] {
                #expect(try still.log.lookUp(digest("key k\(number)"))?.offset == UInt64(number))
            }
            still.settle()
            for number in 0..<30 {
                #expect(try still.log.lookUp(digest("key k\(number)"))?.offset == UInt64(number))
            }
            still.clock.advance(milliseconds: 2_000)
            still.settle()
            #expect(still.log.statistics().events.dedupeHorizonLost == 0)
        }
    }

    @Test("decision 11: losing both copies is durable, silStrict takes nothing for new until an operator accepts it")
    func bothCopiesLost() throws {
        let still = try Self.beyondRetention(.silStrict)
        try Self.damage(still, KeyRunCopy.allCases)
        try still.reopen()
        #expect(refusal { _ = try still.log.lookUp(digest("key k5")) } == .rejected(.indexRebuilding))
        still.settle()
        #expect(still.log.statistics().events.dedupeHorizonLost == 1)
        let lost = LogState.Flags.dedupeHorizonLost
        #expect(try still.disk.manifest().states.allSatisfy { $0.flags & lost != 0 })
        for life in [still, try still.afterKill()] {
            life.settle()
            #expect(
                refusal { _ = try life.log.append(oneRecord([1], key: "k5")) }
                    == .rejected(.indexRebuilding))
            // Keys of records that are there were gathered again.
            let held = Int(life.log.headOffset) - 1
            #expect(try life.log.lookUp(digest("key k\(held)"))?.offset == UInt64(held))
        }
        try still.log.acceptDedupeHorizonLoss()
        #expect(try still.disk.manifest().states.allSatisfy { $0.flags & lost == 0 })
        let head = still.log.headOffset
        #expect(try still.log.append(oneRecord([1], key: "k5")).outcomes == [.appended(offset: head)])
    }

    @Test("decision 11: the logs of a process share one budget for their indexes")
    func oneBudget() throws {
        #expect(LogOptions().indexBudget === LogOptions().indexBudget)
        let budget = KeyIndexBudget(maximumBytes: 60_000)
        var logs: [StillLog] = []
        for _ in 0..<2 {
            var options = StillLog.options()
            options.indexBudget = budget
            let still = try StillLog(options)
            for round in 0..<12 {
                let batch = AppendBatch()
                for number in 0..<1_000 {
                    try batch.add(
                        key: KeyShape.uniform.key(UInt64(round * 1_000 + number)),
                        content: digest("c"), payload: payload(number, bytes: 100))
                }
                _ = try still.log.append(batch)
                still.settle()
            }
            logs.append(still)
        }
        for still in logs { still.settle() }
        let inRuns = try logs.reduce(0) { try $0 + $1.table.runs.reduce(0) { $0 + $1.entryCount } }
        #expect(inRuns > 10_000 && budget.keyCount == inRuns)
        #expect(budget.heldBytes > 10_000 && budget.heldBytes <= 60_000)
        for still in logs {
            for number in stride(from: 0, to: 12_000, by: 997) {
                let found = try still.log.lookUp(KeyShape.uniform.key(UInt64(number)))
                #expect(found?.offset == UInt64(number))
            }
            #expect(try still.log.lookUp(KeyShape.uniform.key(99_999)) == nil)
        }
    }
}
