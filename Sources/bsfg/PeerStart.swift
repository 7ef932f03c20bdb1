internal import ArgumentParser
internal import Gateway
internal import RPC

struct PeerStart: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "start",
        abstract: "Begins to pull from a peer that 'start: manual' holds.",
        discussion: """
            Once facts have been received the pull goes on by itself, also after a restart; 'bsfg \
            admin partition' stops it. With --dry-run nothing changes: the peer says where each \
            pull would begin.
            """)

    @Argument(help: "The peer, as peers.yaml calls it.")
    var peer: String

    @Option(help: "Only this stream.")
    var stream: String?

    @Option(help: "Only the facts of this zone.")
    var origin: String?

    @Flag(help: "Ask where it would begin, and begin nothing.")
    var dryRun = false

    @OptionGroup var node: NodeConnection
    @OptionGroup var output: OutputOptions

    func run() async throws {
        var request = Bsfg_Admin_V1_StartPeerRequest()
        request.peer = peer
        request.stream = stream ?? ""
        request.origin = origin ?? ""
        request.dryRun = dryRun
        let question = request
        let client = try node.adminClient()
        let answer = try await CommandFailure.calling { () async throws(RPCClientError) in
            try await client.startPeer(question)
        }
        switch output.format {
        case .table: printTable(answer.pulls)
        case .json: StandardOutput.json(.list(answer.pulls.map(json)))
        }
        if answer.pulls.contains(where: { !$0.problem.isEmpty }) {
            throw CommandFailure(.refused, "")
        }
    }

    private func printTable(_ pulls: [Bsfg_Admin_V1_StartedPull]) {
        guard !pulls.isEmpty else {
            return StandardOutput.line("nothing was held: what cursors.yaml names is pulled already")
        }
        guard dryRun else {
            for pull in pulls {
                StandardOutput.line("pulling \(pull.stream) of \(pull.origin), \(pull.initMode)")
            }
            return
        }
        var table = Table("STREAM", "ORIGIN", "INIT MODE", "FROM#", "HEAD#", "SHORT BY", "")
        for pull in pulls {
            let isKnown = pull.problem.isEmpty
            table.row([
                pull.stream, pull.origin, pull.initMode,
                isKnown ? String(pull.startOffset) : "-", isKnown ? String(pull.headOffset) : "-",
                pull.shortfallMs > 0 ? Quantity.millisecondsText(Int(pull.shortfallMs)) : "-",
                isKnown ? (pull.existing ? "the cursor exists already" : "") : pull.problem,
            ])
        }
        StandardOutput.line(table.text)
    }

    private func json(_ pull: Bsfg_Admin_V1_StartedPull) -> JSONOutput {
        .object([
            ("stream", .text(pull.stream)),
            ("origin", .text(pull.origin)),
            ("init_mode", .text(pull.initMode)),
            ("start_offset", dryRun && pull.problem.isEmpty ? .unsigned(pull.startOffset) : .null),
            ("head_offset", dryRun && pull.problem.isEmpty ? .unsigned(pull.headOffset) : .null),
            ("shortfall_ms", .integer(pull.shortfallMs)),
            ("existing", .flag(pull.existing)),
            ("problem", pull.problem.isEmpty ? .null : .text(pull.problem)),
        ])
    }
}
