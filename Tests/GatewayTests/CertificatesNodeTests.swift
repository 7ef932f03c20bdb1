import Foundation
import RPC
import Testing

@testable import Gateway

/// A configured node looks at its own certificates.
@Suite struct CertificatesNodeTests {
    private final class Node {
        let root = NSTemporaryDirectory() + "node-\(UUID().uuidString)"
        let authority: CertificateAuthority

        init(addresses: [String] = ["127.0.0.1"]) throws {
            authority = try CertificateAuthority.make(name: "node ca")
            let template = try NodeTemplate(
                root: root, zone: "plant-a", identity: "plant-a-bsfg", addresses: addresses)
            _ = try template.write()
        }

        deinit { try? FileManager.default.removeItem(atPath: root) }

        func load() throws -> NodeConfiguration { try NodeConfiguration.load(directory: root) }

        func issue(
            _ identity: String = "plant-a-bsfg", addresses: [String] = ["127.0.0.1"], days: Int = 365,
            by issuer: CertificateAuthority? = nil, atSeconds now: Int64 = Int64(time(nil))
        ) throws {
            try (issuer ?? authority).issue(
                CertificateRequest(identity: identity, addresses: addresses, days: days), atSeconds: now
            ).write(
                directory: "\(root)/certs", name: "server", authority: authority.certificate,
                force: true)
        }

        /// As the configuration names it.
        var realRoot: String { URL(fileURLWithPath: root).resolvingSymlinksInPath().path }

        func putRevocations(_ list: RevocationList, _ name: String) throws {
            try CertificateFiles.write(list.pem, to: "\(root)/certs/\(name)", mode: 0o644, force: true)
        }

        func write(_ name: String, _ text: String) throws {
            try text.write(toFile: "\(root)/config/\(name)", atomically: true, encoding: .utf8)
        }
    }

    @Test func whatIsMissingIsAnsweredWithItsCommand() throws {
        let node = try Node()
        let none = try #require(throws: ConfigurationError.self) {
            try NodeCredentials.load(try node.load())
        }
        let root = URL(fileURLWithPath: node.root).resolvingSymlinksInPath().path
        #expect(
            none.command == "bsfg ca init --dir \(root)/ca, then: bsfg cert issue --ca \(root)/ca "
                + "--identity plant-a-bsfg --address 127.0.0.1 --out \(root)/certs")
        try node.authority.write(directory: "\(node.root)/ca", force: false)
        let noLeaf = try #require(throws: ConfigurationError.self) {
            try NodeCredentials.load(try node.load())
        }
        #expect(noLeaf.command?.hasPrefix("bsfg cert issue --ca ") == true)
        try node.issue()
        let credentials = try NodeCredentials.load(try node.load())
        #expect(credentials.warnings == [])
        #expect(
            credentials.serverTLS.trustRoots.map(\.fingerprint) == [node.authority.certificate.fingerprint])
        try FileManager.default.removeItem(atPath: "\(node.root)/certs/ca.crt")
        let noTrust = try #require(throws: ConfigurationError.self) {
            try NodeCredentials.load(try node.load())
        }
        #expect(noTrust.problems[0].file.hasSuffix("/certs/ca.crt"))
    }

    @Test("gateway decision 41: a key that others can read is refused with the chmod to run")
    func aKeyThatOthersCanReadIsRefusedWithTheChmod() throws {
        let node = try Node()
        try node.issue()
        let key = "\(node.root)/certs/server.key"
        for (mode, isRefused) in [(0o600, false), (0o400, false), (0o604, true), (0o620, true)] {
            try FileManager.default.setAttributes([.posixPermissions: mode], ofItemAtPath: key)
            if isRefused {
                let refused = try #require(throws: ConfigurationError.self) {
                    try NodeCredentials.load(try node.load())
                }
                #expect(refused.description.contains("run chmod 600 "))
                #expect(refused.problems[0].sentence.hasPrefix("has mode 06"), "the file stands before it")
                let report = CertificateReport.make(try node.load())
                #expect(report.warnings.count == 1, "\(report.warnings)")
                #expect(report.warnings[0].contains("run chmod 600 "))
            } else {
                _ = try NodeCredentials.load(try node.load())
            }
        }
    }

    @Test func pairAndIdentityMustAgreeWithTheConfiguration() throws {
        let node = try Node()
        try node.authority.write(directory: "\(node.root)/ca", force: false)
        try node.issue("plant-b-bsfg")
        let other = try #require(throws: ConfigurationError.self) {
            try NodeCredentials.load(try node.load())
        }
        #expect(other.description.contains("dns:plant-b-bsfg"))
        #expect(other.description.contains("'plant-a-bsfg'"))
        #expect(other.command?.hasSuffix("--force") == true)
        try node.issue()
        let key = try PrivateKey.generate(.p256)
        try CertificateFiles.write(
            try key.pem(), to: "\(node.root)/certs/server.key", mode: 0o600, force: true)
        let pair = try #require(throws: ConfigurationError.self) {
            try NodeCredentials.load(try node.load())
        }
        #expect(pair.description.contains("this is not the key of"))
    }

    @Test("gateway decision 42: a file with a chain of 4 certificates is taken, one of 5 refused")
    func aChainHasAtMostFourCertificates() throws {
        let node = try Node()
        try node.issue()
        let path = URL(fileURLWithPath: "\(node.root)/certs/server.crt")
        var chain = try Data(contentsOf: path)
        for count in 2...5 {
            chain += Data(try CertificateAuthority.make(name: "ca \(count)").certificate.pem)
            try chain.write(to: path)
            if count <= 4 {
                #expect(try NodeCredentials.load(try node.load()).chain.count == count)
                continue
            }
            let refused = try #require(throws: ConfigurationError.self) {
                try NodeCredentials.load(try node.load())
            }
            #expect(refused.description.contains("holds 5 certificates, a chain has at most 4"))
        }
    }

    @Test func `a site's own CA renews, and a CA of ours only what it made`() throws {
        let node = try Node()
        let site = try CertificateAuthority.make(name: "site ca")
        func advice() throws -> String {
            try CertificateFiles.write(
                try PrivateKey.generate(.p256).pem(), to: "\(node.root)/certs/server.key", mode: 0o600,
                force: true)
            let error = try #require(throws: ConfigurationError.self) {
                try NodeCredentials.load(try node.load())
            }
            return try #require(error.command)
        }
        try node.authority.write(directory: "\(node.root)/ca", force: false)
        try node.issue()
        #expect(
            try advice() == "bsfg cert issue --ca \(node.realRoot)/ca --identity plant-a-bsfg "
                + "--address 127.0.0.1 --out \(node.realRoot)/certs --force")
        try node.issue(by: site)
        #expect(
            try advice() == "bsfg cert csr --identity plant-a-bsfg --address 127.0.0.1 "
                + "--out \(node.realRoot)/certs, and when its CA has signed the request: "
                + "bsfg cert import FILE --out \(node.realRoot)/certs")
        try FileManager.default.removeItem(atPath: "\(node.root)/ca")
        #expect(try advice().hasPrefix("bsfg cert csr "))
        try node.issue(by: site)
        let configuration = try node.load()
        let end = try NodeCredentials.load(configuration).leaf.notAfter
        let expired = try NodeCredentials.load(configuration, atSeconds: end + 1).warnings
        #expect(expired[0].contains("peers will refuse it: bsfg cert csr "), "\(expired)")
    }

    @Test func `a missing CA file is asked for where it comes from`() throws {
        let node = try Node()
        try node.authority.write(directory: "\(node.root)/ca", force: false)
        try node.issue()
        func refusal() throws -> ConfigurationError {
            try #require(throws: ConfigurationError.self) { try NodeCredentials.load(try node.load()) }
        }
        try FileManager.default.removeItem(atPath: "\(node.root)/certs/ca.crt")
        #expect(
            try refusal().command == "cp \(node.realRoot)/ca/ca.crt \(node.realRoot)/certs/ca.crt")
        try node.issue()
        try node.write(
            "peers.yaml",
            """
            peers:
              - id: plant-b
                identity: plant-b-bsfg
                authorized: true
                ca: ../certs/plant-b-ca.crt
            """)
        let missing = try refusal()
        #expect(missing.command == nil && missing.description.contains("the CA certificate of the peer plant-b"))
    }

    @Test("gateway decision 41: listen addresses are named by the certificate")
    func listenAddressesAreNamedByTheCertificate() throws {
        let node = try Node()
        try node.issue(addresses: [])
        let uncovered = try NodeCredentials.load(try node.load()).warnings
        #expect(uncovered.count == 1 && uncovered[0].contains("--address 127.0.0.1"))

        let everywhere = try Node(addresses: ["plant-a.example"])
        try everywhere.issue(addresses: ["plant-a.example"])
        #expect(try everywhere.load().listeners[0].address.host == "0.0.0.0")
        #expect(try NodeCredentials.load(try everywhere.load()).warnings == [])
        try everywhere.issue(addresses: [])
        #expect(try NodeCredentials.load(try everywhere.load()).warnings.count == 1)
    }

    @Test func anEndIsAnnouncedThirtyDaysAhead() throws {
        let node = try Node()
        try node.issue()
        let configuration = try node.load()
        let leaf = try NodeCredentials.load(configuration).leaf
        func warnings(_ daysBefore: Int64) throws -> [String] {
            try NodeCredentials.load(
                configuration, atSeconds: leaf.notAfter - daysBefore * 86_400
            ).warnings
        }
        #expect(try warnings(30) == [])
        #expect(try warnings(29)[0].contains("expires in 29 days"))
        let expired = try warnings(-1)
        #expect(expired.count == 1 && expired[0].contains("expired at"))
        let early = try NodeCredentials.load(configuration, atSeconds: leaf.notBefore - 10).warnings
        #expect(
            early.contains { $0.contains("is not valid before \(UTCText.text(leaf.notBefore))") })
    }

    @Test("gateway decision 40: a pair that others would refuse does not take the place of the one in force")
    func aPairThatOthersWouldRefuseStaysOut() throws {
        let node = try Node()
        try node.issue()
        let configuration = try node.load()
        let good = try NodeCredentials.load(configuration)
        let now = Int64(time(nil))
        let day: Int64 = 86_400
        func reload(_ inForce: NodeCredentials, days: Int64 = 0) throws -> NodeCredentials {
            try NodeCredentials.load(
                configuration, generation: 2, replacing: inForce, atSeconds: now + days * day)
        }
        func expectRefused(days: Int64 = 0, _ why: String) throws {
            let loaded = try reload(good, days: days)
            let sentence = try #require(loaded.withheld?.sentence)
            #expect(sentence.contains(why), "\(sentence)")
            #expect(sentence.contains("/server.crt: ") && sentence.contains("in force stays"))
            #expect(loaded.leaf.serial == good.leaf.serial && loaded.keyPEM == good.keyPEM)
        }
        try node.issue(days: 1)
        let short = try NodeCredentials.load(configuration)
        try expectRefused(days: 2, "it expired at")
        #expect(try reload(good).leaf.serial == short.leaf.serial, "before its end it may")
        // A start may, and what else changed does not wait when the pair in force has had its time.
        #expect(try NodeCredentials.load(configuration, atSeconds: now + 2 * day).warnings.count == 1)
        #expect(try reload(short, days: 2).leaf.serial == short.leaf.serial)

        try node.issue(atSeconds: now + 10 * day)
        try expectRefused("it is valid from")
        let foreign = try CertificateAuthority.make(name: "foreign ca")
        try node.issue(by: foreign)
        try expectRefused("which is not in \(configuration.tls.authorityFiles[0])")
        // A node whose own CA is in no file here cannot tell who accepts its next certificate either.
        let unanchored = try NodeCredentials.load(configuration)
        try node.issue(by: foreign)
        #expect(try reload(unanchored).leaf.serial != unanchored.leaf.serial)

        try node.issue()
        let revoked = try NodeCredentials.load(configuration)
        try node.putRevocations(
            try node.authority.revoke(serials: [revoked.leaf.serial], previous: nil), "ca.crl")
        try expectRefused("was revoked at")
        #expect(try reload(good).revocation.entries.count == 1, "nor does it wait for a better one")
        #expect(try reload(revoked).revocation.entries.count == 1, "the CRL does not wait for a new pair")
    }

    @Test func `a CRL is checked before the first entry is trusted by its CA`() throws {
        let node = try Node()
        try node.issue()
        let configuration = try node.load()
        #expect(NodeCredentials.watchedFiles(configuration).contains { $0.hasSuffix("/certs/ca.crl") })
        try "garbage".write(
            toFile: "\(node.root)/certs/ca.crl", atomically: true, encoding: .utf8)
        #expect(throws: ConfigurationError.self) { try NodeCredentials.load(configuration) }
        try node.putRevocations(try node.authority.revoke(serials: ["AB"], previous: nil), "ca.crl")
        #expect(try NodeCredentials.load(configuration).revocation.entries.count == 1)
        #expect(CertificateReport.make(configuration).certificates.contains { $0.role == "crl" })
    }

    @Test func `a CRL beside the wrong CA file is told its place`() throws {
        let node = try Node()
        try node.issue()
        let plant = try CertificateAuthority.make(name: "plant ca")
        try CertificateFiles.write(
            plant.certificate.pem, to: "\(node.root)/certs/plant-b-ca.crt", mode: 0o644, force: true)
        try node.write(
            "peers.yaml",
            """
            peers:
              - id: plant-b
                identity: plant-b-bsfg
                authorized: true
                ca: ../certs/plant-b-ca.crt
            """)
        let configuration = try node.load()
        let list = try plant.revoke(serials: ["AB"], previous: nil)
        try node.putRevocations(list, "ca.crl")
        let wrong = try #require(throws: ConfigurationError.self) { try NodeCredentials.load(configuration) }
        #expect(wrong.description.contains("is not signed by a CA of"))
        #expect(wrong.description.hasSuffix("this one's place is \(node.realRoot)/certs/plant-b-ca.crl"))
        try FileManager.default.removeItem(atPath: "\(node.root)/certs/ca.crl")
        try node.putRevocations(list, "plant.crl")
        let warnings = try NodeCredentials.load(configuration).warnings
        #expect(
            warnings.count == 1 && warnings[0].contains("/certs/plant.crl is not in force")
                && warnings[0].hasSuffix("put it at \(node.realRoot)/certs/plant-b-ca.crl"), "\(warnings)")
        try FileManager.default.moveItem(
            atPath: "\(node.root)/certs/plant.crl", toPath: "\(node.root)/certs/plant-b-ca.crl")
        let placed = try NodeCredentials.load(configuration)
        #expect(placed.warnings == [] && placed.revocation.entries.count == 1)
        try FileManager.default.createSymbolicLink(
            atPath: "\(node.root)/certs/link.crl", withDestinationPath: "plant-b-ca.crl")
        try node.putRevocations(list, "copy.crl")
        #expect(try NodeCredentials.load(configuration).warnings == [], "they revoke nobody else")
        try node.putRevocations(try plant.revoke(serials: ["CD"], previous: list), "copy.crl")
        #expect(try NodeCredentials.load(configuration).warnings.count == 1, "the next one is not in force")
    }

    @Test func entriesAreAnchoredAtTheirOwnAuthorities() throws {
        let node = try Node()
        try node.issue()
        let foreign = try CertificateAuthority.make(name: "enterprise ca")
        try foreign.write(directory: "\(node.root)/foreign", force: false)
        try node.write(
            "peers.yaml",
            """
            peers:
              - id: enterprise
                identity: enterprise-bsfg
                authorized: true
                ca: ../foreign/ca.crt
            """)
        let credentials = try NodeCredentials.load(try node.load(), generation: 3)
        #expect(credentials.verifier.generation == 3)
        #expect(credentials.serverTLS.trustRoots.count == 2)
        let good = try foreign.issue(CertificateRequest(identity: "enterprise-bsfg"))
        let caller = try credentials.verifier.check(
            leafDER: good.certificate.der, direction: .incoming)
        #expect(caller.kind == .peer(id: "enterprise"))
        let forged = try node.authority.issue(CertificateRequest(identity: "enterprise-bsfg"))
        let refused = try #require(throws: CertificateRefusal.self) {
            try credentials.verifier.check(leafDER: forged.certificate.der, direction: .incoming)
        }
        #expect(refused.kind == .unknownIssuer)

        let report = CertificateReport.make(try node.load())
        #expect(report.certificates.map(\.role) == ["node", "anchor", "anchor"])
        #expect(report.certificates.map(\.subject).last == "CN = enterprise ca")
        #expect([364, 365].contains(report.certificates[0].daysLeft))
        #expect(report.warnings == [])
    }

    @Test func theReportNamesWhatItCannotRead() throws {
        let node = try Node()
        let report = CertificateReport.make(try node.load())
        #expect(report.certificates.isEmpty)
        #expect(report.warnings.contains { $0.contains("server.crt: the file does not exist") })
        #expect(report.warnings.contains { $0.contains("bsfg ca init --dir ") })
    }
}
