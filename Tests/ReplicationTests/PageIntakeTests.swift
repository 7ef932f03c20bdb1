import Buffers
import Facts
import Foundation
import Replication
import SwiftProtobuf
import Testing

@Suite struct PageIntakeTests {
    private let origin = Array("plant-a".utf8)

    private func page(
        _ offsets: [UInt64], zone: String = "plant-a", log: [UInt8] = source, epoch: UInt64 = 1,
        hasSource: Bool = true, owns: Bool = true
    ) throws -> ReceivedPage {
        var writer = PageWriter(originLogUUID: owns ? log : nil)
        for offset in offsets {
            let fact = try encoded(Int(offset), zone: zone)
            try fact.storedRecord.withUnsafeBytes { payload in
                try writer.append(
                    PageWriter.Record(
                        offset: offset, appendedAtUnixMilliseconds: 5, epoch: epoch,
                        contentDigest: fact.contentDigest, payload: payload))
            }
        }
        return try ReceivedPage(
            writer.finish(
                nextOffset: 0, headOffset: 0, firstOffset: 0, confirmedOffset: nil,
                source: hasSource
                    ? SourcePosition(logUUID: log, epoch: epoch, nextOffset: 0).wire : nil))
    }

    private func refusal(_ page: ReceivedPage, at position: SourcePosition) -> ErrorReason? {
        do throws(PageIntake.Refusal) {
            _ = try PageIntake(page, at: position, origin: origin)
            return nil
        } catch {
            return error.reason
        }
    }

    /// Why the intake of a page of one entry ends before it: the reason, nil when it is taken.
    private func stop(
        _ page: ReceivedPage, halts: Bool = false, fetchCounts: [UInt64: Int] = [:]
    ) throws -> String? {
        let intake = try PageIntake(
            page, at: place(3), origin: origin, halts: halts, fetchCounts: fetchCounts)
        #expect(intake.stop == nil || intake.records.isEmpty)
        return switch intake.stop {
        case nil: nil
        case .blocked(let reason, _): reason
        case .damaged(let offset, _): "damaged \(offset)"
        case .halted(let unfit): "halted \(unfit.reason.rawValue)"
        }
    }

    /// What went to quarantine of a page of one entry.
    private func unfit(_ page: ReceivedPage, fetchCounts: [UInt64: Int] = [:]) throws -> String? {
        let intake = try PageIntake(page, at: place(3), origin: origin, fetchCounts: fetchCounts)
        guard let found = intake.unfit.first else { return nil }
        let stored = try StoredRecord(intake.records[found.record].storedRecord)
        let notice = try Bsfg_V1_Notice(
            serializedBytes: Array(intake.records[found.record].storedRecord[stored.itemRange]))
        #expect(stored.item == .quarantined && intake.records[found.record].key == nil)
        #expect(notice.first.offset == 3 && notice.lastOffset == 3)
        #expect(Array(notice.first.logUuid) == source && notice.first.epoch == 1)
        #expect(notice.reasons == [found.entry.reason.rawValue])
        #expect(intake.position.nextOffset == 4)
        return found.entry.reason.rawValue
    }

    @Test func `records go in with their keys and the position names the last one`() throws {
        let intake = try PageIntake(try page([3, 4, 5]), at: place(3), origin: origin)
        #expect(intake.records.count == 3 && intake.redeliveredCount == 0)
        for (index, record) in intake.records.enumerated() {
            let fact = try encoded(index + 3)
            #expect(record.key == fact.key && record.contentDigest == fact.contentDigest)
            let stored = try StoredRecord(record.storedRecord)
            #expect(stored.origin?.offset == UInt64(index + 3))
            #expect(stored.origin?.logUUID == source)
        }
        #expect(intake.position(after: 0) == place(3))
        for count in 1...3 {
            let position = intake.position(after: count)
            let offset = UInt64(count + 2)
            #expect(position.nextOffset == offset + 1 && position.digestOffset == offset)
            #expect(
                try position.digest
                    == RecordDigest.compute(
                        offset: offset, storedRecord: encoded(Int(offset)).storedRecord))
        }
        #expect(intake.position == intake.position(after: 3))
        #expect(intake.position.logUUID == source && intake.position.epoch == 1)
    }

    @Test func `keyed by content`() throws {
        let intake = try PageIntake(
            try page([3]), at: place(3), origin: origin, keyedBy: .content)
        #expect(intake.records[0].key == (try encoded(3).contentDigest))
    }

    @Test func `what is below the position is recognised and left out`() throws {
        let some = try PageIntake(try page([1, 2, 3, 4]), at: place(3), origin: origin)
        #expect(some.redeliveredCount == 2 && some.records.count == 2)
        #expect(some.position.nextOffset == 5)
        let all = try PageIntake(try page([0, 1, 2]), at: place(3), origin: origin)
        #expect(all.redeliveredCount == 3 && all.records.isEmpty && all.position == place(3))
        let none = try PageIntake(try page([]), at: place(3), origin: origin)
        #expect(none.records.isEmpty && none.position == place(3))
    }

    @Test func `an offset that is left out is refused`() throws {
        #expect(refusal(try page([4]), at: place(3)) == .historyMismatch)
        #expect(refusal(try page([3, 5]), at: place(3)) == .historyMismatch)
        #expect(refusal(try page([3]), at: place(3)) == nil)
    }

    @Test func `a page of another log, epoch, or none is refused`() throws {
        #expect(
            refusal(try page([3], log: [UInt8](repeating: 8, count: 16)), at: place(3))
                == .historyMismatch)
        #expect(refusal(try page([3], epoch: 2), at: place(3)) == .historyMismatch)
        #expect(refusal(try page([3], hasSource: false), at: place(3)) == .historyMismatch)
    }

    @Test("gateway decision 15: facts of another zone block, facts without an origin go to quarantine")
    func zones() throws {
        #expect(try stop(try page([3], zone: "plant-b")) == "from_zone_not_allowed")
        #expect(try unfit(try page([3], owns: false)) == "malformed")
        // Below the position nobody looks at them any more.
        #expect(refusal(try page([2], zone: "plant-b"), at: place(3)) == nil)
    }

    /// One entry as it is built by hand.
    private func entryPage(_ change: (inout Bsfg_V1_Entry) throws -> Void) throws -> ReceivedPage {
        let fact = try encoded(3)
        var entry = Bsfg_V1_Entry()
        entry.offset = 3
        entry.origin.logUuid = Data(source)
        entry.origin.epoch = 1
        entry.origin.offset = 3
        entry.crc32C = CRC32C.checksum(fact.message)
        entry.message = try Bsfg_V1_Message(serializedBytes: fact.message)
        entry.contentDigest = Data(fact.contentDigest.bytes)
        try change(&entry)
        var response = Bsfg_V1_FetchFactsResponse()
        response.entries = [entry]
        response.nextOffset = 4
        response.source = place(4).wire
        return try ReceivedPage(try response.serializedBytes())
    }

    @Test("gateway decision 15: bytes that are not what was sent are asked for three times, then go to quarantine")
    func damaged() throws {
        #expect(refusal(try entryPage { _ in }, at: place(3)) == nil)
        for page in [
            try entryPage { $0.crc32C ^= 1 }, try entryPage { $0.contentDigest[0] ^= 1 },
        ] {
            #expect(PageIntake.damaged(page, from: 3) == [3])
            #expect(PageIntake.damaged(page, from: 4) == [])
            for count in 0..<3 {
                #expect(try stop(page, fetchCounts: [3: count]) == "damaged 3")
            }
            #expect(try unfit(page, fetchCounts: [3: 3]) == "digest_mismatch")
            #expect(try stop(page, halts: true, fetchCounts: [3: 3]) == "halted digest_mismatch")
            // Its digest is not the source's: the position keeps the record before it.
            let intake = try PageIntake(
                page, at: place(3), origin: origin, fetchCounts: [3: 3])
            #expect(intake.position.digestOffset == 2)
        }
        #expect(
            refusal(try entryPage { $0.clearOffset() }, at: place(3)) == .malformedRequest)
        #expect(
            refusal(try entryPage { $0.offset = .max }, at: place(3)) == .malformedRequest)
        let later = try entryPage { entry in
            entry.message.format = 2
            entry.crc32C = CRC32C.checksum(try entry.message.serializedBytes())
        }
        // Never quarantined: a newer release knows it.
        #expect(try stop(later) == "format_unsupported")
        #expect(try unfit(later) == nil)
        #expect(try stop(later, halts: true) == "format_unsupported")
        let broken = try entryPage { entry in
            entry.message.clearFact()
            entry.crc32C = CRC32C.checksum(try entry.message.serializedBytes())
        }
        #expect(try unfit(broken) == "malformed")
        #expect(try stop(broken, halts: true) == "halted malformed")
    }

    private func gap(_ first: UInt64?, _ last: UInt64?) throws -> ReceivedPage {
        try entryPage { entry in
            entry = Bsfg_V1_Entry()
            entry.gap.reasons = ["expired"]
            if let first { entry.gap.first.offset = first }
            entry.gap.first.logUuid = Data(source)
            if let last { entry.gap.lastOffset = last }
        }
    }

    @Test func `a gap moves the position over what it stands for`() throws {
        let intake = try PageIntake(try gap(3, 9), at: place(3), origin: origin)
        #expect(intake.records.count == 1 && intake.records[0].key == nil)
        #expect(intake.position.nextOffset == 10)
        // There is no record to digest: the last one stays the last one.
        #expect(intake.position.digest == place(3).digest && intake.position.digestOffset == 2)
        // Of one that begins below the position only the part beyond it is materialised.
        let cut = try PageIntake(try gap(0, 9), at: place(3), origin: origin)
        #expect(cut.position.nextOffset == 10 && cut.records.count == 1)
        let stored = try StoredRecord(cut.records[0].storedRecord)
        let notice = try Bsfg_V1_Notice(
            serializedBytes: Array(cut.records[0].storedRecord[stored.itemRange]))
        #expect(stored.item == .gap && notice.first.offset == 3 && notice.lastOffset == 9)
        #expect(notice.reasons == ["expired"] && Array(notice.first.logUuid) == source)
        let old = try PageIntake(try gap(0, 2), at: place(3), origin: origin)
        #expect(old.records.isEmpty && old.redeliveredCount == 1 && old.position == place(3))
        #expect(refusal(try gap(4, 9), at: place(3)) == .historyMismatch)
        #expect(refusal(try gap(9, 4), at: place(3)) == .malformedRequest)
        #expect(refusal(try gap(nil, 4), at: place(3)) == .malformedRequest)
        #expect(refusal(try gap(3, nil), at: place(3)) == .malformedRequest)
        #expect(refusal(try gap(3, .max), at: place(3)) == .malformedRequest)
    }

    /// A gap that cannot be read would move the position to where it says that it begins.
    @Test func `a malformed notice stands for the offset that is expected, or the page is refused`() throws {
        func malformed(_ first: UInt64, _ last: UInt64) throws -> ReceivedPage {
            var gap: [UInt8] = [0x0A, 2, 0x18, UInt8(first), 0x10, UInt8(last)]
            gap += [0x18, 1]  // reasons, as a number
            var page: [UInt8] = [0x0A, UInt8(gap.count + 2), 0x32, UInt8(gap.count)] + gap
            var source: [UInt8] = try place(4).wire.serializedBytes()
            source.insert(contentsOf: [0x32, UInt8(source.count)], at: 0)
            page += source
            let read = try ReceivedPage(page)
            guard case .malformed = try #require(read.entries.first).verdict else {
                Issue.record("the notice is read")
                return read
            }
            return read
        }
        for (first, last) in [(0, 9), (0, 3), (2, 3), (3, 4), (3, 9)] as [(UInt64, UInt64)] {
            #expect(refusal(try malformed(first, last), at: place(3)) == .malformedRequest, "\(first) to \(last)")
        }
        #expect(try unfit(try malformed(3, 3)) == "malformed")
        #expect(try stop(try malformed(3, 3), halts: true) == "halted malformed")
    }
}
