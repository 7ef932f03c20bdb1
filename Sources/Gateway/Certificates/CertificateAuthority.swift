internal import COpenSSL
internal import Glibc
package import RPC

/// A small CA in a directory (`ca.crt`, `ca.key`): enough for a first federation and for tests. A
/// site with its own PKI issues the same certificates there.
package struct CertificateAuthority: Sendable {
    package let certificate: X509Certificate
    package let key: PrivateKey

    package static let certificateName = "ca.crt"
    package static let keyName = "ca.key"
    package static let commonNameBytesMaximum = 64

    /// Zones exchange their CA certificates, so no two should have the same name by default.
    package static func uniqueName() -> String {
        "bsfg ca \(UInt32.random(in: 100_000...999_999))"
    }

    /// Makes a self-signed P-256 authority.
    package static func make(
        name: String, days: Int = 3650, atSeconds now: Int64 = Int64(time(nil))
    ) throws(CertificateError) -> CertificateAuthority {
        let bytes = Array(name.utf8)
        guard !bytes.isEmpty, bytes.count <= commonNameBytesMaximum,
            !bytes.contains(where: { $0 < 0x20 || $0 == 0x7f })
        else {
            throw CertificateError(
                "the name of a CA has 1 to \(commonNameBytesMaximum) bytes without control "
                    + "characters")
        }
        try checkDays(days)
        let key = try PrivateKey.generate(.p256)
        let builder = try CertificateBuilder(
            commonName: name, notBefore: now - 86_400, notAfter: now + Int64(days) * 86_400,
            key: key)
        do {
            try builder.add(NID_basic_constraints, "critical,CA:TRUE", issuer: nil)
            try builder.add(NID_key_usage, "critical,keyCertSign,cRLSign", issuer: nil)
            try builder.add(NID_subject_key_identifier, "hash", issuer: nil)
            return CertificateAuthority(
                certificate: try builder.sign(issuer: nil, key: key), key: key)
        } catch {
            builder.discard()
            throw error
        }
    }

    package init(certificate: X509Certificate, key: PrivateKey) {
        self.certificate = certificate
        self.key = key
    }

    /// Reads an authority; what is missing is answered with the command that makes it.
    package init(directory: String) throws(CertificateError) {
        try Self.checkFiles(directory: directory)
        let certificatePath = "\(directory)/\(Self.certificateName)"
        let keyPath = "\(directory)/\(Self.keyName)"
        if let sentence = PrivateKey.exposure(file: keyPath) { throw CertificateError(sentence) }
        certificate = try X509Certificate.all(file: certificatePath)[0]
        key = try PrivateKey(file: keyPath)
        guard key.belongs(to: certificate) else {
            throw CertificateError("\(keyPath) is not the key of \(certificatePath)")
        }
        guard certificate.isAuthority else {
            throw CertificateError("\(certificatePath) is not a certificate authority")
        }
    }

    static func checkFiles(directory: String) throws(CertificateError) {
        for name in [certificateName, keyName] where !CertificateFiles.exists("\(directory)/\(name)") {
            guard CertificateFiles.isMissing("\(directory)/\(name)") else {
                throw CertificateError(
                    "\(directory)/\(name) cannot be looked at by this user; run the command as the owner of "
                        + "\(directory), or as root")
            }
            throw CertificateError(
                "\(directory)/\(name) does not exist; make a CA with: bsfg ca init --dir \(directory)")
        }
    }

    /// - Parameter force: replaces a CA that is there, which is kept.
    /// - Returns: the directory where the one before is kept.
    @discardableResult
    package func write(
        directory: String, force: Bool, atSeconds now: Int64 = Int64(time(nil))
    ) throws(CertificateError) -> String? {
        // Not the node's: whoever gets into the node must not get its zone's CA.
        try CertificateFiles.makeDirectory(directory, mode: 0o700, owner: .caller)
        return try AuthorityLock.hold(directory) { () throws(CertificateError) in
            try replace(directory, force, now)
        }
    }

    private func replace(
        _ directory: String, _ force: Bool, _ now: Int64
    ) throws(CertificateError) -> String? {
        let certificatePath = "\(directory)/\(Self.certificateName)"
        let keyPath = "\(directory)/\(Self.keyName)"
        if !force {
            for path in [keyPath, certificatePath] where CertificateFiles.exists(path) {
                throw CertificateFiles.refusal(path)
            }
        }
        let kept = force ? try AuthorityArchive.keep(directory: directory, atSeconds: now) : nil
        try CertificateFiles.write([
            CertificateFiles.NewFile(
                keyPath, try key.pem(), mode: 0o600, isReplacing: force, owner: .caller),
            CertificateFiles.NewFile(
                certificatePath, certificate.pem, mode: 0o644, isReplacing: force, owner: .caller),
        ])
        // Another CA cannot go on from it.
        if kept != nil { unlink("\(directory)/\(Self.revocationName)") }
        return kept
    }

    package static let daysRange = 1...36_500

    static func checkDays(_ days: Int) throws(CertificateError) {
        guard daysRange.contains(days) else {
            throw CertificateError("--days is between 1 and 36500, not \(days)")
        }
    }
}
