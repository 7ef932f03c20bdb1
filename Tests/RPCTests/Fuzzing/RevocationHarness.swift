@testable import RPC

/// Any bytes as the CRLs of a file. Reading never traps, what is read is written so that it is read the same, and
/// looking a certificate up has one answer.
///
///     2    length of a certificate in DER form
///     ...  that certificate
///     ...  the CRLs, PEM or DER
enum RevocationHarness {
    static func check(_ bytes: UnsafeRawBufferPointer) {
        var input = HarnessInput(bytes)
        let certificate = try? X509Certificate(der: input.part())
        guard let lists = try? RevocationList.all(input.all()) else { return }
        for list in lists {
            guard let again = try? RevocationList.all(list.pem), again.count == 1,
                again[0].fingerprint == list.fingerprint, again[0].issuer == list.issuer,
                again[0].number == list.number, again[0].thisUpdate == list.thisUpdate,
                again[0].nextUpdate == list.nextUpdate, again[0].revokedCount == list.revokedCount
            else { harnessFailure("a CRL is not read as it is written") }
            guard let certificate else { continue }
            _ = list.isSigned(by: certificate)
            if list.revocation(of: certificate) != again[0].revocation(of: certificate) {
                harnessFailure("a certificate is revoked by one reading of a CRL only")
            }
        }
    }
}
