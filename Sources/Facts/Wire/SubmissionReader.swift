/// Reads facts from a request whose bytes passed the validator, or come from the JSON reader. Of a list with a limit
/// no more is read than one above it, which is enough to refuse it: an empty element is two bytes of a body.
struct SubmissionReader {
    let bytes: UnsafeRawBufferPointer
    /// The refusals of the JSON reader; nil: the request was binary.
    let refusals: [CanonicalJSONError]?

    func appendFact() throws(WireProblem) -> AppendFactSubmission {
        var request = AppendFactSubmission()
        request.fact.hasEnvelope = false
        request.fact.hasFact = false
        var reader = WireReader(bytes)
        while let field = try reader.next() {
            switch field.number {
            case 1: request.stream = text(field)
            case 2: try envelope(field.content, into: &request.fact)
            case 3: try fact(field.content, into: &request.fact)
            default: break
            }
        }
        return request
    }

    /// Where the facts are, without what they say.
    func appendFacts() throws(WireProblem) -> AppendFactsSubmission {
        var request = AppendFactsSubmission()
        var reader = WireReader(bytes)
        while let field = try reader.next() {
            switch field.number {
            case 1: request.stream = text(field)
            case 2 where request.ranges.count <= FactLimits.pageFacts:
                request.ranges.append(field.content)
            case 3: request.stopOnError = field.value != 0
            default: break
            }
        }
        return request
    }

    func message(_ range: Range<Int>) throws(WireProblem) -> FactSubmission {
        var submission = FactSubmission()
        submission.hasEnvelope = false
        submission.hasFact = false
        var reader = WireReader(bytes, range)
        while let field = try reader.next() {
            switch field.number {
            case 1: try envelope(field.content, into: &submission)
            case 2: try fact(field.content, into: &submission)
            case 3: submission.format = UInt32(truncatingIfNeeded: field.value)
            default: break
            }
        }
        return submission
    }

    /// The bytes are UTF-8: both readers saw to it.
    private func text(_ field: WireField) -> String {
        String(decoding: UnsafeRawBufferPointer(rebasing: bytes[field.content]), as: UTF8.self)
    }

    private func envelope(
        _ range: Range<Int>, into submission: inout FactSubmission
    ) throws(WireProblem) {
        submission.hasEnvelope = true
        var reader = WireReader(bytes, range)
        while let field = try reader.next() {
            switch field.number {
            case 1: submission.messageID = text(field)
            case 2: submission.fromZone = text(field)
            case 3: submission.toZone = text(field)
            case 4: submission.producedAtUnixMilliseconds = Int64(bitPattern: field.value)
            case 5: submission.correlationID = text(field)
            case 6: submission.causationID = text(field)
            case 7 where submission.labels.count <= FactLimits.labels:
                submission.labels.append(try label(field.content))
            case 8: submission.objectMediaType = text(field)
            case 9: submission.objectSchema = text(field)
            default: break
            }
        }
    }

    private func label(_ range: Range<Int>) throws(WireProblem) -> FactSubmission.Label {
        var label = FactSubmission.Label(name: "", value: "")
        var reader = WireReader(bytes, range)
        while let field = try reader.next() {
            if field.number == 1 { label.name = text(field) }
            if field.number == 2 { label.value = text(field) }
        }
        return label
    }

    private func fact(
        _ range: Range<Int>, into submission: inout FactSubmission
    ) throws(WireProblem) {
        submission.hasFact = true
        var reader = WireReader(bytes, range)
        while let field = try reader.next() {
            switch field.number {
            case 1: submission.subject = text(field)
            case 2: submission.predicate = text(field)
            case 3: submission.body = .objectJSON(reader.array(field.content))
            case 4: submission.body = .objectBytes(reader.array(field.content))
            case 5 where submission.artifacts.count <= FactLimits.artifacts:
                submission.artifacts.append(try artifact(field.content))
            case 6: submission.body = try object(field.content)
            default: break
            }
        }
    }

    private func object(_ range: Range<Int>) throws(WireProblem) -> FactSubmission.Body {
        guard let refusals else {
            do throws(CanonicalJSONError) {
                return .canonicalObject(try ValueToJSON.canonical(bytes, range))
            } catch {
                return .refusedObject(error)
            }
        }
        precondition(!range.isEmpty, "the JSON reader marks every value")
        let content = range.dropFirst()
        if bytes[range.lowerBound] == JSONToWire.ValueMark.canonical {
            return .canonicalObject(
                Array(UnsafeRawBufferPointer(rebasing: bytes[content])))
        }
        var place = 0
        for (index, byte) in bytes[content].enumerated() {
            place |= Int(byte & 0x7F) << (7 * index)
        }
        return .refusedObject(refusals[place])
    }

    func artifact(_ range: Range<Int>) throws(WireProblem) -> FactSubmission.Artifact {
        var artifact = FactSubmission.Artifact()
        var reader = WireReader(bytes, range)
        while let field = try reader.next() {
            switch field.number {
            case 1: artifact.zone = text(field)
            case 2: artifact.bucket = text(field)
            case 3: artifact.key = text(field)
            case 4: artifact.digest = text(field)
            case 5: artifact.size = field.value
            case 6: artifact.mediaType = text(field)
            case 7: artifact.fileName = text(field)
            default: break
            }
        }
        return artifact
    }
}
