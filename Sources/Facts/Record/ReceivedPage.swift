internal import SwiftProtobuf

/// A `FetchFactsResponse` as a receiver reads it: the messages stay bytes.
package struct ReceivedPage: Sendable {
    /// Twice what a page is asked for: nobody who keeps to the contract comes near it.
    static let entriesMaximum = 2 * FactLimits.pageFacts

    package private(set) var entries: [ReceivedEntry] = []
    package private(set) var nextOffset: UInt64?
    package private(set) var headOffset: UInt64?
    package private(set) var firstOffset: UInt64?
    package private(set) var confirmedOffset: UInt64?
    package private(set) var source: Bsfg_V1_Position?

    /// Throws when the page itself cannot be read; what is wrong with an entry is its `verdict`.
    package init(_ bytes: [UInt8]) throws(MalformedRecord) {
        let result: Result<ReceivedPage, MalformedRecord> = bytes.withUnsafeBytes { buffer in
            do throws(MalformedRecord) {
                return .success(try ReceivedPage(buffer))
            } catch {
                return .failure(error)
            }
        }
        self = try result.get()
    }

    private init(_ bytes: UnsafeRawBufferPointer) throws(MalformedRecord) {
        do throws(WireProblem) {
            var reader = WireReader(bytes)
            while let field = try reader.next() {
                switch (field.number, field.type) {
                case (1, .bytes):
                    // Each costs more in memory than the two bytes that it may have on the way.
                    guard entries.count < ReceivedPage.entriesMaximum else {
                        throw WireProblem(
                            byteOffset: field.whole.lowerBound,
                            text: "it has more than \(ReceivedPage.entriesMaximum) entries")
                    }
                    entries.append(
                        ReceivedEntry(UnsafeRawBufferPointer(rebasing: bytes[field.content])))
                case (2, .varint): nextOffset = field.value
                case (3, .varint): headOffset = field.value
                case (4, .varint): firstOffset = field.value
                case (5, .varint): confirmedOffset = field.value
                case (6, .bytes):
                    guard
                        let position = try? Bsfg_V1_Position(
                            serializedBytes: reader.array(field.content))
                    else {
                        throw WireProblem(
                            byteOffset: field.whole.lowerBound, text: "the source is no position")
                    }
                    source = position
                default: break
                }
            }
        } catch {
            throw MalformedRecord(error, in: "the page")
        }
    }
}

/// One entry of a page: what the receiver stores, and what it recomputed to trust it.
package struct ReceivedEntry: Sendable {
    /// Whether the entry may be materialised.
    package enum Verdict: Sendable, Equatable {
        case intact
        /// The bytes changed on the way, or lack their CRC.
        case checksumMismatch
        /// The stated content digest is not that of the bytes.
        case digestMismatch(stated: Digest?, computed: Digest)
        /// Digest rules that this release does not know: blocks the stream, never quarantines.
        case formatUnsupported(UInt32)
        case malformed(String)
    }

    /// In the log being read; nil for a computed gap.
    package private(set) var offset: UInt64?
    package private(set) var appendedAtUnixMilliseconds: Int64 = 0
    package private(set) var origin: RecordOrigin?
    package private(set) var item: RecordItem = .message
    package private(set) var isLate = false
    /// What a receiver stores: every field but 1, 2, 4 and 10, as it came.
    package private(set) var storedRecord: [UInt8] = []
    /// Where the item's bytes are in `storedRecord`.
    package private(set) var itemRange = 0..<0
    /// Recomputed from the message's bytes; nil for notices and for what is not intact.
    package private(set) var key: Digest?
    package private(set) var contentDigest: Digest?
    /// The content digest that was sent with it.
    package private(set) var statedDigest: Digest?
    /// UTF-8 of the zone that the message says it is from; empty where it is not readable.
    package private(set) var fromZone: [UInt8] = []
    package private(set) var verdict: Verdict = .intact

    package var itemBytes: [UInt8] { Array(storedRecord[itemRange]) }

    /// The record digest at the entry's offset in the log being read.
    package var recordDigest: Digest? {
        guard let offset else { return nil }
        return storedRecord.withUnsafeBytes { bytes in
            RecordDigest.compute(
                offset: offset, item: item,
                bytes: UnsafeRawBufferPointer(rebasing: bytes[itemRange]))
        }
    }

    /// The notice of a gap, refused or quarantined record; nil for a message.
    package var notice: Bsfg_V1_Notice? {
        item == .message ? nil : try? Bsfg_V1_Notice(serializedBytes: itemBytes)
    }

    /// The stored record, marked as one that comes after others of its origin.
    package var lateRecord: [UInt8] {
        guard !isLate else { return storedRecord }
        var record = storedRecord
        WireWriter.append(9, varint: 1, to: &record)
        return record
    }

    /// A record that was received before and is judged again, as if it had come just now with its
    /// checksum.
    package init(storedRecord: [UInt8], offset: UInt64, statedDigest: Digest?) {
        var entry: [UInt8] = []
        WireWriter.append(1, varint: offset, to: &entry)
        let item = try? StoredRecord(storedRecord)
        if let item, item.item == .message {
            WireWriter.append(
                4, fixed32: CRC32C.checksum(Array(storedRecord[item.itemRange])), to: &entry)
        }
        entry += storedRecord
        if let statedDigest { WireWriter.append(10, bytes: statedDigest.bytes, to: &entry) }
        self = entry.withUnsafeBytes { ReceivedEntry($0) }
    }

    init(_ bytes: UnsafeRawBufferPointer) {
        do throws(WireProblem) {
            try read(bytes)
        } catch {
            verdict = .malformed("the entry is not readable: \(error.text)")
        }
    }

    private mutating func read(_ bytes: UnsafeRawBufferPointer) throws(WireProblem) {
        var fields = StoredFields()
        var checksum: UInt32?
        var reader = WireReader(bytes)
        storedRecord.reserveCapacity(bytes.count)
        while let field = try reader.next() {
            switch (field.number, field.type) {
            case (1, .varint): offset = field.value
            case (2, .varint): appendedAtUnixMilliseconds = Int64(bitPattern: field.value)
            case (4, .fixed32): checksum = UInt32(field.value)
            case (10, .bytes): statedDigest = Digest(bytes[field.content])
            case (1, _), (2, _), (4, _), (10, _):
                throw WireProblem(
                    byteOffset: field.whole.lowerBound,
                    text: "field \(field.number) has another type")
            default:
                try fields.take(field, bytes)
                let start = storedRecord.count
                storedRecord.append(
                    contentsOf: UnsafeRawBufferPointer(rebasing: bytes[field.whole]))
                if fields.item != nil, itemRange.isEmpty, (5...8).contains(field.number) {
                    let header = field.content.lowerBound - field.whole.lowerBound
                    itemRange = (start + header)..<storedRecord.count
                }
            }
        }
        guard let item = fields.item else {
            throw WireProblem(byteOffset: 0, text: "it holds neither a message nor a notice")
        }
        self.item = item
        origin = fields.origin
        isLate = fields.isLate
        verdict = item == .message ? judge(checksum, statedDigest) : judgeNotice()
    }

    private static let noticeSchema = WireSchema.message(named: "Notice")

    /// A notice is stored and passed on as it came: one that nobody can read would make every page
    /// unreadable that it is in.
    private func judgeNotice() -> Verdict {
        storedRecord.withUnsafeBytes { record -> Verdict in
            do throws(ServiceError) {
                try WireValidator.validate(
                    UnsafeRawBufferPointer(rebasing: record[itemRange]),
                    as: ReceivedEntry.noticeSchema, isLenient: true)
                return .intact
            } catch {
                return .malformed("the notice is not readable: \(error.message)")
            }
        }
    }

    /// The message's bytes against what was said of them.
    private mutating func judge(_ checksum: UInt32?, _ stated: Digest?) -> Verdict {
        let (verdict, key, digest, zone) = storedRecord.withUnsafeBytes {
            bytes -> (Verdict, Digest?, Digest?, [UInt8]) in
            let message = UnsafeRawBufferPointer(rebasing: bytes[itemRange])
            guard checksum == CRC32C.checksum(message) else { return (.checksumMismatch, nil, nil, []) }
            do throws(MessageView.Malformed) {
                let view = try MessageView(message)
                guard view.format <= MessageView.format else {
                    return (.formatUnsupported(view.format), nil, nil, [])
                }
                try view.check()
                let computed = try view.contentDigest()
                guard stated == computed else {
                    return (.digestMismatch(stated: stated, computed: computed), nil, nil, [])
                }
                return (.intact, view.key(), computed, Array(message[view.fromZone]))
            } catch {
                return (.malformed(error.sentence), nil, nil, [])
            }
        }
        self.key = key
        contentDigest = digest
        fromZone = zone
        return verdict
    }
}
