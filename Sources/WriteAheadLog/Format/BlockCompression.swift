internal import CLZ4

// A block with codec 1 stores its records as one LZ4 block (the raw block format, no frame around
// it). It is written only when it has at least 4 KiB and becomes at least a tenth smaller, so a
// stored length is never above the raw one, and what a batch takes uncompressed bounds what it takes.
//
// Reading goes in this order, and each step needs the one before:
//   1. the header's lengths are bounded: by the frame, and the raw one by what a block may hold;
//   2. the block's CRC is verified: it covers the stored bytes;
//   3. the bytes are decompressed, into exactly the raw length or not at all;
//   4. each record's own CRC is verified.
// So nothing is allocated or decompressed because of bytes that nobody wrote.

/// How the records of a batch are stored; chosen per log, and kept by the batch.
public enum BlockCompression: Sendable {
    case none
    /// LZ4, for blocks of which it makes something smaller.
    case lz4
}

enum LZ4Block {
    /// Below it a block is stored as it is: there is little to win.
    static let rawBytesMinimum = 4096

    /// What a compressed block may have at most to be kept: a tenth less than raw.
    static func storedBytesMaximum(rawBytes: Int) -> Int { rawBytes - (rawBytes + 9) / 10 }

    /// The most that a block's records can have: 64 KiB, or one record and any header.
    static func rawBytesMaximum(recordCount: UInt16) -> Int {
        recordCount == 1
            ? FormatLimits.recordPayloadBytesMaximum + Int(UInt16.max) : FormatLimits.blockBytes
    }

    /// Compresses `raw` into the room at `target`, which is as large as `storedBytesMaximum`.
    /// - Returns: the stored length, or nil when it does not pay.
    static func compress(_ raw: UnsafeRawBufferPointer, into target: UnsafeMutableRawPointer) -> Int? {
        guard raw.count >= rawBytesMinimum else { return nil }
        let count = LZ4_compress_default(
            raw.baseAddress!.assumingMemoryBound(to: CChar.self),
            target.assumingMemoryBound(to: CChar.self), Int32(raw.count),
            Int32(storedBytesMaximum(rawBytes: raw.count)))
        return count > 0 ? Int(count) : nil
    }

    /// Fails unless `stored` is one LZ4 block of exactly `target.count` bytes.
    static func decompress(
        _ stored: UnsafeRawBufferPointer, into target: UnsafeMutableRawBufferPointer
    ) throws(FormatError) {
        let count = LZ4_decompress_safe(
            stored.baseAddress!.assumingMemoryBound(to: CChar.self),
            target.baseAddress!.assumingMemoryBound(to: CChar.self), Int32(stored.count),
            Int32(target.count))
        guard count >= 0 else { throw .invalid("a block's compressed bytes are malformed") }
        guard Int(count) == target.count else {
            throw .invalid("a block does not decompress to its raw length")
        }
    }
}

/// Gives the records of blocks as they were before compression, from a buffer that is used again.
/// Not thread-safe.
final class BlockDecoder {
    private var buffer = UnsafeMutableRawBufferPointer(start: nil, count: 0)

    deinit { buffer.deallocate() }

    /// Verifies the block, header and stored bytes, and returns its records, valid until the next
    /// call.
    func records(of header: BlockHeader, in block: UnsafeRawBufferPointer) throws(FormatError)
        -> UnsafeRawBufferPointer
    {
        guard header.verify(block) else { throw .checksum }
        let start = FormatLimits.blockHeaderBytes
        let stored = UnsafeRawBufferPointer(
            rebasing: block[start..<start + Int(header.storedBytes)])
        guard header.codec == BlockCodec.lz4 else { return stored }
        let rawBytes = Int(header.rawBytes)
        if buffer.count < rawBytes {
            buffer.deallocate()
            buffer = .allocate(byteCount: max(rawBytes, FormatLimits.blockBytes), alignment: 16)
        }
        let raw = UnsafeMutableRawBufferPointer(rebasing: buffer[..<rawBytes])
        try LZ4Block.decompress(stored, into: raw)
        return UnsafeRawBufferPointer(raw)
    }
}
