import Testing

@testable import RPC

@Suite("Recent refusals")
struct RecentRefusalsTests {
    private func refusal(
        _ place: Refusal.Place, _ reason: String = "unknown_ca", fingerprint: String = "ab"
    ) -> Refusal {
        var refusal = Refusal(unixMilliseconds: 1, place: place, reason: reason, sentence: "no")
        refusal.fingerprint = fingerprint
        return refusal
    }

    @Test("The newest of each place are kept, in the order in which they came")
    func bounded() {
        var recent = RecentRefusals()
        recent.note(refusal(.request, fingerprint: "first"))
        for number in 0..<1_000 { recent.note(refusal(.handshake, fingerprint: "\(number)")) }
        recent.note(refusal(.certificate, fingerprint: "last"))
        let kept = recent.newest(.max)
        #expect(kept.count == 2 + RecentRefusals.countMaximum)
        #expect(kept.first?.fingerprint == "first")
        #expect(kept.last?.fingerprint == "last")
        #expect(kept.map(\.number) == [1] + (746...1_002))
        #expect(recent.lastNumber == 1_002)
    }

    @Test("Strangers without a certificate push out nobody who showed one")
    func strangers() {
        var recent = RecentRefusals()
        recent.note(refusal(.handshake, "expired"))
        for _ in 0..<5_000 { recent.note(refusal(.handshake, "no_certificate", fingerprint: "")) }
        #expect(recent.newest(.max).first?.reason == "expired")
        #expect(recent.newest(.max).count == 1 + RecentRefusals.countMaximum)
    }

    @Test("One certificate that is shown again and again pushes out only its own")
    func flood() {
        var recent = RecentRefusals()
        for number in 0..<100 { recent.note(refusal(.request, fingerprint: "other \(number)")) }
        for _ in 0..<5_000 { recent.note(refusal(.request, fingerprint: "flood")) }
        let kept = recent.newest(.max)
        #expect(kept.count == 100 + RecentRefusals.certificateCountMaximum)
        #expect(kept.map(\.number) == Array(1...100) + Array(5_037...5_100))
    }

    @Test("One asks for what is new, for one certificate, or for a few")
    func chosen() {
        var recent = RecentRefusals()
        for number in 0..<20 { recent.note(refusal(.handshake, fingerprint: "\(number % 4)")) }
        #expect(recent.newest(3).map(\.number) == [18, 19, 20])
        #expect(recent.newest(.max, after: 18).map(\.number) == [19, 20])
        #expect(recent.newest(.max, after: 4, fingerprint: "3").map(\.number) == [8, 12, 16, 20])
        #expect(recent.newest(1, fingerprint: "0").map(\.number) == [17])
        #expect(recent.newest(.max, after: 20).isEmpty)
        #expect(recent.newest(.max, fingerprint: "9").isEmpty)
        #expect(RecentRefusals().newest(.max).isEmpty && RecentRefusals().lastNumber == 0)
    }

    @Test("What a stranger wrote is cut to its limits")
    func cut() throws {
        var long = refusal(.handshake)
        long.names = (0..<100).map { "cn:\($0)" + String(repeating: "ä", count: 1_000) }
        long.sentence = String(repeating: "s", count: 5_000)
        long.path = String(repeating: "p", count: 5_000)
        var recent = RecentRefusals()
        recent.note(long)
        let kept = try #require(recent.newest(1).first)
        #expect(kept.names.count == Refusal.namesMaximum)
        // A letter that was cut in two is shown as one that is missing, of three bytes.
        #expect(kept.names.allSatisfy { $0.utf8.count <= Refusal.textBytesMaximum + 2 })
        #expect(kept.sentence.utf8.count == Refusal.sentenceBytesMaximum)
        #expect(kept.path.utf8.count == Refusal.textBytesMaximum)
    }
}
