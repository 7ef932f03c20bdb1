internal import ArgumentParser
internal import Gateway
internal import RPC

extension CertCommand {
    struct Inspect: ParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "inspect", abstract: "Shows what a file of certificates or CRLs holds.")

        @Argument(help: ArgumentHelp("PEM or DER.", valueName: "FILE"))
        var file: String

        @OptionGroup var output: OutputOptions

        func run() throws {
            let found = try CommandFailure.wrap { try CertificateInspection.read(file) }
            switch output.format {
            case .json:
                StandardOutput.json(.object([("certificates", .list(found.map(CertCommand.json)))]))
            case .table:
                for certificate in found {
                    var table = Table("FIELD", "VALUE")
                    for (field, value) in rows(certificate) where !value.isEmpty {
                        table.row([field, value])
                    }
                    StandardOutput.line(table.text)
                }
            }
        }

        private func rows(_ certificate: CertificateStatus) -> [(String, String)] {
            [
                ("kind", certificate.role), ("subject", certificate.subject),
                ("issuer", certificate.issuer), ("names", certificate.names.joined(separator: " ")),
                ("serial", certificate.serial), ("key", certificate.key),
                ("extended key usage", certificate.usages.joined(separator: " ")),
                ("from", UTCText.text(certificate.notBefore)),
                ("until", "\(UTCText.text(certificate.notAfter)) (\(certificate.daysLeft) days)"),
                ("SHA-256", certificate.fingerprint),
            ]
        }
    }

    struct Verify: ParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "verify",
            abstract: "Says who the holder of a certificate is for a node, or why nobody.",
            discussion: """
                The same check that a running node makes, for both directions: as one who calls it, and as one \
                that it calls. Exit status 1 when either is refused.
                """)

        @Argument(help: ArgumentHelp("The certificate, PEM or DER.", valueName: "FILE"))
        var file: String

        @OptionGroup var directory: ConfigCommand.Directory

        @Option(help: ArgumentHelp("In place of it: CA files that it has to chain to.", valueName: "FILE"))
        var ca: [String] = []

        @OptionGroup var output: OutputOptions

        func validate() throws {
            guard directory.config == nil || ca.isEmpty else {
                throw ValidationError("--config and --ca exclude each other; give one.")
            }
        }

        private struct Finding {
            var direction: String
            var isGood: Bool
            var reason: String
            var sentence: String
        }

        func run() throws {
            let check = try CommandFailure.wrap { try checker() }
            let leaf = try CommandFailure.wrap { try CertificateInspection.leaf(file) }
            let findings = [(CallDirection.incoming, "client"), (.outgoing, "server")].map {
                direction, name in
                do throws(CertificateRefusal) {
                    return Finding(
                        direction: name, isGood: true, reason: "", sentence: try check(leaf, direction))
                } catch {
                    return Finding(
                        direction: name, isGood: false, reason: error.kind.rawValue, sentence: error.sentence)
                }
            }
            switch output.format {
            case .table:
                var table = Table("AS", "RESULT", "WHY")
                for finding in findings {
                    table.row([finding.direction, finding.isGood ? "good" : finding.reason, finding.sentence])
                }
                StandardOutput.line(table.text)
            case .json:
                StandardOutput.json(
                    .object([
                        ("file", .text(file)),
                        (
                            "checks",
                            .list(
                                findings.map {
                                    .object([
                                        ("as", .text($0.direction)), ("good", .flag($0.isGood)),
                                        ("reason", .text($0.reason)), ("sentence", .text($0.sentence)),
                                    ])
                                })
                        ),
                    ]))
            }
            if findings.contains(where: { !$0.isGood }) { throw CommandFailure(.failure, "") }
        }

        private typealias Check =
            (X509Certificate, CallDirection) throws(CertificateRefusal) -> String

        private func checker() throws -> Check {
            guard ca.isEmpty else {
                let anchors = try TrustAnchors(files: ca)
                return { (leaf, direction) throws(CertificateRefusal) in
                    try anchors.verify(leaf, direction: direction)
                    return "it chains to \(ca.joined(separator: ", "))"
                }
            }
            guard directory.config != nil || NodeConnection.environment("BSFG_CONFIG") != nil else {
                throw CommandFailure(.usage, "say for whom: --config DIR (or BSFG_CONFIG), or --ca FILE")
            }
            let verifier = try NodeCredentials.load(try directory.load()).verifier
            return { (leaf, direction) throws(CertificateRefusal) in
                let caller = try verifier.check(leafDER: leaf.der, direction: direction)
                switch caller.kind {
                case .peer(let id): return "the peer \(id), by its identity \(caller.identity)"
                case .client: return "the client \(caller.identity)"
                case .administrator: preconditionFailure("no certificate makes an administrator")
                }
            }
        }
    }
}
