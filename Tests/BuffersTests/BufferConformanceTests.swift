import Facts
import Synchronization
import Testing
import WriteAheadLog

@testable import Buffers

/// One suite for every realisation of the ports.
@Suite struct BufferConformanceTests {
    // MARK: - Store

    @Test("spec 19.105: one suite for every realisation: facts are read in order from any offset",
        arguments: Realisation.allCases)
    func readInOrder(_ realisation: Realisation)
        async throws
    {
        let subject = try BufferSubject(realisation)
        #expect(subject.store.headOffset == 0 && subject.store.firstOffset == 0)
        let receipt = try await subject.store.append([fact(1), fact(2), fact(3)])
        #expect(
            receipt.outcomes == [
                .appended(offset: 0), .appended(offset: 1), .appended(offset: 2),
            ])
        #expect(receipt.epoch == 1)
        #expect(subject.store.headOffset == 3)
        let all = try subject.store.scan(from: 0)
        #expect(all.offsets == [0, 1, 2] && all.firstBytes == [1, 2, 3] && all.next == 3)
        #expect(try subject.store.scan(from: 2).firstBytes == [3])
        #expect(try subject.store.scan(from: 3).offsets.isEmpty)
        _ = try subject.store.read(from: 1, maximumCount: 1, maximumBytes: .max) { record in
            #expect(record.contentDigest == fact(2).contentDigest)
            #expect(record.epoch == 1 && record.appendedMilliseconds > 0)
            return true
        }
    }

    @Test(arguments: Realisation.allCases)
    func `a read stops at its limits and gives the first record whatever its size`(
        _ realisation: Realisation
    ) async throws {
        let subject = try BufferSubject(realisation)
        _ = try await subject.store.append((0..<10).map { fact($0, bytes: 100) })
        let counted = try subject.store.scan(from: 2, count: 3)
        #expect(counted.offsets == [2, 3, 4] && counted.next == 5)
        let sized = try subject.store.scan(from: 0, bytes: 250)
        #expect(sized.offsets == [0, 1] && sized.next == 2)
        #expect(try subject.store.scan(from: 4, bytes: 1).offsets == [4])
        var seen = 0
        let next = try subject.store.read(from: 0, maximumCount: .max, maximumBytes: .max) { _ in
            seen += 1
            return seen < 4
        }
        #expect(seen == 4 && next == 4)
    }

    @Test(arguments: Realisation.allCases)
    func `a read beyond the head is refused and says what there is`(_ realisation: Realisation)
        async throws
    {
        let subject = try BufferSubject(realisation)
        _ = try await subject.store.append([fact(1)])
        #expect(
            kind { _ = try subject.store.scan(from: 2) } == .outOfRange(first: 0, head: 1))
    }

    @Test(arguments: Realisation.allCases)
    func `a key is materialised once and other content changes nothing`(
        _ realisation: Realisation
    ) async throws {
        let subject = try BufferSubject(realisation)
        _ = try await subject.store.append([fact(1), fact(2)])
        let mixed = try await subject.store.append([fact(2), fact(3), fact(1, 9), fact(3)])
        #expect(
            mixed.outcomes == [
                .existing(offset: 1), .appended(offset: 2),
                .conflict(offset: 0, stored: fact(1).contentDigest), .existing(offset: 2),
            ])
        #expect(subject.store.headOffset == 3)
        let within = try await subject.store.append([fact(5), fact(5, 9)])
        #expect(
            within.outcomes == [
                .appended(offset: 3), .conflict(offset: 3, stored: fact(5).contentDigest),
            ])
        #expect(subject.store.headOffset == 4)
    }

    @Test(arguments: Realisation.allCases)
    func `nothing after the first conflict is taken when asked so`(_ realisation: Realisation)
        async throws
    {
        let subject = try BufferSubject(realisation)
        _ = try await subject.store.append([fact(1)])
        let receipt = try subject.store.appendUntilConflict([
            fact(2), fact(1), fact(1, 9), fact(3), fact(2),
        ])
        #expect(
            receipt.outcomes == [
                .appended(offset: 1), .existing(offset: 0),
                .conflict(offset: 0, stored: fact(1).contentDigest), .skipped, .skipped,
            ])
        #expect(subject.store.headOffset == 2)
        let within = try subject.store.appendUntilConflict([fact(4), fact(4, 9), fact(5)])
        #expect(
            within.outcomes == [
                .appended(offset: 2), .conflict(offset: 2, stored: fact(4).contentDigest),
                .skipped,
            ])
        #expect(try subject.store.appendUntilConflict([fact(5)]).outcomes == [.appended(offset: 3)])
    }

    @Test(arguments: Realisation.allCases)
    func `observers hear of each head until they are removed`(_ realisation: Realisation)
        async throws
    {
        let subject = try BufferSubject(realisation)
        let heard = Mutex<[UInt64]>([])
        let number = subject.store.observeHead { head in heard.withLock { $0.append(head) } }
        _ = try await subject.store.append([fact(1), fact(2)])
        _ = try await subject.store.append([fact(3)])
        try await eventually { heard.withLock { $0.last } == 3 }
        #expect(heard.withLock { $0 } == [2, 3])
        subject.store.removeObserver(number)
        _ = try await subject.store.append([fact(4)])
        #expect(heard.withLock { $0 } == [2, 3])
    }

    @Test(arguments: Realisation.allCases)
    func `times find the first record at or after them`(_ realisation: Realisation) async throws {
        let subject = try BufferSubject(realisation)
        #expect(try subject.store.offset(atOrAfterMilliseconds: 0) == 0)
        for key in 0..<4 {
            _ = try await subject.store.append([fact(key)])
            try await Task.sleep(for: .milliseconds(3))
        }
        var times: [Int64] = []
        _ = try subject.store.read(from: 0, maximumCount: .max, maximumBytes: .max) { record in
            times.append(record.appendedMilliseconds)
            return true
        }
        #expect(times == times.sorted() && Set(times).count == 4)
        #expect(try subject.store.offset(atOrAfterMilliseconds: times[2]) == 2)
        #expect(try subject.store.offset(atOrAfterMilliseconds: times[2] - 1) == 2)
        #expect(try subject.store.offset(atOrAfterMilliseconds: times[3] + 1) == 4)
    }

    // MARK: - Forward

    @Test(arguments: Realisation.allCases)
    func `receiving begins once`(_ realisation: Realisation) throws {
        let subject = try BufferSubject(realisation)
        #expect(subject.forward.position == nil)
        try subject.forward.begin(at: position(5))
        #expect(subject.forward.position == position(5))
        #expect(kind { try subject.forward.begin(at: position(9)) } == .positionMoved)
        #expect(subject.forward.position == position(5))
    }

    @Test(arguments: Realisation.allCases)
    func `records and position change together`(_ realisation: Realisation) throws {
        let subject = try BufferSubject(realisation)
        let forward = subject.forward
        try forward.begin(at: position(0))
        let first = try forward.putIfAbsent(
            [record(1), record(2)], from: position(0), to: position(2))
        #expect(first.outcomes == [.appended(offset: 0), .appended(offset: 1)])
        #expect(forward.position == position(2))
        // Redelivered keys are recognised, and the position moves over them.
        let second = try forward.putIfAbsent(
            [record(2), record(3), record(3)], from: position(2), to: position(5))
        #expect(
            second.outcomes == [
                .existing(offset: 1), .appended(offset: 2), .existing(offset: 2),
            ])
        #expect(forward.position == position(5) && forward.headOffset == 3)
        // A notice has no key, and a position may move alone.
        let notice = ForwardRecord(key: nil, contentDigest: nil, storedRecord: [99])
        _ = try forward.putIfAbsent([notice], from: position(5), to: position(8))
        #expect(forward.headOffset == 4)
        #expect(
            try forward.putIfAbsent([], from: position(8), to: position(9)).outcomes.isEmpty)
        #expect(forward.position == position(9) && forward.headOffset == 4)
        #expect(try forward.get(digest(3)) == 2 && forward.get(digest(4)) == nil)
    }

    @Test(arguments: Realisation.allCases)
    func `a conflict writes nothing and leaves the position`(_ realisation: Realisation) throws {
        let subject = try BufferSubject(realisation)
        let forward = subject.forward
        try forward.begin(at: position(0))
        _ = try forward.putIfAbsent([record(1)], from: position(0), to: position(1))
        #expect(
            kind {
                _ = try forward.putIfAbsent(
                    [record(2), record(1, 9)], from: position(1), to: position(3))
            } == .conflict(index: 1, offset: 0, stored: record(1).contentDigest!))
        #expect(
            kind {
                _ = try forward.putIfAbsent(
                    [record(2), record(2, 9)], from: position(1), to: position(3))
            } == .conflict(index: 1, offset: 0, stored: record(2).contentDigest!))
        #expect(forward.headOffset == 1 && forward.position == position(1))
        #expect(try forward.get(digest(2)) == nil)
        // The keys are free again.
        #expect(
            try forward.putIfAbsent([record(2)], from: position(1), to: position(2)).outcomes
                == [.appended(offset: 1)])
    }

    @Test(arguments: Realisation.allCases)
    func `a commit from another position than the one that stands is refused`(
        _ realisation: Realisation
    ) throws {
        let subject = try BufferSubject(realisation)
        let forward = subject.forward
        #expect(
            kind {
                _ = try forward.putIfAbsent([record(1)], from: position(0), to: position(1))
            } == .positionMoved)
        try forward.begin(at: position(3))
        for from in [position(2), position(4)] {
            #expect(
                kind { _ = try forward.putIfAbsent([record(1)], from: from, to: position(5)) }
                    == .positionMoved)
            #expect(
                kind { _ = try forward.putIfAbsent([], from: from, to: position(5)) }
                    == .positionMoved)
        }
        #expect(forward.headOffset == 0 && forward.position == position(3))
        #expect(try forward.get(digest(1)) == nil)
    }

    @Test(arguments: Realisation.allCases)
    func `a time range gives what was taken within`(_ realisation: Realisation) async throws {
        let subject = try BufferSubject(realisation)
        let forward = subject.forward
        try forward.begin(at: position(0))
        for key in 0..<5 {
            _ = try forward.putIfAbsent(
                [record(key)], from: position(UInt64(key)), to: position(UInt64(key) + 1))
            try await Task.sleep(for: .milliseconds(3))
        }
        var times: [Int64] = []
        _ = try forward.read(from: 0, maximumCount: .max, maximumBytes: .max) { record in
            times.append(record.appendedMilliseconds)
            return true
        }
        var found: [UInt64] = []
        try forward.queryByTimeRange(times[1]...times[3]) { record in
            found.append(record.offset)
            return true
        }
        #expect(found == [1, 2, 3])
        found = []
        try forward.queryByTimeRange(0...Int64.max) { record in
            found.append(record.offset)
            return found.count < 2
        }
        #expect(found == [0, 1])
        found = []
        try forward.queryByTimeRange((times[4] + 1)...Int64.max) { record in
            found.append(record.offset)
            return true
        }
        #expect(found.isEmpty)
    }

    // MARK: - Cursors

    private func subjectWithCursor(_ realisation: Realisation, facts: Int = 8, at start: UInt64 = 0)
        async throws -> BufferSubject
    {
        let subject = try BufferSubject(realisation)
        _ = try await subject.store.append((0..<facts).map { fact($0) })
        try subject.cursors.create(
            TrackedCursor(owner: "historian", name: "reports", nextOffset: start, initMode: "x"))
        return subject
    }

    private func confirm(_ subject: BufferSubject, _ range: ClosedRange<UInt64>) throws -> UInt64 {
        try subject.cursors.confirm(owner: "historian", name: "reports", range, digest: nil)
            .nextOffset
    }

    @Test("spec 19.22: the frontier advances over what is contiguous only", arguments: Realisation.allCases)
    func contiguousFrontier(_ realisation: Realisation)
        async throws
    {
        let subject = try await subjectWithCursor(realisation)
        #expect(try confirm(subject, 0...0) == 1)
        #expect(try confirm(subject, 1...1) == 2)
        #expect(try confirm(subject, 2...2) == 3)
        #expect(try confirm(subject, 4...4) == 3)
        // {0, 1, 2, 4, 5} are confirmed, the cursor stands at 2.
        #expect(try confirm(subject, 5...5) == 3)
        #expect(subject.cursors.cursor(owner: "historian", name: "reports")?.nextOffset == 3)
        #expect(try confirm(subject, 3...3) == 6)
        #expect(subject.cursors.cursor(owner: "historian", name: "reports")?.nextOffset == 6)
    }

    @Test(arguments: Realisation.allCases)
    func `what is confirmed at the same time leaves no hole`(_ realisation: Realisation)
        async throws
    {
        let subject = try await subjectWithCursor(realisation, facts: 100)
        let cursors = subject.cursors
        for first in stride(from: UInt64(0), to: 100, by: 2) {
            let threads = (first...first + 1).map { offset in
                EngineThread(name: "confirm") {
                    _ = try? cursors.confirm(
                        owner: "historian", name: "reports", offset...offset, digest: nil)
                }
            }
            for thread in threads { thread.join() }
            #expect(cursors.cursor(owner: "historian", name: "reports")?.nextOffset == first + 2)
        }
    }

    @Test(arguments: Realisation.allCases)
    func `a cursor never goes back nor beyond the head`(_ realisation: Realisation) async throws {
        let subject = try await subjectWithCursor(realisation)
        #expect(try confirm(subject, 0...4) == 5)
        #expect(try confirm(subject, 0...1) == 5)
        #expect(try confirm(subject, 3...3) == 5)
        #expect(kind { _ = try confirm(subject, 5...8) } == .outOfRange(first: 0, head: 8))
        #expect(kind { _ = try confirm(subject, 8...8) } == .outOfRange(first: 0, head: 8))
        #expect(try confirm(subject, 5...7) == 8)
    }

    @Test(arguments: Realisation.allCases)
    func `a cursor keeps the digest that came with its last move`(_ realisation: Realisation)
        async throws
    {
        let subject = try await subjectWithCursor(realisation)
        let moved = try subject.cursors.confirm(
            owner: "historian", name: "reports", 0...3, digest: (digest(3), 3))
        #expect(moved.digest == digest(3) && moved.digestOffset == 3)
        let still = try subject.cursors.confirm(
            owner: "historian", name: "reports", 0...1, digest: (digest(1), 1))
        #expect(still == moved)
        #expect(subject.cursors.cursor(owner: "historian", name: "reports") == moved)
    }

    @Test(arguments: Realisation.allCases)
    func `cursors are told apart by owner and name as bytes`(_ realisation: Realisation)
        async throws
    {
        let subject = try await subjectWithCursor(realisation)
        let cursors = subject.cursors
        #expect(
            kind {
                try cursors.create(
                    TrackedCursor(owner: "historian", name: "reports", nextOffset: 2))
            } == .cursorExists)
        for (owner, name) in [
            ("other", "reports"), ("historian", "e\u{301}"), ("historian", "\u{e9}"),
        ] {
            try cursors.create(TrackedCursor(owner: owner, name: name, nextOffset: 1))
        }
        #expect(cursors.cursors().count == 4)
        _ = try cursors.confirm(owner: "historian", name: "\u{e9}", 1...2, digest: nil)
        #expect(cursors.cursor(owner: "historian", name: "e\u{301}")?.nextOffset == 1)
        #expect(cursors.cursor(owner: "historian", name: "\u{e9}")?.nextOffset == 3)
        #expect(
            kind {
                try cursors.create(TrackedCursor(owner: "historian", name: "far", nextOffset: 9))
            } == .outOfRange(first: 0, head: 8))
        #expect(
            kind { _ = try cursors.confirm(owner: "nobody", name: "reports", 0...0, digest: nil) }
                == .cursorNotFound)
    }

    @Test(arguments: Realisation.allCases)
    func `a deleted cursor leaves nothing to the next of its name`(_ realisation: Realisation)
        async throws
    {
        let subject = try await subjectWithCursor(realisation)
        #expect(try confirm(subject, 0...1) == 2)
        #expect(try confirm(subject, 4...5) == 2)
        try subject.cursors.delete(owner: "historian", name: "reports")
        #expect(subject.cursors.cursor(owner: "historian", name: "reports") == nil)
        #expect(
            kind { try subject.cursors.delete(owner: "historian", name: "reports") }
                == .cursorNotFound)
        try subject.cursors.create(
            TrackedCursor(owner: "historian", name: "reports", nextOffset: 0))
        #expect(try confirm(subject, 0...3) == 4)
    }

    @Test(arguments: Realisation.allCases)
    func `a gap closes although the frontier moved by another call meanwhile`(
        _ realisation: Realisation
    ) async throws {
        let subject = try await subjectWithCursor(realisation, facts: 512)
        // Every offset is confirmed once, by several threads in an order of their own.
        await withTaskGroup(of: Void.self) { group in
            for lane in 0..<4 {
                group.addTask {
                    for offset in stride(from: UInt64(lane), to: 512, by: 4) {
                        _ = try? self.confirm(subject, offset...offset)
                    }
                }
            }
        }
        #expect(subject.cursors.cursor(owner: "historian", name: "reports")?.nextOffset == 512)
    }

    @Test(arguments: Realisation.allCases)
    func `a detached cursor moves nowhere until it is attached, where it is told`(
        _ realisation: Realisation
    ) async throws {
        let subject = try BufferSubject(realisation)
        let cursors = subject.cursors
        _ = try await subject.store.append((0..<10).map { fact($0) })
        try cursors.create(
            TrackedCursor(
                owner: "historian", name: "reports", nextOffset: 0,
                hold: .upTo(lagBytes: 5, lagMilliseconds: nil)))
        // Confirmed ahead of the frontier, which detaching forgets.
        _ = try cursors.confirm(owner: "historian", name: "reports", 3...4, digest: nil)
        try cursors.detach(owner: "historian", name: "reports", reason: "gone")
        #expect(cursors.cursor(owner: "historian", name: "reports")?.detachReason == "gone")
        #expect(
            kind { _ = try cursors.confirm(owner: "historian", name: "reports", 0...2, digest: nil) }
                == .cursorDetached)
        #expect(
            kind { try cursors.attach(owner: "historian", name: "reports", nextOffset: 11) }
                == .outOfRange(first: 0, head: 10))
        try cursors.attach(owner: "historian", name: "reports", nextOffset: 1)
        #expect(cursors.cursor(owner: "historian", name: "reports")?.detachReason == nil)
        let moved = try cursors.confirm(owner: "historian", name: "reports", 1...2, digest: nil)
        #expect(moved.nextOffset == 3)
        // One that is attached stays where it is.
        try cursors.attach(owner: "historian", name: "reports", nextOffset: 0)
        try cursors.change(owner: "historian", name: "reports", hold: .required)
        let standing = try #require(cursors.cursor(owner: "historian", name: "reports"))
        #expect(standing.nextOffset == 3 && standing.hold == .required)
        for body: () throws -> Void in [
            { try cursors.detach(owner: "historian", name: "x", reason: "gone") },
            { try cursors.attach(owner: "historian", name: "x", nextOffset: 0) },
            { try cursors.change(owner: "historian", name: "x", hold: .required) },
        ] { #expect(kind(body) == .cursorNotFound) }
    }

    @Test func `a full log says so with its fill and a hint, and a gap with its offsets`()
        async throws
    {
        let subject = try BufferSubject(.log)
        try subject.cursors.create(TrackedCursor(owner: "x", name: "x", nextOffset: 0))
        var refusal: BufferError?
        var number = 0
        while refusal == nil, number < 400 {
            do {
                _ = try await subject.store.append([fact(number, bytes: 100_000)])
                number += 1
            } catch let error as BufferError {
                refusal = error
            }
        }
        #expect(refusal?.kind == .full)
        #expect(refusal.map { $0.fill >= 0.8 && $0.retryAfterMilliseconds >= 50 } == true)
        let again = try await subject.store.append([fact(0, bytes: 100_000)])
        #expect(again.outcomes == [.existing(offset: 0)])
        let head = subject.store.headOffset
        _ = try subject.cursors.confirm(owner: "x", name: "x", 0...head - 1, digest: nil)
        var first: UInt64 = 0
        // Sealing comes first, on a disk that may be busy. When it takes longer than the gate to open, there
        // may be room again, and what is confirmed stays until more comes.
        for _ in 0..<2400 where first == 0 {
            try await Task.sleep(for: .milliseconds(25))
            number += 1
            _ = try? await subject.store.append([fact(number, bytes: 100_000)])
            first = subject.store.firstOffset
        }
        try #require(first > 0)
        let found = kind {
            _ = try subject.store.read(from: 0, maximumCount: 1, maximumBytes: 1) { _ in true }
        }
        guard case .gap(let gap) = found else {
            Issue.record("what was reclaimed is a gap, not \(String(describing: found))")
            return
        }
        // Segments go one after the other: the gap is of a moment between two looks.
        #expect(gap.offsets.lowerBound == 0 && gap.reasons == [BufferGap.reclaimed])
        #expect((first...subject.store.firstOffset).contains(gap.offsets.upperBound))
        #expect(subject.store.gaps(in: 0..<head).isEmpty, "what everybody had is no loss")
        #expect(try subject.store.recordDigest(at: 0) == nil)
    }

    @Test func `what is reclaimed is detached to a reader that truncation should have waited for`() {
        let gap = BufferGap(offsets: 3..<9, reasons: ["dropped", BufferGap.reclaimed])
        #expect(gap.toAwaitedReader.reasons == ["dropped", "detached"])
        let both = BufferGap(offsets: 3..<9, reasons: ["detached", BufferGap.reclaimed])
        #expect(both.toAwaitedReader.reasons == ["detached"])
        let other = BufferGap(offsets: 3..<9, reasons: ["expired"])
        #expect(other.toAwaitedReader == other)
    }

    @Test func `a frontier takes up what another made durable`() async throws {
        let subject = try await subjectWithCursor(.log)
        #expect(try confirm(subject, 4...5) == 0)
        // As a call does that read the cursor before this one and ends after it.
        _ = try subject.logs[0].confirm(owner: "historian", name: "reports", nextOffset: 3)
        #expect(try confirm(subject, 3...3) == 6)
    }

    // MARK: - After a restart

    @Test func `a retry after reopening finds what is there`() async throws {
        let subject = try BufferSubject(.log)
        _ = try await subject.store.append([fact(1), fact(2)])
        try subject.forward.begin(at: position(0))
        _ = try subject.forward.putIfAbsent(
            [record(1), record(2)], from: position(0), to: position(2))
        try subject.cursors.create(
            TrackedCursor(
                owner: "peer", name: "p/s/o", nextOffset: 0,
                receiverUUID: [UInt8](repeating: 3, count: 16), receiverEpoch: 1,
                initMode: "full_backfill", createdMilliseconds: 5))
        let confirmed = try subject.cursors.confirm(
            owner: "peer", name: "p/s/o", 0...0, digest: (digest(0), 0))
        let identifier = subject.store.identifier
        try await subject.reopened { subject in
            #expect(subject.store.identifier == identifier)
            let retry = try await subject.store.append([fact(2), fact(1, 9), fact(3)])
            #expect(
                retry.outcomes == [
                    .existing(offset: 1), .conflict(offset: 0, stored: fact(1).contentDigest),
                    .appended(offset: 2),
                ])
            #expect(subject.forward.position == position(2))
            #expect(kind { try subject.forward.begin(at: position(0)) } == .positionMoved)
            let again = try subject.forward.putIfAbsent(
                [record(2), record(3)], from: position(2), to: position(4))
            #expect(again.outcomes == [.existing(offset: 1), .appended(offset: 2)])
            #expect(subject.cursors.cursor(owner: "peer", name: "p/s/o") == confirmed)
        }
    }

    @Test func `a batch above what small segments take says so and writes nothing`() throws {
        let subject = try BufferSubject(.log, segmentBytes: 1 << 20)
        try subject.forward.begin(at: position(0))
        let records = (0..<600).map { record($0, bytes: 1_000) }
        #expect(
            kind {
                _ = try subject.forward.putIfAbsent(records, from: position(0), to: position(600))
            } == .batchTooLarge)
        #expect(subject.forward.headOffset == 0 && subject.forward.position == position(0))
        _ = try subject.forward.putIfAbsent(
            Array(records[..<300]), from: position(0), to: position(300))
        #expect(subject.forward.headOffset == 300)
    }

    @Test func `the position survives its register`() {
        for value in [position(0), position(1), position(.max - 1)] {
            #expect(SourcePosition(register: value.register) == value)
        }
        let bytes = position(4).register
        #expect(bytes.count == 72)
        #expect(position(0).register.count == 32)
        #expect(SourcePosition(register: Array(bytes.dropLast())) == nil)
        #expect(SourcePosition(register: []) == nil)
    }
}

/// Looks again until it is so, for at most ten seconds.
func eventually(_ isSo: () -> Bool) async throws {
    for _ in 0..<12_000 {
        if isSo() { return }
        try await Task.sleep(for: .milliseconds(5))
    }
    Issue.record("it never came to be")
}
