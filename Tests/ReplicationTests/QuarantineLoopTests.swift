import Buffers
import Dispatch
import Facts
import Foundation
import Replication
import SwiftProtobuf
import Synchronization
import Testing

/// What can never be materialised, from the page to quarantine or to the halt.
@Suite struct QuarantineLoopTests {
    /// A letter of the predicate is another one, in every page.
    private static func damage(_ page: inout [UInt8]) {
        let text = Array("reading_recorded".utf8)
        for start in page.indices.dropLast(text.count)
        where Array(page[start..<start + text.count]) == text { page[start] ^= 1 }
    }

    private func loop(
        _ source: SourceDouble, _ materialisation: PageMaterialisation, _ pool: BlockingPool
    ) -> PullLoop {
        PullLoop(source: source, materialisation: materialisation, pool: pool, log: { _ in })
    }

    /// A receiver in which the key of a fact stands with other content.
    private func conflicted(_ number: Int) throws -> ReceiverDouble {
        let receiver = ReceiverDouble()
        let other = try encoded(number, value: 99)
        try receiver.memory.begin(at: place(0))
        _ = try receiver.memory.putIfAbsent(
            [
                ForwardRecord(
                    key: other.key, contentDigest: other.contentDigest,
                    storedRecord: other.storedRecord)
            ], from: place(0), to: place(0))
        return receiver
    }

    private func items(_ receiver: ReceiverDouble) throws -> [RecordItem] {
        var items: [RecordItem] = []
        _ = try receiver.read(from: 0, maximumCount: .max, maximumBytes: .max) { record in
            if let stored = try? StoredRecord(record.payload) { items.append(stored.item) }
            return true
        }
        return items
    }

    private func isBlocked(_ loop: PullLoop, _ reason: String) async -> Bool {
        if case .blocked(reason, _) = await loop.report().status { true } else { false }
    }

    @Test("gateway decision 15: bytes that change on the way are asked for again, and nothing is lost")
    func damagedOnce() async throws {
        let pool = BlockingPool(name: "test", threadCount: 2)
        let (source, receiver) = (try SourceDouble(4, pageCount: 2), ReceiverDouble())
        let quarantine = MemoryQuarantine()
        let left = Mutex(2)
        source.changePages { page in
            let isDamaged = left.withLock { left in
                left -= 1
                return left >= 0
            }
            if isDamaged { Self.damage(&page) }
        }
        let loop = loop(source, materialisation(receiver, quarantine), pool)
        await loop.start()
        try await eventually("everything crosses") { source.cursor?.nextOffset == 4 }
        await loop.stop()
        #expect(try messages(receiver) == messages(source.store))
        #expect(quarantine.size.count == 0)
        pool.stop()
    }

    @Test("gateway decision 15: what arrives damaged three times waits in quarantine, and the stream goes on")
    func damagedAlways() async throws {
        let pool = BlockingPool(name: "test", threadCount: 2)
        let (source, receiver) = (try SourceDouble(4, pageCount: 2), ReceiverDouble())
        let quarantine = MemoryQuarantine()
        let told = Mutex<[QuarantinedFact]>([])
        source.changePages(Self.damage)
        let loop = loop(
            source,
            materialisation(
                receiver, quarantine, quarantined: { facts in told.withLock { $0 += facts } }),
            pool)
        await loop.start()
        try await eventually("the position passes them") { receiver.position?.nextOffset == 4 }
        #expect(try items(receiver) == [.quarantined, .quarantined, .quarantined, .quarantined])
        source.changePages(nil)
        try source.append(4..<6)
        // They were not believed, so the next real record is the first that can be confirmed by.
        try await eventually("the stream goes on") { source.cursor?.nextOffset == 6 }
        let report = await loop.report()
        await loop.stop()
        #expect(report.quarantinedCount == 4 && report.status == .pulling)
        #expect(quarantine.size.count == 4 && told.withLock { $0.count } == 4)
        #expect(told.withLock { $0.allSatisfy { $0.reason == .digestMismatch && !$0.isHalting } })
        #expect(told.withLock { $0.map(\.identifier.offset) } == [0, 1, 2, 3])
        pool.stop()
    }

    @Test("gateway decision 15: a conflict in mid-page is in quarantine before the page is committed with a notice in its place")
    func conflict() async throws {
        let pool = BlockingPool(name: "test", threadCount: 2)
        let (source, receiver) = (try SourceDouble(5, pageCount: 5), try conflicted(2))
        let quarantine = MemoryQuarantine()
        let steps = Mutex<[(step: PullStep, head: UInt64, held: Int)]>([])
        let loop = loop(
            source,
            materialisation(
                receiver, quarantine,
                reached: { step in
                    steps.withLock { $0.append((step, receiver.headOffset, quarantine.size.count)) }
                }), pool)
        await loop.start()
        try await eventually("everything else crosses") { source.cursor?.nextOffset == 5 }
        await loop.stop()
        #expect(try items(receiver) == [.message, .message, .message, .quarantined, .message, .message])
        let kept = try #require(
            try quarantine.fact(QuarantineIdentifier(logUUID: source_, epoch: 1, offset: 2)))
        let offered = try encoded(2)
        #expect(kept.reason == .conflict && kept.storedOffset == 0)
        #expect(kept.offeredDigest == offered.contentDigest)
        #expect(kept.storedDigest == (try encoded(2, value: 99).contentDigest))
        // The bytes are those of the fact, with where it began.
        let stored = try StoredRecord(kept.storedRecord)
        #expect(Array(kept.storedRecord[stored.itemRange]) == offered.message)
        #expect(stored.origin?.offset == 2)
        // The notice names the source's offset and both digests.
        var notice = Bsfg_V1_Notice()
        _ = try receiver.read(from: 3, maximumCount: 1, maximumBytes: .max) { record in
            if let stored = try? StoredRecord(record.payload) {
                notice =
                    (try? Bsfg_V1_Notice(serializedBytes: Array(record.payload[stored.itemRange])))
                    ?? notice
            }
            return false
        }
        #expect(notice.reasons == ["conflict"] && notice.first.offset == 2)
        #expect(
            Array(notice.content) == kept.storedDigest!.bytes + kept.offeredDigest!.bytes)
        // In this order, and durable at each.
        let first = steps.withLock { $0.prefix(3) }
        #expect(first.map(\.step) == [.received, .quarantined, .committed])
        #expect(first.map(\.head) == [1, 1, 6] && first.map(\.held) == [0, 1, 1])
        pool.stop()
    }

    @Test("gateway decision 15: two contents of one id in one page are told apart there")
    func conflictWithinPage() async throws {
        let pool = BlockingPool(name: "test", threadCount: 2)
        let (source, receiver) = (try SourceDouble(1, pageCount: 5), ReceiverDouble())
        let other = try encoded(0, value: 7)
        source.store.append([
            KeyedFact(
                key: digestOf("another key"), contentDigest: other.contentDigest,
                storedRecord: other.storedRecord)
        ]) { _ in }
        try source.append(1..<2)
        let quarantine = MemoryQuarantine()
        let loop = loop(source, materialisation(receiver, quarantine), pool)
        await loop.start()
        try await eventually("everything else crosses") { source.cursor?.nextOffset == 3 }
        await loop.stop()
        #expect(try items(receiver) == [.message, .quarantined, .message])
        let kept = try quarantine.fact(QuarantineIdentifier(logUUID: source_, epoch: 1, offset: 1))
        let standing = try encoded(0).contentDigest
        #expect(kept?.storedOffset == nil && kept?.storedDigest == standing)
        pool.stop()
    }

    @Test("gateway decision 15: a full quarantine blocks the stream, which goes on by itself once there is room")
    func full() async throws {
        let pool = BlockingPool(name: "test", threadCount: 2)
        let (source, receiver) = (try SourceDouble(5, pageCount: 5), try conflicted(2))
        let quarantine = MemoryQuarantine(capacityBytes: 600)
        let filler = QuarantinedFact(
            identifier: QuarantineIdentifier(logUUID: source_, epoch: 9, offset: 9), stream: "s",
            origin: "o", reason: .malformed, sentence: "", quarantinedMilliseconds: 1,
            storedRecord: [UInt8](repeating: 1, count: 400))
        try quarantine.put([filler])
        let loop = loop(source, materialisation(receiver, quarantine), pool)
        await loop.start()
        try await eventually("it is blocked") { await isBlocked(loop, "quarantine_full") }
        #expect(receiver.headOffset == 1 && source.cursor?.nextOffset == 0)
        #expect(try quarantine.remove(filler.identifier))
        try await eventually("it goes on") { source.cursor?.nextOffset == 5 }
        #expect(await loop.report().failureCount == 0)
        await loop.stop()
        pool.stop()
    }

    @Test("gateway decision 16: silStrict halts at the fact, confirmed up to there, also after a restart")
    func halts() async throws {
        let pool = BlockingPool(name: "test", threadCount: 2)
        let (source, receiver) = (try SourceDouble(5, pageCount: 5), try conflicted(2))
        let quarantine = MemoryQuarantine()
        let way = materialisation(receiver, quarantine, halts: true)
        let first = loop(source, way, pool)
        await first.start()
        try await eventually("it halts") { await isBlocked(first, "halted") }
        try await eventually("up to there is confirmed") { source.cursor?.nextOffset == 2 }
        #expect(try items(receiver) == [.message, .message, .message])
        #expect(receiver.position?.nextOffset == 2)
        let identifier = QuarantineIdentifier(logUUID: source_, epoch: 1, offset: 2)
        #expect(receiver.halt?.identifier == identifier && receiver.halt?.reason == .conflict)
        let kept = try #require(try quarantine.fact(identifier))
        #expect(kept.isHalting && kept.storedOffset == 0)
        #expect(await first.redeliver(count: 2) == nil)
        await first.stop()
        // Nothing goes on by itself, whatever comes.
        try source.append(5..<8)
        let second = loop(source, way, pool)
        await second.start()
        try await eventually("it is halted still") { await isBlocked(second, "halted") }
        try await Task.sleep(for: .milliseconds(150))
        #expect(receiver.position?.nextOffset == 2 && quarantine.size.count == 1)
        #expect(await second.report().pageCount == 0)
        // A retry finds the same and halts again; a recorded refusal goes on behind it.
        try receiver.setHalt(nil)
        await second.startAgain()
        try await eventually("it halts again") { receiver.halt != nil }
        let position = try #require(receiver.position)
        var past = position
        past.nextOffset = 3
        try receiver.putRefusal(
            ForwardRecord(
                key: nil, contentDigest: nil, storedRecord: Quarantining.refusal(kept, position)),
            from: position, to: past)
        await second.startAgain()
        try await eventually("it goes on") { source.cursor?.nextOffset == 8 }
        await second.stop()
        #expect(
            try items(receiver) == [.message, .message, .message, .refused]
                + [RecordItem](repeating: .message, count: 5))
        #expect(receiver.halt == nil)
        pool.stop()
    }

    /// The receiver is frozen at a step, as if it had ended there, and another one goes on.
    @Test("gateway decision 15: an end around the quarantine write leaves the fact there once and the page once",
        arguments: [PullStep.quarantined, .committed], [false, true])
    func end(_ step: PullStep, _ halts: Bool) async throws {
        let (frozen, pool) = (
            BlockingPool(name: "test", threadCount: 1), BlockingPool(name: "test", threadCount: 2)
        )
        let (source, receiver) = (try SourceDouble(5, pageCount: 5), try conflicted(2))
        let quarantine = MemoryQuarantine()
        let isReached = Mutex(false)
        let gate = DispatchSemaphore(value: 0)
        let first = loop(
            source,
            materialisation(
                receiver, quarantine, halts: halts,
                reached: { reached in
                    let isFirst = isReached.withLock { isReached in
                        guard reached == step, !isReached else { return false }
                        isReached = true
                        return true
                    }
                    if isFirst { gate.wait() }
                }), frozen)
        await first.start()
        try await eventually("\(step) is reached") { isReached.withLock { $0 } }
        let second = loop(source, materialisation(receiver, quarantine, halts: halts), pool)
        await second.start()
        try await eventually("it is as if nothing had been") {
            source.cursor?.nextOffset == (halts ? 2 : 5)
        }
        if halts { try await eventually("it halts") { await isBlocked(second, "halted") } }
        await second.stop()
        gate.signal()
        await first.stop()
        #expect(quarantine.size.count == 1)
        let all: [RecordItem] = [.message, .message, .message, .quarantined, .message, .message]
        #expect(try items(receiver) == (halts ? Array(all[..<3]) : all))
        frozen.stop()
        pool.stop()
    }
}

private let source_ = source

private func digestOf(_ text: String) -> Digest { SHA256.hash(Array(text.utf8)) }
