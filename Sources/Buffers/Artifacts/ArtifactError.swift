package import Facts

/// Why the artifact store could not do what was asked.
package struct ArtifactError: Error, Sendable {
    package enum Kind: Sendable, Equatable {
        case notFound
        /// The name has other bytes.
        case exists(stored: Digest)
        /// The bytes are not those that were announced.
        case digestMismatch(offered: Digest)
        /// There is no room now; nothing is left of what was written.
        case full
        /// Too many calls wait for the disk.
        case busy
        /// Nobody knows whether the name was given; the same upload is safe to repeat.
        case outcomeUnknown
        /// The disk failed, or the store was closed.
        case failed
    }

    package var kind: Kind
    package var sentence: String

    package init(_ kind: Kind, _ sentence: String) {
        self.kind = kind
        self.sentence = sentence
    }
}

extension ArtifactError {
    package static func full(_ capacityBytes: UInt64) -> ArtifactError {
        ArtifactError(
            .full,
            "the artifact store has no room within its capacity of \(capacityBytes) bytes; send it "
                + "again later, or have the operator raise the capacity")
    }

    static func mismatch(_ expected: Digest, _ found: Digest) -> ArtifactError {
        ArtifactError(
            .digestMismatch(offered: found),
            "the bytes have the digest sha256:\(found) and were announced as sha256:\(expected); "
                + "nothing was kept")
    }

    package static func exists(_ name: ArtifactName, _ stored: Digest) -> ArtifactError {
        ArtifactError(
            .exists(stored: stored),
            "\(name) exists with other bytes (sha256:\(stored)) and is never changed; use another key")
    }
}

extension ArtifactStore {
    package func find(_ name: ArtifactName) -> StoredArtifact? { entry(name)?.stored }
}
