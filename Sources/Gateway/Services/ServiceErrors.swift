internal import Buffers
internal import Facts

extension ServiceError {
    /// A buffer's error as callers see it.
    init(_ error: BufferError) {
        switch error.kind {
        case .full:
            self.init(.backpressure, error.sentence)
            fill = error.fill
            retryAfterMilliseconds = UInt32(clamping: max(1, error.retryAfterMilliseconds))
        case .busy:
            self.init(.overloaded, error.sentence)
            retryAfterMilliseconds = UInt32(clamping: max(1, error.retryAfterMilliseconds))
        case .invalid, .batchTooLarge: self.init(.tooLarge, error.sentence)
        case .outcomeUnknown: self.init(.outcomeUnknown, error.sentence)
        case .stopped: self.init(.logPoisoned, error.sentence)
        case .corrupt: self.init(.internal, error.sentence)
        case .outOfRange(let first, let head):
            self.init(.beyondHead, error.sentence)
            firstOffset = first
            headOffset = head
        case .cursorNotFound: self.init(.consumerNotFound, error.sentence)
        case .cursorExists: self.init(.consumerExists, error.sentence)
        case .cursorDetached: self.init(.cursorDetached, error.sentence)
        case .gap(let gap):
            // Pages tell gaps as entries; whoever asks for one record only is told where to go on.
            self.init(.beyondHead, error.sentence)
            firstOffset = gap.offsets.upperBound
        case .conflict(_, let offset, let stored):
            self.init(.conflictingDuplicate, error.sentence)
            self.offset = offset
            storedDigest = stored
        case .positionMoved: self.init(.historyMismatch, error.sentence)
        }
    }
}
