internal import Glibc
internal import RPC
internal import Synchronization

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

    /// Held while lists are looked at and written: whoever comes later with older ones finds the newer.
    private static let writing = Mutex(())

    /// Keeps what is in force now. Blocks.
    func write(_ entries: [RevocationFiles.Entry]) throws(CertificateError) {
        try Self.writing.withLock { _ throws(CertificateError) in
            for entry in entries {
                if let known = read(entry.authority),
                    known.fingerprint == entry.list.fingerprint || !entry.list.replaces(known)
                { continue }
                try CertificateFiles.makeDirectory(directory, mode: 0o700)
                try CertificateFiles.write(
                    entry.list.pem, to: path(entry.authority), mode: 0o600, force: true)
            }
        }
    }
}
