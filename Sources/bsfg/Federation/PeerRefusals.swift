internal import ArgumentParser
internal import Gateway
internal import RPC

struct PeerRefusals: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "refusals",
        abstract: "Shows whom this node refused last, and why.",
        discussion: """
            Handshakes, certificates and calls, the newest last. A node keeps the last 256 of each since \
            it began, in memory, at most 64 of one certificate, and 256 of callers without a certificate; counts are \
            exact in bsfg status.
            """)

    @Option(help: "How many, at most.")
    var limit: UInt32 = 20

    @Option(
        help: ArgumentHelp(
            "Only of the certificate whose SHA-256 begins so, as this table or bsfg cert inspect shows it.",
            valueName: "HEX"))
    var fingerprint: String?

    @OptionGroup var node: NodeConnection
    @OptionGroup var output: OutputOptions

    func validate() throws {
        guard limit > 0 else { throw ValidationError("--limit is at least 1.") }
        guard let fingerprint else { return }
        let digits = Self.digits(fingerprint)
        guard (1...64).contains(digits.utf8.count), digits.utf8.allSatisfy(Self.isHexadecimal) else {
            throw ValidationError("--fingerprint is up to 64 hexadecimal digits, not '\(fingerprint)'.")
        }
    }

    /// openssl writes it in capitals with colons.
    private static func digits(_ fingerprint: String) -> String {
        fingerprint.lowercased().filter { $0 != ":" }
    }

    private static func isHexadecimal(_ byte: UInt8) -> Bool {
        (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte)
            || (UInt8(ascii: "a")...UInt8(ascii: "f")).contains(byte)
    }

    func run() async throws {
        var request = Bsfg_Admin_V1_ListRefusalsRequest()
        request.limit = limit
        request.fingerprint = Self.digits(fingerprint ?? "")
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
            guard refusals.isEmpty else { return StandardOutput.line(table.text) }
            let status = try await CommandFailure.calling { () async throws(RPCClientError) in
                try await client.status()
            }
            StandardOutput.line(
                "\(fingerprint == nil ? "nobody" : "nobody with this certificate") was refused since the node began, "
                    + UTCText.text(status.startedAtUnixMs / 1_000))
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
