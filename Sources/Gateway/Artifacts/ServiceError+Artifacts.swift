internal import Buffers
internal import Facts

extension ServiceError {
    /// The artifact store's error as callers see it.
    init(_ error: ArtifactError) {
        switch error.kind {
        case .notFound: self.init(.artifactNotFound, error.sentence)
        case .exists(let stored):
            self.init(.artifactExists, error.sentence)
            storedDigest = stored
        case .digestMismatch(let offered):
            self.init(.digestMismatch, error.sentence)
            offeredDigest = offered
        case .full:
            self.init(.artifactStoreFull, error.sentence)
            retryAfterMilliseconds = 60_000
        case .busy:
            self.init(.overloaded, error.sentence)
            retryAfterMilliseconds = 1_000
        case .outcomeUnknown: self.init(.outcomeUnknown, error.sentence)
        case .failed: self.init(.internal, error.sentence)
        }
    }
}
