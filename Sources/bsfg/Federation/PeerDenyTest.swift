internal import ArgumentParser
internal import Gateway

struct PeerDenyTest: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "deny-test",
        abstract: "Shows that a peer refuses what it has to refuse.",
        discussion: """
            A stream and an origin that are not granted, an append and administration as a peer, no \
            certificate, our name by a CA made for this test, and, when given, somebody who is not \
            listed. With --peer-admin or --evidence also each stream that the peer has and does not grant \
            us. Nothing is left behind at the peer, were it allowed. Exit status 0 when everything was \
            seen to be refused, 1 when something was allowed or could not be tried.
            """)

    @Argument(help: "The peer, as peers.yaml calls it.")
    var peer: String

    @Option(
        help: ArgumentHelp(
            "Our node, whose certificate is used. Environment: BSFG_CONFIG.", valueName: "DIR"))
    var config: String?

    @Option(
        help: ArgumentHelp(
            "A certificate of somebody whom the peer does not list.", valueName: "FILE"))
    var unlistedCert: String?

    @Option(help: ArgumentHelp("Its key.", valueName: "FILE"))
    var unlistedKey: String?

    @OptionGroup var refuser: RefuserOptions
    @OptionGroup var output: OutputOptions

    func validate() throws {
        guard (unlistedCert == nil) == (unlistedKey == nil) else {
            throw ValidationError("--unlisted-cert and --unlisted-key go together.")
        }
    }

    func run() async throws {
        let (configuration, entry) = try PeerEntry.load(peer, config)
        let link = try CommandFailure.wrap {
            try PeerLink(peer: entry, credentials: try NodeCredentials.load(configuration))
        }
        let unlisted: DenialProbe.Certificate? =
            if let unlistedCert, let unlistedKey {
                try DenialProbe.Certificate(certificateFile: unlistedCert, keyFile: unlistedKey)
            } else {
                nil
            }
        let denials = await DenialProbe(
            link: link, configuration: configuration, unlisted: unlisted,
            refuser: try refuser.refuser(), theirs: try await refuser.theirs(of: entry.id),
            isLive: refuser.isLive
        ).run()
        switch output.format {
        case .table:
            var table = Table("CASE", "RESULT", "REASON", "")
            for denial in denials {
                let word =
                    switch denial.verdict {
                    case .refused: "refused"
                    case .allowed: "ALLOWED"
                    case .notChecked: "not checked"
                    }
                table.row([denial.name, word, denial.reason, denial.sentence])
            }
            StandardOutput.line(table.text)
        case .json:
            StandardOutput.json(
                .list(
                    denials.map {
                        .object([
                            ("case", .text($0.name)), ("verdict", .text($0.verdict.rawValue)),
                            ("reason", .text($0.reason)), ("sentence", .text($0.sentence)),
                            ("refusal", $0.refusal.map(PeerRefusals.json) ?? .null),
                        ])
                    }))
        }
        if denials.contains(where: { $0.verdict == .allowed }) { throw CommandFailure(.failure, "") }
        let isPulling = configuration.cursors.contains { $0.peer.utf8.elementsEqual(peer.utf8) }
        let cases = Denial.grantCases(isPulling: isPulling) + Denial.callerCases
        if let open = denials.notRefused(cases) {
            throw CommandFailure(.failure, "\(peer) was not seen to refuse \(open)")
        }
    }
}

/// A peer of a configuration.
enum PeerEntry {
    static func load(_ peer: String, _ config: String?) throws -> (
        NodeConfiguration, PeerConfiguration
    ) {
        guard let directory = config ?? NodeConnection.environment("BSFG_CONFIG") else {
            throw CommandFailure(.usage, "say which configuration is ours: --config DIR (or BSFG_CONFIG)")
        }
        let configuration = try CommandFailure.wrap {
            try NodeConfiguration.load(directory: directory)
        }
        guard let entry = configuration.peer(id: peer) else {
            throw CommandFailure(
                .usage,
                "the peer '\(peer)' is not in peers.yaml; "
                    + NearestName.hint(for: peer, among: configuration.peers.map(\.id)))
        }
        return (configuration, entry)
    }
}
