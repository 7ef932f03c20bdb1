internal import ArgumentParser
internal import Gateway
internal import RPC

struct PeerAcceptHistory: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "accept-history",
        abstract: "Goes on with a peer after a log on either side was restored or copied back.",
        discussion: """
            Where this node pulls from the peer, its position moves to where the two histories part; \
            where the peer pulls from this node, the peer's cursor moves to the peer's position. What \
            is gone is a gap; nothing is stored twice. Where both sides have to, the receiver goes \
            first.
            """)

    @Option(help: "The peer's id in peers.yaml.")
    var peer: String

    @Option(help: "The stream; default facts.operational.")
    var stream: String?

    @Option(help: "The zone whose facts it has; default the peer's and then our own.")
    var origin: String?

    @Option(help: "Why, for those who come after.")
    var reason: String

    @OptionGroup var node: NodeConnection
    @OptionGroup var output: OutputOptions

    func run() async throws {
        var request = Bsfg_Admin_V1_AcceptHistoryRequest()
        request.peer = peer
        request.stream = stream ?? ""
        request.origin = origin ?? ""
        request.reason = reason
        let (client, question) = (try node.adminClient(), request)
        let answer = try await CommandFailure.calling { () async throws(RPCClientError) in
            try await client.acceptHistory(question)
        }
        switch output.format {
        case .table:
            StandardOutput.line(
                "\(answer.side == "receiver" ? "our position" : "the peer's cursor") moved from "
                    + "\(answer.fromOffset) to \(answer.toOffset) (\(answer.foundBy))")
        case .json:
            StandardOutput.json(
                .object([
                    ("side", .text(answer.side)), ("from_offset", .unsigned(answer.fromOffset)),
                    ("to_offset", .unsigned(answer.toOffset)), ("found_by", .text(answer.foundBy)),
                ]))
        }
    }
}
