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

    private typealias Use = NodeEvidence.Artifact.Use

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
        let open = try judged(evidence)
        #expect(open.verdict == .notChecked && open.sentence.contains("plant-a relays"), "\(open.sentence)")
        // It has it, and says that it has not.
        evidence.theirsAfter?.artifacts = [
            NodeEvidence.Artifact(zone: "idmz", name: "batch-files/1", state: "stored")
        ]
        let found = try judged(evidence)
        #expect(found.verdict == .failed && found.sentence.contains("idmz/batch-files/1"), "\(found.sentence)")
    }

    @Test("An artifact is the peer's whose facts refer to it, whatever zone it is of")
    func deliverer() throws {
        var evidence = evidence([("plant-a", "batch-files/1", "missing")])
        var other = AcceptanceFixtures.pull("plant-b", next: 1)
        other.origin = "idmz"
        evidence.oursAfter?.pulls.append(other)
        evidence.oursAfter?.artifacts[0].uses = [Use(stream: AcceptanceFixtures.stream, origin: "idmz")]
        // plant-b's to give: neither is plant-a blamed, nor is it praised.
        #expect(try judged(evidence).verdict == .notChecked)
        evidence.oursAfter?.artifacts[0].state = "stored"
        #expect(try judged(evidence).verdict == .notChecked)
        evidence.oursAfter?.artifacts[0].uses = [Use(stream: AcceptanceFixtures.stream, origin: "plant-a")]
        #expect(try judged(evidence).verdict == .passed)
        evidence.oursAfter?.artifacts[0].state = "missing"
        #expect(try judged(evidence).verdict == .failed)
    }

    @Test("What a file says of the peer's artifacts passes nothing and fails nothing", arguments: [
        "stored", "missing", "waiting", "not_granted",
    ])
    func ofThen(state: String) throws {
        var evidence = AcceptanceFixtures.good
        for index in evidence.ours.configuration.indices
        where evidence.ours.configuration[index].key == "peers.plant-a.artifacts" {
            evidence.ours.configuration[index].value = "[batch-files]"
        }
        plan(&evidence)
        var artifact = NodeEvidence.Artifact(zone: "enterprise", name: "batch-files/1", state: state)
        artifact.failureCount = 5
        evidence.theirsAfter?.artifacts = [artifact]
        let verdicts: [String: Criterion.Verdict] = [
            "stored": .passed, "missing": .failed, "waiting": .notChecked, "not_granted": .failed,
        ]
        #expect(try judged(evidence).verdict == verdicts[state])
        #expect(try judged(evidence, "missing_artifact").verdict == (state == "missing" ? .passed : .notChecked))
        (evidence.theirs, evidence.theirsAfter) = (evidence.theirsAfter, nil)
        let found = try judged(evidence)
        #expect(found.verdict == .notChecked && found.isBlocking)
        #expect(found.sentence.contains("a file of plant-a") || found.sentence.contains("when the file of plant-a"))
        #expect(try judged(evidence, "missing_artifact").verdict == .notChecked)
    }

    @Test("What producers put after the last look began is not waited for")
    func producers() throws {
        var evidence = evidence([
            ("plant-a", "batch-files/1", "stored"), ("plant-a", "batch-files/2", "waiting"),
        ])
        #expect(try judged(evidence).sentence == "plant-a/batch-files/2 is waiting")
        func awaited(_ key: Int) -> AwaitedArtifact {
            AwaitedArtifact(receiver: "enterprise", zone: "plant-a", name: "batch-files/\(key)")
        }
        evidence.awaitedArtifacts = [awaited(1)]
        #expect(try judged(evidence).verdict == .passed)
        evidence.awaitedArtifacts = [awaited(1), awaited(2)]
        #expect(try judged(evidence).verdict == .notChecked)
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
        var lost = evidence([("plant-a", "batch-files/1", "missing")])
        lost.oursAfter?.artifacts[0].failureCount = 1
        let once = try judged(lost, "missing_artifact")
        #expect(once.verdict == .notChecked && once.sentence.contains("was not seen yet"), "\(once.sentence)")
        lost.oursAfter?.artifacts[0].failureCount = 2
        let again = try judged(lost, "missing_artifact")
        #expect(again.verdict == .passed && again.sentence.contains("asked for 2 times"), "\(again.sentence)")
        var told = quiet
        told.theirsAfter?.configuration.append(NodeEvidence.Line(key: "peers.enterprise.notify", value: "true"))
        #expect(try judged(told, "notices").sentence.hasPrefix("plant-a sends notices"))
    }
}
