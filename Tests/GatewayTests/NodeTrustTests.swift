import Foundation
import Logging
import RPC
import Testing

@testable import Gateway

/// What a running node takes of its certificate files when some of them cannot be used.
@Suite struct NodeTrustTests {
    /// A node whose peer plant-b is trusted by a CA of its own, and mes by the node's.
    private final class Node {
        let root = NSTemporaryDirectory() + "trust-\(UUID().uuidString)"
        let authority: CertificateAuthority
        let plant: CertificateAuthority
        let now = Int64(Date().timeIntervalSince1970)
        private var latest: [String: RevocationList] = [:]

        init() throws {
            authority = try CertificateAuthority.make(name: "node ca")
            plant = try CertificateAuthority.make(name: "plant ca")
            _ = try NodeTemplate(
                root: root, zone: "plant-a", identity: "plant-a-bsfg", addresses: ["127.0.0.1"]
            ).write()
            try issue()
            try put(plant.certificate.pem, "plant-b-ca.crt")
            try writePeers()
        }

        deinit { try? FileManager.default.removeItem(atPath: root) }

        func issue(_ identity: String = "plant-a-bsfg") throws {
            try authority.issue(
                CertificateRequest(identity: identity, addresses: ["127.0.0.1"])
            ).write(
                directory: "\(root)/certs", name: "server", authority: authority.certificate, force: true)
        }

        func put(_ bytes: [UInt8], _ name: String) throws {
            try CertificateFiles.write(bytes, to: file(name), mode: 0o644, force: true)
        }

        func file(_ name: String) -> String { "\(root)/certs/\(name)" }

        func remove(_ name: String) throws { try FileManager.default.removeItem(atPath: file(name)) }

        func writePeers(isAuthorised: Bool = true, crl: String = "") throws {
            let text = """
                peers:
                  - id: plant-b
                    identity: plant-b-bsfg
                    authorized: \(isAuthorised)
                    ca: ../certs/plant-b-ca.crt
                \(crl)
                  - id: plant-c
                    identity: plant-c-bsfg
                    authorized: true
                """
            try text.write(toFile: "\(root)/config/peers.yaml", atomically: true, encoding: .utf8)
        }

        /// The next CRL of a CA.
        func revoking(_ leaf: X509Certificate, by issuer: CertificateAuthority) throws -> RevocationList {
            let subject = issuer.certificate.subject
            let list = try issuer.revoke(serials: [leaf.serial], previous: latest[subject])
            latest[subject] = list
            return list
        }

        func load() throws -> NodeConfiguration { try NodeConfiguration.load(directory: root) }

        func start() throws -> NodeCredentials { try NodeCredentials.load(try load()) }

        func reload(_ inForce: NodeCredentials) throws -> NodeCredentials {
            try NodeCredentials.load(
                try load(), generation: inForce.verifier.generation + 1, replacing: inForce)
        }

        func plantB() throws -> X509Certificate {
            try plant.issue(CertificateRequest(identity: "plant-b-bsfg")).certificate
        }

        func plantC() throws -> X509Certificate {
            try authority.issue(CertificateRequest(identity: "plant-c-bsfg")).certificate
        }
    }

    private func refusal(
        _ leaf: X509Certificate, _ credentials: NodeCredentials
    ) -> CertificateRefusal.Kind? {
        do throws(CertificateRefusal) {
            _ = try credentials.verifier.check(leafDER: leaf.der, direction: .incoming)
            return nil
        } catch {
            return error.kind
        }
    }

    @Test("gateway decision 40: a pair that cannot be used holds up no revocation and no entry")
    func anUnusablePairHoldsUpNothing() throws {
        let spoilt: [(String, String, (Node) throws -> Void)] = [
            (
                "another's key", "this is not the key of",
                { try CertificateFiles.write(
                    try PrivateKey.generate(.p256).pem(), to: $0.file("server.key"), mode: 0o600, force: true) }
            ),
            (
                "a key that others can read", "run chmod 600 ",
                { try FileManager.default.setAttributes(
                    [.posixPermissions: 0o644], ofItemAtPath: $0.file("server.key")) }
            ),
            ("another identity", "dns:somebody-else", { try $0.issue("somebody-else") }),
            (
                "half a certificate", "server.crt",
                { node in
                    let bytes = try Data(contentsOf: URL(fileURLWithPath: node.file("server.crt")))
                    try node.put(Array(bytes.dropLast(bytes.count / 2)), "server.crt")
                }
            ),
            ("no certificate", "server.crt: the file does not exist", { try $0.remove("server.crt") }),
            ("no key", "server.key: the file does not exist", { try $0.remove("server.key") }),
        ]
        for (what, words, spoil) in spoilt {
            let node = try Node()
            let good = try node.start()
            let (leaf, peer) = (try node.plantC(), try node.plantB())
            #expect(refusal(leaf, good) == nil && refusal(peer, good) == nil)
            try spoil(node)
            try node.put(try node.revoking(leaf, by: node.authority).pem, "ca.crl")
            try node.writePeers(isAuthorised: false)
            let loaded = try node.reload(good)
            #expect(refusal(leaf, loaded) == .revoked, "\(what)")
            #expect(refusal(peer, loaded) == .notAuthorised, "\(what)")
            #expect(loaded.leaf.serial == good.leaf.serial && loaded.keyPEM == good.keyPEM, "\(what)")
            let withheld = try #require(loaded.withheld, "\(what)")
            #expect(withheld.sentence.contains(words), "\(what): \(withheld.sentence)")
            #expect(withheld.sentence.hasSuffix("the pair in force stays until there is a better one"))
            #expect(withheld.summary.hasPrefix("the certificate and key in the files are not in force"))
            // A start has nothing to go on with.
            #expect(throws: ConfigurationError.self, "\(what)") { try node.start() }
        }
    }

    @Test("gateway decision 39: a CRL counts for every trust of its CA at once, whichever one's file it is in")
    func aListCountsForEveryTrustOfItsCA() throws {
        let node = try Node()
        // Our own CA is named by a second file, too, which the CRL comes beside.
        try node.put(node.authority.certificate.pem, "plant-b-ca.crt")
        let good = try node.start()
        let leaf = try node.plantC()
        #expect(refusal(leaf, good) == nil)
        try node.put(try node.revoking(leaf, by: node.authority).pem, "plant-b-ca.crl")
        #expect(refusal(leaf, try node.reload(good)) == .revoked)
        #expect(refusal(leaf, try node.start()) == .revoked)
    }

    @Test("gateway decision 40: a zone's CRL or CA file that cannot be used holds up nobody else's revocation")
    func anUnusableFileOfAZoneHoldsUpNobodyElse() throws {
        let spoilt: [(String, String, (Node) throws -> Void)] = [
            ("a damaged CRL", "plant-b-ca.crl", { try $0.put(Array("garbage".utf8), "plant-b-ca.crl") }),
            ("an empty CRL", "plant-b-ca.crl", { try $0.put([], "plant-b-ca.crl") }),
            (
                "another's CRL", "plant-b-ca.crl",
                { try $0.put(try $0.authority.revoke(serials: [], previous: nil).pem, "plant-b-ca.crl") }
            ),
            ("a damaged CA", "plant-b-ca.crt", { try $0.put(Array("garbage".utf8), "plant-b-ca.crt") }),
            ("no CA", "plant-b-ca.crt", { try $0.remove("plant-b-ca.crt") }),
            (
                "a leaf among the CAs", "plant-b-ca.crt",
                { try $0.put($0.plant.certificate.pem + (try $0.plantB().pem), "plant-b-ca.crt") }
            ),
            (
                "another CA than the CRL's", "plant-b-ca.crl",
                { try $0.put(try CertificateAuthority.make(name: "new ca").certificate.pem, "plant-b-ca.crt") }
            ),
        ]
        for (what, file, spoil) in spoilt {
            let node = try Node()
            let (bad, peer, leaf) = (try node.plantB(), try node.plantB(), try node.plantC())
            try node.put(try node.revoking(bad, by: node.plant).pem, "plant-b-ca.crl")
            let good = try node.start()
            #expect(refusal(bad, good) == .revoked && refusal(peer, good) == nil && refusal(leaf, good) == nil)
            try spoil(node)
            try node.put(try node.revoking(leaf, by: node.authority).pem, "ca.crl")
            var loaded = try node.reload(good)
            // And again, as the files are read while they stay as they are.
            loaded = try node.reload(loaded)
            #expect(refusal(leaf, loaded) == .revoked, "\(what)")
            #expect(refusal(bad, loaded) == .revoked, "\(what): it is not as if there were no CRL")
            #expect(refusal(peer, loaded) == nil, "\(what)")
            let withheld = try #require(loaded.withheld, "\(what)")
            #expect(withheld.pair == nil && withheld.sentence.contains(node.file(file)), "\(withheld)")
            #expect(withheld.summary.hasPrefix("some CA or CRL files are not in force"))
            #expect(
                loaded.serverTLS.trustRoots.map(\.fingerprint) == good.serverTLS.trustRoots.map(\.fingerprint))
            // Nor does the entry itself wait for them.
            try node.writePeers(isAuthorised: false)
            #expect(refusal(peer, try node.reload(loaded)) == .notAuthorised, "\(what)")
            #expect(throws: ConfigurationError.self, "\(what)") { try node.start() }
        }
    }

    @Test func `a CRL that comes while the CA file is unusable revokes`() throws {
        let node = try Node()
        let peer = try node.plantB()
        let good = try node.start()
        try node.put(Array("garbage".utf8), "plant-b-ca.crt")
        try node.put(try node.revoking(peer, by: node.plant).pem, "plant-b-ca.crl")
        #expect(refusal(peer, try node.reload(good)) == .revoked)
    }

    @Test func `an entry that is new begins with files that can be used`() throws {
        let node = try Node()
        let good = try node.start()
        try node.put(Array("garbage".utf8), "plant-b-next.crl")
        try node.writePeers(crl: "    crl: ../certs/plant-b-next.crl")
        #expect(throws: ConfigurationError.self) { try node.reload(good) }
        try node.writePeers()
        #expect(try node.reload(good).withheld == nil)
    }

    @Test("gateway decision 39: a CRL that has had its time since is a change for its peers, where it is required")
    func aListThatBecomesStaleIsAChange() throws {
        for (isRequired, crl) in [(false, ""), (true, "    crl: required")] {
            let node = try Node()
            try node.writePeers(crl: crl)
            try node.put(try node.plant.revoke(serials: [], previous: nil, days: 1).pem, "plant-b-ca.crl")
            let configuration = try node.load()
            let fresh = try NodeCredentials.load(configuration, atSeconds: node.now)
            let stale = try NodeCredentials.load(
                configuration, generation: 2, replacing: fresh, atSeconds: node.now + 2 * 86_400)
            #expect(fresh.digests.differs(stale.digests, in: .peer(id: "plant-b")) == isRequired)
            #expect(!fresh.digests.differs(stale.digests, in: .peer(id: "plant-c")))
        }
    }

    @Test func `90 peers with three CA certificates each are no more than a node takes`() throws {
        let node = try Node()
        var peers = "peers:\n"
        for number in 1...90 {
            var pem: [UInt8] = []
            for part in 1...3 { pem += try CertificateAuthority.make(name: "ca \(number) \(part)").certificate.pem }
            // Each has our own CA, too.
            try node.put(pem + node.authority.certificate.pem, "zone-\(number).crt")
            peers += "  - {id: zone-\(number), identity: zone-\(number)-bsfg, authorized: true, "
                + "ca: ../certs/zone-\(number).crt}\n"
        }
        try peers.write(toFile: "\(node.root)/config/peers.yaml", atomically: true, encoding: .utf8)
        let credentials = try node.start()
        #expect(credentials.serverTLS.trustRoots.count == 271)
        #expect(Set(credentials.serverTLS.trustRoots.map(\.fingerprint)).count == 271)
        #expect(CertificateReport.make(try node.load()).warnings == [])
        // Too many in one entry's file are refused, by its name; copies do not count.
        var all: [UInt8] = []
        for number in 1...90 {
            all += Array(try Data(contentsOf: URL(fileURLWithPath: node.file("zone-\(number).crt"))))
        }
        try node.put(all, "zone-1.crt")
        let error = try #require(throws: ConfigurationError.self) { try node.start() }
        #expect(error.description.contains("zone-1.crt holds 271 certificates"), "\(error)")
    }

    @Test("gateway decision 39: a stale CRL is an alert, by its name")
    func aStaleListIsAnAlert() throws {
        let node = try Node()
        try node.put(try node.plant.revoke(serials: [], previous: nil, days: 1).pem, "plant-b-ca.crl")
        try node.put(try CertificateAuthority.make(name: "other").revoke(serials: [], previous: nil).pem, "x.crl")
        let lines = RecordedLines()
        try NodeCredentials.load(try node.load(), atSeconds: node.now + 2 * 86_400).warn(lines.logger)
        let stale = lines.all.filter { $0.metadata["event"] == "crl_stale" }
        let others = lines.all.filter { $0.metadata["event"] == nil }
        #expect(stale.count == 1 && stale[0].message.contains("the CRL of 'CN = plant ca' is stale since"))
        #expect(stale.first?.metadata["alert"] == "CrlStale")
        #expect(others.count == 1 && others[0].message.contains("x.crl is not in force"))
    }

    @Test("gateway decision 39: what was said of a CRL is not said again with every look at its files")
    func aWarningIsWrittenOnce() throws {
        let node = try Node()
        try node.put(try node.plant.revoke(serials: [], previous: nil, days: 1).pem, "plant-b-ca.crl")
        let configuration = try node.load()
        let before = try NodeCredentials.load(configuration, atSeconds: node.now + 2 * 86_400)
        try node.put(try CertificateAuthority.make(name: "other").revoke(serials: [], previous: nil).pem, "x.crl")
        let lines = RecordedLines()
        // A moment later by the clock, which its sentences name.
        try NodeCredentials.load(configuration, atSeconds: node.now + 2 * 86_400 + 30)
            .warn(lines.logger, except: before.warningSubjects)
        let told = lines.all.map(\.message)
        #expect(told.count == 1 && told[0].contains("x.crl is not in force"))
    }
}
