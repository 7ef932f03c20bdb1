import Buffers
import Facts
import Replication
import Testing

/// Where a receiver's history and its source's part.
@Suite struct HistoryForkTests {
    private static let receiver = [UInt8](repeating: 4, count: 16)

    /// A receiver that took facts of a source's offsets, by the value each has there.
    private func receiver(
        _ facts: [(offset: UInt64, value: Int, epoch: UInt64)], log: [UInt8] = source,
        late: Set<Int> = []
    ) throws -> MemoryBuffer {
        let buffer = MemoryBuffer(identifier: Self.receiver) { 5 }
        try buffer.begin(at: place(0))
        let records = try facts.enumerated().map { index, fact in
            let encoded = try encoded(index, value: fact.value)
            return ForwardRecord(
                key: encoded.key, contentDigest: encoded.contentDigest,
                storedRecord: StoredRecord.encode(
                    .message, encoded.message,
                    origin: RecordOrigin(
                        logUUID: log, epoch: fact.epoch, offset: fact.offset,
                        appendedAtUnixMilliseconds: 1), isLate: late.contains(index)))
        }
        _ = try buffer.putIfAbsent(records, from: place(0), to: place(0))
        return buffer
    }

    private func digest(_ buffer: MemoryBuffer, at offset: UInt64, of sourceOffset: UInt64) -> Digest? {
        var digest: Digest?
        _ = try? buffer.read(from: offset, maximumCount: 1, maximumBytes: .max) { record in
            digest = try? RecordDigest.compute(
                offset: sourceOffset, storedRecord: Array(record.payload))
            return false
        }
        return digest
    }

    private func fork(
        _ buffer: MemoryBuffer, at position: SourcePosition, _ history: SourceHistory,
        agreesBelow: UInt64
    ) async throws -> (position: SourcePosition, method: HistoryFork.Method, asked: Int) {
        var asked = 0
        let found = try await HistoryFork.find(
            position: position, source: history, buffer: buffer,
            read: { (body) async throws(PullFailure) in
                do throws(BufferError) { return try body() } catch {
                    throw .unavailable(error.sentence)
                }
            },
            agrees: { (position) async throws(PullFailure) in
                asked += 1
                return position.nextOffset <= agreesBelow
            })
        return (found.position, found.method, asked)
    }

    private func history(
        head: UInt64, epochs: [(UInt64, UInt64)] = [(1, 0)], first: UInt64 = 0,
        log: [UInt8] = source
    ) -> SourceHistory {
        SourceHistory(
            logUUID: log, epoch: epochs.last!.0, headOffset: head, firstOffset: first,
            epochs: epochs.map { SourceHistory.Epoch(epoch: $0.0, firstOffset: $0.1) })
    }

    @Test("gateway decision 7: the fork is found by record digests, in few questions")
    func byDigests() async throws {
        let facts = (0..<1_000).map { (offset: UInt64($0), value: $0, epoch: UInt64(1)) }
        let buffer = try receiver(facts)
        for shared in [1, 2, 499, 500, 998, 1_000] as [UInt64] {
            let found = try await fork(
                buffer, at: place(1_000), history(head: 1_500), agreesBelow: shared)
            #expect(found.method == .digests && found.position.nextOffset == shared)
            #expect(found.position.digestOffset == shared - 1)
            #expect(found.position.digest == digest(buffer, at: shared - 1, of: shared - 1))
            #expect(found.position.logUUID == source && found.asked <= 11)
        }
        // A source that went back is asked about nothing beyond its head.
        let back = try await fork(buffer, at: place(1_000), history(head: 300), agreesBelow: 300)
        #expect(back.position.nextOffset == 300)
    }

    @Test("gateway decision 7: a new epoch of the source bounds the fork, and what an older one left is passed over")
    func byEpochs() async throws {
        // Up to 60 shared; 60 to 99 were lost by a restore; then the new epoch's 60 to 69.
        let facts =
            (0..<100).map { (offset: UInt64($0), value: $0, epoch: UInt64(1)) }
            + (60..<70).map { (offset: UInt64($0), value: 1_000 + $0, epoch: UInt64(2)) }
        let buffer = try receiver(facts)
        var position = place(70)
        position.epoch = 2
        let third = history(head: 90, epochs: [(1, 0), (2, 60), (3, 65)])
        let found = try await fork(buffer, at: position, third, agreesBelow: 65)
        #expect(found.method == .digests && found.position.nextOffset == 65)
        #expect(found.position.epoch == 3)
        #expect(found.position.digest == digest(buffer, at: 104, of: 64))
    }

    @Test("gateway decision 7: behind a relay the epochs tell, and without either everything is fetched again")
    func withoutDigests() async throws {
        // They began elsewhere: their offsets are not the relay's.
        let elsewhere = [UInt8](repeating: 8, count: 16)
        let buffer = try receiver(
            (0..<50).map { (offset: UInt64($0), value: $0, epoch: UInt64(1)) }, log: elsewhere)
        let relay = history(head: 40, epochs: [(1, 0), (2, 30)], first: 10)
        let told = try await fork(buffer, at: place(50), relay, agreesBelow: .max)
        #expect(told.method == .epochs && told.position.nextOffset == 30 && told.asked == 0)
        #expect(told.position.epoch == 2 && told.position.digest == nil)
        let same = try await fork(
            buffer, at: place(50), history(head: 40, first: 10), agreesBelow: .max)
        #expect(same.method == .firstRetained && same.position.nextOffset == 10)
        // Another log altogether.
        let other = try await fork(
            buffer, at: place(50), history(head: 5, first: 2, log: elsewhere), agreesBelow: .max)
        #expect(other.method == .firstRetained && other.position.nextOffset == 2)
        #expect(other.position.logUUID == elsewhere && other.asked == 0)
        // Nothing of the epoch's beginning is there any more.
        let late = history(head: 40, epochs: [(1, 0), (2, 30)], first: 35)
        #expect(
            try await fork(buffer, at: place(50), late, agreesBelow: .max).position.nextOffset == 35)
    }

    @Test("gateway decision 7: notices and late facts are asked about by nobody")
    func withoutLate() async throws {
        let buffer = try receiver(
            (0..<10).map { (offset: UInt64($0), value: $0, epoch: UInt64(1)) }, late: [9])
        let found = try await fork(buffer, at: place(10), history(head: 10), agreesBelow: .max)
        #expect(found.position.nextOffset == 9)
    }
}
