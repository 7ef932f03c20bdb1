internal import RPC

/// The CA files of a configuration, each read once: whoever is trusted by the handshake and whoever is by an
/// entry are the same, also when a file changes while it is read.
struct AuthorityFiles: Sendable {
    private var resultsByFile: [[UInt8]: Result<[X509Certificate], CertificateError>] = [:]

    /// Blocks.
    init(_ files: [String]) {
        for file in files {
            resultsByFile[Array(file.utf8)] = Result { () throws(CertificateError) in
                try X509Certificate.all(file: file)
            }
        }
    }

    /// The files with a certificate of which `condition` holds, in the order of their names.
    func files(_ condition: (X509Certificate) -> Bool) -> [String] {
        resultsByFile.filter { ((try? $0.value.get()) ?? []).contains(where: condition) }
            .map { String(decoding: $0.key, as: UTF8.self) }.sorted()
    }

    /// - Parameter files: some of those that were read.
    /// - Throws: why one of them cannot be used.
    func certificates(_ files: [String]) throws(CertificateError) -> [X509Certificate] {
        var found: [X509Certificate] = []
        for file in files {
            guard let result = resultsByFile[Array(file.utf8)] else {
                preconditionFailure("every CA file of the configuration was read")
            }
            found += try result.get()
        }
        return found
    }
}
