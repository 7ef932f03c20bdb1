// The first 4,096 bytes of a segment file; the rest are frames, zeros, and room for the footer.
//
//   0  u32  magic "BSFG"
//   4  u32  CRC-32C of bytes 8 ..< 4096
//   8  u32  format version
//  12  u32  commit alignment in bytes, a power of two: frames begin at its multiples
//  16  u64  compatible feature bits: may be ignored
//  24  u64  read-compatible feature bits: unknown ones allow reading only
//  32  u64  incompatible feature bits: unknown ones forbid opening
//  40  16   log identifier
//  56  u64  segment id: also the file's name, 16 hexadecimal digits
//  64  u64  salt: random for each life of the file
//  72  u64  previous segment's id, 0 for the first
//  80  u64  first sequence
//  88  u64  base offset: of the first record
//  96  u64  epoch
// 104  i64  creation time, milliseconds since 1970
// 112  u64  segment length in bytes: from 1 MiB, or from 64 KiB when repacked
// 120  u32  maximum commit in bytes: at most half the segment; when repacked, all of it
// 124  u8   profile: 1 standard, 2 silStrict
// 125 ..< 4096  zero

struct SegmentHeader: Equatable {
    static let magic: UInt32 = 0x4746_5342  // "BSFG"

    var commitAlignment: UInt32
    var identifier: LogIdentifier
    var id: UInt64
    var salt: UInt64
    var previousID: UInt64
    var firstSequence: UInt64
    var baseOffset: UInt64
    var epoch: UInt64
    var createdMilliseconds: Int64
    var segmentBytes: UInt64
    var commitBytesMaximum: UInt32
    var profile: Profile

    /// Set by reading and writing: the first frame links to it.
    var crc: UInt32 = 0

    static func fileName(id: UInt64) -> String {
        let digits = String(id, radix: 16)
        return String(repeating: "0", count: 16 - digits.count) + digits + ".segment"
    }

    /// The id of a segment file's name, or nil for another file.
    static func id(fileName: String) -> UInt64? {
        guard fileName.utf8.count == 24, fileName.hasSuffix(".segment") else { return nil }
        guard let id = UInt64(fileName.prefix(16), radix: 16),
            SegmentHeader.fileName(id: id) == fileName
        else { return nil }
        return id
    }

    /// Where frames end at the latest: the footer's room follows.
    var frameLimit: UInt64 {
        segmentBytes - FormatLimits.footerBytes(segmentBytes: segmentBytes)
    }

    var firstFramePosition: UInt64 { FrameAlignment.firstFrame(profile, commitAlignment) }

    mutating func encode() -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: FormatLimits.segmentHeaderBytes)
        crc = bytes.withUnsafeMutableBytes { buffer in
            let start = buffer.baseAddress!
            start.set(SegmentHeader.magic, at: 0)
            start.set(FormatLimits.formatVersion, at: 8)
            start.set(commitAlignment, at: 12)
            (start + 40).copyMemory(from: identifier.bytes, byteCount: LogIdentifier.byteCount)
            start.set(id, at: 56)
            start.set(salt, at: 64)
            start.set(previousID, at: 72)
            start.set(firstSequence, at: 80)
            start.set(baseOffset, at: 88)
            start.set(epoch, at: 96)
            start.set(createdMilliseconds, at: 104)
            start.set(segmentBytes, at: 112)
            start.set(commitBytesMaximum, at: 120)
            start.set(profile.rawValue, at: 124)
            let crc = Checksum.extend(0, UnsafeRawPointer(start + 8), buffer.count - 8)
            start.set(crc, at: 4)
            return crc
        }
        return bytes
    }
}

extension SegmentHeader {
    init(_ bytes: UnsafeRawBufferPointer) throws(FormatError) {
        guard let start = bytes.baseAddress, bytes.count >= FormatLimits.segmentHeaderBytes else {
            throw .truncated
        }
        guard start.integer(UInt32.self, at: 0) == SegmentHeader.magic else {
            throw .invalid("not a segment")
        }
        let crc: UInt32 = start.integer(at: 4)
        guard crc == Checksum.extend(0, start + 8, FormatLimits.segmentHeaderBytes - 8) else {
            throw .checksum
        }
        let version: UInt32 = start.integer(at: 8)
        guard version == FormatLimits.formatVersion else { throw .unsupported(UInt64(version)) }
        let features = start.integer(UInt64.self, at: 24) | start.integer(UInt64.self, at: 32)
        guard features == 0 else { throw .unsupported(features) }
        guard let profile = Profile(rawValue: start.integer(at: 124)) else {
            throw .unsupported(UInt64(start.integer(UInt8.self, at: 124)))
        }
        self.init(
            commitAlignment: start.integer(at: 12),
            identifier: LogIdentifier(bytes: Array(bytes[40..<56])),
            id: start.integer(at: 56), salt: start.integer(at: 64),
            previousID: start.integer(at: 72), firstSequence: start.integer(at: 80),
            baseOffset: start.integer(at: 88), epoch: start.integer(at: 96),
            createdMilliseconds: start.integer(at: 104), segmentBytes: start.integer(at: 112),
            commitBytesMaximum: start.integer(at: 120), profile: profile, crc: crc)
        guard commitAlignment.nonzeroBitCount == 1,
            commitAlignment <= FormatLimits.commitAlignmentMaximum,
            segmentBytes >= FormatLimits.repackedSegmentBytesMinimum,
            segmentBytes <= FormatLimits.segmentBytesMaximum, firstSequence >= 1, epoch >= 1,
            Int(commitBytesMaximum) <= FormatLimits.commitBytesMaximum,
            UInt64(commitBytesMaximum) <= segmentBytes
        else { throw .invalid("a segment header contradicts itself") }
        guard max(id, previousID, firstSequence, baseOffset, epoch) < FormatLimits.counterMaximum,
            segmentBytes <= FormatLimits.segmentBytesMaximum
        else { throw .invalid("a segment header has numbers of no log") }
    }
}
