import Synchronization
import Testing

@testable import WriteAheadLog

@Suite struct DeferredAppendTests {
    /// A log whose first keys are in runs, and an append that has to ask the disk for one of them.
    private func withDiskLookUp() throws -> (still: StillLog, first: Answers) {
        let still = try StillLog(StillLog.options())
        var number = 0
        while try still.table.runs.isEmpty, number < 200 {
            try still.append(number..<(number + 1))
            number += 1
        }
        try #require(try !still.table.runs.isEmpty)
        let first = Answers()
        still.log.append(try oneRecord(payload(0, bytes: 100_000), key: "k0")) { first.take($0) }
        return (still, first)
    }

    @Test func `Appends that wait behind one that asks the disk become one commit, not one each`() throws {
        let (still, first) = try withDiskLookUp()
        let answers = Answers()
        for number in 0..<64 {
            still.log.append(try keyedRecord("new-\(number)", content: "a")) { answers.take($0) }
        }
        let before = still.log.statistics().counters.commits
        while still.log.stepCommit() {}
        #expect(answers.count == 64)
        #expect(still.log.statistics().counters.commits - before <= 2)
        let outcome = try first.results.withLock { try #require($0.first).get().outcomes }
        #expect(outcome == [.existing(offset: 0)])
        let offsets = try answers.results.withLock { results in
            try results.map { result -> UInt64? in
                guard case .appended(let offset) = try result.get().outcomes[0] else { return nil }
                return offset
            }
        }
        let end = still.log.headOffset
        #expect(offsets == ((end - 64)..<end).map { $0 })
    }

    @Test func `Batches with many keys that wait become one commit too`() throws {
        let (still, _) = try withDiskLookUp()
        let answers = Answers()
        for batch in 0..<4 {
            let records = AppendBatch(capacityBytes: 64 << 10)
            for number in 0..<20 {
                try records.add(
                    key: digest("batch-\(batch)-\(number)"), content: digest("a"), payload: [1, 2, 3])
            }
            still.log.append(records) { answers.take($0) }
        }
        let before = still.log.statistics().counters.commits
        while still.log.stepCommit() {}
        #expect(answers.count == 4)
        #expect(still.log.statistics().counters.commits - before <= 2)
    }

    @Test func `Of two that wait with one key the second exists, or conflicts`() throws {
        let (still, _) = try withDiskLookUp()
        let answers = Answers()
        for content in ["a", "a", "b"] {
            still.log.append(try keyedRecord("new", content: content)) { answers.take($0) }
        }
        while still.log.stepCommit() {}
        let offset = still.log.headOffset - 1
        let outcomes = try answers.results.withLock { try $0.map { try $0.get().outcomes[0] } }
        #expect(
            outcomes == [
                .appended(offset: offset), .existing(offset: offset),
                .conflict(offset: offset, stored: digest("a")),
            ])
    }
}
