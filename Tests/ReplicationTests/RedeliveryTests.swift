import Buffers
import Facts
import Foundation
import Replication
import SwiftProtobuf
import Synchronization
import Testing

/// What comes again is held against what is stored, and changes nothing of it.
@Suite struct RedeliveryTests {
    /// - Parameter origin: of the first fact, where the source has them from another log.
    private static func write(
        _ facts: [(offset: UInt64, fact: EncodedFact)], next: UInt64, head: UInt64, epoch: UInt64 = 1,
        from origin: RecordOrigin? = nil
    ) throws -> [UInt8] {
        var writer = PageWriter(originLogUUID: origin == nil ? source : nil)
        for (index, (offset, fact)) in facts.enumerated() {
            var began = origin
            began?.offset += UInt64(index)
            let record =
                began.map { StoredRecord.encode(.message, fact.message, origin: $0) } ?? fact.storedRecord
            try record.withUnsafeBytes { payload in
                try writer.append(
                    PageWriter.Record(
                        offset: offset, appendedAtUnixMilliseconds: 5, epoch: epoch,
                        contentDigest: fact.contentDigest, payload: payload))
            }
        }
        return writer.finish(
            nextOffset: next, headOffset: head, firstOffset: 0, confirmedOffset: nil,
            source: SourcePosition(logUUID: source, epoch: 1, nextOffset: head).wire)
    }

    private final class Told: Sendable {
        let entries = Mutex<[RedeliveredEntry]>([])
    }

    /// A receiver that took the facts 0 to 5 of a source.
    private final class Bench {
        let receiver = ReceiverDouble()
        let quarantine = MemoryQuarantine()
        let told = Told()
        var keyedBy: PageIntake.KeyRule
        private(set) var position = place(0)
        private var way: PageMaterialisation {
            materialisation(
                receiver, quarantine, keyedBy: keyedBy,
                altered: { [told] entries in told.entries.withLock { $0 += entries } })
        }

        init(
            from first: UInt64 = 0, keyedBy: PageIntake.KeyRule = .identifier, origin: RecordOrigin? = nil
        ) throws {
            self.keyedBy = keyedBy
            position = place(first)
            try receiver.begin(at: position)
            let facts = try (first..<6).map { ($0, try encoded(Int($0))) }
            _ = try take(RedeliveryTests.write(facts, next: 6, head: 6, from: origin))
        }

        func take(_ page: [UInt8], fetchCounts: [UInt64: Int] = [:]) throws -> PageMaterialisation.Outcome {
            let outcome = try way.materialise(
                ReceivedPage(page), at: position, fetchCounts: fetchCounts
            ).get()
            position = outcome.position
            return outcome
        }

        /// What comes again, by its offset: `same`, `altered` or `uncompared`. Nothing else happens.
        func again(_ page: [UInt8], told expected: Int) throws -> [String] {
            let (before, stood) = (try messages(receiver), position)
            let outcome = try take(page)
            #expect(try messages(receiver) == before && position == stood && receiver.position == stood)
            #expect(outcome.newCount == 0 && outcome.quarantinedCount == 0 && outcome.end == .whole)
            #expect(told.entries.withLock { $0.count } == expected)
            return outcome.redelivered.map { entry in
                let word =
                    switch entry.verdict {
                    case .same: "same"
                    case .altered: "altered"
                    case .uncompared: "uncompared"
                    }
                return "\(entry.offsets.lowerBound) \(word)"
            }
        }
    }

    private func page(_ facts: [(UInt64, EncodedFact)]) throws -> [UInt8] {
        try Self.write(facts.map { (offset: $0.0, fact: $0.1) }, next: 6, head: 6)
    }

    @Test func `the facts that were stored are the same ones`() throws {
        let bench = try Bench()
        #expect(
            try bench.again(page([(2, encoded(2)), (3, encoded(3)), (4, encoded(4))]), told: 0)
                == ["2 same", "3 same", "4 same"])
    }

    @Test func `another content, another id and the fact of another place are not`() throws {
        let bench = try Bench()
        #expect(
            try bench.again(
                page([(2, encoded(2)), (3, encoded(3, value: 7)), (4, encoded(4))]), told: 1)
                == ["2 same", "3 altered", "4 same"])
        #expect(bench.told.entries.withLock { $0.first?.offsets } == 3...3)
        #expect(try bench.again(page([(3, encoded(90))]), told: 2) == ["3 altered"])
        #expect(try bench.again(page([(3, encoded(2))]), told: 3) == ["3 altered"])
        #expect(
            try bench.again(page([(3, encoded(3)), (3, encoded(3))]), told: 4) == ["3 same", "3 altered"])
    }

    @Test func `damaged bytes are not what is stored`() throws {
        let bench = try Bench()
        var bytes = try page([(3, encoded(3))])
        let text = Array("reading_recorded".utf8)
        let start = try #require(bytes.indices.dropLast(text.count).first { start in
            Array(bytes[start..<start + text.count]) == text
        })
        bytes[start] ^= 1
        #expect(try bench.again(bytes, told: 1) == ["3 altered"])
    }

    @Test func `what was never received is held against nothing`() throws {
        let bench = try Bench(from: 4)
        #expect(
            try bench.again(page([(2, encoded(2)), (3, encoded(3)), (4, encoded(4))]), told: 0)
                == ["2 uncompared", "3 uncompared", "4 same"])
    }

    @Test func `a relayed fact is known by where it began`() throws {
        let origin = RecordOrigin(
            logUUID: [UInt8](repeating: 7, count: 16), epoch: 3, offset: 70, appendedAtUnixMilliseconds: 5)
        let bench = try Bench(origin: origin)
        func again(_ fact: EncodedFact, began: UInt64, told: Int) throws -> [String] {
            var place = origin
            place.offset = began
            return try bench.again(Self.write([(3, fact)], next: 6, head: 6, from: place), told: told)
        }
        #expect(try again(encoded(3), began: 73, told: 0) == ["3 same"])
        #expect(try again(encoded(90), began: 73, told: 1) == ["3 altered"])
        #expect(try again(encoded(3, value: 7), began: 73, told: 2) == ["3 altered"])
        #expect(try again(encoded(90), began: 99, told: 2) == ["3 uncompared"])
    }

    @Test func `a fact that its source was given again after a loss is not one of another place`() throws {
        let bench = try Bench()
        #expect(
            try bench.again(Self.write([(3, encoded(2))], next: 6, head: 6, epoch: 2), told: 0)
                == ["3 uncompared"])
        #expect(
            try bench.again(Self.write([(3, encoded(90))], next: 6, head: 6, epoch: 2), told: 0)
                == ["3 uncompared"])
    }

    private func gap(_ first: UInt64, _ last: UInt64) throws -> [UInt8] {
        var entry = Bsfg_V1_Entry()
        entry.gap.reasons = ["expired"]
        entry.gap.first.logUuid = Data(source)
        entry.gap.first.epoch = 1
        entry.gap.first.offset = first
        entry.gap.lastOffset = last
        var response = Bsfg_V1_FetchFactsResponse()
        response.entries = [entry]
        response.nextOffset = last + 1
        response.source = place(20).wire
        return try response.serializedBytes()
    }

    @Test func `a loss that is known is the same, one in the place of facts is not`() throws {
        let bench = try Bench()
        _ = try bench.take(gap(6, 9))
        #expect(try bench.again(gap(6, 9), told: 0) == ["6 same"])
        #expect(try bench.again(gap(7, 8), told: 0) == ["7 same"])
        #expect(try bench.again(gap(2, 4), told: 0) == ["2 uncompared"])
        // A fact where there was none.
        #expect(try bench.again(page([(7, encoded(7))]), told: 0) == ["7 uncompared"])
    }

    @Test func `what waits in quarantine is compared with its bytes`() throws {
        let bench = try Bench()
        let conflict = try Self.write([(6, encoded(2, value: 7))], next: 7, head: 7)
        #expect(try bench.take(conflict).quarantinedCount == 1)
        #expect(try bench.again(conflict, told: 0) == ["6 same"])
        #expect(try bench.again(page([(6, encoded(2, value: 8))]), told: 1) == ["6 altered"])
        // Decided about, what came is known to be refused, and no more.
        let identifier = QuarantineIdentifier(logUUID: source, epoch: 1, offset: 6)
        #expect(try bench.quarantine.remove(identifier))
        #expect(try bench.again(conflict, told: 1) == ["6 uncompared"])
    }

    @Test func `where content decides, the content is compared`() throws {
        let bench = try Bench(keyedBy: .content)
        #expect(
            try bench.again(page([(2, encoded(2)), (3, encoded(3, value: 7))]), told: 1)
                == ["2 same", "3 altered"])
    }

    @Test func `what was stored while keys were made otherwise is known by its content`() throws {
        let bench = try Bench()
        bench.keyedBy = .content
        #expect(
            try bench.again(page([(2, encoded(2)), (3, encoded(3, value: 7))]), told: 1)
                == ["2 same", "3 altered"])
    }

    @Test func `a source may say any offset, and nothing traps`() throws {
        let bench = try Bench()
        _ = try bench.take(gap(6, .max - 600))
        #expect(try bench.again(page([(0, encoded(90)), (2, encoded(2))]), told: 1) == ["0 altered", "2 same"])
        #expect(try bench.again(gap(0, .max - 700), told: 1) == ["0 uncompared"])
    }

    @Test func `a page has no fact below what was asked for, and nothing beyond its end`() throws {
        func stray(_ bytes: [UInt8], from: UInt64) throws -> String? {
            let page = try ReceivedPage(bytes)
            return PageIntake.stray(page, from: from, to: try #require(page.nextOffset))
        }
        let facts = try page([(4, encoded(4)), (5, encoded(5))])
        #expect(try stray(facts, from: 4) == nil)
        #expect(try stray(facts, from: 5) == "offset 5 was asked for, and the page has a fact of offset 4")
        // A gap may have begun before.
        #expect(try stray(gap(2, 9), from: 6) == nil)
        #expect(
            try stray(Self.write([(7, encoded(7))], next: 6, head: 9), from: 4)
                == "the page ends before offset 6 and has an entry of offset 7")
        #expect(
            try stray(Self.write([(7, encoded(7))], next: 8, head: 7), from: 4)
                == "the page ends before offset 8, and its log before 7")
    }

    @Test func `a pull takes nothing of such a page`() async throws {
        let pool = BlockingPool(name: "test", threadCount: 2)
        let (origin, receiver) = (try SourceDouble(12, pageCount: 4), ReceiverDouble())
        let loop = PullLoop(
            source: origin, materialisation: materialisation(receiver), pool: pool, log: { _ in })
        await loop.start()
        try await eventually("everything crosses") { receiver.position?.nextOffset == 12 }
        let strayPage = try Self.write([(3, encoded(3)), (12, encoded(12))], next: 13, head: 13)
        origin.changePages { page in
            guard let read = try? ReceivedPage(page), !read.entries.isEmpty else { return }
            page = strayPage
        }
        try origin.append(12..<13)
        try await eventually("it is refused") { await loop.report().failureCount > 0 }
        #expect(receiver.position?.nextOffset == 12)
        await loop.stop()
        pool.stop()
    }

    // MARK: - Asked for

    /// A pull that has everything of 12 facts and asks for the last 8 again from a source that changed.
    private func asked(_ change: @escaping @Sendable (inout [UInt8]) -> Void) async throws -> PullReport {
        let pool = BlockingPool(name: "test", threadCount: 2)
        let (origin, receiver) = (try SourceDouble(12, pageCount: 4), ReceiverDouble())
        let loop = PullLoop(
            source: origin, materialisation: materialisation(receiver), pool: pool, log: { _ in })
        await loop.start()
        try await eventually("everything crosses") {
            origin.cursor?.nextOffset == 12 && receiver.position?.nextOffset == 12
        }
        let stood = try messages(receiver)
        origin.changePages(change)
        #expect(await loop.redeliver(count: 8) == 4)
        // It is behind the redelivery when it takes what is new.
        try origin.append(12..<13)
        origin.changePages { page in
            guard let read = try? ReceivedPage(page), (read.nextOffset ?? 0) <= 12 else { return }
            change(&page)
        }
        try await eventually("what is new follows") { receiver.position?.nextOffset == 13 }
        try await eventually("it is confirmed") { origin.cursor?.nextOffset == 13 }
        await loop.stop()
        let report = await loop.report()
        #expect(report.materialisedCount == 13 && report.failureCount == 0)
        #expect(try messages(receiver).dropLast() == stood[...])
        pool.stop()
        return report
    }

    @Test func `all that was asked for is recognised`() async throws {
        let report = try await asked { _ in }
        #expect(report.recognisedCount == 8 && report.uncomparedCount == 0 && report.alteredCount == 0)
    }

    @Test func `an altered fact is counted, those around it are recognised`() async throws {
        let report = try await asked { page in
            guard let read = try? ReceivedPage(page), let next = read.nextOffset else { return }
            let offsets = read.entries.compactMap(\.offset)
            let facts = offsets.compactMap { offset in
                (try? encoded(Int(offset), value: offset == 6 ? 99 : nil)).map { (offset: offset, fact: $0) }
            }
            page = (try? Self.write(facts, next: next, head: 12)) ?? page
        }
        #expect(report.recognisedCount == 7 && report.uncomparedCount == 0 && report.alteredCount == 1)
    }

    @Test func `one of many, or one many times, is not all that was asked for`() async throws {
        for count in [1, 8] {
            let report = try await asked { page in
                guard let read = try? ReceivedPage(page), let first = read.entries.first?.offset,
                    let fact = try? encoded(Int(first))
                else { return }
                let one = Array(repeating: (offset: first, fact: fact), count: count)
                page = (try? Self.write(one, next: 12, head: 12)) ?? page
            }
            #expect(report.recognisedCount == 1 && report.redeliveredCount >= UInt64(count))
        }
    }
}
