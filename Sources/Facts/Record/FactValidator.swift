/// The rules of a submission's fields, apart from its object. What depends on a node's
/// configuration (known zones, streams and grants) is judged where that is known.
struct FactValidator {
    let limits: FactLimits

    func check(_ submission: FactSubmission) throws(FactError) {
        guard submission.hasEnvelope else { throw missing("envelope") }
        guard submission.hasFact else { throw missing("fact") }
        guard submission.format <= MessageView.format else {
            throw FactError(
                .invalidEnvelope, field: "format",
                "the format \(submission.format) is not known to this release; leave it out")
        }
        try checkEnvelope(submission)
        try checkLabels(submission.labels)
        try require(submission.subject, "fact.subject")
        guard FactRules.isSubject(submission.subject) else {
            throw FactError(
                .invalidSubject, field: "fact.subject",
                "the subject \(shown(submission.subject)) is not kind:id or kind:scope/id with a "
                    + "lower-case kind and no white space; correct it")
        }
        try require(submission.predicate, "fact.predicate")
        guard FactRules.isPredicate(submission.predicate) else {
            throw FactError(
                .invalidPredicate, field: "fact.predicate",
                "the predicate \(shown(submission.predicate)) is not lower_snake_case; correct it")
        }
        guard submission.artifacts.count <= FactLimits.artifacts else {
            throw FactError(
                .invalidObject, field: "fact.artifacts",
                "a fact refers to \(FactLimits.artifacts) artifacts at most; append several facts")
        }
        for (index, artifact) in submission.artifacts.enumerated() {
            try check(artifact, "fact.artifacts[\(index)]")
        }
    }

    private func checkEnvelope(_ submission: FactSubmission) throws(FactError) {
        try require(submission.messageID, "envelope.message_id")
        try checkOpaque(submission.messageID, "envelope.message_id")
        try checkZone(submission.fromZone, "envelope.from_zone")
        try checkZone(submission.toZone, "envelope.to_zone")
        guard submission.producedAtUnixMilliseconds != 0 else {
            throw missing("envelope.produced_at_unix_ms")
        }
        guard submission.producedAtUnixMilliseconds > 0 else {
            throw FactError(
                .invalidEnvelope, field: "envelope.produced_at_unix_ms",
                "produced_at_unix_ms is milliseconds since 1970 and above 0; correct it")
        }
        try checkOpaque(submission.correlationID, "envelope.correlation_id")
        try checkOpaque(submission.causationID, "envelope.causation_id")
        if !submission.objectMediaType.isEmpty,
            !FactRules.isMediaType(submission.objectMediaType)
        {
            throw FactError(
                .invalidEnvelope, field: "envelope.object_media_type",
                "\(shown(submission.objectMediaType)) is not type/subtype; correct it")
        }
        guard FactRules.isSchema(submission.objectSchema) else {
            throw FactError(
                .invalidEnvelope, field: "envelope.object_schema",
                "a schema's name has up to 256 bytes and no white space; correct it")
        }
    }

    private func checkZone(_ zone: String, _ field: String) throws(FactError) {
        try require(zone, field)
        guard FactRules.isStreamOrZone(zone) else {
            throw FactError(
                .invalidEnvelope, field: field,
                "the zone \(shown(zone)) is not [a-z0-9][a-z0-9._-]{0,63}; correct it")
        }
    }

    private func checkOpaque(_ text: String, _ field: String) throws(FactError) {
        guard text.utf8.count <= FactLimits.nameBytes else {
            throw FactError(
                .invalidEnvelope, field: field,
                "the field has \(text.utf8.count) bytes and may have \(FactLimits.nameBytes); "
                    + "send a hash of what is longer")
        }
        guard FactRules.isPrintable(text, spaces: true) else {
            throw FactError(
                .invalidEnvelope, field: field, "the field has a control character; remove it")
        }
    }

    private func checkLabels(_ labels: [FactSubmission.Label]) throws(FactError) {
        guard labels.count <= FactLimits.labels else {
            throw FactError(
                .invalidEnvelope, field: "envelope.labels",
                "an envelope has \(FactLimits.labels) labels at most")
        }
        for label in labels {
            guard !label.name.utf8.isEmpty, label.name.utf8.count <= FactLimits.nameBytes else {
                throw FactError(
                    .invalidEnvelope, field: "envelope.labels",
                    "a label's name has 1 to \(FactLimits.nameBytes) bytes; correct it")
            }
        }
    }

    private func check(
        _ artifact: FactSubmission.Artifact, _ field: String
    ) throws(FactError) {
        for (text, name) in [
            (artifact.zone, "zone"), (artifact.bucket, "bucket"), (artifact.key, "key"),
            (artifact.digest, "digest"), (artifact.mediaType, "media_type"),
        ] {
            try require(text, "\(field).\(name)")
        }
        guard let fault = artifact.fault else { return }
        throw FactError(
            .invalidObject, field: "\(field).\(fault.field)",
            "an artifact reference's \(fault.field) is \(fault.form); correct it")
    }

    private func require(_ text: String, _ field: String) throws(FactError) {
        if text.utf8.isEmpty { throw missing(field) }
    }

    private func missing(_ field: String) -> FactError {
        FactError(.missingField, field: field, "\(field) is required and absent; send it")
    }

    /// A value in a sentence: quoted, and not longer than a line.
    private func shown(_ text: String) -> String {
        var output: [UInt8] = []
        let short = text.unicodeScalars.prefix(60)
        JSONText.appendString(String(String.UnicodeScalarView(short)).utf8, to: &output)
        return String(decoding: output, as: UTF8.self)
    }
}
