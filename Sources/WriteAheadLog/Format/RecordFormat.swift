// A record, as it lies in a block:
//
//   0  u32  CRC-32C of bytes 4 ..< header length + payload length
//   4  u16  header length: where the payload begins; room to grow
//   6  u8   kind: 1 cursor, 2 register, 3 epoch, 4 checkpoint, 16 data; bit 7: may be ignored
//   7  u8   flags: 1 keyed
//   8  u32  payload length
//  12  u32  milliseconds after the block's base time
//  16  32   key             when keyed
//  48  32   content digest  when keyed
//
// Its CRC covers kind, lengths, key, digest and payload, and is the one that travels to the peer's
// log unchanged in meaning: bytes that were good when they were told are proven good when read.

enum RecordKind {
    static let cursor: UInt8 = 1
    static let register: UInt8 = 2
    static let epoch: UInt8 = 3
    static let checkpoint: UInt8 = 4
    static let data: UInt8 = 16
    static let ignorableBit: UInt8 = 0x80
}

struct RecordFlags {
    static let keyed: UInt8 = 1
    static let known: UInt8 = keyed
}

enum RecordFormat {
    static let keyPosition = 16
    static let contentPosition = 48

    static func headerBytes(keyed: Bool) -> Int {
        keyed ? FormatLimits.keyedRecordHeaderBytes : FormatLimits.recordHeaderBytes
    }

    /// Writes the header and its CRC before a payload that already stands at `start + header`.
    static func writeHeader(
        at start: UnsafeMutableRawPointer, kind: UInt8, key: Digest256?, content: Digest256?,
        payloadBytes: Int
    ) {
        precondition((key == nil) == (content == nil), "a key and its content digest go together")
        let headerBytes = headerBytes(keyed: key != nil)
        start.set(UInt16(headerBytes), at: 4)
        start.set(kind, at: 6)
        start.set(key == nil ? 0 : RecordFlags.keyed, at: 7)
        start.set(UInt32(payloadBytes), at: 8)
        start.set(UInt32(0), at: 12)
        if let key, let content {
            key.withUnsafeBytes { (start + 16).copyMemory(from: $0.baseAddress!, byteCount: 32) }
            content.withUnsafeBytes { (start + 48).copyMemory(from: $0.baseAddress!, byteCount: 32) }
        }
        let crc = Checksum.extend(0, UnsafeRawPointer(start + 4), headerBytes - 4 + payloadBytes)
        start.set(crc, at: 0)
    }
}

/// A record found in a block, as pointers into it.
struct RecordView {
    var kind: UInt8
    var crc: UInt32
    var timeDeltaMilliseconds: UInt32
    var key: Digest256?
    var content: Digest256?
    var payload: UnsafeRawBufferPointer
    /// Header and payload together: where the next record begins.
    var byteCount: Int

    var isControl: Bool { kind & ~RecordKind.ignorableBit < RecordKind.data }

    /// Reads and verifies the record at the front of `bytes`.
    init(_ bytes: UnsafeRawBufferPointer) throws(FormatError) {
        guard let start = bytes.baseAddress, bytes.count >= FormatLimits.recordHeaderBytes else {
            throw .truncated
        }
        let headerBytes = Int(start.integer(UInt16.self, at: 4))
        let payloadBytes = Int(start.integer(UInt32.self, at: 8))
        let flags = start.integer(UInt8.self, at: 7)
        let keyed = flags & RecordFlags.keyed != 0
        guard headerBytes >= RecordFormat.headerBytes(keyed: keyed),
            payloadBytes <= FormatLimits.recordPayloadBytesMaximum,
            headerBytes + payloadBytes <= bytes.count
        else { throw .invalid("a record's length leaves its block") }
        crc = start.integer(UInt32.self, at: 0)
        guard crc == Checksum.extend(0, start + 4, headerBytes - 4 + payloadBytes) else {
            throw .checksum
        }
        kind = start.integer(UInt8.self, at: 6)
        guard flags & ~RecordFlags.known == 0 || kind & RecordKind.ignorableBit != 0 else {
            throw .unsupported(UInt64(flags))
        }
        timeDeltaMilliseconds = start.integer(UInt32.self, at: 12)
        if keyed {
            key = Digest256(bytes: UnsafeRawBufferPointer(start: start + 16, count: 32))
            content = Digest256(bytes: UnsafeRawBufferPointer(start: start + 48, count: 32))
        }
        payload = UnsafeRawBufferPointer(start: start + headerBytes, count: payloadBytes)
        byteCount = headerBytes + payloadBytes
    }
}
