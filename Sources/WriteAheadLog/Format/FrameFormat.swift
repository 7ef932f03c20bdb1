// A frame is one commit: a header of 128 bytes and a body of blocks, then zeros to the commit
// alignment. It survives whole or not at all.
//
//   0  u32  magic "BSFF"
//   4  u8   type: 1 commit
//   5  u8   flags: 0
//   6  u16  header length: 128
//   8  u32  header CRC-32C: of salt (u64), file position (u64), bytes 0 ..< 8 and 12 ..< 128
//  12  u32  body length
//  16  u32  body CRC-32C
//  20  u32  previous header's CRC; in a segment's first frame, the segment header's
//  24  u64  epoch
//  32  u64  sequence
//  40  u32  sequence count: 1, more after a repack
//  44  u32  count of data records
//  48  u64  durable sequence: the highest that was durable when this was written
//  56  u64  first offset: of the first data record, or the next to be given
//  64  u64  state generation: of the last durable state slot; a lost slot is so found out
//  72  u32  count of control records
//  76  u32  count of blocks
//  80 ..< 128  zero
//
// Salt and position in the CRC make bytes of another life of the file, or of another place,
// unverifiable. One commit is in flight, ever: so a frame with a higher sequence proves that all
// before it was durable.

struct FrameHeader: Equatable {
    static let magic: UInt32 = 0x4646_5342  // "BSFF"
    static let typeCommit: UInt8 = 1

    var bodyBytes: UInt32 = 0
    var bodyCRC: UInt32 = 0
    var previousHeaderCRC: UInt32 = 0
    var epoch: UInt64 = 0
    var sequence: UInt64 = 0
    var sequenceCount: UInt32 = 1
    var recordCount: UInt32 = 0
    var durableSequence: UInt64 = 0
    var firstOffset: UInt64 = 0
    var stateGeneration: UInt64 = 0
    var controlCount: UInt32 = 0
    var blockCount: UInt32 = 0

    /// Set by reading and writing.
    var headerCRC: UInt32 = 0

    init() {}

    /// Header and body, before padding.
    var frameBytes: Int { FormatLimits.frameHeaderBytes + Int(bodyBytes) }

    /// The offset after the last record of this frame.
    var endOffset: UInt64 { firstOffset + UInt64(recordCount) }

    var lastSequence: UInt64 { sequence + UInt64(sequenceCount) - 1 }

    mutating func write(at start: UnsafeMutableRawPointer, salt: UInt64, position: UInt64) {
        start.set(FrameHeader.magic, at: 0)
        start.set(FrameHeader.typeCommit, at: 4)
        start.set(UInt8(0), at: 5)
        start.set(UInt16(FormatLimits.frameHeaderBytes), at: 6)
        start.set(bodyBytes, at: 12)
        start.set(bodyCRC, at: 16)
        start.set(previousHeaderCRC, at: 20)
        start.set(epoch, at: 24)
        start.set(sequence, at: 32)
        start.set(sequenceCount, at: 40)
        start.set(recordCount, at: 44)
        start.set(durableSequence, at: 48)
        start.set(firstOffset, at: 56)
        start.set(stateGeneration, at: 64)
        start.set(controlCount, at: 72)
        start.set(blockCount, at: 76)
        (start + 80).initializeMemory(as: UInt8.self, repeating: 0, count: 48)
        headerCRC = FrameHeader.crc(UnsafeRawPointer(start), salt: salt, position: position)
        start.set(headerCRC, at: 8)
    }

    /// Reads the header at the front of `bytes`; fails unless magic, CRC and bounds hold.
    init(
        _ bytes: UnsafeRawBufferPointer, salt: UInt64, position: UInt64, commitBytesMaximum: Int
    ) throws(FormatError) {
        guard let start = bytes.baseAddress, bytes.count >= FormatLimits.frameHeaderBytes else {
            throw .truncated
        }
        guard start.integer(UInt32.self, at: 0) == FrameHeader.magic else {
            throw .invalid("no frame begins here")
        }
        headerCRC = start.integer(at: 8)
        guard headerCRC == FrameHeader.crc(start, salt: salt, position: position) else {
            throw .checksum
        }
        // The CRC holds, so what follows was written by some release of this program on purpose.
        guard start.integer(UInt8.self, at: 4) == FrameHeader.typeCommit,
            start.integer(UInt8.self, at: 5) == 0,
            start.integer(UInt16.self, at: 6) == UInt16(FormatLimits.frameHeaderBytes)
        else { throw .unsupported(UInt64(start.integer(UInt32.self, at: 4))) }
        bodyBytes = start.integer(at: 12)
        bodyCRC = start.integer(at: 16)
        previousHeaderCRC = start.integer(at: 20)
        epoch = start.integer(at: 24)
        sequence = start.integer(at: 32)
        sequenceCount = start.integer(at: 40)
        recordCount = start.integer(at: 44)
        durableSequence = start.integer(at: 48)
        firstOffset = start.integer(at: 56)
        stateGeneration = start.integer(at: 64)
        controlCount = start.integer(at: 72)
        blockCount = start.integer(at: 76)
        guard sequenceCount >= 1, sequence > durableSequence, epoch >= 1,
            max(sequence, firstOffset, epoch) < FormatLimits.counterMaximum,
            FormatLimits.frameHeaderBytes + Int(bodyBytes) <= commitBytesMaximum
        else { throw .invalid("a frame header contradicts itself") }
        guard max(epoch, sequence, firstOffset, stateGeneration) < FormatLimits.counterMaximum else {
            throw .invalid("a frame header has numbers of no log")
        }
    }

    private static func crc(_ start: UnsafeRawPointer, salt: UInt64, position: UInt64) -> UInt32 {
        var seed = (salt.littleEndian, position.littleEndian)
        var crc = withUnsafeBytes(of: &seed) { Checksum.extend(0, $0.baseAddress!, 16) }
        crc = Checksum.extend(crc, start, 8)
        return Checksum.extend(crc, start + 12, FormatLimits.frameHeaderBytes - 12)
    }
}

/// Walks the blocks of a frame's body in order.
struct BlockIterator {
    private var rest: UnsafeRawBufferPointer

    init(body: UnsafeRawBufferPointer) { rest = body }

    /// The next block's header and all its bytes (header included), or nil at the body's end.
    mutating func next() throws(FormatError) -> (header: BlockHeader, bytes: UnsafeRawBufferPointer)? {
        guard rest.count > 0 else { return nil }
        let header = try BlockHeader(rest)
        let byteCount = FormatLimits.blockHeaderBytes + Int(header.storedBytes)
        let bytes = UnsafeRawBufferPointer(rebasing: rest[..<byteCount])
        rest = UnsafeRawBufferPointer(rebasing: rest[byteCount...])
        return (header, bytes)
    }
}
