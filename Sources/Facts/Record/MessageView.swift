/// What a reader needs of a `Message`'s bytes without decoding them: the parts that its key and its
/// content digest cover. The encoder and every receiver compute both from here, over the same
/// bytes.
struct MessageView {
    /// The digest rules that this release knows.
    static let format: UInt32 = 1

    private static let schema = WireSchema.message(named: "Message")

    struct Malformed: Error {
        var sentence: String
    }

    enum Body: UInt8 {
        case json = 1
        case bytes = 2
    }

    let bytes: UnsafeRawBufferPointer
    private(set) var format: UInt32 = 0
    private(set) var messageID = 0..<0
    private(set) var fromZone = 0..<0
    private var objectMediaType = 0..<0
    private var objectSchema = 0..<0
    private(set) var subject = 0..<0
    private var predicate = 0..<0
    private var body: Body?
    private var object = 0..<0
    /// The first of them, up to the limit: an empty one is two bytes of a page.
    private var artifacts: [Range<Int>] = []
    private var artifactCount = 0

    init(_ bytes: UnsafeRawBufferPointer) throws(Malformed) {
        self.bytes = bytes
        do throws(WireProblem) {
            try read()
        } catch {
            throw Malformed(sentence: "the message is not readable: \(error.text)")
        }
    }

    private mutating func read() throws(WireProblem) {
        var seen: UInt64 = 0
        var reader = WireReader(bytes)
        while let field = try reader.next() {
            guard field.number <= 3 else { continue }
            try expect(field, field.number == 3 ? .varint : .bytes, once: &seen)
            switch field.number {
            case 1: try readEnvelope(field.content)
            case 2: try readFact(field.content)
            default: format = UInt32(clamping: field.value)
            }
        }
    }

    private mutating func readEnvelope(_ range: Range<Int>) throws(WireProblem) {
        var seen: UInt64 = 0
        var reader = WireReader(bytes, range)
        while let field = try reader.next() {
            guard field.number <= 2 || field.number == 8 || field.number == 9 else { continue }
            try expect(field, .bytes, once: &seen)
            switch field.number {
            case 1: messageID = field.content
            case 2: fromZone = field.content
            case 8: objectMediaType = field.content
            default: objectSchema = field.content
            }
        }
    }

    private mutating func readFact(_ range: Range<Int>) throws(WireProblem) {
        var seen: UInt64 = 0
        var reader = WireReader(bytes, range)
        while let field = try reader.next() {
            switch field.number {
            case 1:
                try expect(field, .bytes, once: &seen)
                subject = field.content
            case 2:
                try expect(field, .bytes, once: &seen)
                predicate = field.content
            case 3, 4:
                guard body == nil else { throw problem(field, "the fact has two bodies") }
                try expect(field, .bytes, once: &seen)
                body = field.number == 3 ? .json : .bytes
                object = field.content
            case 5:
                guard field.type == .bytes else { throw problem(field, "field 5 is no message") }
                artifactCount += 1
                if artifactCount <= FactLimits.artifacts { artifacts.append(field.content) }
            case 6: throw problem(field, "the fact has an object that was not canonicalised")
            default: break
            }
        }
    }

    private func expect(
        _ field: WireField, _ type: WireType, once seen: inout UInt64
    ) throws(WireProblem) {
        guard field.type == type else {
            throw problem(field, "field \(field.number) has another type")
        }
        let bit: UInt64 = 1 << UInt64(field.number)
        guard seen & bit == 0 else {
            throw problem(field, "field \(field.number) occurs twice")
        }
        seen |= bit
    }

    private func problem(_ field: WireField, _ text: String) -> WireProblem {
        WireProblem(byteOffset: field.whole.lowerBound, text: text)
    }

    private func slice(_ range: Range<Int>) -> UnsafeRawBufferPointer {
        UnsafeRawBufferPointer(rebasing: bytes[range])
    }

    /// What a log cannot do without, of a message that came from somewhere else.
    func check() throws(Malformed) {
        guard body != nil else { throw Malformed(sentence: "the fact has no body") }
        for (name, range) in [("message_id", messageID), ("from_zone", fromZone)] {
            guard !range.isEmpty, range.count <= FactLimits.nameBytes else {
                throw Malformed(sentence: "the envelope's \(name) has \(range.count) bytes")
            }
            guard WireNames.isUTF8(slice(range)) else {
                throw Malformed(sentence: "the envelope's \(name) is not UTF-8")
            }
        }
        // Every part that is later shown has to be readable, not only what the digests cover.
        do throws(ServiceError) {
            try WireValidator.validate(bytes, as: MessageView.schema, isLenient: true)
        } catch {
            throw Malformed(sentence: "\(error.message) (\(error.field))")
        }
        try checkArtifacts()
    }

    /// They are stored, shown as headers and followed: what their own zone did not judge ends here.
    private func checkArtifacts() throws(Malformed) {
        try checkArtifactCount()
        for (index, range) in artifacts.enumerated() {
            let artifact: FactSubmission.Artifact
            do throws(WireProblem) {
                artifact = try SubmissionReader(bytes: bytes, refusals: nil).artifact(range)
            } catch {
                throw Malformed(sentence: "an artifact reference is not readable: \(error.text)")
            }
            if let fault = artifact.fault {
                throw Malformed(
                    sentence: "the \(fault.field) of artifact reference \(index) is not \(fault.form)")
            }
        }
    }

    /// No sooner: a later format may have more.
    private func checkArtifactCount() throws(Malformed) {
        guard artifactCount == artifacts.count else {
            throw Malformed(
                sentence: "the fact refers to \(artifactCount) artifacts, not \(FactLimits.artifacts) at most")
        }
    }

    func key() -> Digest { FactKey.compute(slice(fromZone), slice(messageID)) }

    /// SHA-256 over what the fact says, and nothing of how it travelled.
    func contentDigest() throws(Malformed) -> Digest {
        guard let body else { throw Malformed(sentence: "the fact has no body") }
        try checkArtifactCount()
        var hash = SHA256()
        hash.update("bsfg.fact.v1\0")
        hash.updateFramed(slice(subject))
        hash.updateFramed(slice(predicate))
        hash.updateFramed([body.rawValue])
        hash.updateFramed(slice(object))
        hash.updateFramed(slice(objectSchema))
        hash.updateFramed(slice(objectMediaType))
        hash.updateLittleEndian(UInt32(artifacts.count))
        for artifact in artifacts {
            do throws(WireProblem) {
                try update(&hash, withArtifact: artifact)
            } catch {
                throw Malformed(sentence: "an artifact reference is not readable: \(error.text)")
            }
        }
        return hash.finish()
    }

    private func update(_ hash: inout SHA256, withArtifact range: Range<Int>) throws(WireProblem) {
        // zone, bucket, key, digest, then the size, then media type and file name.
        var texts = [Range<Int>](repeating: 0..<0, count: 8)
        var size: UInt64 = 0
        var seen: UInt64 = 0
        var reader = WireReader(bytes, range)
        while let field = try reader.next() {
            guard field.number <= 7 else { continue }
            try expect(field, field.number == 5 ? .varint : .bytes, once: &seen)
            if field.number == 5 {
                size = field.value
            } else {
                texts[Int(field.number)] = field.content
            }
        }
        for number in 1...4 { hash.updateFramed(slice(texts[number])) }
        hash.updateLittleEndian(size)
        for number in 6...7 { hash.updateFramed(slice(texts[number])) }
    }
}
