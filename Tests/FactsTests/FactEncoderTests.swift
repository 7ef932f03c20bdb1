import Facts
import Foundation
import SwiftProtobuf
import Testing

@Suite struct FactEncoderTests {
    @Test func `record bytes and digests are golden`() throws {
        for (name, fact) in [("reading", FactSubmission.reading()), ("full", .full)] {
            let encoded = try FactEncoder().encode(fact)
            try Golden.expect(encoded.storedRecord, equals: "Tests/Golden/record/v1/\(name).hex")
            let digests = encoded.key.hexadecimal + "\n" + encoded.contentDigest.hexadecimal + "\n"
            try Golden.expect(text: digests, equals: "Tests/Golden/record/v1/\(name).digests")
        }
        let message = try FactEncoder().encode(.reading()).message
        let origin = RecordOrigin(
            logUUID: uuid, epoch: 1, offset: 0, appendedAtUnixMilliseconds: 1_700_000_000_000)
        let relayed = StoredRecord.encode(.message, message, origin: origin, isLate: true)
        try Golden.expect(relayed, equals: "Tests/Golden/record/v1/relayed.hex")
        var notice = Bsfg_V1_Notice()
        notice.first.logUuid.append(contentsOf: uuid)
        notice.first.epoch = 1
        notice.first.offset = 0
        notice.lastOffset = 41
        notice.reasons = ["expired"]
        try Golden.expect(
            StoredRecord.encode(.gap, notice, origin: nil),
            equals: "Tests/Golden/record/v1/gap.hex")
        let digest = try RecordDigest.compute(offset: 7, storedRecord: relayed)
        try Golden.expect(
            text: digest.hexadecimal + "\n", equals: "Tests/Golden/record/v1/relayed.digest")
    }

    /// The rules written a second time, straight from the decision.
    @Test func `key and content digest follow their definition`() throws {
        func framed(_ parts: [[UInt8]]) -> [UInt8] {
            parts.flatMap { part in
                withUnsafeBytes(of: UInt32(part.count).littleEndian) { Array($0) } + part
            }
        }
        func utf8(_ text: String) -> [UInt8] { Array(text.utf8) }
        let encoded = try FactEncoder().encode(.full)
        let fact = FactSubmission.full
        let key = utf8("bsfg.key.v1\0") + framed([utf8(fact.fromZone), utf8(fact.messageID)])
        #expect(encoded.key == SHA256.hash(key))
        var content = utf8("bsfg.fact.v1\0")
        content += framed([
            utf8(fact.subject), utf8(fact.predicate), [2], [0, 1, 2, 0xFF], utf8(fact.objectSchema),
            utf8(fact.objectMediaType),
        ])
        content += [2, 0, 0, 0]
        for artifact in fact.artifacts {
            content += framed([
                utf8(artifact.zone), utf8(artifact.bucket), utf8(artifact.key),
                utf8(artifact.digest),
            ])
            content += withUnsafeBytes(of: artifact.size.littleEndian) { Array($0) }
            content += framed([utf8(artifact.mediaType), utf8(artifact.fileName)])
        }
        #expect(encoded.contentDigest == SHA256.hash(content))
    }

    /// The Python of docs/api/record.md over the facts of a JSON answer.
    @Test func `the documented check computes the same digests`() throws {
        let python = "/usr/bin/python3"
        guard FileManager.default.isExecutableFile(atPath: python) else {
            print("SKIPPED: no \(python) for the check of docs/api/record.md")
            return
        }
        let page = try Repository.text("docs/api/record.md")
        let code = try #require(
            page.components(separatedBy: "```").first { $0.hasPrefix("python\n") })
        for fact in [FactSubmission.reading(), .full] {
            let encoded = try FactEncoder().encode(fact)
            let json = try WireCodec.encode(
                protobuf: encoded.message, messageName: "Message", .json)
            let script =
                code.dropFirst(7) + """

                    import json, sys
                    message = json.loads(sys.argv[1])
                    print(key(message["envelope"]))
                    print(content_digest(message["envelope"], message["fact"]))
                    """
            let result = Python.run(
                python, ["-c", String(script), String(decoding: json, as: UTF8.self)])
            #expect(
                result.output
                    == encoded.key.hexadecimal + "\n" + encoded.contentDigest.hexadecimal + "\n")
        }
    }

    @Test func `the generated messages read what the encoder writes`() throws {
        let encoded = try FactEncoder().encode(.full)
        let record = try Bsfg_V1_StoredRecord(serializedBytes: encoded.storedRecord)
        let message = try Bsfg_V1_Message(serializedBytes: record.message)
        #expect(message.format == 1)
        #expect(message.envelope.messageID == "ünïcödé-1")
        #expect(message.envelope.producedAtUnixMs == 1_388_534_400_000)
        #expect(message.envelope.labels["priority"] == "high")
        #expect(message.fact.objectBytes == .init([0, 1, 2, 0xFF]))
        #expect(message.fact.artifacts.count == 2)
        #expect(message.fact.artifacts[0].size == 70_000)
        let reading = try FactEncoder().encode(.reading())
        let text = try Bsfg_V1_Message(serializedBytes: reading.message).fact.objectJson
        #expect(text == #"{"Ba_avg":-0.93000001,"P_avg":514.23999}"#)
    }

    @Test func `labels are ordered by their bytes and all of them kept`() throws {
        var shuffled = FactSubmission.full
        shuffled.labels.reverse()
        let encoded = try FactEncoder().encode(.full)
        #expect(try FactEncoder().encode(shuffled).storedRecord == encoded.storedRecord)
        for name in ["e\u{301}", "\u{e9}"] {
            #expect(encoded.message.contains(subsequence: Array(name.utf8)), "\(name)")
        }
        var twice = FactSubmission.full
        twice.labels.append(.init(name: "z", value: "1"))
        #expect(refusal(twice)?.reason == .invalidEnvelope)
    }

    @Test func `the envelope is no content, the fact and its references are`() throws {
        let base = try FactEncoder().encode(.full)
        func changed(_ change: (inout FactSubmission) -> Void) throws -> EncodedFact {
            var fact = FactSubmission.full
            change(&fact)
            return try FactEncoder().encode(fact)
        }
        let later = try changed { $0.producedAtUnixMilliseconds += 1 }
        #expect(later.contentDigest == base.contentDigest && later.key == base.key)
        let lineage = try changed {
            $0.labels = []
            $0.causationID = ""
            $0.toZone = "other"
        }
        #expect(lineage.contentDigest == base.contentDigest)
        let renamed = try changed { $0.messageID += "x" }
        #expect(renamed.contentDigest == base.contentDigest && renamed.key != base.key)
        let moved = try changed { $0.fromZone = "plant-b" }
        #expect(moved.key != base.key)
        let changes: [(inout FactSubmission) -> Void] = [
            { $0.subject += "x" }, { $0.predicate += "x" }, { $0.objectSchema += "x" },
            { $0.objectMediaType = "image/png" }, { $0.body = .objectBytes([0, 1, 2]) },
            { $0.body = .objectJSON([0x31]) }, { $0.artifacts[0].size = 1 },
            { $0.artifacts[0].fileName = "" }, { $0.artifacts.removeLast() },
            { $0.artifacts[1].key += "x" }, { $0.artifacts[0].mediaType = "image/png" },
        ]
        for change in changes { #expect(try changed(change).contentDigest != base.contentDigest) }
    }

    @Test func `grammar`() {
        for good in [
            "batch:B1042", "batch:PlantA/B1042", "asset_2:x", "asset:urn:x", "lot:a.b-c_d/é",
        ] { #expect(FactRules.isSubject(good), "\(good)") }
        for bad in [
            "", "batch", ":x", "batch:", "Batch:x", "2b:x", "batch:a/", "batch:/b", "batch:a/b/c",
            "batch:a b", "batch:a\n", "b-c:x", "batch:\u{A0}x",
            "a:" + String(repeating: "x", count: 255),
        ] { #expect(!FactRules.isSubject(bad), "\(bad)") }
        for good in ["a", "has_artifact", "v2_of", "step_completed"] {
            #expect(FactRules.isPredicate(good), "\(good)")
        }
        for bad in ["", "_a", "a_", "a__b", "A", "a-b", "2a", "a b", "é", "hasArtifact"] {
            #expect(!FactRules.isPredicate(bad), "\(bad)")
        }
        for good in ["plant-a", "a", "0", "facts.operational", String(repeating: "a", count: 64)] {
            #expect(FactRules.isStreamOrZone(good), "\(good)")
        }
        for bad in ["", "-a", ".a", "_a", "A", "a/b", "..", "é", String(repeating: "a", count: 65)]
        {
            #expect(!FactRules.isStreamOrZone(bad), "\(bad)")
        }
        for bad in ["", "/a", "a/", "a//b", ".", "a/../b", "a\\b", "a\u{0}b"] {
            #expect(!FactRules.isArtifactKey(bad), "\(bad)")
        }
        #expect(FactRules.isArtifactKey("R80711/blade 2.jpg"))
        #expect(FactRules.isMediaType("text/plain; charset=utf-8"))
        for bad in ["", "text", "/", "a/", "a/b/c", "a b/c"] {
            #expect(!FactRules.isMediaType(bad))
        }
        #expect(FactRules.isConsumerName("enterprise/facts.operational/plant-a"))
        for bad in ["", " a", "a\n", String(repeating: "a", count: 257)] {
            #expect(!FactRules.isConsumerName(bad), "\(bad)")
        }
    }

    @Test func `each refusal names its field`() {
        func check(
            _ reason: ErrorReason, _ field: String, _ change: (inout FactSubmission) -> Void
        ) {
            var fact = FactSubmission.full
            change(&fact)
            let error = refusal(fact)
            #expect(
                error?.reason == reason && error?.field == field, "\(String(describing: error))")
        }
        check(.missingField, "envelope") { $0.hasEnvelope = false }
        check(.missingField, "fact") { $0.hasFact = false }
        check(.missingField, "envelope.message_id") { $0.messageID = "" }
        check(.missingField, "envelope.from_zone") { $0.fromZone = "" }
        check(.missingField, "envelope.to_zone") { $0.toZone = "" }
        check(.missingField, "envelope.produced_at_unix_ms") { $0.producedAtUnixMilliseconds = 0 }
        check(.missingField, "fact.subject") { $0.subject = "" }
        check(.missingField, "fact.predicate") { $0.predicate = "" }
        check(.missingField, "fact.object") { $0.body = .absent }
        check(.missingField, "envelope.object_media_type") { $0.objectMediaType = "" }
        check(.missingField, "fact.artifacts[1].digest") { $0.artifacts[1].digest = "" }
        check(.invalidEnvelope, "envelope.produced_at_unix_ms") {
            $0.producedAtUnixMilliseconds = -1
        }
        check(.invalidEnvelope, "envelope.from_zone") { $0.fromZone = "Plant A" }
        check(.invalidEnvelope, "envelope.message_id") { $0.messageID = "a\nb" }
        check(.invalidEnvelope, "envelope.object_media_type") { $0.objectMediaType = "jpeg" }
        check(.invalidEnvelope, "envelope.object_schema") { $0.objectSchema = "a b" }
        check(.invalidEnvelope, "envelope.labels") { $0.labels[0].name = "" }
        check(.invalidEnvelope, "format") { $0.format = 2 }
        check(.invalidSubject, "fact.subject") { $0.subject = "Asset:1" }
        check(.invalidPredicate, "fact.predicate") { $0.predicate = "Is" }
        check(.invalidObject, "fact.object_json.a") {
            $0.body = .objectJSON(Array(#"{"a":1,"a":2}"#.utf8))
        }
        check(.numberNotRepresentable, "fact.object_json.a[0]") {
            $0.body = .objectJSON(Array(#"{"a":[9007199254740993]}"#.utf8))
        }
        check(.invalidObject, "fact.artifacts[0].key") { $0.artifacts[0].key = "../x" }
        check(.invalidObject, "fact.artifacts[0].digest") { $0.artifacts[0].digest = "sha256:00" }
        check(.invalidObject, "fact.artifacts[0].bucket") { $0.artifacts[0].bucket = "A" }
    }

    @Test func `limits hold at the limit and one above`() {
        func with(_ change: (inout FactSubmission) -> Void) -> ErrorReason? {
            var fact = FactSubmission.reading()
            change(&fact)
            return refusal(fact)?.reason
        }
        func text(_ count: Int) -> String { String(repeating: "x", count: count) }
        #expect(with { $0.messageID = text(256) } == nil)
        #expect(with { $0.messageID = text(257) } == .invalidEnvelope)
        #expect(with { $0.subject = "a:" + text(254) } == nil)
        #expect(with { $0.subject = "a:" + text(255) } == .invalidSubject)
        #expect(with { $0.predicate = text(257) } == .invalidPredicate)
        func labels(_ count: Int) -> [FactSubmission.Label] {
            (0..<count).map { .init(name: "l\($0)", value: "") }
        }
        #expect(with { $0.labels = labels(64) } == nil)
        #expect(with { $0.labels = labels(65) } == .invalidEnvelope)
        #expect(with { $0.labels = [.init(name: text(256), value: "")] } == nil)
        #expect(with { $0.labels = [.init(name: text(257), value: "")] } == .invalidEnvelope)
        #expect(with { $0.artifacts = .init(repeating: .picture, count: 64) } == nil)
        #expect(with { $0.artifacts = .init(repeating: .picture, count: 65) } == .invalidObject)
        func object(_ count: Int) -> FactSubmission.Body {
            .objectJSON(Array(("\"" + text(count - 2) + "\"").utf8))
        }
        #expect(with { $0.body = object(1 << 20) } == nil)
        #expect(with { $0.body = object(1 << 20 + 1) } == .tooLarge)
        var large = FactSubmission.reading()
        large.body = object(3 << 20)
        let encoder = FactEncoder(limits: FactLimits(objectBytes: 3 << 20))
        #expect(refusal(large, encoder) == nil)
        large.body = object(3 << 20 + 1)
        #expect(refusal(large, encoder)?.reason == .tooLarge)
        // The envelope: find the value that fills it to the byte.
        var envelope = FactSubmission.reading()
        var low = 0
        var high = 1 << 17
        while high - low > 1 {
            let middle = (low + high) / 2
            envelope.labels = [.init(name: "a", value: text(middle))]
            if refusal(envelope) == nil { low = middle } else { high = middle }
        }
        envelope.labels = [.init(name: "a", value: text(low))]
        let record = try? FactEncoder().encode(envelope)
        let message = record.flatMap { try? Bsfg_V1_Message(serializedBytes: $0.message) }
        let size = message.flatMap { try? $0.envelope.serializedBytes() as [UInt8] }?.count
        #expect(size == 64 << 10)
    }
}

extension [UInt8] {
    func contains(subsequence: [UInt8]) -> Bool {
        indices.contains { self[$0...].starts(with: subsequence) }
    }
}
