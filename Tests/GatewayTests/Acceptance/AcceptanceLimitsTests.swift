import Foundation
import Testing

@testable import Gateway

/// What stands between the two at the moment, and what nobody looked at, is told apart from what is wrong.
@Suite("What an acceptance does not blame on anybody")
struct AcceptanceLimitsTests {
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
