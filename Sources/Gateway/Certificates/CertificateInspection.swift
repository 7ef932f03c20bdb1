internal import Glibc
package import RPC

/// What is in a file of certificates or CRLs, in PEM or DER.
package enum CertificateInspection {
    package static func read(
        _ file: String, atSeconds now: Int64 = Int64(time(nil))
    ) throws(CertificateError) -> [CertificateStatus] {
        let bytes = try SmallFile.read(file, bytesMaximum: RevocationList.fileBytesMaximum)
        let certificates: [X509Certificate]
        do throws(CertificateError) {
            certificates = try self.certificates(bytes, file)
        } catch {
            guard let lists = try? RevocationList.all(bytes) else { throw error }
            return lists.map { CertificateStatus($0, file: file, now: now) }
        }
        return certificates.map { certificate in
            CertificateStatus(
                certificate, role: certificate.isAuthority ? "ca" : "leaf", file: file, now: now)
        }
    }

    /// The first certificate of a file.
    package static func leaf(_ file: String) throws(CertificateError) -> X509Certificate {
        try certificates(
            try SmallFile.read(file, bytesMaximum: X509Certificate.fileBytesMaximum), file)[0]
    }

    private static func certificates(
        _ bytes: [UInt8], _ file: String
    ) throws(CertificateError) -> [X509Certificate] {
        bytes.first == 0x30
            ? [try X509Certificate(der: bytes)] : try X509Certificate.all(pem: bytes, name: file)
    }
}
