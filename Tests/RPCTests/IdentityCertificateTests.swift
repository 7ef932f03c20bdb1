import Testing

@testable import RPC

@Suite struct IdentityCertificateTests {
    @Test func readsWhatOpenSSLWrote() throws {
        let pki = try IdentityTestPKI()
        try pki.authority("root", commonName: "Plant A root")
        try pki.leaf(
            "leaf", commonName: "Wörk cell", issuer: "root",
            names: [
                "DNS:plant-a-bsfg", "URI:bsfg://plant-a-bsfg", "URI:spiffe://plant/a",
                "IP:192.0.2.7", "IP:2001:db8::1", "email:ops@example.org",
            ])
        let leaf = try pki.certificate("leaf")
        #expect(
            try leaf.names() == [
                CertificateName(kind: .dns, text: "plant-a-bsfg"),
                CertificateName(kind: .uri, text: "plant-a-bsfg"),
                CertificateName(kind: .uri, text: "spiffe://plant/a"),
                CertificateName(kind: .commonName, text: "Wörk cell"),
            ])
        #expect(try leaf.addresses() == ["192.0.2.7", "2001:db8::1"])
        #expect(leaf.issuer == "CN = Plant A root")
        #expect(leaf.extendedKeyUsages == ["serverAuth", "clientAuth"])
        #expect(leaf.keyKind == CertificateKeyKind(algorithm: .ellipticCurve, bits: 256))
        #expect(!leaf.isAuthority)
        #expect(try pki.certificate("root").isAuthority)

        let printed = try pki.openssl([
            "x509", "-in", "leaf.crt", "-noout", "-serial", "-fingerprint", "-sha256", "-enddate",
            "-dateopt", "iso_8601",
        ])
        #expect(printed.contains("serial=\(leaf.serial)\n"))
        let fingerprint = printed.lowercased().replacing(":", with: "")
        #expect(fingerprint.contains("fingerprint=\(leaf.fingerprintHexadecimal)\n"))
        let end = UTCText.text(leaf.notAfter).replacing("T", with: " ")
        #expect(printed.contains("notAfter=\(end)\n"))
        #expect(leaf.notAfter - leaf.notBefore == 30 * 86_400)
    }

    @Test func pemAndDERRoundTrip() throws {
        let pki = try IdentityTestPKI()
        try pki.authority("root")
        let root = try pki.certificate("root")
        let again = try X509Certificate(der: root.der)
        #expect(again.fingerprint == root.fingerprint)
        let both = try X509Certificate.all(pem: root.pem + again.pem, name: "two")
        #expect(both.map(\.fingerprint) == [root.fingerprint, root.fingerprint])
    }

    @Test func damagedInputIsRefused() throws {
        let pki = try IdentityTestPKI()
        try pki.authority("root")
        let der = try pki.der("root")
        #expect(throws: CertificateError.self) { try X509Certificate(der: []) }
        #expect(throws: CertificateError.self) { try X509Certificate(der: Array(der.dropLast())) }
        #expect(throws: CertificateError.self) { try X509Certificate(der: der + [0]) }
        #expect(throws: CertificateError.self) {
            try X509Certificate(der: [UInt8](repeating: 0x30, count: 70_000))
        }
        let pem = try pki.certificate("root").pem
        #expect(throws: CertificateError.self) { try X509Certificate.all(pem: [], name: "none") }
        #expect(throws: CertificateError.self) {
            try X509Certificate.all(pem: pem + pem.dropLast(40), name: "half")
        }
        #expect(throws: CertificateError.self) {
            try X509Certificate.all(file: pki.path("absent.crt"))
        }
        #expect(throws: CertificateError.self) { try X509Certificate.all(file: pki.directory) }
    }

    @Test func randomDamageNeverCrashes() throws {
        let pki = try IdentityTestPKI()
        try pki.authority("root")
        try pki.leaf("leaf", issuer: "root", names: ["DNS:plant-a-bsfg", "IP:192.0.2.7"])
        let anchors = try pki.anchors("root")
        let der = try pki.der("leaf")
        let seed = UInt64.random(in: 0...UInt64.max)
        print("certificate damage seed \(seed)")
        var random = IdentityTestRandom(state: seed)
        for _ in 0..<2000 {
            var damaged = der
            for _ in 0...Int(random.next() % 3) {
                damaged[Int(random.next() % UInt64(der.count))] = UInt8(truncatingIfNeeded: random.next())
            }
            guard damaged != der, let certificate = try? X509Certificate(der: damaged) else { continue }
            _ = try? certificate.names()
            _ = certificate.subject
            #expect(throws: CertificateRefusal.self) {
                try anchors.verify(certificate, direction: .incoming)
            }
        }
    }

    @Test func namesWithAZeroByteAreRefused() throws {
        let pki = try IdentityTestPKI()
        try pki.authority("root")
        // openssl's own configuration cannot write one, so the letter is exchanged afterwards.
        try pki.leaf("leaf", commonName: "x", issuer: "root", names: ["DNS:plantQa.evil.example"])
        var der = try pki.der("leaf")
        let needle = Array("plantQa.evil".utf8)
        let start = try #require(
            (0..<(der.count - needle.count)).first { Array(der[$0..<($0 + needle.count)]) == needle })
        der[start + 5] = 0
        let leaf = try X509Certificate(der: der)
        #expect(throws: CertificateError.self) { try leaf.names() }
    }

    @Test func hostNamesAndAddressesAreCoveredExactly() throws {
        let pki = try IdentityTestPKI()
        try pki.authority("root")
        try pki.leaf(
            "leaf", commonName: "only-cn.example", issuer: "root",
            names: ["DNS:plant-a.example", "DNS:*.wild.example", "IP:192.0.2.7"])
        let leaf = try pki.certificate("leaf")
        #expect(leaf.covers(host: "plant-a.example"))
        #expect(leaf.covers(host: "PLANT-A.example"))
        #expect(leaf.covers(host: "192.0.2.7"))
        #expect(!leaf.covers(host: "192.0.2.8"))
        #expect(!leaf.covers(host: "x.wild.example"))
        #expect(!leaf.covers(host: "only-cn.example"))
    }

    @Test(arguments: [
        (Int64(0), "1970-01-01T00:00:00Z"), (951_782_400, "2000-02-29T00:00:00Z"),
        (1_709_251_199, "2024-02-29T23:59:59Z"), (4_107_542_400, "2100-03-01T00:00:00Z"),
        (-1, "1969-12-31T23:59:59Z"),
    ])
    func instantsAsText(seconds: Int64, text: String) {
        #expect(UTCText.text(seconds) == text)
    }
}

/// A small generator with a printable seed.
struct IdentityTestRandom: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var mixed = state
        mixed = (mixed ^ (mixed >> 30)) &* 0xbf58_476d_1ce4_e5b9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94d0_49bb_1331_11eb
        return mixed ^ (mixed >> 31)
    }
}
