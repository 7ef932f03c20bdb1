import Facts
import Testing

@testable import Gateway

/// What has to have come again before the duplicate replay is believed.
@Suite("Criterion of the duplicate replay")
struct DuplicateReplayTests {
    private func judged(
        _ name: String, _ spoil: (inout AcceptanceEvidence) -> Void
    ) throws -> Criterion {
        var evidence = AcceptanceFixtures.good
        spoil(&evidence)
        return try #require(HandoffCriteria.judge(evidence).named(name))
    }

    @Test("A fact that came again altered fails, and is the only thing that fails")
    func altered() throws {
        var evidence = AcceptanceFixtures.good
        evidence.replays[0].after?.recognisedCount = 7
        evidence.replays[0].after?.alteredCount = 1
        let criteria = HandoffCriteria.judge(evidence)
        #expect(criteria.filter { $0.verdict == .failed }.map(\.name) == ["duplicate_replay"])
        #expect(criteria.named("duplicate_replay")?.sentence.contains("another id or other content") == true)
    }

    @Test("One fact of eight is not the duplicate replay of eight")
    func oneOfMany() throws {
        func one(_ evidence: inout AcceptanceEvidence) { evidence.replays[0].after?.recognisedCount = 1 }
        let found = try judged("duplicate_replay", one)
        #expect(found.verdict == .failed && found.sentence.contains("1 of 8 offsets"), "\(found.sentence)")
        #expect(try judged("replay_drill", one).verdict == .notChecked)
    }

    @Test("That much was delivered again shows nothing by itself")
    func deliveredAlone() throws {
        for recognised in [nil, 0] as [UInt64?] {
            let found = try judged("duplicate_replay") {
                $0.replays[0].after?.redeliveredCount = 900
                $0.replays[0].after?.recognisedCount = recognised
            }
            #expect(found.verdict == .failed, "\(found.sentence)")
        }
    }

    @Test("No more is asked for again than ever came")
    func asked() {
        #expect(FederationDrill.replayCount(position: 5_000, storedCount: 20) == 20)
        #expect(FederationDrill.replayCount(position: 5_000, storedCount: 900) == 100)
        #expect(FederationDrill.replayCount(position: 7, storedCount: 7) == 7)
        // It began at the head, and nothing came since.
        #expect(FederationDrill.replayCount(position: 5_000, storedCount: 0) == 0)
    }

    @Test("What producers append meanwhile is not held against the log")
    func meanwhile() throws {
        // The pull was asked after its log: three facts came in between, and are in its count alone.
        func late(_ evidence: inout AcceptanceEvidence) {
            evidence.replays[0].earlierMaterialisedCount = 5
            evidence.replays[0].before.materialisedCount = 11
            evidence.replays[0].after?.materialisedCount = 11
            evidence.replays[0].headAfter = 11
        }
        #expect(try judged("duplicate_replay", late).verdict == .passed)
        #expect(try judged("replay_drill", late).verdict == .passed)
        // The log was asked before its pull.
        let behind = try judged("duplicate_replay") {
            $0.replays[0].after?.materialisedCount = 11
            $0.replays[0].headAfter = 9
        }
        #expect(behind.verdict == .passed, "\(behind.sentence)")
        let grown = try judged("duplicate_replay") {
            late(&$0)
            $0.replays[0].headAfter = 16
        }
        #expect(grown.verdict == .failed && grown.sentence.contains("beyond what was new"))
    }

    @Test("A source that is looked at alone says where its facts come again")
    func source() throws {
        for name in ["duplicate_replay", "replay_drill"] {
            let found = try judged(name) {
                $0.replays = []
                $0.oursAfter?.pulls = []
            }
            #expect(found.verdict == .notChecked && found.sentence.contains("nothing is pulled here from plant-a"))
            #expect(found.command?.contains("on plant-a") == true)
        }
    }

    @Test("A second drill appends other facts, also by their content")
    func contents() throws {
        func digest(_ run: String) throws -> Digest {
            let fact = try FactEncoder().encode(FederationDrill.fact(zone: "plant-a", run: run, number: 1))
            return fact.contentDigest
        }
        #expect(try digest("a") != digest("b"))
        #expect(try digest("a") == digest("a"))
    }

    @Test("What could not be compared is not checked")
    func uncompared() throws {
        let found = try judged("duplicate_replay") {
            $0.replays[0].after?.recognisedCount = 5
            $0.replays[0].after?.uncomparedCount = 3
        }
        #expect(found.verdict == .notChecked && found.isBlocking && found.sentence.contains("for 3 of them"))
    }
}
