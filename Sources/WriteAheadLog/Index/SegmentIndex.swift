/// A segment as readers see it: where it begins and ends, and a sparse index into its frames.
struct SegmentIndex {
    /// One for at least every 32 KiB of frames.
    typealias Point = SegmentFooter.Point

    static let pointSpacingBytes: UInt64 = 32 * 1024

    var entry: SegmentEntry
    var commitBytesMaximum: Int
    var commitAlignment: UInt32
    /// One past the last durable offset in it.
    var endOffset: UInt64
    /// Where its last durable frame ends, padding included.
    var endPosition: UInt64
    /// Ascending. A closed segment that was found when the log was opened has none here: they are in
    /// its footer.
    private(set) var points: [Point] = []

    private let firstFramePosition: UInt64

    /// The segment that is being written.
    init(entry: SegmentEntry, header: SegmentHeader) {
        self.entry = entry
        commitBytesMaximum = Int(header.commitBytesMaximum)
        commitAlignment = header.commitAlignment
        firstFramePosition = header.firstFramePosition
        endOffset = entry.baseOffset
        endPosition = header.firstFramePosition
    }

    /// A closed segment, known from the table alone.
    init(closed entry: SegmentEntry, in table: SegmentTable, endOffset: UInt64) {
        self.entry = entry
        // Of its own header, which nobody has read yet; frames are bounded by the largest there is.
        commitBytesMaximum = FormatLimits.commitBytesMaximum
        commitAlignment = table.commitAlignment
        firstFramePosition = FrameAlignment.firstFrame(table.profile, table.commitAlignment)
        self.endOffset = endOffset
        endPosition = entry.logicalEnd
    }

    /// Takes a durable frame into account.
    mutating func append(
        frameAt position: UInt64, header: FrameHeader, greatestTimeMilliseconds: Int64,
        endPosition: UInt64
    ) {
        if header.recordCount > 0 {
            if entry.leastTimeMilliseconds == 0 {
                entry.leastTimeMilliseconds = greatestTimeMilliseconds
            }
            entry.greatestTimeMilliseconds = max(
                entry.greatestTimeMilliseconds, greatestTimeMilliseconds)
            if points.isEmpty || position - points[points.count - 1].position
                >= SegmentIndex.pointSpacingBytes
            {
                points.append(
                    Point(
                        offset: header.firstOffset, position: position,
                        greatestTimeMilliseconds: entry.greatestTimeMilliseconds))
            }
        }
        endOffset = header.endOffset
        self.endPosition = endPosition
    }

    var isDamaged: Bool { entry.flags & SegmentEntry.Flags.damaged != 0 }

    /// Takes the points that were kept elsewhere: a footer's, or a checkpoint's.
    mutating func take(points: [Point]) { self.points = points }

    /// A position at or before the frame that holds `offset`.
    func position(of offset: UInt64) -> UInt64 { position { $0.offset <= offset } }

    /// A position at or before the first frame with a record that was appended at or after `time`.
    func position(atOrAfterMilliseconds time: Int64) -> UInt64 {
        position { $0.greatestTimeMilliseconds < time }
    }

    /// The last point that is `before`, or the segment's first frame.
    private func position(_ isBefore: (Point) -> Bool) -> UInt64 {
        var low = 0
        var high = points.count
        while low < high {
            let middle = (low + high) / 2
            if isBefore(points[middle]) { low = middle + 1 } else { high = middle }
        }
        return low == 0 ? firstFramePosition : points[low - 1].position
    }
}

// The points of the segment that is being written, as a checkpoint keeps them:
//
//   0  u64  segment id
//   8  u32  count of points
//  12  u32  zero
//  16  24 bytes a point: u64 offset, u64 position, i64 time

extension SegmentIndex {
    func encodePoints() -> [UInt8] {
        var writer = ByteWriter()
        writer.append(entry.id)
        writer.append(UInt32(points.count))
        writer.append(UInt32(0))
        for point in points {
            writer.append(point.offset)
            writer.append(point.position)
            writer.append(point.greatestTimeMilliseconds)
        }
        return writer.bytes
    }

    /// The points that a checkpoint kept of a segment; nil for another segment's or other bytes.
    static func points(_ bytes: [UInt8], ofSegment id: UInt64) -> [Point]? {
        let points = bytes.withUnsafeBytes { bytes in
            try? Result { () throws(FormatError) in
                var reader = ByteReader(bytes)
                guard try reader.integer(UInt64.self) == id else {
                    throw .invalid("another segment's points")
                }
                let count = Int(try reader.integer(UInt32.self))
                try reader.skip(4)
                guard reader.remaining == count * SegmentFooter.pointBytes else { throw .truncated }
                var points: [Point] = []
                for _ in 0..<count {
                    points.append(
                        Point(
                            offset: try reader.integer(), position: try reader.integer(),
                            greatestTimeMilliseconds: try reader.integer()))
                }
                return points
            }.get()
        }
        return points
    }
}
