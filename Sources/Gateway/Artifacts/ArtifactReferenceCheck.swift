internal import Buffers
internal import Facts

/// What an append does with the artifacts that its fact refers to: they are held until the fact is
/// durable, so that no sweep comes between, and where the stream says so they have to be there.
struct ArtifactReferenceCheck: Sendable {
    let store: (any ArtifactStore)?

    /// - Returns: to be kept until the append is over.
    /// - Throws: `artifact_not_found`, `digest_mismatch`, under `artifact_references: required`.
    func hold(
        _ artifacts: [FactSubmission.Artifact], _ policy: ArtifactReferencePolicy
    ) throws(ServiceError) -> [ArtifactPin] {
        guard !artifacts.isEmpty, let store else { return [] }
        var pins: [ArtifactPin] = []
        for (index, artifact) in artifacts.enumerated() {
            // Its form was judged before.
            guard
                let name = ArtifactName(
                    zone: artifact.zone, bucket: artifact.bucket, key: artifact.key)
            else { continue }
            if let pin = store.pin(name) { pins.append(pin) }
            guard policy == .required else { continue }
            try check(artifact, store.entry(name), name, "fact.artifacts[\(index)]")
        }
        return pins
    }

    private func check(
        _ artifact: FactSubmission.Artifact, _ entry: ArtifactEntry?, _ name: ArtifactName,
        _ field: String
    ) throws(ServiceError) {
        guard let content = entry?.stored?.content ?? entry?.expected else {
            throw ServiceError(
                .artifactNotFound,
                "the fact refers to \(name), which is not here: put the artifact first, then append",
                field: field)
        }
        guard artifact.digest.utf8.elementsEqual("sha256:\(content.digest)".utf8),
            artifact.size == content.size
        else {
            var error = ServiceError(
                .digestMismatch,
                "the fact says that \(name) has \(artifact.size) bytes and \(artifact.digest), and "
                    + "it has \(content.size) and sha256:\(content.digest)", field: field)
            error.storedDigest = content.digest
            throw error
        }
    }
}
