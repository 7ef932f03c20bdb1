package import Facts

/// What an artifact is called everywhere: the zone that it began in, its bucket there, and its key.
/// Compared as bytes.
package struct ArtifactName: Hashable, Sendable, Comparable, CustomStringConvertible {
    package let zone: String
    package let bucket: String
    package let key: String
    /// The three with a zero byte between, which no part can hold: what is compared.
    private let bytes: [UInt8]

    /// Nil unless each part keeps to its rule: `[a-z0-9][a-z0-9._-]{0,63}` for zone and bucket, up to 512
    /// bytes of proper segments for the key (gateway decision 43).
    package init?(zone: String, bucket: String, key: String) {
        guard FactRules.isStreamOrZone(zone), FactRules.isStreamOrZone(bucket),
            FactRules.isArtifactKey(key)
        else { return nil }
        self.zone = zone
        self.bucket = bucket
        self.key = key
        bytes = Array(zone.utf8) + [0] + Array(bucket.utf8) + [0] + Array(key.utf8)
    }

    package var description: String { "\(zone)/\(bucket)/\(key)" }

    package static func == (left: ArtifactName, right: ArtifactName) -> Bool {
        left.bytes == right.bytes
    }

    package func hash(into hasher: inout Hasher) { hasher.combine(bytes) }

    package static func < (left: ArtifactName, right: ArtifactName) -> Bool {
        left.bytes.lexicographicallyPrecedes(right.bytes)
    }
}

/// What an artifact's bytes are, as its name was given or as a fact refers to them.
package struct ArtifactContent: Sendable, Equatable {
    package var digest: Digest
    /// Bytes.
    package var size: UInt64
    package var mediaType: String
    /// What a person would call it; says nothing about where it is stored.
    package var fileName: String

    package init(digest: Digest, size: UInt64, mediaType: String, fileName: String = "") {
        self.digest = digest
        self.size = size
        self.mediaType = mediaType
        self.fileName = fileName
    }
}

/// An artifact whose bytes are here.
package struct StoredArtifact: Sendable, Equatable {
    package var name: ArtifactName
    package var content: ArtifactContent
    /// When its name was given, milliseconds since 1970.
    package var storedMilliseconds: Int64

    package init(name: ArtifactName, content: ArtifactContent, storedMilliseconds: Int64) {
        self.name = name
        self.content = content
        self.storedMilliseconds = storedMilliseconds
    }
}

/// A fact of a log that refers to an artifact.
package struct ArtifactUse: Sendable, Equatable {
    package var name: ArtifactName
    /// What the fact says of it.
    package var content: ArtifactContent
    /// Of the fact, in its log here.
    package var offset: UInt64

    package init(name: ArtifactName, content: ArtifactContent, offset: UInt64) {
        self.name = name
        self.content = content
        self.offset = offset
    }
}
