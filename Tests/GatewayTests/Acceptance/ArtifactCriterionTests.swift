import Testing

@testable import Gateway

/// Which artifacts have to be here, and which their source keeps on purpose.
@Suite("Criterion of the artifacts")
struct ArtifactCriterionTests {
    /// plant-a grants a bucket.
    private func evidence(_ artifacts: [(zone: String, name: String, state: String)]) -> AcceptanceEvidence {
        var evidence = AcceptanceFixtures.good
        for index in evidence.theirs!.configuration.indices
        where evidence.theirs!.configuration[index].key == "peers.enterprise.artifacts" {
            evidence.theirs!.configuration[index].value = "[batch-files]"
        }
        evidence.oursAfter?.artifacts = artifacts.map {
            NodeEvidence.Artifact(zone: $0.zone, name: $0.name, state: $0.state)
        }
        plan(&evidence)
        return evidence
    }

    private func plan(_ evidence: inout AcceptanceEvidence) {
        evidence.plan = FederationPlan(ours: evidence.ours, theirs: evidence.theirs, peer: "plant-a")
    }

    private func judged(_ evidence: AcceptanceEvidence, _ name: String = "artifacts") throws -> Criterion {
        try #require(HandoffCriteria.judge(evidence).named(name))
    }

    @Test("An artifact of a zone that the peer relays is the peer's to give")
    func relayed() throws {
        var evidence = evidence([("idmz", "batch-files/1", "missing")])
        #expect(try judged(evidence).verdict == .notChecked)
        evidence.oursAfter?.pulls[0].origin = "idmz"
        evidence.oursAfter?.logs[1].origin = "idmz"
        evidence.theirsAfter?.readers[0].name = "enterprise/facts.operational/idmz"
        let found = try judged(evidence, "artifacts")
        #expect(found.verdict == .failed && found.sentence.contains("idmz/batch-files/1"), "\(found.sentence)")
    }

    @Test("A bucket that its source does not grant is kept on purpose, one that it grants is not")
    func withheld() throws {
        let kept = try judged(
            evidence([("plant-a", "batch-files/1", "stored"), ("plant-a", "documents/1", "not_granted")]))
        #expect(kept.verdict == .passed, "\(kept.sentence)")
        #expect(kept.sentence.hasPrefix("1 artifacts") && kept.sentence.contains("1 more are of buckets"))
        let granted = try judged(evidence([("plant-a", "batch-files/1", "not_granted")]))
        #expect(granted.verdict == .failed, "\(granted.sentence)")
        var alone = evidence([("plant-a", "batch-files/1", "not_granted")])
        (alone.theirs, alone.theirsAfter) = (nil, nil)
        plan(&alone)
        let open = try judged(alone)
        #expect(open.verdict == .notChecked && open.sentence.contains("was not seen"), "\(open.sentence)")
    }

    @Test("What was seen of a missing artifact and of notices is said, and stands in nobody's way")
    func rows() throws {
        let quiet = evidence([])
        for name in ["missing_artifact", "notices"] {
            let found = try judged(quiet, name)
            #expect(found.verdict == .notChecked && !found.isBlocking)
        }
        let lost = evidence([("plant-a", "batch-files/1", "missing")])
        #expect(try judged(lost, "missing_artifact").verdict == .passed)
        var told = quiet
        told.theirsAfter?.configuration.append(NodeEvidence.Line(key: "peers.enterprise.notify", value: "true"))
        #expect(try judged(told, "notices").sentence.hasPrefix("plant-a sends notices"))
    }
}
