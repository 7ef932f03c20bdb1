import Facts
import Foundation
import RPC
import Testing

@testable import Gateway

/// What a reload refused is in no handshake, however often the TLS context is made anew.
@Suite struct RefusedCertificatesTests {
    private let holderName = "mes"

    @Test("gateway decision 40: a refused pair is not shown after the TLS context is renewed")
    func aRefusedPairIsNotShown() async throws {
        let bench = try await ReloadBench()
        let holder = try bench.authority.issue(CertificateRequest(identity: holderName))
        let before = try await bench.visit(as: holder, trusting: [bench.authority])
        #expect(before.error == nil && before.fingerprint != nil)
        let key = "\(bench.directory)/certs/server.key"
        let refused: [(String, () throws -> Void)] = [
            ("another identity", { try bench.issue("somebody-else") }),
            (
                "a key that others can read",
                {
                    try bench.issue()
                    try FileManager.default.setAttributes(
                        [.posixPermissions: 0o644], ofItemAtPath: key)
                }
            ),
        ]
        for (what, replace) in refused {
            try replace()
            let error = await #expect(throws: ServiceError.self, "\(what)") {
                try await bench.reloader.reloadCertificates()
            }
            #expect(error?.message.hasPrefix("the certificate and key in the files are not in force") == true)
            try bench.server.renewTLS()
            let after = try await bench.visit(as: holder, trusting: [bench.authority])
            #expect(after.error == nil && after.fingerprint == before.fingerprint, "\(what)")
        }
        // A pair that can be used is shown, and goes on being shown.
        try bench.issue()
        try await bench.reloader.reloadCertificates()
        let new = try await bench.visit(as: holder, trusting: [bench.authority])
        #expect(new.error == nil && new.fingerprint != before.fingerprint)
        try bench.issue("somebody-else")
        try bench.server.renewTLS()
        let renewed = try await bench.visit(as: holder, trusting: [bench.authority])
        #expect(renewed.error == nil && renewed.fingerprint == new.fingerprint)
        await bench.close()
    }

    @Test("gateway decision 40: a refused CA file is not trusted after the TLS context is renewed")
    func aRefusedAuthorityIsNotTrusted() async throws {
        let bench = try await ReloadBench()
        let intruders = try CertificateAuthority.make(name: "another ca")
        let holder = try bench.authority.issue(CertificateRequest(identity: holderName))
        let intruder = try intruders.issue(CertificateRequest(identity: holderName))
        // The CRL beside it is the old CA's.
        try bench.write(
            "certs/ca.crl",
            String(decoding: try bench.authority.revoke(serials: [], previous: nil).pem, as: UTF8.self))
        try bench.write("certs/ca.crt", String(decoding: intruders.certificate.pem, as: UTF8.self))
        let told = await #expect(throws: ServiceError.self) {
            try await bench.reloader.reloadCertificates()
        }
        #expect(told?.message.hasPrefix("some CA or CRL files are not in force") == true, "\(told as Any)")
        try bench.server.renewTLS()
        let old = try await bench.visit(as: holder, trusting: [bench.authority])
        #expect(old.error == nil, "\(String(describing: old.error))")
        let other = try await bench.visit(as: intruder, trusting: [bench.authority])
        // By the handshake, and not by the first call's answer.
        let error = try #require(other.error)
        #expect(error.failure == nil, "\(error)")
        await bench.close()
    }
}
