/// The records of one frame, each proven by its block's checksum and its own, and the frame's counts
/// held against them.
enum FrameBody {
    enum Item {
        case record(LogRecord)
        case change(StateChange)
        /// Of a kind that may be ignored.
        case other
    }

    static func walk(
        _ frame: FrameHeader, _ body: UnsafeRawBufferPointer,
        _ decoder: BlockDecoder = BlockDecoder(), _ visit: (Item) throws(FormatError) -> Void
    ) throws(FormatError) {
        var blocks = BlockIterator(body: body)
        var blockCount: UInt32 = 0
        var controlCount: UInt32 = 0
        var offset = frame.firstOffset
        while let (block, bytes) = try blocks.next() {
            var rest = try decoder.records(of: block, in: bytes)
            guard block.firstOffset == offset else {
                throw .invalid("a block's first offset does not follow the one before")
            }
            for _ in 0..<block.recordCount {
                let record = try RecordView(rest)
                rest = UnsafeRawBufferPointer(rebasing: rest[record.byteCount...])
                if block.isControl {
                    controlCount += 1
                    switch record.kind & ~RecordKind.ignorableBit {
                    case RecordKind.cursor, RecordKind.register:
                        try visit(
                            .change(try StateChange(kind: record.kind, payload: record.payload)))
                    case _ where record.kind & RecordKind.ignorableBit != 0: try visit(.other)
                    default: throw .unsupported(UInt64(record.kind))
                    }
                } else {
                    try visit(
                        .record(
                            LogRecord(
                                offset: offset,
                                appendTimeMilliseconds: block.baseTimeMilliseconds
                                    + Int64(record.timeDeltaMilliseconds),
                                epoch: frame.epoch, key: record.key, content: record.content,
                                crc: record.crc, payload: record.payload)))
                    offset += 1
                }
            }
            guard rest.isEmpty else { throw .invalid("a block has bytes after its records") }
            blockCount += 1
        }
        guard offset == frame.endOffset, controlCount == frame.controlCount,
            blockCount == frame.blockCount
        else { throw .invalid("a frame's counts are not those of its body") }
    }
}
