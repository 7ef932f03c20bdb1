/// What a reference to an artifact has to be. Whoever appends a fact is told what is wrong with his; what comes
/// from another zone was judged there, by a node that may say what it likes: it is judged again.
extension FactSubmission.Artifact {
    /// The first of its fields that is none, and the form that it should have.
    var fault: (field: String, form: String)? {
        let rules: [(Bool, String, String)] = [
            (FactRules.isStreamOrZone(zone), "zone", "[a-z0-9][a-z0-9._-]{0,63}"),
            (FactRules.isStreamOrZone(bucket), "bucket", "[a-z0-9][a-z0-9._-]{0,63}"),
            (
                FactRules.isArtifactKey(key), "key",
                "up to 512 bytes of segments without empty ones, '.', '..' and backslashes"
            ),
            (FactRules.isDigest(digest), "digest", "sha256: and 64 lower-case hexadecimal digits"),
            (FactRules.isMediaType(mediaType), "media_type", "type/subtype"),
            (
                FactRules.isFileName(fileName), "file_name",
                "up to 256 bytes without control characters"
            ),
        ]
        return rules.first { !$0.0 }.map { ($0.1, $0.2) }
    }

    /// Whether every field keeps to its rule.
    package var isSound: Bool { fault == nil }
}
