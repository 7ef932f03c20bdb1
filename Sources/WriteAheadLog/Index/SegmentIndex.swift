/// A segment as readers see it: where it begins and ends, and a sparse index into its frames.
struct SegmentIndex {
    /// One for at least every 32 KiB of frames.
    struct Point {
        var offset: UInt64
        var position: UInt64
    }

    static let pointSpacingBytes: UInt64 = 32 * 1024

    var entry: SegmentEntry
    var commitBytesMaximum: Int
    var commitAlignment: UInt32
    /// One past the last durable offset in it.
    var endOffset: UInt64
    /// Where its last durable frame ends, padding included.
    var endPosition: UInt64
    private(set) var points: [Point] = []

    private let firstFramePosition: UInt64

    init(entry: SegmentEntry, header: SegmentHeader) {
        self.entry = entry
        commitBytesMaximum = Int(header.commitBytesMaximum)
        commitAlignment = header.commitAlignment
        firstFramePosition = header.firstFramePosition
        endOffset = entry.baseOffset
        endPosition = header.firstFramePosition
    }

    /// Takes a durable frame into account.
    mutating func append(
        frameAt position: UInt64, header: FrameHeader, greatestTimeMilliseconds: Int64,
        endPosition: UInt64
    ) {
        if header.recordCount > 0 {
            if points.isEmpty || position - points[points.count - 1].position
                >= SegmentIndex.pointSpacingBytes
            {
                points.append(Point(offset: header.firstOffset, position: position))
            }
            if entry.leastTimeMilliseconds == 0 {
                entry.leastTimeMilliseconds = greatestTimeMilliseconds
            }
            entry.greatestTimeMilliseconds = max(
                entry.greatestTimeMilliseconds, greatestTimeMilliseconds)
        }
        endOffset = header.endOffset
        self.endPosition = endPosition
    }

    /// A position at or before the frame that holds `offset`.
    func position(of offset: UInt64) -> UInt64 {
        var low = 0
        var high = points.count
        while low < high {
            let middle = (low + high) / 2
            if points[middle].offset <= offset { low = middle + 1 } else { high = middle }
        }
        return low == 0 ? firstFramePosition : points[low - 1].position
    }
}
