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
    ///
    /// - Parameter replacing: gives, for the records whose key is there with other content, what is
    ///   written in the place of each; called before anything is written and while nobody else can
    ///   take the keys. Nil: a conflict is an error.
    /// - Throws: `conflict` when a key is there with other content, and nothing was written;
    ///   `positionMoved` when the position is not `from`; what `replacing` throws.
    func putIfAbsent(
        _ records: [ForwardRecord], from: SourcePosition, to: SourcePosition,
        replacing: (([ForwardConflict]) throws(BufferError) -> [[UInt8]])?
    ) throws(BufferError) -> PutReceipt

    /// Puts a fact that was in quarantine at the tail, if its key is absent; the position stays.
    /// Blocks.
    func putLate(_ record: ForwardRecord) throws(BufferError) -> PutOutcome

    /// Why receiving stopped for an operator, durably; nil while it did not.
    var halt: ForwardHalt? { get }

    /// Stops receiving for an operator, or ends that. Durable when it returns. Blocks.
    func setHalt(_ halt: ForwardHalt?) throws(BufferError)

    /// Puts what an operator refused in the place of the fact that receiving stopped for, moves the
    /// position past it and ends the halt, in one durable commit. Blocks.
    /// - Throws: `positionMoved` when the position is not `from`.
    func putRefusal(_ record: ForwardRecord, from: SourcePosition, to: SourcePosition)
        throws(BufferError)

    /// Puts the position where an operator accepted another history, which may be lower, and ends a
    /// halt, which was in the history before. Durable when it returns. Blocks.
    /// - Throws: `positionMoved` when the position is not `from`.
    func accept(_ position: SourcePosition, from: SourcePosition) throws(BufferError)

    /// Where a key stands. Blocks.
    /// - Throws: `busy` while it cannot be told.
    func get(_ key: Digest) throws(BufferError) -> UInt64?

    /// The same with the digest of what stands there.
    func content(of key: Digest) throws(BufferError) -> (offset: UInt64, content: Digest)?

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

/// A record on its way in whose key is there with other content.
package struct ForwardConflict: Sendable, Equatable {
    /// Among the records of the call.
    package var index: Int
    /// Where the fact with the key stands; nil when it is an earlier one of the same call.
    package var offset: UInt64?
    /// That fact's content digest.
    package var stored: Digest
}

/// What receiving stopped for: one record of the source, until an operator decides.
package struct ForwardHalt: Sendable, Equatable {
    package static let sentenceBytesMaximum = 300

    package var identifier: QuarantineIdentifier
    package var reason: QuarantinedFact.Reason
    package var sentence: String

    /// A longer sentence than 300 bytes of UTF-8 is cut.
    package init(
        identifier: QuarantineIdentifier, reason: QuarantinedFact.Reason, sentence: String
    ) {
        self.identifier = identifier
        self.reason = reason
        self.sentence = String(
            decoding: sentence.utf8.prefix(ForwardHalt.sentenceBytesMaximum), as: UTF8.self)
    }
}

extension ForwardBuffer {
    package func putIfAbsent(
        _ records: [ForwardRecord], from: SourcePosition, to: SourcePosition
    ) throws(BufferError) -> PutReceipt {
        try putIfAbsent(records, from: from, to: to, replacing: nil)
    }

    package func queryByTimeRange(
        _ milliseconds: ClosedRange<Int64>, _ visit: (BufferRecord) -> Bool
    ) throws(BufferError) {
        let first = try offset(atOrAfterMilliseconds: milliseconds.lowerBound)
        _ = try read(from: first, maximumCount: .max, maximumBytes: .max) { record in
            record.appendedMilliseconds <= milliseconds.upperBound && visit(record)
        }
    }
}
