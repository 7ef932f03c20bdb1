internal import ArgumentParser
internal import Gateway
internal import RPC

extension CACommand {
    struct Revoke: ParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "revoke",
            abstract: "Revokes certificates and signs the CA's next CRL, DIR/ca.crl.",
            discussion: """
                A node uses the CRL beside its CA file: copy DIR/ca.crl to each node as certs/ca.crl (or what \
                'crl' names). It is in force within seconds and ends the open connections of whom it \
                revokes. Without a certificate or serial the same list is signed for longer.
                """)

        @Argument(help: ArgumentHelp("Certificates to revoke.", valueName: "FILE"))
        var files: [String] = []

        @Option(help: ArgumentHelp("The directory of 'bsfg ca init'.", valueName: "DIR"))
        var ca: String

        @Option(
            help: ArgumentHelp(
                "A serial number, as cert inspect shows it; repeat it for more.", valueName: "HEX"))
        var serial: [String] = []

        @Option(help: "How long the list is current; sign the next one before.")
        var days = CertificateAuthority.revocationDays

        func run() throws {
            try CommandFailure.wrap {
                let authority = try CertificateAuthority(directory: ca)
                var serials = serial
                for file in files { serials += try issued(file, by: authority.certificate) }
                let before = try CertificateAuthority.revocationList(
                    directory: ca, authority: authority.certificate)
                let list = try authority.revoke(serials: serials, previous: before, days: days)
                let path = "\(ca)/\(CertificateAuthority.revocationName)"
                try CertificateFiles.write(list.pem, to: path, mode: 0o644, force: true)
                StandardOutput.line(
                    "wrote \(path): CRL \(list.number?.description ?? "") of '\(list.issuer)' revokes "
                        + "\(list.revokedCount), current until "
                        + "\(UTCText.text(list.nextUpdate ?? 0)); copy it beside the ca.crt of each node")
            }
        }

        /// The serial of a file's leaf, which has to be one of this CA's.
        private func issued(
            _ file: String, by authority: X509Certificate
        ) throws(CertificateError) -> [String] {
            let leaf = try X509Certificate.all(file: file)[0]
            guard leaf.isIssued(by: authority) else {
                throw CertificateError(
                    "\(file) was issued by '\(leaf.issuer)' and not by this CA, '\(authority.subject)'; "
                        + "only its own CA can revoke it")
            }
            return [leaf.serial]
        }
    }
}
