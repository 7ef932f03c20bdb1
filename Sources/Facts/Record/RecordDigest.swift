/// The digest by which two nodes tell whether they share a history: of one record at one offset of the
/// source's log, its id and time included, so that two histories of one heartbeat fact differ.
package enum RecordDigest {
    /// SHA-256 over `"bsfg.record.v1\0"`, the offset (eight bytes, little-endian), the item's field
    /// number (one byte) and the item's bytes.
    package static func compute(
        offset: UInt64, item: RecordItem, bytes: UnsafeRawBufferPointer
    ) -> Digest {
        var hash = SHA256()
        hash.update(Array("bsfg.record.v1\0".utf8))
        hash.updateLittleEndian(offset)
        hash.update([item.rawValue])
        hash.update(bytes)
        return hash.finish()
    }

    /// Of a log record's payload.
    package static func compute(
        offset: UInt64, storedRecord: UnsafeRawBufferPointer
    ) throws(MalformedRecord) -> Digest {
        let record = try StoredRecord(storedRecord)
        return compute(
            offset: offset, item: record.item,
            bytes: UnsafeRawBufferPointer(rebasing: storedRecord[record.itemRange]))
    }

    package static func compute(
        offset: UInt64, storedRecord: [UInt8]
    ) throws(MalformedRecord) -> Digest {
        let record = try StoredRecord(storedRecord)
        return storedRecord.withUnsafeBytes { bytes in
            compute(
                offset: offset, item: record.item,
                bytes: UnsafeRawBufferPointer(rebasing: bytes[record.itemRange]))
        }
    }
}
