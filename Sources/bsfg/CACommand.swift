internal import ArgumentParser
internal import Gateway
internal import RPC

struct CACommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "ca", abstract: "A small certificate authority in a directory.",
        subcommands: [
            Init.self,
            Revoke.self,
        ])

    struct Init: ParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "init",
            abstract: "Makes a certificate authority: DIR/ca.crt to give away, DIR/ca.key to keep.")

        @Option(help: ArgumentHelp("Where its two files go.", valueName: "DIR"))
        var dir: String

        @Option(help: "Its common name. Default: 'bsfg ca' and six random digits.")
        var name: String?

        @Option(help: "How long it is valid.")
        var days = 3650

        @Flag(
            help: "Replace one that is there, which is kept in DIR/archive: what it issued stops being trusted.")
        var force = false

        func validate() throws {
            guard CertificateAuthority.daysRange.contains(days) else {
                throw ValidationError("--days is between 1 and 36500.")
            }
        }

        func run() throws {
            try CommandFailure.wrap {
                let authority = try CertificateAuthority.make(
                    name: name ?? CertificateAuthority.uniqueName(), days: days)
                let kept = try authority.write(directory: dir, force: force)
                let certificate = authority.certificate
                StandardOutput.line(
                    "wrote \(dir)/\(CertificateAuthority.certificateName) and "
                        + "\(dir)/\(CertificateAuthority.keyName): '\(certificate.subject)' until "
                        + UTCText.text(certificate.notAfter))
                if let kept { StandardOutput.line("kept the one before in \(kept)") }
            }
        }
    }
}
