package import RPC

/// Certificates that were replaced, kept for the audit: without their keys, under names that nothing overwrites.
package enum CertificateArchive {
    package static let directoryName = "archive"

    /// Keeps a copy of a certificate file in `archive` beside it, or in `directory`.
    /// - Returns: where it is, and its leaf.
    @discardableResult
    package static func keep(
        _ file: String, in directory: String? = nil
    ) throws(CertificateError) -> (path: String, leaf: X509Certificate) {
        let chain = try X509Certificate.all(file: file)
        let leaf = chain[0]
        let directory = directory ?? "\(ConfigurationPaths.parent(file))/\(directoryName)"
        let name = file.split(separator: "/").last.map(String.init) ?? file
        let stem = name.hasSuffix(".crt") ? String(name.dropLast(4)) : name
        let from = UTCText.text(leaf.notBefore).filter { $0 != "-" && $0 != ":" }
        let path = "\(directory)/\(stem)-\(from)-\(leaf.fingerprintHexadecimal.prefix(16)).crt"
        guard !CertificateFiles.exists(path) else { return (path, leaf) }
        try CertificateFiles.makeDirectory(directory)
        try CertificateFiles.write(chain.flatMap(\.pem), to: path, mode: 0o644, force: false)
        return (path, leaf)
    }

    /// Keeps what is about to be replaced, where there is something that can be read.
    /// - Returns: where it is.
    @discardableResult
    static func keepBeforeReplacing(_ file: String) throws(CertificateError) -> String? {
        guard CertificateFiles.exists(file), (try? X509Certificate.all(file: file)) != nil else { return nil }
        return try keep(file).path
    }
}
