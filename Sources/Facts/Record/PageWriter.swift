internal import SwiftProtobuf

/// Writes a `FetchFactsResponse` from stored records without decoding them.
///
/// An entry begins with what this log knows of it (offset, append time, CRC, content digest and,
/// when the log is the origin's own, where it began); the stored bytes follow as they are, unknown
/// fields and all.
package struct PageWriter {
    package struct Record {
        package var offset: UInt64
        package var appendedAtUnixMilliseconds: Int64
        /// The epoch of the frame that holds the record.
        package var epoch: UInt64
        package var contentDigest: Digest?
        /// The record's payload; its CRC was verified on reading.
        package var payload: UnsafeRawBufferPointer

        package init(
            offset: UInt64, appendedAtUnixMilliseconds: Int64, epoch: UInt64,
            contentDigest: Digest?, payload: UnsafeRawBufferPointer
        ) {
            self.offset = offset
            self.appendedAtUnixMilliseconds = appendedAtUnixMilliseconds
            self.epoch = epoch
            self.contentDigest = contentDigest
            self.payload = payload
        }
    }

    /// What an entry adds to its stored bytes, at most; for a page's budget.
    package static let entryOverheadBytes = 160

    private let originLogUUID: [UInt8]?
    private let formatMaximum: UInt32
    private var output: [UInt8] = []
    private var entry: [UInt8] = []
    package private(set) var count = 0
    /// The format of the message that was kept back; nil for none.
    package private(set) var withheldFormat: UInt32?

    package var byteCount: Int { output.count }

    /// - Parameters:
    ///   - originLogUUID: the log's own identifier when it is the origin's, nil for a forward log.
    ///   - formatMaximum: the newest digest rules that the reader knows.
    package init(
        originLogUUID: [UInt8]?, formatMaximum: UInt32 = .max, capacityBytes: Int = 0
    ) {
        self.originLogUUID = originLogUUID
        self.formatMaximum = formatMaximum
        output.reserveCapacity(capacityBytes)
    }

    /// Throws for a payload that is no stored record: the log holds something else than it should.
    /// A message that the reader would not know how to check is kept back (gateway decision 19), and nothing may
    /// follow it.
    package mutating func append(_ record: Record) throws(MalformedRecord) {
        precondition(withheldFormat == nil, "nothing follows what was kept back")
        let stored = try StoredRecord(record.payload)
        var message: UnsafeRawBufferPointer?
        if stored.item == .message {
            let bytes = UnsafeRawBufferPointer(rebasing: record.payload[stored.itemRange])
            let format = MessageFormat.number(bytes)
            guard format <= formatMaximum else {
                withheldFormat = format
                return
            }
            message = bytes
        }
        entry.removeAll(keepingCapacity: true)
        WireWriter.append(1, varint: record.offset, to: &entry)
        if record.appendedAtUnixMilliseconds != 0 {
            WireWriter.append(
                2, varint: UInt64(bitPattern: record.appendedAtUnixMilliseconds), to: &entry)
        }
        if let originLogUUID, stored.origin == nil {
            let origin = RecordOrigin(
                logUUID: originLogUUID, epoch: record.epoch, offset: record.offset,
                appendedAtUnixMilliseconds: record.appendedAtUnixMilliseconds)
            WireWriter.append(3, bytes: origin.bytes, to: &entry)
        }
        if let message {
            WireWriter.append(4, fixed32: CRC32C.checksum(message), to: &entry)
        }
        if let digest = record.contentDigest {
            digest.withUnsafeBytes { WireWriter.append(10, bytes: $0, to: &entry) }
        }
        WireWriter.appendTag(1, .bytes, to: &output)
        WireWriter.appendVarint(UInt64(entry.count + record.payload.count), to: &output)
        output += entry
        output.append(contentsOf: record.payload)
        count += 1
    }

    /// A gap of the log that is read: it has no record and no offset of its own.
    package mutating func appendGap(_ notice: Bsfg_V1_Notice) {
        let bytes: [UInt8] = (try? notice.serializedBytes()) ?? []
        WireWriter.appendMessage(1, to: &output) { entry in
            WireWriter.append(UInt32(RecordItem.gap.rawValue), bytes: bytes, to: &entry)
        }
        count += 1
    }

    /// The page's bytes. Offsets are written at 0 too: they are optional on the wire.
    package consuming func finish(
        nextOffset: UInt64, headOffset: UInt64, firstOffset: UInt64, confirmedOffset: UInt64?,
        source: Bsfg_V1_Position?
    ) -> [UInt8] {
        WireWriter.append(2, varint: nextOffset, to: &output)
        WireWriter.append(3, varint: headOffset, to: &output)
        WireWriter.append(4, varint: firstOffset, to: &output)
        if let confirmedOffset { WireWriter.append(5, varint: confirmedOffset, to: &output) }
        if let source {
            WireWriter.append(6, bytes: (try? source.serializedBytes()) ?? [], to: &output)
        }
        return output
    }
}
