internal import Glibc
internal import RPC

/// The CA that another one replaces: its key, certificate and CRL in `archive` of its directory. What it
/// issued may be in use still, and whoever trusts it needs its next CRL.
enum AuthorityArchive {
    private static let attemptsMaximum = 1000

    /// Gives the files second names, so that nothing is ever only half kept; the ones in place stay.
    /// - Returns: the directory; nil where there is nothing to keep.
    static func keep(directory: String, atSeconds now: Int64) throws(CertificateError) -> String? {
        let names = [
            CertificateAuthority.keyName, CertificateAuthority.certificateName,
            CertificateAuthority.revocationName,
        ].filter { CertificateFiles.exists("\(directory)/\($0)") }
        guard !names.isEmpty else { return nil }
        let archive = "\(directory)/\(CertificateArchive.directoryName)"
        try CertificateFiles.makeDirectory(archive, mode: 0o700, owner: .caller)
        let time = UTCText.text(now).filter { $0 != "-" && $0 != ":" }
        let own = try makeDirectory(in: archive, named: "ca-\(time)")
        for name in names {
            guard link("\(directory)/\(name)", "\(own)/\(name)") == 0 else {
                throw failure("\(directory)/\(name)", own)
            }
        }
        for path in [own, archive] {
            let descriptor = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
            guard descriptor >= 0 else { throw failure(path, archive) }
            defer { close(descriptor) }
            guard fsync(descriptor) == 0 else { throw failure(path, archive) }
        }
        return own
    }

    /// A directory of its own for each replacement, several within a second too.
    private static func makeDirectory(
        in archive: String, named name: String
    ) throws(CertificateError) -> String {
        for attempt in 1...attemptsMaximum {
            let path = "\(archive)/\(name)" + (attempt == 1 ? "" : "-\(attempt)")
            if mkdir(path, 0o700) == 0 { return path }
            guard errno == EEXIST else { throw failure(path, archive) }
        }
        throw failure(name, archive)
    }

    private static func failure(_ path: String, _ archive: String) -> CertificateError {
        CertificateError(
            "\(path) cannot be kept in \(archive), so nothing was replaced: "
                + "\(String(cString: strerror(errno)))")
    }
}
