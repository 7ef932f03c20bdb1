package import Facts

/// What became of one fact.
package enum PutOutcome: Sendable, Equatable {
    case appended(offset: UInt64)
    /// The same key and content stands there, durable.
    case existing(offset: UInt64)
    /// The same key with other content stands there; nothing was written.
    case conflict(offset: UInt64, stored: Digest)
    /// Left out because a fact before it could not be taken.
    case skipped
}

/// The answer to an append, given when everything it names is durable.
package struct PutReceipt: Sendable {
    package var outcomes: [PutOutcome]
    package var epoch: UInt64
    package var fill: Double

    package init(outcomes: [PutOutcome], epoch: UInt64, fill: Double) {
        self.outcomes = outcomes
        self.epoch = epoch
        self.fill = fill
    }
}

/// A fact with the key under which it is told apart.
package struct KeyedFact: Sendable {
    package var key: Digest
    package var contentDigest: Digest
    /// A `StoredRecord`.
    package var storedRecord: [UInt8]

    package init(key: Digest, contentDigest: Digest, storedRecord: [UInt8]) {
        self.key = key
        self.contentDigest = contentDigest
        self.storedRecord = storedRecord
    }
}

/// The buffer that takes the facts of local producers (ISB or ESB role): a producer's fact is safe once
/// it is here, whatever the other zone does.
package protocol StoreBuffer: ReadableBuffer {
    /// Appends the facts that are new in one commit. Never blocks; the completion runs when every
    /// outcome is durable.
    func append(
        _ facts: [KeyedFact],
        completion: @escaping @Sendable (Result<PutReceipt, BufferError>) -> Void)

    /// The same, but nothing after the first conflict is taken. Blocks.
    func appendUntilConflict(_ facts: [KeyedFact]) throws(BufferError) -> PutReceipt
}
