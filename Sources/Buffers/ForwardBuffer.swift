package import Facts

/// The buffer that holds another zone's facts (IFB or EFB role), each once.
package protocol ForwardBuffer: ReadableBuffer {
    /// What was received of the source, durably; nil before anything was.
    var position: SourcePosition? { get }

    /// Records where receiving begins. Blocks.
    /// - Throws: `positionMoved` when it has begun: a position only ever moves with records.
    func begin(at position: SourcePosition) throws(BufferError)

    /// Puts each fact if its key is absent and moves the position, in one durable commit: both or
    /// neither. A notice has no key. Blocks.
    /// - Throws: `conflict` when a key is there with other content, and nothing was written;
    ///   `positionMoved` when the position is not `from`.
    func putIfAbsent(
        _ records: [ForwardRecord], from: SourcePosition, to: SourcePosition
    ) throws(BufferError) -> PutReceipt

    /// Where a key stands. Blocks.
    /// - Throws: `busy` while it cannot be told.
    func get(_ key: Digest) throws(BufferError) -> UInt64?

    /// Gives the records that this buffer took within a time range to `visit`. Blocks.
    func queryByTimeRange(
        _ milliseconds: ClosedRange<Int64>, _ visit: (BufferRecord) -> Bool
    ) throws(BufferError)
}

/// One record on its way into a forward buffer.
package struct ForwardRecord: Sendable {
    /// Nil for a notice, which the position alone keeps from coming twice.
    package var key: Digest?
    package var contentDigest: Digest?
    package var storedRecord: [UInt8]

    package init(key: Digest?, contentDigest: Digest?, storedRecord: [UInt8]) {
        self.key = key
        self.contentDigest = contentDigest
        self.storedRecord = storedRecord
    }
}

extension ForwardBuffer {
    package func queryByTimeRange(
        _ milliseconds: ClosedRange<Int64>, _ visit: (BufferRecord) -> Bool
    ) throws(BufferError) {
        let first = try offset(atOrAfterMilliseconds: milliseconds.lowerBound)
        _ = try read(from: first, maximumCount: .max, maximumBytes: .max) { record in
            record.appendedMilliseconds <= milliseconds.upperBound && visit(record)
        }
    }
}
