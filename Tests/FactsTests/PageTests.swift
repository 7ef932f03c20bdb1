import Foundation
import SwiftProtobuf
import Testing

@testable import Facts

@Suite struct PageTests {
    private func page(
        _ records: [(offset: UInt64, payload: [UInt8], digest: Digest?)], own: Bool = true
    ) throws -> [UInt8] {
        var writer = PageWriter(originLogUUID: own ? uuid : nil)
        for record in records {
            try record.payload.withUnsafeBytes { payload in
                try writer.append(
                    PageWriter.Record(
                        offset: record.offset, appendedAtUnixMilliseconds: 1_700_000_000_123,
                        epoch: 3, contentDigest: record.digest, payload: payload))
            }
        }
        return writer.finish(
            nextOffset: 2, headOffset: 2, firstOffset: 0, confirmedOffset: nil, source: nil)
    }

    @Test("gateway decision 19: a page ends before a message of a format that its reader does not know")
    func laterFormats() throws {
        let encoded = try FactEncoder().encode(.reading())
        var later = try Bsfg_V1_Message(serializedBytes: encoded.message)
        later.format = 2
        let records = [
            encoded.storedRecord,
            StoredRecord.encode(.message, try later.serializedBytes(), origin: nil),
        ]
        for (maximum, count, withheld) in [(UInt32(1), 1, UInt32(2)), (2, 2, nil)] {
            var writer = PageWriter(originLogUUID: uuid, formatMaximum: maximum)
            for (offset, record) in records.enumerated() {
                try record.withUnsafeBytes { payload in
                    try writer.append(
                        .init(
                            offset: UInt64(offset), appendedAtUnixMilliseconds: 5, epoch: 1,
                            contentDigest: encoded.contentDigest, payload: payload))
                }
            }
            #expect(writer.count == count && writer.withheldFormat == withheld)
        }
    }

    @Test func `a format is read from bytes that say nothing else, and from any bytes`() {
        func number(_ bytes: [UInt8]) -> UInt32 {
            bytes.withUnsafeBytes { MessageFormat.number($0) }
        }
        #expect(number([]) == 0)
        #expect(number([0x18, 2]) == 2)
        // After a field that is not known, and more than a format can be.
        #expect(number([0x7A, 1, 9, 0x18, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 1]) == .max)
        #expect(number([0x18]) == 0)
        #expect(number([0x1A, 1, 9]) == 0)
    }

    /// Entry and page as bytes with `change` applied to the message inside the stored record.
    private func received(
        _ encoded: EncodedFact, digest: Digest? = nil, _ change: (inout [UInt8]) -> Void = { _ in }
    ) throws -> ReceivedEntry {
        var message = encoded.message
        change(&message)
        let record = StoredRecord.encode(.message, message, origin: nil)
        let bytes = try page([(0, record, digest ?? encoded.contentDigest)])
        return try #require(try ReceivedPage(bytes).entries.first)
    }

    @Test("gateway decision 43: a reference that its own zone did not judge makes a received fact malformed")
    func referencesOfOtherZones() throws {
        let encoded = try FactEncoder().encode(.full)
        let message = try Bsfg_V1_Message(serializedBytes: encoded.message)
        func verdict(_ change: (inout Bsfg_V1_Fact) -> Void) throws -> ReceivedEntry.Verdict {
            var changed = message
            change(&changed.fact)
            let bytes: [UInt8] = try changed.serializedBytes()
            return try received(encoded) { $0 = bytes }.verdict
        }
        #expect(try verdict { _ in } == .intact)
        let wrong: [(String, (inout Bsfg_V1_Fact) -> Void)] = [
            ("media_type", { $0.artifacts[0].mediaType = "a/b\r\nset-cookie: x" }),
            ("media_type", { $0.artifacts[1].mediaType = "a/" + String(repeating: "b", count: 70_000) }),
            ("file_name", { $0.artifacts[0].fileName = String(repeating: "n", count: 65_536) }),
            ("file_name", { $0.artifacts[0].fileName = "two\nlines" }),
            ("key", { $0.artifacts[0].key = "../../etc/passwd" }),
            ("bucket", { $0.artifacts[0].bucket = "" }),
            ("zone", { $0.artifacts[0].zone = "Plant A" }),
            ("digest", { $0.artifacts[0].digest = "sha256:00" }),
            ("artifacts", { $0.artifacts = Array(repeating: $0.artifacts[0], count: 65) }),
        ]
        for (field, change) in wrong {
            guard case .malformed(let sentence) = try verdict(change) else {
                Issue.record("\(field) passed")
                continue
            }
            #expect(sentence.contains(field) && sentence.utf8.count < 300, "\(sentence)")
        }
        // How many there may be is for the release that knows the format to say.
        let later = try received(encoded) { bytes in
            var changed = message
            changed.format = 2
            changed.fact.artifacts = Array(repeating: message.fact.artifacts[0], count: 65)
            bytes = try! changed.serializedBytes()
        }
        #expect(later.verdict == .formatUnsupported(2))
    }

    @Test func `a page of more entries than anybody asks for is not read`() throws {
        let entry: [UInt8] = [0x0A, 0x00]
        func page(_ count: Int) throws -> ReceivedPage {
            try ReceivedPage(Array([[UInt8]](repeating: entry, count: count).joined()))
        }
        #expect(try page(ReceivedPage.entriesMaximum).entries.count == 20_000)
        #expect(throws: MalformedRecord.self) { _ = try page(ReceivedPage.entriesMaximum + 1) }
    }

    @Test func `a page crosses unchanged`() throws {
        let facts = [
            try FactEncoder().encode(.reading()), try FactEncoder().encode(.full),
        ]
        let bytes = try page([
            (0, facts[0].storedRecord, facts[0].contentDigest),
            (1, facts[1].storedRecord, facts[1].contentDigest),
        ])
        try Golden.expect(bytes, equals: "Tests/Golden/record/v1/page.hex")
        let page = try ReceivedPage(bytes)
        #expect(page.nextOffset == 2 && page.headOffset == 2 && page.firstOffset == 0)
        #expect(page.confirmedOffset == nil)
        for (index, entry) in page.entries.enumerated() {
            #expect(entry.verdict == .intact)
            #expect(entry.offset == UInt64(index))
            #expect(entry.appendedAtUnixMilliseconds == 1_700_000_000_123)
            #expect(entry.itemBytes == facts[index].message)
            #expect(entry.key == facts[index].key)
            #expect(entry.contentDigest == facts[index].contentDigest)
            #expect(
                entry.origin
                    == RecordOrigin(
                        logUUID: uuid, epoch: 3, offset: UInt64(index),
                        appendedAtUnixMilliseconds: 1_700_000_000_123))
            // Both sides digest the same record alike, though what they store differs by the
            // origin.
            #expect(
                try RecordDigest.compute(
                    offset: UInt64(index), storedRecord: facts[index].storedRecord)
                    == entry.recordDigest)
        }
    }

    @Test func `the generated messages read a page`() throws {
        let fact = try FactEncoder().encode(.full)
        let bytes = try page([(0, fact.storedRecord, fact.contentDigest)])
        let response = try Bsfg_V1_FetchFactsResponse(serializedBytes: bytes)
        let entry = try #require(response.entries.first)
        #expect(entry.hasOffset && entry.offset == 0)
        #expect(entry.origin.epoch == 3 && entry.origin.logUuid == .init(uuid))
        #expect(entry.crc32C == CRC32C.checksum(fact.message))
        #expect(entry.contentDigest == .init(fact.contentDigest.bytes))
        #expect(entry.message.envelope.messageID == "ünïcödé-1")
        #expect(response.hasNextOffset && response.nextOffset == 2)
    }

    @Test func `a relay passes on what it stored, unknown fields included`() throws {
        let fact = try FactEncoder().encode(.reading())
        // A later release adds field 77 to the record and field 99 to the message.
        let message = fact.message + [0x98, 0x06, 0x05]
        let record = StoredRecord.encode(.message, message, origin: nil) + [0xEA, 0x04, 2, 9, 9]
        let first = try ReceivedPage(try page([(5, record, fact.contentDigest)])).entries[0]
        #expect(first.verdict == .intact)
        #expect(first.storedRecord.contains(subsequence: [0xEA, 0x04, 2, 9, 9]))
        #expect(first.itemBytes == message)
        let second = try ReceivedPage(
            try page([(9, first.storedRecord, first.contentDigest)], own: false)
        ).entries[0]
        #expect(second.storedRecord == first.storedRecord)
        #expect(second.origin?.offset == 5 && second.offset == 9)
        #expect(second.key == fact.key)
    }

    @Test func `every single bit of a message is guarded`() throws {
        let fact = try FactEncoder().encode(.reading())
        let bytes = try page([(0, fact.storedRecord, fact.contentDigest)])
        let message = fact.message
        let start = try #require(
            bytes.indices.first { bytes[$0...].starts(with: message) })
        for bit in 0..<(message.count * 8) {
            var damaged = bytes
            damaged[start + bit / 8] ^= 1 << UInt8(bit % 8)
            #expect(try ReceivedPage(damaged).entries[0].verdict == .checksumMismatch)
        }
    }

    @Test func `a page that is cut anywhere is refused or judged, never trusted`() throws {
        let fact = try FactEncoder().encode(.reading())
        let bytes = try page([(0, fact.storedRecord, fact.contentDigest)])
        var generator = SeededGenerator.fresh()
        for count in 0..<bytes.count {
            if let cut = try? ReceivedPage(Array(bytes[..<count])) {
                #expect(cut.entries.allSatisfy { $0.verdict == .intact })
            }
            var damaged = bytes
            damaged[count] = UInt8.random(in: 0...255, using: &generator)
            for entry in (try? ReceivedPage(damaged))?.entries ?? [] where entry.verdict == .intact
            {
                // What is judged intact is the message that was sent, or none at all.
                #expect(entry.item != .message || entry.itemBytes == fact.message)
            }
        }
    }

    @Test func `a notice that nobody can read is malformed, not stored`() throws {
        // An entry at offset 0 with a gap of the bytes ff ff ff, in a page of its own.
        for kind in [UInt8(0x32), 0x3a, 0x42] {
            let entry: [UInt8] = [0x08, 0, kind, 3, 0xff, 0xff, 0xff]
            let page = try ReceivedPage([0x0a, UInt8(entry.count)] + entry)
            guard case .malformed = page.entries[0].verdict else {
                Issue.record("kind \(kind): \(page.entries[0].verdict)")
                continue
            }
        }
        var notice = Bsfg_V1_Notice()
        notice.first.offset = 0
        notice.lastOffset = 0
        let good: [UInt8] = try notice.serializedBytes()
        let entry: [UInt8] = [0x08, 0, 0x32, UInt8(good.count)] + good
        #expect(
            try ReceivedPage([0x0a, UInt8(entry.count)] + entry).entries[0].verdict == .intact)
    }

    @Test func `verdicts tell malformed, foreign and altered apart`() throws {
        let fact = try FactEncoder().encode(.reading())
        #expect(try received(fact).verdict == .intact)
        let other = SHA256.hash([1])
        #expect(
            try received(fact, digest: other).verdict
                == .digestMismatch(stated: other, computed: fact.contentDigest))
        // The format is the message's last field.
        #expect(try received(fact) { $0[$0.count - 1] = 2 }.verdict == .formatUnsupported(2))
        func isMalformed(_ change: (inout [UInt8]) -> Void) throws -> Bool {
            if case .malformed = try received(fact, change).verdict { true } else { false }
        }
        #expect(try isMalformed { $0 = [] })
        #expect(try isMalformed { $0.removeLast(4) })
        #expect(try isMalformed { $0 += $0 })
        #expect(try isMalformed { $0 = [0x08, 0x01] })
        // A label that is not UTF-8 is no part of a digest and would break every later reader.
        #expect(
            try isMalformed { message in
                var changed = try! Bsfg_V1_Message(serializedBytes: message)
                changed.envelope.labels = ["k": "vvvv"]
                message = try! changed.serializedBytes()
                let place = message.indices.first {
                    message[$0...].starts(with: Array("vvvv".utf8))
                }!
                message[place] = 0xFF
            })
    }

    @Test func `payloads that are no records are refused`() {
        for payload in [
            [], [0x2A], [0x2A, 5, 1], [0x28, 1], [0x0A, 0], [0x2A, 0, 0x2A, 0], [0xFF],
        ]
            as [[UInt8]]
        {
            #expect(throws: MalformedRecord.self) { try StoredRecord(payload) }
            #expect(throws: MalformedRecord.self) {
                try page([(0, payload, nil)])
            }
        }
    }

    @Test func `notices travel without digests`() throws {
        var notice = Bsfg_V1_Notice()
        notice.reasons = ["malformed"]
        notice.content = .init([1, 2, 3])
        let record = StoredRecord.encode(.refused, notice, origin: nil)
        let entry = try ReceivedPage(try page([(4, record, nil)])).entries[0]
        #expect(entry.item == .refused && entry.verdict == .intact && entry.key == nil)
        #expect(entry.notice == notice)
        #expect(entry.recordDigest == (try RecordDigest.compute(offset: 4, storedRecord: record)))
        #expect(entry.recordDigest != (try RecordDigest.compute(offset: 5, storedRecord: record)))
    }

    @Test func `two histories of one heartbeat differ`() throws {
        let first = try FactEncoder().encode(.reading("beat-1")).storedRecord
        let second = try FactEncoder().encode(.reading("beat-2")).storedRecord
        #expect(
            try RecordDigest.compute(offset: 1, storedRecord: first)
                != RecordDigest.compute(offset: 1, storedRecord: second))
    }
}
