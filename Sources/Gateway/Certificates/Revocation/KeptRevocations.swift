internal import Glibc
internal import RPC

/// The newest CRL of each CA that this node has had in force, in `data/crl`: a file that is replaced by an
/// older one, or removed, lets nobody in again, not even over a restart.
struct KeptRevocations: Sendable {
    private let directory: String

    init(dataDirectory: String) {
        directory = "\(dataDirectory)/crl"
    }

    func path(_ authority: X509Certificate) -> String {
        "\(directory)/\(authority.fingerprintHexadecimal).crl"
    }

    /// Nil where there is none that can be used: then the configured file alone counts. Blocks.
    func read(_ authority: X509Certificate) -> RevocationList? {
        let path = path(authority)
        guard CertificateFiles.exists(path), let lists = try? RevocationList.all(file: path) else {
            return nil
        }
        return lists.first { $0.isSigned(by: authority) }
    }

    /// Keeps what is in force now. Blocks.
    func write(_ entries: [RevocationFiles.Entry]) throws(CertificateError) {
        for entry in entries {
            if let known = read(entry.authority), known.fingerprint == entry.list.fingerprint { continue }
            try CertificateFiles.makeDirectory(directory, mode: 0o700)
            try CertificateFiles.write(
                entry.list.pem, to: path(entry.authority), mode: 0o600, force: true)
        }
    }
}
