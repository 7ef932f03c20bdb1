internal import ArgumentParser
internal import Gateway
internal import RPC

extension CertCommand {
    struct Request: ParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "csr",
            abstract: "Makes a key and a certificate request for a site's own CA.",
            discussion: """
                Writes OUT/NAME.csr to give to the CA and OUT/NAME.csr.key (mode 0600) to keep; the pair in \
                use stays. 'cert import' takes what the CA made of it. The CA has to copy names and \
                extended key usages (serverAuth, clientAuth).
                """)

        @Option(help: "The name that peers.yaml or clients knows the holder by.")
        var identity: String

        @Option(help: "A name or address the holder is called at; repeat it for more.")
        var address: [String] = []

        @Option(help: ArgumentHelp("Where the files go.", valueName: "DIR"))
        var out: String

        @Option(help: "What the files are called.")
        var name = "server"

        @Flag(help: "An RSA key of 3072 bits in place of P-256, for old CAs.")
        var rsa = false

        @Flag(help: "Replace a key that waits for its certificate.")
        var force = false

        func run() throws {
            try CommandFailure.wrap {
                let request = try CertificateSigningRequest.make(
                    CertificateRequest(
                        identity: identity, addresses: address, keyKind: rsa ? .rsa(bits: 3072) : .p256))
                try request.write(directory: out, name: name, force: force)
                StandardOutput.line(
                    "wrote \(out)/\(name).csr and its key; import the CA's certificate with: bsfg cert import "
                        + "FILE --out \(out) --name \(name)")
            }
        }
    }

    struct Import: ParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "import",
            abstract: "Puts a certificate of a site's own CA in place.",
            discussion: """
                FILE holds the leaf, then any issuing CA. It has to belong to the key of 'cert csr' or to the \
                one in place, chain to the CA, be good for both directions and name the same holder. The \
                certificate before is kept in OUT/archive. A running node takes it up by itself.
                """)

        @Argument(help: ArgumentHelp("The certificate, PEM.", valueName: "FILE"))
        var file: String

        @Option(help: ArgumentHelp("Where key and certificate are.", valueName: "DIR"))
        var out: String

        @Option(help: "What the files are called.")
        var name = "server"

        @Option(help: ArgumentHelp("CA files. Default: OUT/ca.crt.", valueName: "FILE"))
        var ca: [String] = []

        @Flag(help: "Also where it names another holder than the one in place.")
        var force = false

        func run() throws {
            try CommandFailure.wrap {
                let (leaf, archived) = try CertificateImport(
                    directory: out, name: name, authorityFiles: ca.isEmpty ? ["\(out)/ca.crt"] : ca
                ).run(file, force: force)
                StandardOutput.line(
                    "wrote \(out)/\(name).crt and \(out)/\(name).key: '\(leaf.subject)', serial "
                        + "\(leaf.serial), until \(UTCText.text(leaf.notAfter))")
                if let archived { StandardOutput.line("kept the one before as \(archived)") }
            }
        }
    }

    struct Archive: ParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "archive",
            abstract: "Keeps a copy of a certificate, without its key, for the audit.",
            discussion: "cert issue --force and cert import do so by themselves.")

        @Argument(help: ArgumentHelp("The certificate, PEM.", valueName: "FILE"))
        var file: String

        @Option(help: ArgumentHelp("Where it goes. Default: archive beside it.", valueName: "DIR"))
        var to: String?

        func run() throws {
            try CommandFailure.wrap {
                let (path, leaf) = try CertificateArchive.keep(file, in: to)
                StandardOutput.line("\(path): serial \(leaf.serial), SHA-256 \(leaf.fingerprintHexadecimal)")
            }
        }
    }
}
