import Testing

@testable import Gateway

/// A file of the other side answers for the day on which it was written.
@Suite("Age of evidence")
struct EvidenceAgeTests {
    private static let now = AcceptanceFixtures.good.ours.takenAtUnixMs

    private func judged(takenAt milliseconds: Int64) -> [Criterion] {
        var evidence = AcceptanceFixtures.good
        evidence.theirsAfter = nil
        evidence.theirs?.takenAtUnixMs = milliseconds
        return HandoffCriteria.judge(evidence)
    }

    @Test(
        "Evidence of another day or of the future leaves what rests on it unchecked",
        arguments: [now - 86_400_001, now + 30_001, .min, .max])
    func stale(milliseconds: Int64) {
        let criteria = judged(takenAt: milliseconds)
        for name in ["peer_health", "visibility", "init_documented", "matrix_documented"] {
            let criterion = criteria.named(name)
            #expect(criterion?.verdict == .notChecked, "\(name)")
            #expect(criterion?.sentence.hasPrefix("the evidence of plant-a is of ") == true, "\(name)")
        }
        #expect(criteria.filter { $0.verdict == .failed } == [])
    }

    @Test("Evidence of today is taken", arguments: [now - 86_400_000, now, now + 30_000])
    func fresh(milliseconds: Int64) {
        for name in ["peer_health", "visibility", "init_documented", "matrix_documented"] {
            #expect(judged(takenAt: milliseconds).named(name)?.verdict == .passed, "\(name)")
        }
    }

    @Test(
        "What a file of today says of a pull fails nothing: it was so then",
        arguments: [
            ("blocked", "stream_not_granted", "authorization"), ("blocked", "history_mismatch", "cursor"),
            ("blocked", "forward_full", "replay"), ("unavailable", "", "replay"),
        ])
    func ofThen(state: String, reason: String, criterion: String) {
        var evidence = AcceptanceFixtures.good
        evidence.theirs?.pulls[0].state = state
        evidence.theirs?.pulls[0].reason = reason
        evidence.theirsAfter = nil
        let criteria = HandoffCriteria.judge(evidence)
        #expect(criteria.filter { $0.verdict == .failed } == [])
        let found = criteria.named(criterion)
        #expect(found?.verdict == .notChecked && found?.sentence.contains("was \(state) when the file") == true)
        // What the node says now does fail.
        evidence.theirsAfter = evidence.theirs
        let now = HandoffCriteria.judge(evidence).filter { $0.verdict == .failed }.map(\.name)
        #expect(now == [state == "unavailable" ? "authentication" : criterion])
    }

    @Test("A cursor that the file of the source does not have yet fails nothing")
    func cursorOfThen() {
        var evidence = AcceptanceFixtures.good
        evidence.theirsAfter = nil
        evidence.theirs?.readers = []
        #expect(HandoffCriteria.judge(evidence).named("cursor")?.verdict == .notChecked)
    }

    @Test("Nothing of what stale evidence says is judged")
    func notJudged() {
        var evidence = AcceptanceFixtures.good
        evidence.theirsAfter = nil
        evidence.theirs?.pulls[0].state = "blocked"
        evidence.theirs?.takenAtUnixMs = 0
        #expect(HandoffCriteria.judge(evidence).named("replay")?.verdict == .passed)
        #expect(evidence.latestTheirs == nil && evidence.flows.count == 1)
    }

    @Test("What two would do together is planned by what is of now alone")
    func planned() throws {
        let ours = AcceptanceFixtures.good.ours
        var theirs = try #require(AcceptanceFixtures.good.theirs)
        theirs.configuration.removeAll { $0.key == "peers.enterprise.streams" }
        let now = FederationPlan(ours: ours, theirs: theirs, peer: "plant-a")
        #expect(now.isPeerKnown && !now.problems.isEmpty)
        theirs.takenAtUnixMs -= 86_400_001
        let old = FederationPlan(ours: ours, theirs: theirs, peer: "plant-a")
        #expect(!old.isPeerKnown && old.problems == [] && old.flows.count == 1)
    }
}
