/// `artifacts` of `bsfg.yaml`: the store of large binaries beside the logs.
package struct ArtifactConfiguration: Sendable, Equatable {
    /// Bytes of blobs, each counted once whatever its names.
    package var capacityBytes: UInt64 = 10 << 30
    /// How long an artifact stays after no fact refers to it any more, from its upload on.
    package var retentionMilliseconds: Int64 = 30 * 86_400_000
    /// How long an upload waits for the first fact that refers to it.
    package var uploadGraceMilliseconds: Int64 = 86_400_000
    package var sweepIntervalMilliseconds: Int64 = 600_000

    package init() {}

    static let yearsMaximumMilliseconds = 100 * 365 * 86_400_000

    init(_ section: inout MappingReader) {
        let years = 0...Self.yearsMaximumMilliseconds
        if let size = section.bytes("capacity", (1 << 20)...(1 << 50)) {
            capacityBytes = UInt64(size.value)
        }
        if let time = section.milliseconds("artifact_retention", years) {
            retentionMilliseconds = Int64(time)
        }
        if let time = section.milliseconds("upload_grace", years) {
            uploadGraceMilliseconds = Int64(time)
        }
        if let time = section.milliseconds("sweep_interval", 1_000...86_400_000) {
            sweepIntervalMilliseconds = Int64(time)
        }
    }
}

/// What a stream asks of the artifacts that its facts refer to when they are appended.
package enum ArtifactReferencePolicy: String, Sendable, CaseIterable {
    /// They have to be in the store, with the digest and the size that the fact says.
    case required
    case unchecked
}

extension MappingReader {
    /// `artifacts` of a peer or a client: the buckets that it may use.
    mutating func buckets() -> [String] {
        (texts("artifacts") ?? []).compactMap { bucket in
            if ZoneName.isValid(bucket.value) { return bucket.value }
            problem(
                bucket.position, "'\(bucket.value)' is no bucket name: use \(ZoneName.rule)")
            return nil
        }
    }
}

extension NodeConfiguration {
    /// Whether anything uses artifacts: without it there is no store.
    static func usesArtifacts(
        _ streams: [StreamConfiguration], _ clients: [ClientConfiguration],
        _ peers: [PeerConfiguration]
    ) -> Bool {
        streams.contains { $0.artifactReferences == .required }
            || clients.contains { !$0.artifacts.isEmpty }
            || peers.contains { !$0.artifacts.isEmpty }
    }
}
