/// Judges a submission and encodes it: the one encoder of messages. Fields are written by number
/// and labels in the order of their names' UTF-8 bytes, so that the same fact always has the same
/// bytes.
package struct FactEncoder: Sendable {
    package let limits: FactLimits

    package init(limits: FactLimits = FactLimits()) { self.limits = limits }

    package func encode(_ submission: FactSubmission) throws(FactError) -> EncodedFact {
        try FactValidator(limits: limits).check(submission)
        let object = try canonicalBody(submission)
        let labels = try sortedLabels(submission)
        let envelopeSize = envelopeSize(submission, labels)
        guard envelopeSize <= FactLimits.envelopeBytes else {
            throw FactError(
                .tooLarge, field: "envelope",
                "the envelope has \(envelopeSize) bytes and may have \(FactLimits.envelopeBytes); "
                    + "send fewer or shorter labels")
        }
        let factSize = factSize(submission, object)
        let messageSize =
            WireWriter.fieldSize(envelopeSize) + WireWriter.fieldSize(factSize)
            + 1 + WireWriter.varintSize(UInt64(MessageView.format))

        var output: [UInt8] = []
        output.reserveCapacity(WireWriter.fieldSize(messageSize))
        WireWriter.appendTag(5, .bytes, to: &output)
        WireWriter.appendVarint(UInt64(messageSize), to: &output)
        let start = output.count
        WireWriter.appendTag(1, .bytes, to: &output)
        WireWriter.appendVarint(UInt64(envelopeSize), to: &output)
        appendEnvelope(submission, labels, to: &output)
        precondition(output.count == start + WireWriter.fieldSize(envelopeSize))
        WireWriter.appendTag(2, .bytes, to: &output)
        WireWriter.appendVarint(UInt64(factSize), to: &output)
        appendFact(submission, object, to: &output)
        WireWriter.append(3, varint: UInt64(MessageView.format), to: &output)
        precondition(output.count == start + messageSize, "a size was computed wrongly")
        return EncodedFact(storedRecord: output, messageRange: start..<output.count)
    }

    private struct Object {
        var isJSON: Bool
        var bytes: [UInt8]
    }

    private func canonicalBody(_ submission: FactSubmission) throws(FactError) -> Object {
        let object: Object
        let field: String
        switch submission.body {
        case .absent:
            throw FactError(
                .missingField, field: "fact.object",
                "the fact has no body; send object, object_json or object_bytes")
        case .refusedObject(let error): throw FactError(error, field: "fact.object")
        case .canonicalObject(let text):
            (object, field) = (Object(isJSON: true, bytes: text), "fact.object")
        case .objectJSON(let text):
            field = "fact.object_json"
            do throws(CanonicalJSONError) {
                object = Object(
                    isJSON: true,
                    bytes: try CanonicalJSON.canonicalise(text, limitBytes: limits.objectBytes))
            } catch {
                throw FactError(error, field: field)
            }
        case .objectBytes(let bytes):
            (object, field) = (Object(isJSON: false, bytes: bytes), "fact.object_bytes")
            guard !submission.objectMediaType.isEmpty else {
                throw FactError(
                    .missingField, field: "envelope.object_media_type",
                    "object_bytes needs envelope.object_media_type; say what the bytes are")
            }
        }
        guard object.bytes.count <= limits.objectBytes else {
            throw FactError(
                .tooLarge, field: field,
                "the object has \(object.bytes.count) bytes and may have \(limits.objectBytes); "
                    + "put it into an artifact and refer to it")
        }
        return object
    }

    private func sortedLabels(
        _ submission: FactSubmission
    ) throws(FactError) -> [FactSubmission.Label] {
        let labels = submission.labels.sorted {
            $0.name.utf8.lexicographicallyPrecedes($1.name.utf8)
        }
        for (left, right) in zip(labels, labels.dropFirst())
        where left.name.utf8.elementsEqual(right.name.utf8) {
            throw FactError(
                .invalidEnvelope, field: "envelope.labels",
                "the label \"\(left.name)\" occurs twice; send each label once")
        }
        return labels
    }

    // MARK: Sizes, in the order of the fields

    private func labelSize(_ label: FactSubmission.Label) -> Int {
        WireWriter.fieldSize(label.name.utf8.count) + WireWriter.fieldSize(label.value.utf8.count)
    }

    private func envelopeSize(
        _ submission: FactSubmission, _ labels: [FactSubmission.Label]
    ) -> Int {
        var size = WireWriter.fieldSize(submission.messageID)
        size += WireWriter.fieldSize(submission.fromZone)
        size += WireWriter.fieldSize(submission.toZone)
        size += 1 + WireWriter.varintSize(UInt64(submission.producedAtUnixMilliseconds))
        size += WireWriter.fieldSize(submission.correlationID)
        size += WireWriter.fieldSize(submission.causationID)
        for label in labels { size += WireWriter.fieldSize(labelSize(label)) }
        size += WireWriter.fieldSize(submission.objectMediaType)
        return size + WireWriter.fieldSize(submission.objectSchema)
    }

    private func factSize(_ submission: FactSubmission, _ object: Object) -> Int {
        var size = WireWriter.fieldSize(submission.subject)
        size += WireWriter.fieldSize(submission.predicate)
        size += WireWriter.fieldSize(object.bytes.count)
        for artifact in submission.artifacts {
            size += WireWriter.fieldSize(artifactSize(artifact))
        }
        return size
    }

    private func artifactSize(_ artifact: FactSubmission.Artifact) -> Int {
        var size = WireWriter.fieldSize(artifact.zone) + WireWriter.fieldSize(artifact.bucket)
        size += WireWriter.fieldSize(artifact.key) + WireWriter.fieldSize(artifact.digest)
        if artifact.size > 0 { size += 1 + WireWriter.varintSize(artifact.size) }
        return size + WireWriter.fieldSize(artifact.mediaType)
            + WireWriter.fieldSize(artifact.fileName)
    }

    // MARK: Bytes

    private func appendEnvelope(
        _ submission: FactSubmission, _ labels: [FactSubmission.Label], to output: inout [UInt8]
    ) {
        WireWriter.append(1, text: submission.messageID, to: &output)
        WireWriter.append(2, text: submission.fromZone, to: &output)
        WireWriter.append(3, text: submission.toZone, to: &output)
        WireWriter.append(
            4, varint: UInt64(submission.producedAtUnixMilliseconds), to: &output)
        WireWriter.append(5, text: submission.correlationID, to: &output)
        WireWriter.append(6, text: submission.causationID, to: &output)
        for label in labels {
            WireWriter.appendTag(7, .bytes, to: &output)
            WireWriter.appendVarint(UInt64(labelSize(label)), to: &output)
            // A map's entry has both parts, whether they are empty or not.
            WireWriter.append(1, bytes: Array(label.name.utf8), to: &output)
            WireWriter.append(2, bytes: Array(label.value.utf8), to: &output)
        }
        WireWriter.append(8, text: submission.objectMediaType, to: &output)
        WireWriter.append(9, text: submission.objectSchema, to: &output)
    }

    private func appendFact(
        _ submission: FactSubmission, _ object: Object, to output: inout [UInt8]
    ) {
        WireWriter.append(1, text: submission.subject, to: &output)
        WireWriter.append(2, text: submission.predicate, to: &output)
        WireWriter.append(object.isJSON ? 3 : 4, bytes: object.bytes, to: &output)
        for artifact in submission.artifacts {
            WireWriter.appendTag(5, .bytes, to: &output)
            WireWriter.appendVarint(UInt64(artifactSize(artifact)), to: &output)
            WireWriter.append(1, text: artifact.zone, to: &output)
            WireWriter.append(2, text: artifact.bucket, to: &output)
            WireWriter.append(3, text: artifact.key, to: &output)
            WireWriter.append(4, text: artifact.digest, to: &output)
            if artifact.size > 0 { WireWriter.append(5, varint: artifact.size, to: &output) }
            WireWriter.append(6, text: artifact.mediaType, to: &output)
            WireWriter.append(7, text: artifact.fileName, to: &output)
        }
    }
}

extension EncodedFact {
    /// The digests are computed from the bytes, as every receiver does it.
    fileprivate init(storedRecord: [UInt8], messageRange: Range<Int>) {
        self.storedRecord = storedRecord
        self.messageRange = messageRange
        (key, contentDigest) = storedRecord.withUnsafeBytes { bytes in
            do throws(MessageView.Malformed) {
                let view = try MessageView(UnsafeRawBufferPointer(rebasing: bytes[messageRange]))
                return (view.key(), try view.contentDigest())
            } catch {
                preconditionFailure("the encoder wrote what cannot be read: \(error.sentence)")
            }
        }
    }
}
