import Foundation
import RPC
import Testing

@testable import Gateway

/// What we issue, checked by the openssl command.
@Suite struct CertificatesTests {
    private final class Directory {
        let path = NSTemporaryDirectory() + "certificates-\(UUID().uuidString)"

        deinit { try? FileManager.default.removeItem(atPath: path) }

        func openssl(_ arguments: String...) throws -> (status: Int32, output: String) {
            let process = Process()
            process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
            process.arguments = ["openssl"] + arguments
            process.currentDirectoryURL = URL(fileURLWithPath: path)
            let pipe = Pipe()
            process.standardOutput = pipe
            process.standardError = pipe
            process.standardInput = FileHandle.nullDevice
            try process.run()
            let output = pipe.fileHandleForReading.readDataToEndOfFile()
            process.waitUntilExit()
            return (process.terminationStatus, String(decoding: output, as: UTF8.self))
        }

        func mode(_ name: String) throws -> Int {
            let attributes = try FileManager.default.attributesOfItem(atPath: "\(path)/\(name)")
            return try #require(attributes[.posixPermissions] as? Int)
        }
    }

    @Test(arguments: [PrivateKey.Kind.p256, .rsa(bits: 2048)])
    func opensslAcceptsWhatIsIssued(kind: PrivateKey.Kind) throws {
        let directory = Directory()
        let authority = try CertificateAuthority.make(name: "Wörk ca")
        try authority.write(directory: "\(directory.path)/ca", force: false)
        let again = try CertificateAuthority(directory: "\(directory.path)/ca")
        let issued = try again.issue(
            CertificateRequest(
                identity: "plant-a-bsfg",
                addresses: [
                    "192.0.2.7", "2001:db8::1", "plant-a.example", "192.0.2.7", "PLANT-A-bsfg",
                ],
                keyKind: kind, days: 30))
        try issued.write(
            directory: "\(directory.path)/certs", name: "server", authority: again.certificate,
            force: false)

        for arguments in [
            ["sslserver", "-verify_ip", "192.0.2.7"],
            ["sslserver", "-verify_ip", "2001:db8::1"],
            ["sslserver", "-verify_hostname", "plant-a.example"],
            ["sslserver", "-verify_hostname", "plant-a-bsfg"],
            ["sslclient", "-verify_hostname", "plant-a-bsfg"],
        ] {
            let verified = try directory.openssl(
                "verify", "-x509_strict", "-CAfile", "ca/ca.crt", "-purpose", arguments[0],
                arguments[1], arguments[2], "certs/server.crt")
            #expect(verified.status == 0, "\(verified.output)")
        }
        let wrong = try directory.openssl(
            "verify", "-CAfile", "ca/ca.crt", "-verify_ip", "192.0.2.8", "certs/server.crt")
        #expect(wrong.status != 0)
        let text = try directory.openssl("x509", "-in", "certs/server.crt", "-noout", "-text")
            .output
        #expect(text.contains("Subject: CN = plant-a-bsfg"))
        #expect(text.contains("TLS Web Server Authentication, TLS Web Client Authentication"))
        #expect(
            text.contains(
                "DNS:plant-a-bsfg, DNS:plant-a.example, IP Address:192.0.2.7, "
                    + "IP Address:2001:DB8:0:0:0:0:0:1\n"))
        #expect(text.contains("CA:FALSE"))
        #expect(text.contains(kind == .p256 ? "prime256v1" : "(2048 bit)"))
        #expect(
            try directory.openssl("pkey", "-in", "certs/server.key", "-check", "-noout").status == 0
        )
        #expect(try directory.mode("certs/server.key") == 0o600)
        #expect(try directory.mode("ca/ca.key") == 0o600)
        #expect(try directory.mode("certs/ca.crt") == 0o644)
        #expect(issued.key.belongs(to: issued.certificate))
        #expect(!issued.key.belongs(to: again.certificate))
    }

    @Test("gateway decision 41: validity begins a day back and ends with the issuer")
    func validityBeginsADayBackAndEndsWithTheIssuer() throws {
        let now: Int64 = 1_800_000_000
        let authority = try CertificateAuthority.make(name: "ca", days: 10, atSeconds: now)
        let leaf = try authority.issue(
            CertificateRequest(identity: "a", days: 5), atSeconds: now + 2 * 86_400)
        #expect(leaf.certificate.notBefore == now + 86_400)
        #expect(leaf.certificate.notAfter == now + 7 * 86_400)
        let clamped = try authority.issue(
            CertificateRequest(identity: "a", days: 365), atSeconds: now)
        #expect(clamped.certificate.notAfter == authority.certificate.notAfter)
        #expect(throws: CertificateError.self) {
            try authority.issue(
                CertificateRequest(identity: "a"), atSeconds: authority.certificate.notAfter)
        }
        #expect(authority.certificate.serial != leaf.certificate.serial)
        #expect(leaf.certificate.serial != clamped.certificate.serial)
    }

    @Test(
        arguments: [
            ("plant a", []), ("", []), ("*.plant", []), (String(repeating: "x", count: 65), []),
            ("a", ["0.0.0.0"]), ("a", ["::"]), ("a", ["192.0.2.1:9443"]), ("a", ["x y"]),
            ("a", [""]),
            ("a,DNS:evil", []), ("a", ["a\nDNS:evil"]),
        ] as [(String, [String])])
    func unusableNamesAreRefused(identity: String, addresses: [String]) throws {
        let authority = try CertificateAuthority.make(name: "ca")
        #expect(throws: CertificateError.self) {
            try authority.issue(CertificateRequest(identity: identity, addresses: addresses))
        }
    }

    @Test func nothingIsReplacedUnasked() throws {
        let directory = Directory()
        let ca = "\(directory.path)/ca"
        let authority = try CertificateAuthority.make(name: "ca")
        try authority.write(directory: ca, force: false)
        let other = try CertificateAuthority.make(name: "ca")
        #expect(throws: CertificateError.self) { try other.write(directory: ca, force: false) }
        #expect(
            try CertificateAuthority(directory: ca).certificate.fingerprint
                == authority.certificate.fingerprint)

        let certs = "\(directory.path)/certs"
        let first = try authority.issue(CertificateRequest(identity: "a"))
        try first.write(
            directory: certs, name: "server", authority: authority.certificate, force: false)
        let second = try authority.issue(CertificateRequest(identity: "a"))
        #expect(throws: CertificateError.self) {
            try second.write(
                directory: certs, name: "server", authority: authority.certificate, force: false)
        }
        #expect(
            try X509Certificate.all(file: "\(certs)/server.crt")[0].fingerprint
                == first.certificate.fingerprint)
        try second.write(
            directory: certs, name: "server", authority: authority.certificate, force: true)
        #expect(
            try X509Certificate.all(file: "\(certs)/server.crt")[0].fingerprint
                == second.certificate.fingerprint)
        #expect(try directory.mode("certs/server.key") == 0o600)

        // A trust file that operators filled is never touched, and must hold the issuer.
        let foreign = try other.issue(CertificateRequest(identity: "b"))
        #expect(throws: CertificateError.self) {
            try foreign.write(
                directory: certs, name: "b", authority: other.certificate, force: true)
        }
        #expect(!FileManager.default.fileExists(atPath: "\(certs)/b.key"))
        try other.write(directory: ca, force: true)
        #expect(
            try CertificateAuthority(directory: ca).certificate.fingerprint
                == other.certificate.fingerprint)
    }

    @Test func aMissingAuthorityIsAnsweredWithItsCommand() throws {
        let error = try #require(throws: CertificateError.self) {
            try CertificateAuthority(directory: "/nowhere/ca")
        }
        #expect(error.sentence.contains("bsfg ca init --dir /nowhere/ca"))
    }

    @Test func twoAuthoritiesHaveTwoNames() {
        let names = Set((0..<20).map { _ in CertificateAuthority.uniqueName() })
        #expect(names.count > 1)
    }
}
