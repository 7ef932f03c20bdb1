package import Facts

/// What could not be materialised, as it came, with everything that an operator needs to decide.
package struct QuarantinedFact: Sendable, Equatable {
    /// Why; the words are those of `Notice.reasons`.
    package enum Reason: String, Sendable, CaseIterable {
        /// The bytes are no message of a format that this release knows.
        case malformed
        /// They do not have the digest or checksum that was sent with them, three times over.
        case digestMismatch = "digest_mismatch"
        /// Another fact with the same key stands in the forward log.
        case conflict
    }

    package var identifier: QuarantineIdentifier
    package var stream: String
    /// The zone whose facts the stream is made of.
    package var origin: String
    package var reason: Reason
    /// What is wrong, for people; at most 1,024 bytes of UTF-8.
    package var sentence: String
    /// Its stream stopped for it and waits for an operator (profile `silStrict`).
    package var isHalting = false
    /// When it was put here, in milliseconds since 1970.
    package var quarantinedMilliseconds: Int64
    /// The content digest that was sent with it; nil when none was.
    package var offeredDigest: Digest?
    /// Of the fact that stands, where there is a conflict.
    package var storedDigest: Digest?
    /// Where that one stands in the forward log; nil when both came in one page.
    package var storedOffset: UInt64?
    /// The `StoredRecord` as it came.
    package var storedRecord: [UInt8]

    package init(
        identifier: QuarantineIdentifier, stream: String, origin: String, reason: Reason,
        sentence: String, quarantinedMilliseconds: Int64, offeredDigest: Digest? = nil,
        storedRecord: [UInt8]
    ) {
        self.identifier = identifier
        self.stream = stream
        self.origin = origin
        self.reason = reason
        self.sentence = sentence
        self.quarantinedMilliseconds = quarantinedMilliseconds
        self.offeredDigest = offeredDigest
        self.storedRecord = storedRecord
    }
}
