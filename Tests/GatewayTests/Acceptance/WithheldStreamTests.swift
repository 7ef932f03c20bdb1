import Testing

@testable import Gateway

@Suite("Streams that are not granted")
struct WithheldStreamTests {
    @Test("What a node has and does not grant is known by its own evidence")
    func withheld() {
        var theirs = AcceptanceFixtures.node("plant-a", "enterprise", own: 5, received: 10)
        var secret = theirs.logs[0]
        secret.stream = "facts.secret"
        theirs.logs.append(secret)
        func names() -> [String] { WithheldStream.all(in: theirs, from: "enterprise").map(\.name) }
        #expect(names() == ["stream:facts.operational/enterprise", "stream:facts.secret/plant-a"])
        theirs.configuration.removeAll { $0.key == "peers.enterprise.authorized" }
        #expect(names().count == 3)
    }

    @Test("Where one of them could not be tried, that ungranted streams are refused is not checked")
    func weighed() {
        func verdicts(_ verdict: Denial.Verdict) -> [Denial.Verdict] {
            let cases: [(String, Denial.Verdict)] = [
                ("ungranted_stream", .refused), ("append_as_peer", .refused), ("stream:s/o", verdict),
            ]
            var denials = cases.map { Denial(name: $0.0, verdict: $0.1, reason: "", sentence: "so") }
            WithheldStream.weigh(&denials)
            return denials.map(\.verdict)
        }
        #expect(verdicts(.refused) == [.refused, .refused, .refused])
        #expect(verdicts(.allowed) == [.refused, .refused, .allowed])
        #expect(verdicts(.notChecked) == [.notChecked, .refused, .notChecked])
    }
}
