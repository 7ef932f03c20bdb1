internal import ArgumentParser
internal import Gateway
internal import RPC

struct PeerRefusals: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "refusals",
        abstract: "Shows whom this node refused last, and why.",
        discussion: """
            Handshakes, certificates and calls, the newest last. A node keeps the last 256 of each since \
            it began, at most 64 of one certificate, and 256 of callers without a certificate; counts are \
            exact in bsfg status.
            """)

    @Option(help: "How many, at most.")
    var limit: UInt32 = 20

    @Option(
        help: ArgumentHelp(
            "Only of the certificate with this SHA-256, as bsfg cert inspect shows it.",
            valueName: "HEX"))
    var fingerprint: String?

    @OptionGroup var node: NodeConnection
    @OptionGroup var output: OutputOptions

    func validate() throws {
        guard limit > 0 else { throw ValidationError("--limit is at least 1.") }
    }

    func run() async throws {
        var request = Bsfg_Admin_V1_ListRefusalsRequest()
        request.limit = limit
        // openssl writes it in capitals with colons.
        request.fingerprint = (fingerprint ?? "").lowercased().filter { $0 != ":" }
        let (client, question) = (try node.adminClient(), request)
        let refusals = try await CommandFailure.calling { () async throws(RPCClientError) in
            try await client.listRefusals(question).refusals
        }
        switch output.format {
        case .table:
            var table = Table("TIME", "AT", "REASON", "WHO", "SHA-256", "FROM", "")
            for refusal in refusals {
                table.row([
                    UTCText.text(refusal.atUnixMs / 1_000), refusal.place, refusal.reason,
                    refusal.identity.isEmpty
                        ? refusal.names.joined(separator: " ") : refusal.identity,
                    String(refusal.fingerprint.prefix(16)), refusal.address, refusal.sentence,
                ])
            }
            StandardOutput.line(refusals.isEmpty ? "nobody was refused" : table.text)
        case .json: StandardOutput.json(.list(refusals.map { Self.json(NodeRefusal($0)) }))
        }
    }

    static func json(_ refusal: NodeRefusal) -> JSONOutput {
        .object([
            ("number", .unsigned(refusal.number)), ("at_unix_ms", .integer(refusal.atUnixMs)),
            ("place", .text(refusal.place)), ("reason", .text(refusal.reason)),
            ("sentence", .text(refusal.sentence)), ("identity", .text(refusal.identity)),
            ("names", .list(refusal.names.map { .text($0) })),
            ("fingerprint", .text(refusal.fingerprint)), ("address", .text(refusal.address)),
            ("path", .text(refusal.path)),
        ])
    }
}
