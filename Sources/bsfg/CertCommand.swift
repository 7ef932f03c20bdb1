internal import ArgumentParser
internal import Gateway
internal import RPC

struct CertCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "cert", abstract: "Issues certificates and shows those of a node.",
        subcommands: [
            Issue.self,
            Request.self,
            Import.self,
            Inspect.self,
            Verify.self,
            Status.self,
            Archive.self,
        ])

    struct Issue: ParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "issue",
            abstract: "Issues a certificate for a node, a producer or a consumer.",
            discussion: """
                Writes OUT/NAME.crt and OUT/NAME.key (mode 0600), and OUT/ca.crt beside them. The \
                name is 'server' where an address is given, else 'client'.
                """)

        @Option(help: ArgumentHelp("The directory of 'bsfg ca init'.", valueName: "DIR"))
        var ca: String

        @Option(help: "The name that peers.yaml or clients knows the holder by.")
        var identity: String

        @Option(help: "A name or address the holder is called at; repeat it for more.")
        var address: [String] = []

        @Option(help: ArgumentHelp("Where the files go.", valueName: "DIR"))
        var out: String

        @Option(help: "What the files are called.")
        var name: String?

        @Flag(help: "An RSA key in place of P-256, for old clients.")
        var rsa = false

        @Option(
            help: ArgumentHelp("The size of an RSA key: 2048, 3072 or 4096.", valueName: "bits"))
        var rsaBits = 3072

        @Option(help: "How long it is valid, never longer than its issuer.")
        var days = 365

        @Flag(help: "Replace a certificate and key that are there.")
        var force = false

        func validate() throws {
            guard CertificateAuthority.daysRange.contains(days) else {
                throw ValidationError("--days is between 1 and 36500.")
            }
            guard [2048, 3072, 4096].contains(rsaBits) else {
                throw ValidationError("--rsa-bits is 2048, 3072 or 4096.")
            }
            if let name, name.isEmpty || name.utf8.contains(UInt8(ascii: "/")) {
                throw ValidationError("--name is a file name without a directory.")
            }
        }

        func run() throws {
            try CommandFailure.wrap {
                let authority = try CertificateAuthority(directory: ca)
                let issued = try authority.issue(
                    CertificateRequest(
                        identity: identity, addresses: address,
                        keyKind: rsa ? .rsa(bits: rsaBits) : .p256, days: days))
                let stem = name ?? (address.isEmpty ? "client" : "server")
                try issued.write(
                    directory: out, name: stem, authority: authority.certificate, force: force)
                let until = UTCText.text(issued.certificate.notAfter)
                StandardOutput.line(
                    "wrote \(out)/\(stem).crt and \(out)/\(stem).key: '\(identity)' until \(until)")
            }
        }
    }

    struct Status: ParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "status",
            abstract:
                "Shows a node's certificates, how long they last and what is wrong with them.",
            discussion: "Exit status 1 when there is a warning.")

        @OptionGroup var directory: ConfigCommand.Directory
        @OptionGroup var output: OutputOptions

        func run() throws {
            let report = CertificateReport.make(try directory.load())
            switch output.format {
            case .table: printTable(report)
            case .json: StandardOutput.json(json(report))
            }
            if !report.warnings.isEmpty { throw CommandFailure(.failure, "") }
        }

        private func printTable(_ report: CertificateReport) {
            var table = Table("ROLE", "SUBJECT", "NAMES", "ISSUER", "KEY", "DAYS LEFT#", "FILE")
            for certificate in report.certificates {
                table.row([
                    certificate.role, certificate.subject,
                    certificate.names.isEmpty ? "-" : certificate.names.joined(separator: " "),
                    certificate.issuer, certificate.key, String(certificate.daysLeft),
                    certificate.file,
                ])
            }
            StandardOutput.line(table.text)
            for warning in report.warnings { StandardOutput.line("warning: \(warning)") }
        }

        private func json(_ report: CertificateReport) -> JSONOutput {
            .object([
                ("certificates", .list(report.certificates.map(CertCommand.json))),
                ("warnings", .list(report.warnings.map { .text($0) })),
            ])
        }
    }

    static func json(_ certificate: CertificateStatus) -> JSONOutput {
        .object([
            ("role", .text(certificate.role)),
            ("file", .text(certificate.file)),
            ("subject", .text(certificate.subject)),
            ("issuer", .text(certificate.issuer)),
            ("names", .list(certificate.names.map { .text($0) })),
            ("serial", .text(certificate.serial)),
            ("fingerprint_sha256", .text(certificate.fingerprint)),
            ("key", .text(certificate.key)),
            ("extended_key_usage", .list(certificate.usages.map { .text($0) })),
            ("not_before", .text(UTCText.text(certificate.notBefore))),
            ("not_after", .text(UTCText.text(certificate.notAfter))),
            ("days_left", .integer(certificate.daysLeft)),
        ])
    }
}
