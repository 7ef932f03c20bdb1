@testable import RPC

/// Any bytes as a certificate. Reading never traps, and what is read is encoded so that it is read
/// the same.
///
///     1    0 DER, 1 PEM
///     ...  the bytes
enum CertificateHarness {
    static func check(_ bytes: UnsafeRawBufferPointer) {
        var input = HarnessInput(bytes)
        if input.byte() & 1 == 0 {
            if let certificate = try? X509Certificate(der: input.all()) { check(certificate) }
        } else {
            let certificates = try? X509Certificate.all(pem: input.all(), name: "input")
            for certificate in certificates ?? [] { check(certificate) }
        }
    }

    private static func check(_ certificate: X509Certificate) {
        let names = try? certificate.names()
        _ = (
            try? certificate.addresses(), certificate.subject, certificate.issuer,
            certificate.serial, certificate.isSelfIssued, certificate.extendedKeyUsages,
            certificate.keyKind.problem
        )
        for direction in [CallDirection.incoming, .outgoing] {
            _ = certificate.usageProblem(direction)
        }
        for name in names ?? [] { _ = IdentityGrammar.problem(name.text) }
        guard let again = try? X509Certificate.all(pem: certificate.pem, name: "output").first,
            again.fingerprint == certificate.fingerprint, again.subject == certificate.subject,
            (try? again.names()) == names
        else { harnessFailure("a certificate is not read as it is written") }
    }
}
