package import RPC

extension CertificateAuthority {
    /// Revokes certificates of the CA in a directory and puts its next CRL in place, durably. One at a time:
    /// each list goes on from the one before. Blocks.
    /// - Parameters:
    ///   - files: whose leaves are revoked.
    ///   - serials: hexadecimal.
    package static func revoke(
        directory: String, files: [String], serials: [String], days: Int = revocationDays
    ) throws(CertificateError) -> (list: RevocationList, path: String) {
        try checkFiles(directory: directory)
        return try AuthorityLock.hold(directory) { () throws(CertificateError) in
            let authority = try CertificateAuthority(directory: directory)
            var all = serials
            for file in files { all.append(try serial(of: file, issuedBy: authority.certificate)) }
            let before = try revocationList(directory: directory, authority: authority.certificate)
            let list = try authority.revoke(serials: all, previous: before, days: days)
            let path = "\(directory)/\(revocationName)"
            try CertificateFiles.write(list.pem, to: path, mode: 0o644, force: true)
            return (list, path)
        }
    }

    private static func serial(
        of file: String, issuedBy authority: X509Certificate
    ) throws(CertificateError) -> String {
        let leaf = try X509Certificate.all(file: file)[0]
        guard leaf.isIssued(by: authority) else {
            throw CertificateError(
                "\(file) was issued by '\(leaf.issuer)' and not by this CA, '\(authority.subject)'; "
                    + "only its own CA can revoke it")
        }
        return leaf.serial
    }
}
