// A segment's footer: what sealing found when it read the closed segment back. It lies at
// L - 4096 - L / 1024 (L: the segment's length), in the room that no frame may enter, and is derived:
// a segment whose footer is lost is sealed again and gets the same one.
//
//   0  u32  magic "BSFE"
//   4  u32  CRC-32C of bytes 8 ..< 256 + 24 x points
//   8  u32  format version
//  12  u32  count of points
//  16  16   log identifier
//  32  u64  segment id
//  40  u64  salt
//  48  u64  base offset
//  56  u64  end offset: one past its last record
//  64  u64  first sequence
//  72  u64  last sequence; one less than the first when it has no frames
//  80  u64  logical end: where its last frame's padding ends
//  88  u64  count of frames
//  96  u64  count of records
// 104  u64  count of records with a key
// 112  u64  count of control records
// 120  i64  least append time, milliseconds since 1970; 0 when it has no records
// 128  i64  greatest append time
// 136  32   digest of the segment before; zeros for the first ever
// 168  32   digest
// 200 ..< 256  zero
// 256  +  24 bytes a point, in order:
//   0  u64  offset: of the first record of a frame
//   8  u64  position of that frame
//  16  i64  greatest append time up to that frame's end
//
// Then zeros to the end of the file.
//
// The digest is SHA-256 of the digest before (32 bytes) and the file's bytes 0 ..< logical end: so one
// segment's digest speaks for all before it. The segment after the last removed one continues from
// the anchor of the manifest.
//
// The points are a sparse index: one for at least every 32 KiB of frames. The frame that holds an
// offset is at or after the last point whose offset is not greater; the first record of a time or
// later is in or after the frame of the last point whose time is less. When they would not fit the
// room, which no length of segment that can be asked for comes near, every second one is left out.

struct SegmentFooter: Equatable, Sendable {
    struct Point: Equatable, Sendable {
        var offset: UInt64
        var position: UInt64
        var greatestTimeMilliseconds: Int64
    }

    static let magic: UInt32 = 0x4546_5342  // "BSFE"
    static let headerBytes = 256
    static let pointBytes = 24

    var identifier: LogIdentifier
    var segmentID: UInt64
    var salt: UInt64
    var baseOffset: UInt64
    var endOffset: UInt64
    var firstSequence: UInt64
    var lastSequence: UInt64
    var logicalEnd: UInt64
    var frameCount: UInt64 = 0
    var recordCount: UInt64 = 0
    var keyedRecordCount: UInt64 = 0
    var controlRecordCount: UInt64 = 0
    var leastTimeMilliseconds: Int64 = 0
    var greatestTimeMilliseconds: Int64 = 0
    var previousDigest: Digest256
    var digest: Digest256
    var points: [Point] = []

    static func pointCountMaximum(segmentBytes: UInt64) -> Int {
        (Int(FormatLimits.footerBytes(segmentBytes: segmentBytes)) - headerBytes) / pointBytes
    }

    /// The footer and the zeros behind it: all of its room.
    func encode(roomBytes: Int) -> [UInt8] {
        let byteCount = SegmentFooter.headerBytes + points.count * SegmentFooter.pointBytes
        precondition(byteCount <= roomBytes, "a footer fits its room")
        var bytes = [UInt8](repeating: 0, count: roomBytes)
        bytes.withUnsafeMutableBytes { buffer in
            let start = buffer.baseAddress!
            start.set(SegmentFooter.magic, at: 0)
            start.set(FormatLimits.formatVersion, at: 8)
            start.set(UInt32(points.count), at: 12)
            (start + 16).copyMemory(from: identifier.bytes, byteCount: LogIdentifier.byteCount)
            start.set(segmentID, at: 32)
            start.set(salt, at: 40)
            start.set(baseOffset, at: 48)
            start.set(endOffset, at: 56)
            start.set(firstSequence, at: 64)
            start.set(lastSequence, at: 72)
            start.set(logicalEnd, at: 80)
            start.set(frameCount, at: 88)
            start.set(recordCount, at: 96)
            start.set(keyedRecordCount, at: 104)
            start.set(controlRecordCount, at: 112)
            start.set(leastTimeMilliseconds, at: 120)
            start.set(greatestTimeMilliseconds, at: 128)
            previousDigest.withUnsafeBytes {
                (start + 136).copyMemory(from: $0.baseAddress!, byteCount: Digest256.byteCount)
            }
            digest.withUnsafeBytes {
                (start + 168).copyMemory(from: $0.baseAddress!, byteCount: Digest256.byteCount)
            }
            for (index, point) in points.enumerated() {
                let place = start + SegmentFooter.headerBytes + index * SegmentFooter.pointBytes
                place.set(point.offset, at: 0)
                place.set(point.position, at: 8)
                place.set(point.greatestTimeMilliseconds, at: 16)
            }
            start.set(Checksum.extend(0, UnsafeRawPointer(start + 8), byteCount - 8), at: 4)
        }
        return bytes
    }
}

extension SegmentFooter {
    /// Reads the footer at the front of `room`, which is all of a footer's room; fails unless
    /// everything in it holds, the zeros behind it included.
    init(_ room: UnsafeRawBufferPointer) throws(FormatError) {
        guard let start = room.baseAddress, room.count >= SegmentFooter.headerBytes else {
            throw .truncated
        }
        guard start.integer(UInt32.self, at: 0) == SegmentFooter.magic else {
            throw .invalid("not a footer")
        }
        let count = Int(start.integer(UInt32.self, at: 12))
        guard count <= (room.count - SegmentFooter.headerBytes) / SegmentFooter.pointBytes else {
            throw .invalid("a footer has more points than room")
        }
        let byteCount = SegmentFooter.headerBytes + count * SegmentFooter.pointBytes
        guard start.integer(UInt32.self, at: 4) == Checksum.extend(0, start + 8, byteCount - 8)
        else { throw .checksum }
        let version: UInt32 = start.integer(at: 8)
        guard version == FormatLimits.formatVersion else { throw .unsupported(UInt64(version)) }
        guard UnsafeRawBufferPointer(rebasing: room[200..<SegmentFooter.headerBytes]).isAllZero,
            UnsafeRawBufferPointer(rebasing: room[byteCount...]).isAllZero
        else { throw .invalid("bytes of a footer that must be zero are not") }
        identifier = LogIdentifier(bytes: Array(room[16..<32]))
        segmentID = start.integer(at: 32)
        salt = start.integer(at: 40)
        baseOffset = start.integer(at: 48)
        endOffset = start.integer(at: 56)
        firstSequence = start.integer(at: 64)
        lastSequence = start.integer(at: 72)
        logicalEnd = start.integer(at: 80)
        frameCount = start.integer(at: 88)
        recordCount = start.integer(at: 96)
        keyedRecordCount = start.integer(at: 104)
        controlRecordCount = start.integer(at: 112)
        leastTimeMilliseconds = start.integer(at: 120)
        greatestTimeMilliseconds = start.integer(at: 128)
        previousDigest = Digest256(bytes: UnsafeRawBufferPointer(rebasing: room[136..<168]))
        digest = Digest256(bytes: UnsafeRawBufferPointer(rebasing: room[168..<200]))
        points = (0..<count).map { index in
            let place = start + SegmentFooter.headerBytes + index * SegmentFooter.pointBytes
            return Point(
                offset: place.integer(at: 0), position: place.integer(at: 8),
                greatestTimeMilliseconds: place.integer(at: 16))
        }
        guard isConsistent else { throw .invalid("a footer contradicts itself") }
    }

    private var isConsistent: Bool {
        guard firstSequence >= 1, firstSequence < FormatLimits.counterMaximum,
            lastSequence < FormatLimits.counterMaximum, lastSequence >= firstSequence - 1,
            endOffset < FormatLimits.counterMaximum, baseOffset <= endOffset,
            recordCount == endOffset - baseOffset, keyedRecordCount <= recordCount,
            leastTimeMilliseconds <= greatestTimeMilliseconds
        else { return false }
        var before: Point?
        for point in points {
            guard point.position < logicalEnd, (baseOffset..<endOffset).contains(point.offset),
                point.greatestTimeMilliseconds <= greatestTimeMilliseconds
            else { return false }
            if let before {
                guard point.offset > before.offset, point.position > before.position,
                    point.greatestTimeMilliseconds >= before.greatestTimeMilliseconds
                else { return false }
            }
            before = point
        }
        return true
    }

    /// Whether it is the footer of this life of this segment.
    func matches(_ header: SegmentHeader, _ entry: SegmentEntry) -> Bool {
        identifier == header.identifier && segmentID == header.id && salt == header.salt
            && baseOffset == header.baseOffset && firstSequence == header.firstSequence
            && lastSequence == entry.lastSequence && logicalEnd == entry.logicalEnd
    }

    /// Where to begin reading for a record: at the frame that holds `offset` or before it; nil at the
    /// first frame. O(log points).
    func position(ofOffset offset: UInt64) -> UInt64? {
        position { $0.offset <= offset }
    }

    /// Where to begin reading for the first record of `milliseconds` or later; nil at the first frame.
    /// O(log points).
    func position(ofTime milliseconds: Int64) -> UInt64? {
        position { $0.greatestTimeMilliseconds < milliseconds }
    }

    /// The last point of those at the front for which `isBefore` holds.
    private func position(_ isBefore: (Point) -> Bool) -> UInt64? {
        var low = 0
        var high = points.count
        while low < high {
            let middle = (low + high) / 2
            if isBefore(points[middle]) { low = middle + 1 } else { high = middle }
        }
        return low == 0 ? nil : points[low - 1].position
    }
}

/// Gathers the points of a footer, never more than its room takes.
struct SparsePoints {
    private(set) var points: [SegmentFooter.Point] = []
    private var spacingBytes = SegmentIndex.pointSpacingBytes
    private let countMaximum: Int

    init(countMaximum: Int) {
        precondition(countMaximum >= 2, "a footer has room for points")
        self.countMaximum = countMaximum
    }

    mutating func append(_ point: SegmentFooter.Point) {
        if let last = points.last, point.position - last.position < spacingBytes { return }
        if points.count == countMaximum {
            // Every second one stays; from here on they come half as often.
            points = stride(from: 0, to: points.count, by: 2).map { points[$0] }
            spacingBytes *= 2
            return append(point)
        }
        points.append(point)
    }
}

/// What stands in a segment's room for the footer.
enum FooterRoom {
    /// All zero: the segment was not sealed yet.
    case empty
    case footer(SegmentFooter)
    /// Not a footer; the first writing of one may have been cut short.
    case damaged(FormatError)

    /// Reads a segment's footer past the page cache.
    static func read(_ file: any DiskFile, header: SegmentHeader) throws(DiskError) -> FooterRoom {
        let start = header.frameLimit & ~4095
        let byteCount = Int(header.segmentBytes - start)
        let buffer = UnsafeMutableRawBufferPointer.allocate(
            byteCount: (byteCount + 4095) & ~4095, alignment: 4096)
        defer { buffer.deallocate() }
        let count = min(try file.readUncached(into: buffer, at: start), byteCount)
        guard count == byteCount else { return .damaged(.truncated) }
        let room = UnsafeRawBufferPointer(
            rebasing: buffer[Int(header.frameLimit - start)..<byteCount])
        if room.isAllZero { return .empty }
        do throws(FormatError) { return .footer(try SegmentFooter(room)) } catch {
            return .damaged(error)
        }
    }
}
