import Testing

@testable import Gateway

/// What has to have been seen before a partition is said to have been got over.
@Suite("Criterion of the partition")
struct PartitionCriterionTests {
    private func judged(
        _ name: String, _ spoil: (inout AcceptanceEvidence) -> Void
    ) throws -> Criterion {
        var evidence = AcceptanceFixtures.good
        spoil(&evidence)
        return try #require(HandoffCriteria.judge(evidence).named(name))
    }

    /// As it is without the other side's socket.
    private func alone(_ evidence: inout AcceptanceEvidence) {
        evidence.partition?.peerBefore = nil
        evidence.partition?.peerClosed = nil
        evidence.partition?.peerAppends = nil
        evidence.partition?.peerDuring = nil
        evidence.partition?.peerAfter = nil
    }

    @Test("A peer that takes nothing more after the partition fails, also where only we are seen")
    func takesNothingMore() throws {
        let found = try judged("partition_recovery") {
            alone(&$0)
            $0.partition?.after?.readers[0].nextOffset = 10
        }
        #expect(found.verdict == .failed && found.sentence.contains("has confirmed 10 of 13"), "\(found.sentence)")
        var after = AcceptanceFixtures.node("enterprise", "plant-a", own: 13, received: 8)
        #expect(Settlement.isSettled(ours: after, theirs: nil, peer: "plant-a"))
        after.readers[0].nextOffset = 10
        #expect(!Settlement.isSettled(ours: after, theirs: nil, peer: "plant-a"))
        after.readers[0].detached = "lag"
        #expect(Settlement.isSettled(ours: after, theirs: nil, peer: "plant-a"))
    }

    @Test("One side alone says what it saw, and of the other that it did not look")
    func oneSide() throws {
        let found = try judged("partition_recovery", alone)
        #expect(found.verdict == .passed)
        #expect(found.sentence.contains("plant-a confirmed all of them"), "\(found.sentence)")
        #expect(found.sentence.contains("was not looked at") && !found.sentence.contains("there"))
    }

    @Test("Where nothing can cross, that it does is not checked")
    func nothingCrosses() throws {
        func takesNothing(_ evidence: inout AcceptanceEvidence) {
            evidence.partition?.before.readers = []
            evidence.partition?.closed?.readers = []
            evidence.partition?.after?.readers = []
        }
        let open = try judged("partition_recovery") {
            alone(&$0)
            takesNothing(&$0)
        }
        #expect(open.verdict == .notChecked && open.isBlocking, "\(open.sentence)")
        let half = try judged("partition_recovery", takesNothing)
        #expect(half.verdict == .passed && half.sentence.contains("takes none of ours"), "\(half.sentence)")
        #expect(!half.sentence.contains("all did"))
    }

    @Test("A side that takes facts and gives none back went not on alone")
    func givesNothingBack() throws {
        for isOurs in [true, false] {
            let found = try judged("partition_recovery") {
                if isOurs {
                    $0.partition?.ownAppends?.readCount = 2
                } else {
                    $0.partition?.peerAppends?.readCount = 0
                }
            }
            #expect(found.verdict == .failed && found.sentence.contains("to a reader of its own"), "\(found.sentence)")
        }
    }
}
