internal import SwiftProtobuf

/// Where a record began: the log of the zone that appended it, unchanged on every hop.
package struct RecordOrigin: Sendable, Equatable {
    /// 16 bytes.
    package var logUUID: [UInt8]
    package var epoch: UInt64
    package var offset: UInt64
    package var appendedAtUnixMilliseconds: Int64

    package init(
        logUUID: [UInt8], epoch: UInt64, offset: UInt64, appendedAtUnixMilliseconds: Int64
    ) {
        self.logUUID = logUUID
        self.epoch = epoch
        self.offset = offset
        self.appendedAtUnixMilliseconds = appendedAtUnixMilliseconds
    }

    /// The content of an `Origin`. The offset is written at 0 too: it is optional on the wire.
    package var bytes: [UInt8] {
        var output: [UInt8] = []
        if !logUUID.isEmpty { WireWriter.append(1, bytes: logUUID, to: &output) }
        if epoch > 0 { WireWriter.append(2, varint: epoch, to: &output) }
        WireWriter.append(3, varint: offset, to: &output)
        if appendedAtUnixMilliseconds != 0 {
            WireWriter.append(
                4, varint: UInt64(bitPattern: appendedAtUnixMilliseconds), to: &output)
        }
        return output
    }

    init(_ bytes: UnsafeRawBufferPointer, _ range: Range<Int>) throws(WireProblem) {
        self.init(logUUID: [], epoch: 0, offset: 0, appendedAtUnixMilliseconds: 0)
        var hasOffset = false
        var reader = WireReader(bytes, range)
        while let field = try reader.next() {
            switch (field.number, field.type) {
            case (1, .bytes): logUUID = reader.array(field.content)
            case (2, .varint): epoch = field.value
            case (3, .varint):
                offset = field.value
                hasOffset = true
            case (4, .varint): appendedAtUnixMilliseconds = Int64(bitPattern: field.value)
            case (1...4, _):
                throw WireProblem(
                    byteOffset: field.whole.lowerBound, text: "an origin's field has another type")
            default: break
            }
        }
        guard logUUID.count == 16, hasOffset else {
            throw WireProblem(
                byteOffset: range.lowerBound, text: "an origin lacks its log's UUID or its offset")
        }
    }
}

/// What a record holds, by the number of its field in `StoredRecord` and in `Entry`.
package enum RecordItem: UInt8, Sendable, CaseIterable {
    case message = 5
    case gap = 6
    case refused = 7
    case quarantined = 8
}

/// A bad record's one sentence.
package struct MalformedRecord: Error, Sendable {
    package var sentence: String

    init(_ sentence: String) { self.sentence = sentence }

    init(_ problem: WireProblem, in what: String) {
        sentence = "\(what) is not readable: \(problem.text) (byte \(problem.byteOffset))"
    }
}

/// The payload of a log record, read in place.
package struct StoredRecord: Sendable {
    package let item: RecordItem
    /// Where the item's bytes are in the payload.
    package let itemRange: Range<Int>
    /// Nil in the origin's own log.
    package let origin: RecordOrigin?
    package let isLate: Bool

    package init(_ payload: UnsafeRawBufferPointer) throws(MalformedRecord) {
        do throws(WireProblem) {
            let fields = try StoredFields(payload, 0..<payload.count)
            guard let item = fields.item else {
                throw WireProblem(byteOffset: 0, text: "it holds neither a message nor a notice")
            }
            self.item = item
            itemRange = fields.itemRange
            origin = fields.origin
            isLate = fields.isLate
        } catch {
            throw MalformedRecord(error, in: "the stored record")
        }
    }

    package init(_ payload: [UInt8]) throws(MalformedRecord) {
        let result: Result<StoredRecord, MalformedRecord> = payload.withUnsafeBytes { bytes in
            do throws(MalformedRecord) {
                return .success(try StoredRecord(bytes))
            } catch {
                return .failure(error)
            }
        }
        self = try result.get()
    }

    /// Builds a payload; a message goes in as it came.
    package static func encode(
        _ item: RecordItem, _ bytes: [UInt8], origin: RecordOrigin?, isLate: Bool = false
    ) -> [UInt8] {
        var output: [UInt8] = []
        output.reserveCapacity(bytes.count + 64)
        if let origin { WireWriter.append(3, bytes: origin.bytes, to: &output) }
        WireWriter.append(UInt32(item.rawValue), bytes: bytes, to: &output)
        if isLate { WireWriter.append(9, varint: 1, to: &output) }
        return output
    }

    /// Offsets that hold no fact, as one record.
    package static func encode(
        _ item: RecordItem, _ notice: Bsfg_V1_Notice, origin: RecordOrigin?, isLate: Bool = false
    ) -> [UInt8] {
        precondition(item != .message, "a notice is not a message")
        let bytes: [UInt8] = (try? notice.serializedBytes()) ?? []
        return encode(item, bytes, origin: origin, isLate: isLate)
    }
}

/// The fields that `StoredRecord` and `Entry` share, each at most once.
struct StoredFields {
    private(set) var item: RecordItem?
    private(set) var itemRange = 0..<0
    private(set) var origin: RecordOrigin?
    private(set) var isLate = false

    init() {}

    init(_ bytes: UnsafeRawBufferPointer, _ range: Range<Int>) throws(WireProblem) {
        var reader = WireReader(bytes, range)
        while let field = try reader.next() { try take(field, bytes) }
    }

    /// Passes over fields that this release does not know: they are stored and relayed as they are.
    mutating func take(_ field: WireField, _ bytes: UnsafeRawBufferPointer) throws(WireProblem) {
        switch (field.number, field.type) {
        case (3, .bytes):
            guard origin == nil else { throw problem(field, "it has two origins") }
            origin = try RecordOrigin(bytes, field.content)
        case (5...8, .bytes):
            guard item == nil else { throw problem(field, "it holds two items") }
            item = RecordItem(rawValue: UInt8(field.number))
            itemRange = field.content
        case (9, .varint): isLate = field.value != 0
        case (3, _), (5...9, _): throw problem(field, "field \(field.number) has another type")
        default: break
        }
    }

    private func problem(_ field: WireField, _ text: String) -> WireProblem {
        WireProblem(byteOffset: field.whole.lowerBound, text: text)
    }
}
