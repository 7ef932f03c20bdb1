/// The sizes that a fact may have. What is fixed is part of the contract; the object's size is a
/// setting of each node, below a ceiling that every node can store and replicate.
package struct FactLimits: Sendable {
    package static let objectBytesCeiling = 3 << 20
    package static let envelopeBytes = 64 << 10
    package static let nameBytes = 256
    package static let labels = 64
    package static let artifacts = 64
    package static let artifactKeyBytes = 512
    /// A stored record with the log's own headers.
    package static let recordBytes = 4 << 20
    package static let pageBytes = 6 << 20
    package static let pageFacts = 10_000
    package static let commitBytes = 8 << 20
    package static let requestBytes = 12 << 20

    /// Of the canonical text, or of the opaque bytes.
    package let objectBytes: Int

    package init(objectBytes: Int = 1 << 20) {
        precondition(
            objectBytes > 0 && objectBytes <= FactLimits.objectBytesCeiling,
            "an object may have up to 3 MiB")
        self.objectBytes = objectBytes
    }
}
