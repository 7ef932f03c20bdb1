import Foundation
import Testing

@testable import Gateway

/// What stands between the two at the moment, and what nobody looked at, is told apart from what is wrong.
@Suite("What an acceptance does not blame on anybody")
struct AcceptanceLimitsTests {
    private func judged(
        waived: Set<String> = [], _ spoil: (inout AcceptanceEvidence) -> Void
    ) -> [Criterion] {
        var evidence = AcceptanceFixtures.good
        spoil(&evidence)
        return HandoffCriteria.judge(evidence, waived: waived)
    }

    @Test("Behind a gate that an operator closed nothing is expected to come", arguments: [true, false])
    func closed(isOurs: Bool) {
        let criteria = judged {
            $0.partition = nil
            let gate = [
                AcceptanceFixtures.gate(isOurs ? "plant-a" : "enterprise", mode: "autonomous", isClosed: true)
            ]
            if isOurs { $0.oursAfter?.gates = gate } else { $0.theirsAfter?.gates = gate }
            $0.oursAfter?.pulls[0].state = "unavailable"
            $0.theirsAfter?.pulls[0].state = "unavailable"
        }
        #expect(criteria.filter { $0.verdict == .failed } == [])
        let sentence = "the operator of \(isOurs ? "enterprise" : "plant-a") closed the gate"
        for name in ["replay", "partition_recovery"] {
            let found = criteria.named(name)
            #expect(found?.verdict == .notChecked && found?.sentence.contains(sentence) == true, "\(name)")
            #expect(found?.command?.contains(", on plant-a") == !isOurs, "\(found?.command ?? "")")
        }
    }

    @Test("A pull that has a position and no fact brought nothing")
    func nothingCame() {
        let criteria = judged {
            $0.oursAfter?.logs[1].headOffset = 0
            $0.oursAfter?.pulls[0].nextOffset = 5_000
        }
        #expect(criteria.named("replay")?.verdict == .notChecked)
        #expect(criteria.named("replay")?.sentence.contains("has brought nothing yet") == true)
    }

    @Test("A peer that has no room for the call is not taken for another one")
    func busy() {
        func authentication(_ step: String, _ failure: String) -> Criterion? {
            judged {
                $0.reach.steps = [PeerReach.Step(name: step, isGood: false, sentence: "not now")]
                $0.reach.failure = failure
            }.named("authentication")
        }
        #expect(authentication("health", "overloaded")?.verdict == .notChecked)
        #expect(authentication("health", "identity_not_authorised")?.verdict == .failed)
        #expect(authentication("tls", "tls")?.verdict == .failed)
    }

    @Test("A peer without an endpoint is not called, and the drills are judged")
    func notCalled() {
        let criteria = judged {
            $0.reach = PeerReach(notCalled: "plant-a has no endpoint in peers.yaml")
            $0.denials = []
        }
        #expect(criteria.filter { $0.verdict == .failed } == [])
        for name in ["authentication", "peer_health", "authorization", "denials"] {
            #expect(criteria.named(name)?.verdict == .notChecked, "\(name)")
        }
        #expect(criteria.named("authentication")?.command == "bsfg federation accept --peer enterprise, on plant-a")
        for name in ["replay", "cursor", "duplicate_replay", "partition_recovery"] {
            #expect(criteria.named(name)?.verdict == .passed, "\(name)")
        }
    }

    @Test("What somebody answers for keeps nothing behind it from being judged")
    func waived() {
        func spoil(_ evidence: inout AcceptanceEvidence) { evidence.reach.state = "degraded" }
        #expect(judged(spoil).named("partition_recovery")?.verdict == .notChecked)
        let criteria = judged(waived: ["peer_health"], spoil)
        #expect(criteria.named("partition_recovery")?.verdict == .passed)
        var evidence = AcceptanceFixtures.good
        spoil(&evidence)
        let report = AcceptanceReport(
            zone: "enterprise", peer: "plant-a", signedBy: "00", takenAt: "2026-01-01T00:00:00Z", approval: nil,
            preconditions: [], handoff: evidence,
            waivers: ["peer_health", "alerts"].map { AcceptanceReport.Waiver(criterion: $0, reason: "known") },
            signOffs: AcceptanceReport.requiredRoles.map { AcceptanceReport.SignOff(role: $0, name: "Ada") })
        #expect(report.isAccepted)
    }

    @Test("A report holds what its preconditions were decided from, and is read back")
    func preflight() throws {
        var preflight = PreflightEvidence(peer: "plant-a", now: 1_700_000_000, plan: AcceptanceFixtures.good.plan)
        preflight.certificate = PreflightEvidence.Certificate(
            file: "server.crt", notBefore: 1, notAfter: 2, usages: [], chainProblem: nil,
            revocation: .revoked("at noon"))
        let report = AcceptanceReport(
            zone: "enterprise", peer: "plant-a", signedBy: "00", takenAt: "2026-01-01T00:00:00Z", approval: nil,
            preconditions: PreflightCriteria.judge(preflight), preflight: preflight, handoff: nil, waivers: [],
            signOffs: [])
        let decoder = JSONDecoder()
        decoder.keyDecodingStrategy = .convertFromSnakeCase
        let read = try decoder.decode(AcceptanceReport.self, from: Data(report.json()))
        #expect(read.preflight == preflight)
    }
}
