// A block: records of one batch, or of neighbouring short ones, at most 64 KiB raw unless one record is
// larger.
//
//   0  u32  CRC-32C of the stored bytes, then of bytes 4 ..< 32 of this header
//   4  u8   codec: 0 none, 1 LZ4 block (see BlockCompression.swift)
//   5  u8   flags: 1 control records, which take no offset
//   6  u16  count of records
//   8  u32  raw length: of the records
//  12  u32  stored length: the same with codec 0, less with codec 1
//  16  u64  first offset
//  24  i64  base time, milliseconds since 1970
//
// The stored bytes come first in the CRC so that a caller can compute that part before the lock
// and the few bytes that are known only at admission (offset and time) extend it.

enum BlockCodec {
    static let none: UInt8 = 0
    static let lz4: UInt8 = 1
}

enum BlockFlags {
    static let control: UInt8 = 1
}

struct BlockHeader: Equatable {
    var codec: UInt8 = BlockCodec.none
    var flags: UInt8 = 0
    var recordCount: UInt16
    var rawBytes: UInt32
    var storedBytes: UInt32
    var firstOffset: UInt64
    var baseTimeMilliseconds: Int64

    var isControl: Bool { flags & BlockFlags.control != 0 }

    func write(at start: UnsafeMutableRawPointer, storedCRC: UInt32) {
        start.set(codec, at: 4)
        start.set(flags, at: 5)
        start.set(recordCount, at: 6)
        start.set(rawBytes, at: 8)
        start.set(storedBytes, at: 12)
        start.set(firstOffset, at: 16)
        start.set(baseTimeMilliseconds, at: 24)
        start.set(Checksum.extend(storedCRC, UnsafeRawPointer(start + 4), 28), at: 0)
    }

    /// Reads the header at the front of `bytes` and bounds its lengths; the CRC is checked by
    /// `verify`, so that a reader can pass over blocks that it does not return.
    init(_ bytes: UnsafeRawBufferPointer) throws(FormatError) {
        guard let start = bytes.baseAddress, bytes.count >= FormatLimits.blockHeaderBytes else {
            throw .truncated
        }
        codec = start.integer(at: 4)
        flags = start.integer(at: 5)
        recordCount = start.integer(at: 6)
        rawBytes = start.integer(at: 8)
        storedBytes = start.integer(at: 12)
        firstOffset = start.integer(at: 16)
        baseTimeMilliseconds = start.integer(at: 24)
        guard Int(storedBytes) <= bytes.count - FormatLimits.blockHeaderBytes else {
            throw .invalid("a block's length leaves its frame")
        }
        // So that counting on from them cannot overflow.
        guard firstOffset < FormatLimits.counterMaximum,
            baseTimeMilliseconds.magnitude < FormatLimits.counterMaximum
        else { throw .invalid("a block's numbers are not those of any log") }
        switch codec {
        case BlockCodec.none:
            guard rawBytes == storedBytes else {
                throw .invalid("an uncompressed block has two lengths")
            }
        case BlockCodec.lz4:
            guard storedBytes > 0, storedBytes < rawBytes,
                Int(rawBytes) <= LZ4Block.rawBytesMaximum(recordCount: recordCount)
            else { throw .invalid("a compressed block's lengths are out of bounds") }
        default: throw .unsupported(UInt64(codec))
        }
    }

    init(
        codec: UInt8 = BlockCodec.none, flags: UInt8 = 0, recordCount: Int, bytes: Int,
        storedBytes: Int? = nil, firstOffset: UInt64, baseTimeMilliseconds: Int64
    ) {
        self.codec = codec
        self.flags = flags
        self.recordCount = UInt16(recordCount)
        rawBytes = UInt32(bytes)
        self.storedBytes = UInt32(storedBytes ?? bytes)
        self.firstOffset = firstOffset
        self.baseTimeMilliseconds = baseTimeMilliseconds
    }

    /// Whether the CRC of the block at the front of `bytes` holds.
    func verify(_ bytes: UnsafeRawBufferPointer) -> Bool {
        let start = bytes.baseAddress!
        let stored = Checksum.extend(0, start + FormatLimits.blockHeaderBytes, Int(storedBytes))
        return start.integer(UInt32.self, at: 0) == Checksum.extend(stored, start + 4, 28)
    }
}
