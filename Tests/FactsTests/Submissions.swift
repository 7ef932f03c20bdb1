import Facts

extension FactSubmission {
    /// A turbine reading, as the demo sends them.
    static func reading(_ identifier: String = "R80711-0001") -> FactSubmission {
        var fact = FactSubmission()
        fact.messageID = identifier
        fact.fromZone = "plant-a"
        fact.toZone = "enterprise"
        fact.producedAtUnixMilliseconds = 1_388_534_400_000
        fact.objectSchema = "urn:bsfg:schema:turbine.reading:v1"
        fact.subject = "asset:la-haute-borne/R80711"
        fact.predicate = "reading_recorded"
        fact.body = .objectJSON(Array(#"{"P_avg": 514.23999, "Ba_avg": -0.93000001}"#.utf8))
        return fact
    }

    /// Every field set.
    static var full: FactSubmission {
        var fact = reading("ünïcödé-1")
        fact.correlationID = "shift-7"
        fact.causationID = "R80711-0000"
        fact.labels = [
            Label(name: "z", value: ""), Label(name: "priority", value: "high"),
            Label(name: "e\u{301}", value: "decomposed"), Label(name: "\u{e9}", value: "composed"),
        ]
        fact.objectMediaType = "application/octet-stream"
        fact.body = .objectBytes([0, 1, 2, 0xFF])
        fact.artifacts = [.picture, .picture]
        fact.artifacts[1].size = 0
        fact.artifacts[1].fileName = ""
        return fact
    }
}

extension FactSubmission.Artifact {
    static var picture: FactSubmission.Artifact {
        var artifact = FactSubmission.Artifact()
        artifact.zone = "plant-a"
        artifact.bucket = "asset-files"
        artifact.key = "R80711/blade 2.jpg"
        artifact.digest = "sha256:" + String(repeating: "0a", count: 32)
        artifact.size = 70_000
        artifact.mediaType = "image/jpeg"
        artifact.fileName = "blade 2.jpg"
        return artifact
    }
}

func refusal(_ fact: FactSubmission, _ encoder: FactEncoder = FactEncoder()) -> FactError? {
    do throws(FactError) {
        _ = try encoder.encode(fact)
        return nil
    } catch {
        return error
    }
}

let uuid = [UInt8](0..<16)
