import Testing

@testable import Gateway

/// When two nodes have nothing left to tell each other.
@Suite("Settlement")
struct SettlementTests {
    private typealias Fixtures = AcceptanceFixtures

    @Test("Producers that go on are not waited for: what was there at first has to be here")
    func producers() {
        let first = (
            Fixtures.node("enterprise", "plant-a", own: 10, received: 4),
            Fixtures.node("plant-a", "enterprise", own: 5, received: 9)
        )
        let heads = Settlement.Heads(ours: first.0, theirs: first.1, peer: "plant-a")
        #expect(!Settlement.isSettled(ours: first.0, theirs: first.1, peer: "plant-a", upTo: heads))
        var (ours, theirs) = (
            Fixtures.node("enterprise", "plant-a", own: 20, received: 6),
            Fixtures.node("plant-a", "enterprise", own: 9, received: 15)
        )
        ours.pulls[0].sourceHeadOffset = 9
        ours.readers[0].nextOffset = 12
        theirs.readers[0].nextOffset = 5
        #expect(Settlement.isSettled(ours: ours, theirs: theirs, peer: "plant-a", upTo: heads))
        #expect(!Settlement.isSettled(ours: ours, theirs: theirs, peer: "plant-a"))
        // The source does not know of the last one.
        theirs.readers[0].nextOffset = 4
        #expect(!Settlement.isSettled(ours: ours, theirs: theirs, peer: "plant-a", upTo: heads))
        // By our side alone.
        let ownHeads = Settlement.Heads(ours: first.0, theirs: nil, peer: "plant-a")
        #expect(Settlement.isSettled(ours: ours, theirs: nil, peer: "plant-a", upTo: ownHeads))
        ours.readers[0].nextOffset = 9
        #expect(!Settlement.isSettled(ours: ours, theirs: nil, peer: "plant-a", upTo: ownHeads))
    }

    @Test("The last look waits for the artifacts of this pair that were on their way, and for none that came later")
    func lastLook() throws {
        func artifact(_ zone: String, _ key: Int, _ state: String) -> NodeEvidence.Artifact {
            NodeEvidence.Artifact(zone: zone, name: "batch-files/\(key)", state: state)
        }
        var (ours, theirs) = (
            Fixtures.node("enterprise", "plant-a", own: 10, received: 4),
            Fixtures.node("plant-a", "enterprise", own: 5, received: 10)
        )
        let heads = Settlement.Heads(ours: ours, theirs: theirs, peer: "plant-a")
        var last = LastLook()
        func isDone() -> Bool { last.isDone(ours: ours, theirs: theirs, peer: "plant-a", upTo: heads) }
        ours.artifacts = [artifact("plant-a", 1, "fetching"), artifact("plant-b", 1, "waiting")]
        #expect(!isDone())
        #expect(last.unsettled?.contains("not at the source's head") == true && last.awaited == nil)
        ours = Fixtures.node("enterprise", "plant-a", own: 10, received: 5)
        theirs.readers[0].nextOffset = 5
        ours.artifacts = [artifact("plant-a", 1, "fetching"), artifact("plant-b", 1, "waiting")]
        theirs.artifacts = [artifact("enterprise", 2, "waiting")]
        #expect(!isDone())
        #expect(last.unsettled == nil && last.awaited?.count == 2)
        ours.artifacts = [artifact("plant-a", 1, "missing"), artifact("plant-a", 3, "waiting")]
        #expect(!isDone())
        theirs.artifacts = [artifact("enterprise", 2, "missing"), artifact("enterprise", 4, "fetching")]
        #expect(isDone())
        // A missing one is asked for again: what comes of that is waited for.
        ours.artifacts[0].state = "fetching"
        #expect(!isDone())
        ours.artifacts[0].state = "stored"
        #expect(isDone())
        ours.gates[0].mode = "autonomous"
        #expect(!isDone())
        #expect(last.unsettled == "the gate of enterprise to plant-a is autonomous")
    }

    @Test("A working pair's cursors are compared with what was there when the drill was over")
    func workingPair() {
        func judged(_ spoil: (inout AcceptanceEvidence) -> Void) -> Criterion? {
            var evidence = Fixtures.good
            // Both were looked at, one after the other, while facts came.
            evidence.theirsAfter?.logs[0].headOffset = 20
            evidence.theirsAfter?.readers[0].nextOffset = 11
            evidence.oursAfter?.logs[0].headOffset = 30
            evidence.oursAfter?.readers[0].nextOffset = 14
            evidence.theirsAfter?.pulls[0].nextOffset = 17
            spoil(&evidence)
            return HandoffCriteria.judge(evidence).named("cursor")
        }
        #expect(judged { _ in }?.verdict == .passed)
        let unsettled = judged { $0.unsettledAtEnd = "one is behind" }
        #expect(unsettled?.verdict == .notChecked && unsettled?.sentence.contains("one is behind") == true)
        for spoil: (inout AcceptanceEvidence) -> Void in [
            { $0.theirsAfter?.readers[0].nextOffset = 7 }, { $0.theirsAfter?.readers[0].nextOffset = 21 },
            { $0.oursAfter?.readers[0].nextOffset = 12 }, { $0.oursAfter?.readers[0].nextOffset = 18 },
        ] {
            let found = judged(spoil)
            #expect(found?.verdict == .failed, "\(found?.sentence ?? "")")
            #expect(found?.sentence.contains("believes") == true)
        }
    }

    @Test("A stream that is granted and that nobody takes holds no settlement up")
    func untaken() {
        var ours = Fixtures.node("enterprise", "plant-a", own: 3, received: 2)
        ours.gates[0].mode = "autonomous"
        ours.gates[0].inbound = NodeEvidence.Gate.Direction(mode: "normal", reason: "")
        ours.gates[0].outbound = NodeEvidence.Gate.Direction(mode: "autonomous", reason: "has not called yet")
        #expect(!Settlement.isSettled(ours: ours, theirs: nil, peer: "plant-a"))
        ours.readers = []
        #expect(Settlement.isSettled(ours: ours, theirs: nil, peer: "plant-a"))
        ours.gates[0].inbound?.mode = "reconciling"
        #expect(!Settlement.isSettled(ours: ours, theirs: nil, peer: "plant-a"))
        ours.gates[0].inbound = nil
        #expect(Settlement.isSettled(ours: ours, theirs: nil, peer: "plant-a"))
        ours.gates[0].isClosedByOperator = true
        #expect(!Settlement.isSettled(ours: ours, theirs: nil, peer: "plant-a"))
    }
}
