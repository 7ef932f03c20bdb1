package import Buffers
internal import Facts

/// A source's history, as it tells it.
package struct SourceHistory: Sendable {
    package struct Epoch: Sendable, Equatable {
        package var epoch: UInt64
        package var firstOffset: UInt64

        package init(epoch: UInt64, firstOffset: UInt64) {
            self.epoch = epoch
            self.firstOffset = firstOffset
        }
    }

    package var logUUID: [UInt8]
    package var epoch: UInt64
    package var headOffset: UInt64
    package var firstOffset: UInt64
    /// Oldest first; what it remembers.
    package var epochs: [Epoch]

    package init(
        logUUID: [UInt8], epoch: UInt64, headOffset: UInt64, firstOffset: UInt64, epochs: [Epoch]
    ) {
        self.logUUID = logUUID
        self.epoch = epoch
        self.headOffset = headOffset
        self.firstOffset = firstOffset
        self.epochs = epochs
    }

    /// Where the epoch after `epoch` began: records below are of both histories. Nil where that is not
    /// known.
    package func end(ofEpoch epoch: UInt64) -> UInt64? {
        guard let index = epochs.firstIndex(where: { $0.epoch == epoch }), index + 1 < epochs.count
        else { return nil }
        return epochs[index + 1].firstOffset
    }
}

/// Where a receiver's history and its source's part: the position from which receiving goes on once an
/// operator has accepted the source's. What lies below is the same on both sides; what follows is
/// fetched, and what the receiver has already is recognised by its key.
package enum HistoryFork {
    package enum Method: String, Sendable {
        /// By record digests: the newest record of ours that the source has too.
        case digests
        /// By the source's list of epochs.
        case epochs
        /// Nothing shared was found: everything that the source still has.
        case firstRetained = "first_retained"
    }

    /// One record of ours as the source must have it when the histories share it.
    package struct Shared: Sendable {
        /// In our log.
        package var offset: UInt64
        /// Behind it in the source's.
        package var position: SourcePosition
    }

    /// Looks records up in the receiver's buffer (on `read`, which may block) and asks the source about
    /// some, O(log records) times.
    ///
    /// - Parameters:
    ///   - read: runs what blocks on the disk.
    ///   - agrees: whether the source has the record before a position of its log.
    package static func find(
        position: SourcePosition, source: SourceHistory, buffer: any ForwardBuffer,
        read: (@escaping @Sendable () throws(BufferError) -> Shared?)
            async throws(PullFailure) -> Shared?,
        agrees: (SourcePosition) async throws(PullFailure) -> Bool
    ) async throws(PullFailure) -> (position: SourcePosition, method: Method) {
        let bound = min(
            position.nextOffset, source.headOffset,
            position.epoch < source.epoch ? source.end(ofEpoch: position.epoch) ?? .max : .max)
        if position.logUUID == source.logUUID {
            var best: SourcePosition?
            var range = buffer.firstOffset..<buffer.headOffset
            while !range.isEmpty {
                let middle = range.lowerBound + UInt64(range.count) / 2
                let part = middle..<range.upperBound
                let found = try await read { () throws(BufferError) in
                    try candidate(in: part, below: bound, source, buffer)
                }
                if let found, try await agrees(found.position) {
                    best = found.position
                    range = found.offset + 1..<range.upperBound
                } else {
                    range = range.lowerBound..<middle
                }
            }
            if let best { return (best, .digests) }
            // A relay's offsets are not in our records, only its epochs can tell.
            if position.epoch < source.epoch, let end = source.end(ofEpoch: position.epoch),
                end >= source.firstOffset
            {
                return (place(min(end, position.nextOffset), source), .epochs)
            }
        }
        return (place(source.firstOffset, source), .firstRetained)
    }

    private static func place(_ offset: UInt64, _ source: SourceHistory) -> SourcePosition {
        SourcePosition(logUUID: source.logUUID, epoch: source.epoch, nextOffset: offset)
    }

    /// The first of our records in a range that can be asked about: a fact that began in the source's own
    /// log, in an offset that its epoch still has there. Blocks.
    private static func candidate(
        in range: Range<UInt64>, below bound: UInt64, _ source: SourceHistory,
        _ buffer: any ForwardBuffer
    ) throws(BufferError) -> Shared? {
        var found: Shared?
        var next = range.lowerBound
        while found == nil, next < range.upperBound {
            do throws(BufferError) {
                next = try buffer.read(
                    from: next, maximumCount: Int(clamping: range.upperBound - next),
                    maximumBytes: .max
                ) { record in
                    found = shared(record, below: bound, source)
                    return found == nil
                }
            } catch {
                guard case .gap(let gap) = error.kind else { throw error }
                next = gap.offsets.upperBound
            }
        }
        return found
    }

    private static func shared(
        _ record: BufferRecord, below bound: UInt64, _ source: SourceHistory
    ) -> Shared? {
        guard let stored = try? StoredRecord(record.payload), stored.item == .message,
            !stored.isLate, let origin = stored.origin, origin.logUUID == source.logUUID,
            origin.offset < bound, origin.offset < source.end(ofEpoch: origin.epoch) ?? .max
        else { return nil }
        var position = place(origin.offset + 1, source)
        position.digest = RecordDigest.compute(
            offset: origin.offset, item: stored.item,
            bytes: UnsafeRawBufferPointer(rebasing: record.payload[stored.itemRange]))
        position.digestOffset = origin.offset
        return Shared(offset: record.offset, position: position)
    }
}
