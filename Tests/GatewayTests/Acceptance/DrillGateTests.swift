import Facts
import Testing

@testable import Gateway

/// A drill ends its own partition and nobody else's.
@Suite("Partitions of drills and of operators")
struct DrillGateTests {
    private static func close(_ bench: ServicesBench, _ json: String) async throws
        -> Bsfg_Admin_V1_PartitionResponse
    {
        try await bench.call(Bsfg_Admin_V1_PartitionResponse.self, .partition, json, as: .operator)
    }

    private static func open(_ bench: ServicesBench, _ json: String) async throws
        -> Bsfg_Admin_V1_ReconcileResponse
    {
        try await bench.call(Bsfg_Admin_V1_ReconcileResponse.self, .reconcile, json, as: .operator)
    }

    private static func stored(_ bench: ServicesBench) throws -> [String: String] {
        let closures = try OperatorClosures(dataDirectory: bench.configuration.dataDirectory).load()
        return Dictionary(uniqueKeysWithValues: closures.map { ($0.peer, $0.reason) })
    }

    @Test("What an operator closed is not closed over by who wants it open")
    func operatorsClosureStands() async throws {
        let bench = try ServicesBench()
        _ = try await Self.close(bench, #"{"peer":"plant-a","reason":"incident"}"#)
        let error = await bench.error(
            .partition, #"{"peer":"plant-a","reason":"drill 1","forMs":"600000","onlyOpen":true}"#,
            as: .operator)
        #expect(error?.reason == .gateClosed && error?.message.contains("incident") == true)
        #expect(bench.gates.closures.map(\.reason) == ["incident"])
        #expect(bench.gates.closures.map(\.untilUnixMs) == [0])
        #expect(try Self.stored(bench) == ["plant-a": "incident"])
        await bench.close()
    }

    @Test("Opening for a reason leaves what is closed for another one")
    func opensItsOwn() async throws {
        let bench = try ServicesBench()
        let own = #"{"peer":"plant-a","onlyReason":"drill 1"}"#
        _ = try await Self.close(bench, #"{"peer":"plant-a","reason":"drill 1","onlyOpen":true}"#)
        // The operator puts his own in its place.
        _ = try await Self.close(bench, #"{"peer":"plant-a","reason":"incident"}"#)
        let kept = try await Self.open(bench, own)
        #expect(!kept.wasClosed && kept.gate.closure.reason == "incident")
        #expect(try Self.stored(bench) == ["plant-a": "incident"])
        #expect(try await Self.open(bench, #"{"peer":"plant-a"}"#).wasClosed)
        _ = try await Self.close(bench, #"{"peer":"plant-a","reason":"drill 1","onlyOpen":true}"#)
        #expect(try await Self.open(bench, own).wasClosed)
        #expect(try Self.stored(bench) == [:])
        await bench.close()
    }

    @Test("A gate that an operator keeps closed leaves the partition unchecked, and says why")
    func criterion() throws {
        func judged(_ spoil: (inout AcceptanceEvidence) -> Void) throws -> Criterion {
            var evidence = AcceptanceFixtures.good
            spoil(&evidence)
            return try #require(HandoffCriteria.judge(evidence).named("partition_recovery"))
        }
        let found = try [
            judged {
                $0.partition?.obstacle = "the operator closed the gate (incident)"
                $0.partition?.isSettledBefore = false
            },
            judged {
                $0.partition = nil
                $0.oursAfter?.gates[0].isClosedByOperator = true
                $0.oursAfter?.gates[0].reason = "incident"
            },
        ]
        for criterion in found {
            #expect(criterion.verdict == .notChecked && criterion.isBlocking)
            #expect(criterion.sentence.contains("incident"), "\(criterion.sentence)")
        }
        // Waiting changes nothing of it.
        var closed = AcceptanceFixtures.node("enterprise", "plant-a", own: 1, received: 1)
        closed.gates = [AcceptanceFixtures.gate("plant-a", mode: "autonomous", isClosed: true)]
        #expect(Settlement.isDecided(ours: closed, theirs: nil, peer: "plant-a"))
        #expect(!Settlement.isSettled(ours: closed, theirs: nil, peer: "plant-a"))
    }

    @Test("A source that believes more than the receiver has fails without a partition, too")
    func believesMore() {
        var evidence = AcceptanceFixtures.good
        evidence.ours.readers[0].nextOffset = 99
        evidence.partition?.isSettledBefore = false
        evidence.partition?.closed = nil
        #expect(HandoffCriteria.judge(evidence).filter { $0.verdict == .failed }.map(\.name) == ["cursor"])
    }
}
