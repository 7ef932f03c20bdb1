internal import RPC

/// The CA files of a configuration, each read once: whoever is trusted by the handshake and whoever is by an
/// entry are the same, also when a file changes while it is read.
struct AuthorityFiles: Sendable {
    private var certificatesByFile: [[UInt8]: [X509Certificate]] = [:]

    /// Blocks.
    init(_ files: [String]) throws(CertificateError) {
        for file in files { certificatesByFile[Array(file.utf8)] = try X509Certificate.all(file: file) }
    }

    /// The files with a certificate of which `condition` holds, in the order of their names.
    func files(_ condition: (X509Certificate) -> Bool) -> [String] {
        certificatesByFile.filter { $0.value.contains(where: condition) }
            .map { String(decoding: $0.key, as: UTF8.self) }.sorted()
    }

    /// - Parameter files: some of those that were read.
    func certificates(_ files: [String]) -> [X509Certificate] {
        files.flatMap { file in
            guard let found = certificatesByFile[Array(file.utf8)] else {
                preconditionFailure("every CA file of the configuration was read")
            }
            return found
        }
    }
}
