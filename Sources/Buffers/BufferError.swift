package import Facts

/// Why a buffer could not do what was asked, in terms that every realisation has.
package struct BufferError: Error, Sendable {
    package enum Kind: Sendable, Equatable {
        /// Nothing was written; the same call may succeed later.
        case full
        /// Nothing was written and nothing can be, as it was asked.
        case invalid
        /// Nothing was written; the same records may fit as several commits.
        case batchTooLarge
        /// It may or may not be durable; retrying with the same key is safe.
        case outcomeUnknown
        /// The buffer stopped writing.
        case stopped
        /// What is stored is not what was stored.
        case corrupt
        case outOfRange(first: UInt64, head: UInt64)
        case cursorNotFound
        case cursorExists
        /// A key is there with other content.
        case conflict(index: Int, offset: UInt64, stored: Digest)
        /// The position that stands is not the one that the caller moves from.
        case positionMoved
    }

    package var kind: Kind
    package var sentence: String
    package var fill: Double

    package init(_ kind: Kind, _ sentence: String, fill: Double = 0) {
        self.kind = kind
        self.sentence = sentence
        self.fill = fill
    }
}
