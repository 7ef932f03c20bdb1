package import Facts

/// Why a buffer could not do what was asked, in terms that every realisation has.
package struct BufferError: Error, Sendable {
    package enum Kind: Sendable, Equatable {
        /// No room: nothing was written; the same call may succeed later.
        case full
        /// More is asked for than is kept waiting, or keys are not known yet: nothing was written; the
        /// same call may succeed in a moment.
        case busy
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
        /// The buffer no longer has what was asked for; reading goes on at the gap's end.
        case gap(BufferGap)
        case cursorNotFound
        case cursorExists
        case cursorDetached
        /// A key is there with other content.
        case conflict(index: Int, offset: UInt64, stored: Digest)
        /// The position that stands is not the one that the caller moves from.
        case positionMoved
    }

    package var kind: Kind
    package var sentence: String
    package var fill: Double
    /// When the same call is worth another try, in milliseconds; 0: no hint.
    package var retryAfterMilliseconds: Int

    package init(
        _ kind: Kind, _ sentence: String, fill: Double = 0, retryAfterMilliseconds: Int = 0
    ) {
        self.kind = kind
        self.sentence = sentence
        self.fill = fill
        self.retryAfterMilliseconds = retryAfterMilliseconds
    }
}
