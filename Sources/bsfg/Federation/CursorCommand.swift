internal import ArgumentParser
internal import Gateway

struct CursorCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "cursor", abstract: "Where pulls from a peer stand.", subcommands: [CursorQuery.self])
}

struct CursorQuery: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "query",
        abstract: "Shows how far facts were fetched, made durable here and confirmed to the source.",
        discussion: """
            NEXT is one past the last that is durable here, CONFIRMED the last that the source was \
            told of, both in the source's offsets; HERE is where our own log ends, READERS the \
            lowest offset that one of its readers still waits for.
            """)

    @Option(help: "The peer, as peers.yaml calls it.")
    var peer: String

    @Option(help: "Only this stream.")
    var stream: String?

    @Option(help: "Only the facts of this zone.")
    var origin: String?

    @OptionGroup var node: NodeConnection
    @OptionGroup var output: OutputOptions

    func run() async throws {
        let evidence = try await PeerOutput.evidence(node)
        let pulls = evidence.pulls(from: peer).filter { pull in
            (stream.map { pull.stream.utf8.elementsEqual($0.utf8) } ?? true)
                && (origin.map { pull.origin.utf8.elementsEqual($0.utf8) } ?? true)
        }
        guard !pulls.isEmpty else {
            throw CommandFailure(
                .usage, "nothing like that is pulled from \(peer); see bsfg peer list")
        }
        switch output.format {
        case .table: StandardOutput.line(Self.table(pulls, evidence))
        case .json: StandardOutput.json(.list(pulls.map { Self.json($0, evidence) }))
        }
    }

    static func table(_ pulls: [NodeEvidence.Pull], _ evidence: NodeEvidence) -> String {
        var table = Table(
            "STREAM", "ORIGIN", "STATE", "SOURCE HEAD#", "NEXT#", "CONFIRMED#", "HERE#", "READERS#")
        func text(_ offset: UInt64?) -> String { offset.map { String($0) } ?? "-" }
        for pull in pulls {
            table.row([
                pull.stream, pull.origin,
                pull.reason.isEmpty ? pull.state : "\(pull.state) (\(pull.reason))",
                text(pull.sourceHeadOffset), text(pull.nextOffset), text(pull.confirmedOffset),
                text(here(pull, evidence)), text(readers(pull, evidence)),
            ])
        }
        return table.text
    }

    /// Where our own log of what is pulled ends.
    private static func here(_ pull: NodeEvidence.Pull, _ evidence: NodeEvidence) -> UInt64? {
        evidence.log(stream: pull.stream, origin: pull.origin)?.headOffset
    }

    /// The lowest offset of our own log that an attached reader still waits for.
    private static func readers(_ pull: NodeEvidence.Pull, _ evidence: NodeEvidence) -> UInt64? {
        evidence.readers.filter {
            $0.stream.utf8.elementsEqual(pull.stream.utf8)
                && $0.origin.utf8.elementsEqual(pull.origin.utf8) && $0.detached.isEmpty
        }.map(\.nextOffset).min()
    }

    static func json(_ pull: NodeEvidence.Pull, _ evidence: NodeEvidence) -> JSONOutput {
        func number(_ offset: UInt64?) -> JSONOutput { offset.map { .unsigned($0) } ?? .null }
        return .object([
            ("peer", .text(pull.peer)), ("stream", .text(pull.stream)),
            ("origin", .text(pull.origin)), ("state", .text(pull.state)),
            ("reason", .text(pull.reason)), ("sentence", .text(pull.sentence)),
            ("source_head_offset", number(pull.sourceHeadOffset)),
            ("next_offset", number(pull.nextOffset)),
            ("confirmed_offset", number(pull.confirmedOffset)),
            ("here_offset", number(here(pull, evidence))),
            ("readers_offset", number(readers(pull, evidence))),
        ])
    }
}
