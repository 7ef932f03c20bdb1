internal import RPC

/// The commands that make a node's certificates, as `init` prints them and `serve` repeats them.
extension NodeCredentials {
    private static func root(_ configuration: NodeConfiguration) -> String {
        ConfigurationPaths(directory: configuration.directory).root
    }

    private static func authority(_ configuration: NodeConfiguration) -> String {
        "\(root(configuration))/ca"
    }

    package static func authorityCommand(_ configuration: NodeConfiguration) -> String {
        "bsfg ca init --dir \(shellQuoted(authority(configuration)))"
    }

    package static func certificateCommand(_ configuration: NodeConfiguration) -> String {
        "bsfg cert issue --ca \(shellQuoted(authority(configuration))) \(holder(configuration))"
    }

    /// Who it is for, where that one is called, and where the files go.
    private static func holder(_ configuration: NodeConfiguration) -> String {
        let addresses = configuration.listeners.map(\.address.host).filter {
            IPAddress($0)?.isUnspecified != true
        }
        let named = addresses.isEmpty ? ["ADDRESS"] : addresses
        return "--identity \(shellQuoted(configuration.identity)) "
            + named.map { "--address \($0) " }.joined() + "--out \(shellQuoted(directory(configuration)))"
    }

    private static func directory(_ configuration: NodeConfiguration) -> String {
        ConfigurationPaths.parent(configuration.tls.certificateFile)
    }

    /// What makes the pair that is to take the place of the one in use. A CA of ours makes one that is trusted
    /// only where the one before was its, too; else it is the site's CA that has to sign. Reads files.
    package static func renewalCommand(_ configuration: NodeConfiguration) -> String {
        guard isOfAnotherAuthority(configuration) else { return certificateCommand(configuration) + " --force" }
        let directory = directory(configuration)
        // Where nothing is said the import checks against the ca.crt beside the pair.
        let authority = configuration.tls.authorityFiles.first.map { file in
            file.utf8.elementsEqual("\(directory)/ca.crt".utf8) ? "" : " --ca \(shellQuoted(file))"
        }
        return "bsfg cert csr \(holder(configuration)), and when its CA has signed the request: bsfg cert import "
            + "FILE --out \(shellQuoted(directory))\(authority ?? "")"
    }

    static func isOfAnotherAuthority(_ configuration: NodeConfiguration) -> Bool {
        let file = "\(authority(configuration))/\(CertificateAuthority.certificateName)"
        guard let leaf = try? X509Certificate.all(file: configuration.tls.certificateFile).first else {
            return false
        }
        guard let issuers = try? X509Certificate.all(file: file) else {
            // A CA that this user may not look at is here all the same, and most likely the one.
            return CertificateFiles.isMissing(file)
        }
        return !issuers.contains { leaf.isIssued(by: $0) }
    }
}
