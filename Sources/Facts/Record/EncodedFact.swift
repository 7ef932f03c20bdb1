/// A fact as it is on disk for ever: its bytes, encoded once at its origin, and what is computed from
/// them.
package struct EncodedFact: Sendable {
    /// The payload of the log record: a `StoredRecord` that holds the message.
    package let storedRecord: [UInt8]
    package let messageRange: Range<Int>
    /// Of from_zone and message_id: what makes a retry the same fact.
    package let key: Digest
    /// Of what the fact says: what makes a retry the same content.
    package let contentDigest: Digest

    /// The `Message`'s bytes.
    package var message: [UInt8] { Array(storedRecord[messageRange]) }
}
