import Facts
import Testing

@testable import RPC

@Suite struct IdentityVerifierTests {
    private func refusal(_ body: () throws -> Void) throws -> CertificateRefusal {
        try #require(throws: CertificateRefusal.self) { try body() }
    }

    @Test("gateway decision 35: a leaf chains to its root through issuing CAs, and a missing one is named")
    func chainsToRootThroughIssuingAuthorities() throws {
        let pki = try IdentityTestPKI()
        try pki.authority("root")
        try pki.authority("issuing", issuer: "root")
        try pki.authority("issuing2", issuer: "issuing")
        try pki.authority("issuing3", issuer: "issuing2")
        try pki.leaf("leaf", issuer: "issuing2")
        try pki.leaf("deep", issuer: "issuing3")
        let leaf = try pki.certificate("leaf")
        try pki.anchors("root", "issuing", "issuing2").verify(leaf, direction: .incoming)

        let missing = try refusal {
            try pki.anchors("root", "issuing").verify(leaf, direction: .incoming)
        }
        #expect(missing.kind == .unknownIssuer)
        #expect(missing.sentence.contains("'CN = issuing2'"))
        let missingMiddle = try refusal {
            try pki.anchors("root", "issuing2").verify(leaf, direction: .incoming)
        }
        #expect(missingMiddle.kind == .unknownIssuer)
        #expect(missingMiddle.sentence.contains("'CN = issuing'"))

        let long = try refusal {
            try pki.anchors("root", "issuing", "issuing2", "issuing3")
                .verify(try pki.certificate("deep"), direction: .incoming)
        }
        #expect(long.kind == .chainTooLong)
    }

    @Test("gateway decision 42: a chain of 4 certificates verifies, one of 5 does not")
    func chainsHaveAtMostFourCertificates() throws {
        let pki = try IdentityTestPKI()
        let authorities = ["root", "one", "two", "three"]
        for (index, name) in authorities.enumerated() {
            try pki.authority(name, issuer: index == 0 ? nil : authorities[index - 1])
        }
        for (issuer, count) in [("two", 4), ("three", 5)] {
            try pki.leaf("leaf-\(count)", issuer: issuer)
            let leaf = try pki.certificate("leaf-\(count)")
            let anchors = try pki.anchors("root", "one", "two", "three")
            for direction in [CallDirection.incoming, .outgoing] {
                if count == 4 {
                    try anchors.verify(leaf, direction: direction)
                } else {
                    let refused = try refusal { try anchors.verify(leaf, direction: direction) }
                    #expect(refused.kind == .chainTooLong)
                    #expect(refused.sentence.contains("more than 4 certificates"))
                }
            }
        }
    }

    @Test func aNamesakeOfTheIssuerIsNotTheIssuer() throws {
        let pki = try IdentityTestPKI()
        try pki.authority("one", commonName: "site ca")
        try pki.authority("two", commonName: "site ca")
        try pki.leaf("leaf", issuer: "two")
        let leaf = try pki.certificate("leaf")
        #expect(throws: CertificateRefusal.self) {
            try pki.anchors("one").verify(leaf, direction: .incoming)
        }
        try pki.anchors("one", "two").verify(leaf, direction: .incoming)
    }

    @Test("gateway decision 37: extended key usage is checked per direction")
    func usageIsCheckedPerDirection() throws {
        let pki = try IdentityTestPKI()
        try pki.authority("root")
        try pki.leaf("server", issuer: "root", usage: "extendedKeyUsage=serverAuth")
        try pki.leaf("client", issuer: "root", usage: "extendedKeyUsage=clientAuth")
        try pki.leaf("any", issuer: "root", usage: nil)
        let anchors = try pki.anchors("root")
        let server = try pki.certificate("server")
        let client = try pki.certificate("client")
        try anchors.verify(server, direction: .outgoing)
        try anchors.verify(client, direction: .incoming)
        try anchors.verify(try pki.certificate("any"), direction: .incoming)
        try anchors.verify(try pki.certificate("any"), direction: .outgoing)
        let asClient = try refusal { try anchors.verify(server, direction: .incoming) }
        #expect(asClient.kind == .wrongUsage && asClient.sentence.contains("clientAuth"))
        let asServer = try refusal { try anchors.verify(client, direction: .outgoing) }
        #expect(asServer.kind == .wrongUsage && asServer.sentence.contains("serverAuth"))
    }

    @Test func validityIsCheckedAtBothEnds() throws {
        let pki = try IdentityTestPKI()
        try pki.authority("root")
        try pki.leaf("leaf", issuer: "root")
        let leaf = try pki.certificate("leaf")
        let anchors = try pki.anchors("root")
        try anchors.verify(leaf, direction: .incoming, atSeconds: leaf.notAfter - 1)
        let late = try refusal {
            try anchors.verify(leaf, direction: .incoming, atSeconds: leaf.notAfter)
        }
        #expect(late.kind == .expired && late.sentence.contains(UTCText.text(leaf.notAfter)))
        let early = try refusal {
            try anchors.verify(leaf, direction: .incoming, atSeconds: leaf.notBefore - 1)
        }
        #expect(early.kind == .notYetValid)
        #expect(early.sentence.contains(UTCText.text(leaf.notBefore)))
        #expect(early.sentence.contains(UTCText.text(leaf.notBefore - 1)))
    }

    @Test func keysAreLimited() throws {
        let pki = try IdentityTestPKI()
        try pki.authority("root")
        for (bits, isAccepted) in [(1024, false), (2048, true), (4096, true), (4104, false)] {
            try pki.issue(
                "rsa\(bits)", subject: "/CN=plant-a-bsfg", issuer: "root",
                extensions: [IdentityTestPKI.both],
                key: ["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:\(bits)"])
            let leaf = try pki.certificate("rsa\(bits)")
            let anchors = try pki.anchors("root")
            if isAccepted {
                try anchors.verify(leaf, direction: .incoming)
            } else {
                let refused = try refusal { try anchors.verify(leaf, direction: .incoming) }
                #expect(refused.kind == .unsupportedKey)
                #expect(refused.sentence.contains("RSA-\(bits)"))
            }
        }
    }

    @Test func anchorsMustBeAuthorities() throws {
        let pki = try IdentityTestPKI()
        try pki.authority("root")
        try pki.leaf("leaf", issuer: "root")
        #expect(throws: CertificateError.self) { try pki.anchors("root", "leaf") }
        #expect(throws: CertificateError.self) { try pki.anchors("absent") }
    }

    /// Two zones, each with its own CA.
    private func twoZones() throws -> (IdentityTestPKI, IdentityVerifier) {
        let pki = try IdentityTestPKI()
        try pki.authority("ca-a")
        try pki.authority("ca-b")
        let verifier = try IdentityVerifier(
            entries: [
                .init(
                    kind: .peer(id: "plant-a"), identity: "plant-a-bsfg",
                    anchors: try pki.anchors("ca-a")),
                .init(
                    kind: .peer(id: "plant-b"), identity: "plant-b-bsfg",
                    anchors: try pki.anchors("ca-b")),
                .init(
                    kind: .client(name: "historian"), identity: "historian",
                    anchors: try pki.anchors("ca-a")),
                .init(
                    kind: .peer(id: "closed"), identity: "closed-bsfg",
                    anchors: try pki.anchors("ca-a"), authorised: false),
            ], nameKinds: [.dns, .commonName, .uri], generation: 7)
        return (pki, verifier)
    }

    @Test("gateway decision 37: a caller is its one entry")
    func aCallerIsItsOneEntry() throws {
        let (pki, verifier) = try twoZones()
        try pki.leaf(
            "a", commonName: "something else", issuer: "ca-a", names: ["DNS:Plant-A-BSFG", "DNS:x"])
        let caller = try verifier.check(leafDER: try pki.der("a"), direction: .incoming)
        #expect(caller.kind == .peer(id: "plant-a"))
        #expect(caller.identity == "plant-a-bsfg")
        let leaf = try pki.certificate("a")
        let certificate = try #require(caller.certificate)
        #expect(certificate.names == ["Plant-A-BSFG", "x", "something else"])
        #expect(certificate.fingerprint == leaf.fingerprintHexadecimal)
        #expect(certificate.notAfterUnixMilliseconds == leaf.notAfter * 1000)
        #expect(verifier.generation == 7)

        try pki.leaf("h", commonName: "historian", issuer: "ca-a")
        let client = try verifier.check(leafDER: try pki.der("h"), direction: .incoming)
        #expect(client.kind == .client(name: "historian"))

        try pki.leaf("u", commonName: "u", issuer: "ca-b", names: ["URI:bsfg://plant-b-bsfg"])
        let byURI = try verifier.check(leafDER: try pki.der("u"), direction: .incoming)
        #expect(byURI.kind == .peer(id: "plant-b"))
    }

    @Test("gateway decision 37: one zone's CA cannot issue another zone's name")
    func anotherZonesAuthorityCannotIssueAName() throws {
        let (pki, verifier) = try twoZones()
        try pki.leaf("forged", commonName: "plant-a-bsfg", issuer: "ca-b")
        let refused = try refusal {
            _ = try verifier.check(leafDER: try pki.der("forged"), direction: .incoming)
        }
        #expect(refused.kind == .unknownIssuer)
        #expect(refused.sentence.contains("ca-b"))
    }

    @Test("gateway decision 37: no entry, two entries and an unauthorised one are refused with what was seen")
    func unknownAmbiguousAndUnauthorisedAreRefused() throws {
        let (pki, verifier) = try twoZones()
        try pki.leaf("who", commonName: "who", issuer: "ca-a", names: ["DNS:stranger"])
        let unknown = try refusal {
            _ = try verifier.check(leafDER: try pki.der("who"), direction: .incoming)
        }
        #expect(unknown.kind == .noMatchingIdentity)
        #expect(unknown.sentence.contains("dns:stranger"))
        #expect(unknown.sentence.contains("cn:who"))
        #expect(unknown.fingerprint == (try pki.certificate("who").fingerprintHexadecimal))

        try pki.leaf("two", commonName: "historian", issuer: "ca-a", names: ["DNS:plant-a-bsfg"])
        let ambiguous = try refusal {
            _ = try verifier.check(leafDER: try pki.der("two"), direction: .incoming)
        }
        #expect(ambiguous.kind == .ambiguousIdentity)
        #expect(ambiguous.sentence.contains("historian"))

        try pki.leaf("closed", commonName: "closed-bsfg", issuer: "ca-a")
        let closed = try refusal {
            _ = try verifier.check(leafDER: try pki.der("closed"), direction: .incoming)
        }
        #expect(closed.kind == .notAuthorised)

        let result = verifier.verify(leafDER: try pki.der("who"), direction: .incoming)
        guard case .failure(let error) = result else {
            Issue.record("a stranger was let in")
            return
        }
        #expect(error.error.reason == .identityNotAuthorised)
        #expect(error.error.message == unknown.sentence)
        #expect(error.kind == "no_matching_identity" && error.names.contains("cn:who"))
        #expect(error.fingerprint == (try pki.certificate("who").fingerprintHexadecimal))
        guard case .failure(let malformed) = verifier.verify(leafDER: [1, 2], direction: .incoming)
        else {
            Issue.record("two bytes were let in")
            return
        }
        #expect(malformed.error.reason == .identityNotAuthorised && malformed.kind == "malformed")
    }

    @Test("gateway decision 37: no wildcards, and case is folded in DNS names only")
    func thereAreNoWildcardsAndNoCaseFoldingOutsideDNS() throws {
        let (pki, verifier) = try twoZones()
        for (name, commonName, names) in [
            ("wild", "*", ["DNS:*", "DNS:*-bsfg"]),
            ("upper", "HISTORIAN", []),
            ("upperURI", "x", ["URI:bsfg://PLANT-A-BSFG"]),
            ("prefix", "historian ", []),
            ("canonical", "historian\u{301}", []),
        ] {
            try pki.leaf(name, commonName: commonName, issuer: "ca-a", names: names)
            let refused = try refusal {
                _ = try verifier.check(leafDER: try pki.der(name), direction: .incoming)
            }
            #expect(refused.kind == .noMatchingIdentity, "\(name)")
        }
        #expect(IdentityGrammar.problem("*.plant") != nil)
        #expect(IdentityGrammar.problem("plänt") != nil)
        #expect(IdentityGrammar.problem("") != nil)
        #expect(IdentityGrammar.problem(" x") != nil)
        #expect(IdentityGrammar.problem(String(repeating: "x", count: 257)) != nil)
        #expect(IdentityGrammar.problem(String(repeating: "x", count: 256)) == nil)
    }

    @Test("gateway decision 37: only enabled kinds of names count")
    func onlyEnabledKindsCount() throws {
        let pki = try IdentityTestPKI()
        try pki.authority("ca-a")
        try pki.leaf("cn", commonName: "historian", issuer: "ca-a", names: ["DNS:other"])
        let verifier = try IdentityVerifier(
            entries: [
                .init(
                    kind: .client(name: "historian"), identity: "historian",
                    anchors: try pki.anchors("ca-a"))
            ], nameKinds: [.uri, .dns])
        let refused = try refusal {
            _ = try verifier.check(leafDER: try pki.der("cn"), direction: .incoming)
        }
        #expect(refused.kind == .noMatchingIdentity)
        #expect(refused.names.map(\.text).contains("historian"))
        #expect(!refused.sentence.contains("cn:historian"))
    }

    @Test func identitiesThatDifferInCaseOnlyAreTheSame() throws {
        let pki = try IdentityTestPKI()
        try pki.authority("ca-a")
        let anchors = try pki.anchors("ca-a")
        #expect(throws: CertificateError.self) {
            try IdentityVerifier(
                entries: [
                    .init(kind: .peer(id: "a"), identity: "plant-a", anchors: anchors),
                    .init(kind: .client(name: "b"), identity: "PLANT-A", anchors: anchors),
                ], nameKinds: [.dns])
        }
    }

    @Test func aServerMustBeThePeerThatWasCalled() throws {
        let (pki, verifier) = try twoZones()
        try pki.leaf("a", commonName: "plant-a-bsfg", issuer: "ca-a")
        try pki.leaf("b", commonName: "plant-b-bsfg", issuer: "ca-b")
        try pki.leaf(
            "both", commonName: "plant-a-bsfg", issuer: "ca-a", names: ["DNS:plant-b-bsfg"])
        let server = verifier.server(peer: "plant-a")
        guard
            case .success(let caller) = server.verify(
                leafDER: try pki.der("a"), direction: .outgoing)
        else {
            Issue.record("the peer's own certificate was refused")
            return
        }
        #expect(caller.kind == .peer(id: "plant-a"))
        let other = try refusal {
            _ = try verifier.check(serverLeafDER: try pki.der("b"), peer: "plant-a")
        }
        #expect(other.kind == .identityMismatch)
        #expect(other.sentence.contains("plant-a-bsfg") && other.sentence.contains("plant-b-bsfg"))
        let both = try refusal {
            _ = try verifier.check(serverLeafDER: try pki.der("both"), peer: "plant-a")
        }
        #expect(both.kind == .ambiguousIdentity)
    }

    @Test func anEndpointIsKnownByItsAddress() throws {
        let pki = try IdentityTestPKI()
        try pki.authority("ca-a")
        try pki.leaf("a", commonName: "plant-a-bsfg", issuer: "ca-a", names: ["IP:127.0.0.1"])
        let anchors = try pki.anchors("ca-a")
        let der = try pki.der("a")
        _ = try EndpointVerifier(anchors: anchors, host: "127.0.0.1").check(leafDER: der)
        let refused = try refusal {
            _ = try EndpointVerifier(anchors: anchors, host: "127.0.0.2").check(leafDER: der)
        }
        #expect(refused.kind == .identityMismatch)
        #expect(refused.sentence.contains("--address 127.0.0.2"))
    }
}
