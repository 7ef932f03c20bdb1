internal import ArgumentParser
internal import Gateway
internal import RPC

extension CACommand {
    struct Revoke: ParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "revoke",
            abstract: "Revokes certificates and signs the CA's next CRL, DIR/ca.crl.",
            discussion: """
                A node uses the CRL beside its CA file, under that file's name: copy DIR/ca.crl to \
                certs/ca.crl at home, and to certs/plant-a-ca.crl on a node that has this CA as \
                plant-a-ca.crt (or to what 'crl' names there). It is in force within seconds and ends the \
                open connections of whom it revokes. Without a certificate or serial the same list is signed for longer.
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
                let (list, path) = try CertificateAuthority.revoke(
                    directory: ca, files: files, serials: serial, days: days)
                StandardOutput.line(
                    "wrote \(path): CRL \(list.number?.description ?? "") of '\(list.issuer)' revokes "
                        + "\(list.revokedCount), current until "
                        + "\(UTCText.text(list.nextUpdate ?? 0)); copy it to each node that trusts this CA, "
                        + "beside the CA's file and under its name: ca.crl for ca.crt, plant-a-ca.crl for "
                        + "plant-a-ca.crt")
            }
        }
    }
}
