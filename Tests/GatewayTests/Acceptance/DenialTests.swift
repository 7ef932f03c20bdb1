import Facts
import RPC
import Testing

@testable import Gateway

/// Only what the other side says itself counts as its refusal.
@Suite("Denials")
struct DenialTests {
    private func denial(_ kind: RPCClientError.TransportKind) -> Denial {
        Denial(name: "case", handshake: .transport(kind: kind, sentence: "it ended"))
    }

    private func note(_ reason: String, place: String, fingerprint: String = "ab") -> NodeRefusal {
        var note = AcceptanceFixtures.refusal(reason, of: "cn:x", place: place)
        note.fingerprint = fingerprint
        return note
    }

    private static let silent: [RPCClientError.TransportKind] = [
        .dns, .refused, .unreachable, .silent, .tls, .identity, .timeout, .closed, .cancelled, .overloaded,
        .malformed,
    ]

    @Test("A failure that is not the other side's word shows nothing", arguments: silent)
    func showsNothing(kind: RPCClientError.TransportKind) {
        let denial = denial(kind)
        #expect(denial.verdict == .notChecked && denial.reason == kind.rawValue)
    }

    @Test("An alert about the certificate and an answer are refusals, one for another reason is not")
    func refusals() {
        #expect(denial(.certificateRefused).verdict == .refused)
        #expect(denial(.certificateRefused).reason == "tls")
        func answered(_ reason: ErrorReason) -> Denial.Verdict {
            let error = ServiceError(reason, "no")
            return Denial(
                name: "case",
                handshake: .status(
                    RPCFailure(
                        httpStatus: error.httpStatus, code: error.code.rawValue, message: error.message,
                        detail: error.detail))
            ).verdict
        }
        #expect(answered(.identityNotAuthorised) == .refused)
        #expect(answered(.overloaded) == .notChecked)
    }

    @Test("A connection that only ended was refused when the refuser noted so, of this certificate, now")
    func notes() {
        func taken(_ note: NodeRefusal, isOfThis: Bool = true) -> Denial {
            var denial = denial(.closed)
            denial.take(note, by: "plant-a", isOfThis: isOfThis)
            return denial
        }
        let found = taken(note("unknown_ca", place: "handshake"))
        #expect(found.verdict == .refused && found.reason == "unknown_ca" && found.refusal != nil)
        #expect(taken(note("no_matching_identity", place: "certificate")).verdict == .refused)
        for open in [
            taken(note("unknown_ca", place: "handshake"), isOfThis: false),
            taken(note("overloaded", place: "certificate")),
            taken(note("no_certificate", place: "handshake", fingerprint: "")),
            taken(note("stream_not_granted", place: "request")),
        ] {
            #expect(open == denial(.closed))
        }
    }

    @Test(
        "Somebody who is not listed was refused only where it was for who he is",
        arguments: [
            ("no_matching_identity", true), ("not_authorised", true), ("identity_not_authorised", true),
            ("expired", false), ("unknown_ca", false), ("revoked", false), ("tls", false),
        ])
    func unlisted(reason: String, isRefused: Bool) {
        var denial = Denial(name: "unlisted_identity", verdict: .refused, reason: reason, sentence: "it ended")
        denial.requireUnlisted(by: "plant-a")
        #expect(denial.verdict == (isRefused ? .refused : .notChecked))
        #expect(denial.sentence.contains(reason == "tls" ? "--peer-admin" : "ended"), "\(denial.sentence)")
        #expect((denial.sentence == "it ended") == isRefused)
    }

    @Test(
        "What a peer cannot do at the moment it neither gave nor refused",
        arguments: [
            (ErrorReason.gateClosed, Denial.Verdict.notChecked), (.overloaded, .notChecked),
            (.draining, .notChecked), (.unknownStream, .allowed), (.streamNotGranted, .refused),
        ])
    func later(reason: ErrorReason, verdict: Denial.Verdict) {
        let error = ServiceError(reason, "no")
        let failure = RPCFailure(
            httpStatus: error.httpStatus, code: error.code.rawValue, message: error.message, detail: error.detail)
        let denial = Denial(name: "ungranted_stream", failure: failure, isExpected: reason == .streamNotGranted)
        #expect(denial.verdict == verdict && denial.reason == reason.rawValue)
    }

    @Test("A certificate and a key that cannot be used together were refused by nobody")
    func unusable() async throws {
        let bench = try DenialBench()
        let denials = await bench.denials(DenialProbe.Certificate(chain: bench.chain, key: [1, 2, 3]))
        let unlisted = try #require(denials.first { $0.name == "unlisted_identity" })
        #expect(unlisted.verdict == .notChecked, "\(unlisted)")
        #expect(denials.allSatisfy { $0.verdict == .notChecked }, "nothing listens: \(denials)")
    }
}

/// A node's files, with a peer at an address where nothing listens.
private struct DenialBench {
    let probeOf: @Sendable (DenialProbe.Certificate) -> DenialProbe
    let chain: [UInt8]
    private let files: ConfigurationTestFiles

    init() throws {
        files = try ConfigurationTestFiles(
            main: ServicesBench.main, peers: ServicesBench.peers, cursors: ServicesBench.noCursors)
        let configuration = try files.load()
        let authority = try CertificateAuthority.make(name: "test", days: 1)
        let issued = try authority.issue(
            CertificateRequest(identity: configuration.identity, days: 1))
        chain = issued.certificate.pem
        try CertificateFiles.makeDirectory("\(files.directory)/certs")
        let write = { (bytes: [UInt8], path: String) in
            try CertificateFiles.write(bytes, to: path, mode: 0o600, force: true)
        }
        try write(chain, configuration.tls.certificateFile)
        try write(try issued.key.pem(), configuration.tls.keyFile)
        for path in configuration.tls.authorityFiles { try write(authority.certificate.pem, path) }
        let link = try PeerLink(
            peer: try #require(configuration.peer(id: "plant-a")),
            credentials: try NodeCredentials.load(configuration))
        probeOf = { DenialProbe(link: link, configuration: configuration, unlisted: $0) }
    }

    func denials(_ unlisted: DenialProbe.Certificate) async -> [Denial] { await probeOf(unlisted).run() }
}
