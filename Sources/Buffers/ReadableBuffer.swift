package import Facts

/// One durable record of a buffer, valid inside the closure that it is given to.
package struct BufferRecord {
    package var offset: UInt64
    /// When this buffer took it, milliseconds since 1970.
    package var appendedMilliseconds: Int64
    package var epoch: UInt64
    package var contentDigest: Digest?
    /// A `StoredRecord`.
    package var payload: UnsafeRawBufferPointer
}

/// What store and forward buffers have in common: durable records by offset, from `firstOffset` up
/// to `headOffset` exclusive.
package protocol ReadableBuffer: AnyObject, Sendable {
    /// 16 bytes that tell this buffer's history from every other.
    var identifier: [UInt8] { get }
    var epoch: UInt64 { get }
    var firstOffset: UInt64 { get }
    var headOffset: UInt64 { get }
    var fill: Double { get }

    /// Gives records from `offset` on to `visit` until it answers false or a limit is met; the first
    /// record is given whatever its size. Blocks.
    /// - Returns: the offset to go on from.
    /// - Throws: `gap` where `offset` is no longer there; `outOfRange` above the head.
    func read(
        from offset: UInt64, maximumCount: Int, maximumBytes: Int,
        _ visit: (BufferRecord) -> Bool
    ) throws(BufferError) -> UInt64

    /// The declared losses in a range, in order: what a confirmation passes over.
    func gaps(in offsets: Range<UInt64>) -> [BufferGap]

    /// The first offset that was appended at or after a time (milliseconds since 1970). Blocks.
    func offset(atOrAfterMilliseconds time: Int64) throws(BufferError) -> UInt64

    /// Calls `handler` with the head after each commit until the number is given back.
    func observeHead(_ handler: @escaping @Sendable (UInt64) -> Void) -> UInt64
    func removeObserver(_ number: UInt64)
}

extension ReadableBuffer {
    /// The record digest at `offset` (gateway history check); nil where the buffer has no record.
    /// Blocks.
    package func recordDigest(at offset: UInt64) throws(BufferError) -> Digest? {
        guard offset >= firstOffset, offset < headOffset else { return nil }
        var found: Result<Digest, MalformedRecord>?
        do throws(BufferError) {
            _ = try read(from: offset, maximumCount: 1, maximumBytes: .max) { record in
                found = Result { () throws(MalformedRecord) in
                    try RecordDigest.compute(offset: record.offset, storedRecord: record.payload)
                }
                return false
            }
        } catch {
            if case .gap = error.kind { return nil }
            throw error
        }
        switch found {
        case .success(let digest): return digest
        case .failure(let error): throw BufferError(.corrupt, error.sentence)
        case nil: return nil
        }
    }
}

/// A place in another zone's history: what a receiver has of it, durably.
package struct SourcePosition: Sendable, Equatable {
    package var logUUID: [UInt8]
    package var epoch: UInt64
    /// The next offset to take.
    package var nextOffset: UInt64
    /// Of the last record before `nextOffset`, and that record's offset.
    package var digest: Digest?
    package var digestOffset: UInt64?

    package init(
        logUUID: [UInt8], epoch: UInt64, nextOffset: UInt64, digest: Digest? = nil,
        digestOffset: UInt64? = nil
    ) {
        self.logUUID = logUUID
        self.epoch = epoch
        self.nextOffset = nextOffset
        self.digest = digest
        self.digestOffset = digestOffset
    }
}
