internal import Glibc
package import RPC

/// Puts a certificate that another CA made in place, after every check that a node would make of it.
package struct CertificateImport: Sendable {
    package let directory: String
    package let name: String
    /// What it has to chain to.
    package let authorityFiles: [String]

    package init(directory: String, name: String, authorityFiles: [String]) {
        self.directory = directory
        self.name = name
        self.authorityFiles = authorityFiles
    }

    private var certificateFile: String { "\(directory)/\(name).crt" }
    private var keyFile: String { "\(directory)/\(name).key" }

    /// - Parameter force: also where the certificate in place names somebody else.
    /// - Returns: the new leaf, and where the one before is kept.
    package func run(
        _ file: String, force: Bool, atSeconds now: Int64 = Int64(time(nil))
    ) throws(CertificateError) -> (leaf: X509Certificate, archived: String?) {
        let chain = try X509Certificate.all(file: file)
        guard chain.count <= TrustAnchors.chainCertificatesMaximum else {
            throw CertificateError(
                "\(file) holds \(chain.count) certificates, a chain has at most "
                    + "\(TrustAnchors.chainCertificatesMaximum)")
        }
        let (key, waiting) = try key(of: chain[0], file)
        let anchors = try TrustAnchors(files: authorityFiles)
        for direction in [CallDirection.incoming, .outgoing] {
            do throws(CertificateRefusal) {
                try anchors.verify(chain[0], direction: direction, atSeconds: now)
            } catch {
                throw CertificateError("\(file): \(error.sentence)")
            }
        }
        if !force { try checkIdentity(chain[0], file) }
        let archived = try CertificateArchive.keepBeforeReplacing(certificateFile)
        try CertificateFiles.write([
            CertificateFiles.NewFile(keyFile, try key.pem(), mode: 0o600, isReplacing: true),
            CertificateFiles.NewFile(
                certificateFile, chain.flatMap(\.pem), mode: 0o644, isReplacing: true),
        ])
        if let waiting {
            unlink(waiting)
            unlink(CertificateSigningRequest.requestFile(directory: directory, name: name))
        }
        return (chain[0], archived)
    }

    /// The key of a request that waits, or the one in place.
    private func key(
        of leaf: X509Certificate, _ file: String
    ) throws(CertificateError) -> (PrivateKey, waiting: String?) {
        let waiting = CertificateSigningRequest.keyFile(directory: directory, name: name)
        for path in [waiting, keyFile] where CertificateFiles.exists(path) {
            let key = try PrivateKey(file: path)
            if key.belongs(to: leaf) { return (key, path.utf8.elementsEqual(waiting.utf8) ? path : nil) }
        }
        throw CertificateError(
            "\(file) belongs neither to the key \(waiting) nor to \(keyFile); import what was made of the "
                + "request that 'bsfg cert csr' wrote there")
    }

    /// A renewal is of the same holder: peers know it by its name.
    private func checkIdentity(_ leaf: X509Certificate, _ file: String) throws(CertificateError) {
        guard CertificateFiles.exists(certificateFile) else { return }
        let before: X509Certificate
        do throws(CertificateError) {
            before = try X509Certificate.all(file: certificateFile)[0]
        } catch {
            throw CertificateError(
                "whose the certificate in place is cannot be read (\(error.sentence)); say --force to replace it")
        }
        let names = Set(try leaf.names())
        let namesBefore = try before.names()
        let commonNames = namesBefore.filter { $0.kind == .commonName }
        guard (commonNames.isEmpty ? namesBefore : commonNames).allSatisfy({ names.contains($0) }) else {
            throw CertificateError(
                "\(file) is of '\(leaf.subject)', the certificate in place of '\(before.subject)'; peers "
                    + "know the holder by that name, so say --force if it is to change")
        }
    }
}
