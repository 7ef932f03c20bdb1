internal import ArgumentParser
internal import Gateway
internal import RPC

struct ConsumerShow: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "show", abstract: "Shows one consumer and how far it has confirmed.")

    @Option(help: "The identity that the consumer belongs to.")
    var owner: String

    @Option(help: "What the consumer is called.")
    var name: String

    @OptionGroup var node: NodeConnection
    @OptionGroup var output: OutputOptions

    func run() async throws {
        let client = try node.adminClient()
        let answer = try await CommandFailure.calling { () async throws(RPCClientError) in
            try await client.listConsumers()
        }
        let found = answer.consumers.filter {
            $0.owner.utf8.elementsEqual(owner.utf8) && $0.name.utf8.elementsEqual(name.utf8)
        }
        guard !found.isEmpty else {
            let near = NearestName.suggestion(for: name, among: answer.consumers.map(\.name))
            throw CommandFailure(
                .failure, "there is no consumer \(name) of \(owner)"
                    + (near.map { "; did you mean \($0)?" } ?? "; see bsfg consumer list"))
        }
        ConsumerCommand.show(found, output.format, isList: false)
    }
}

struct ConsumerDelete: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "delete",
        abstract: "Deletes a consumer: truncation no longer waits for it, and its place is forgotten.",
        discussion: """
            A peer's cursor is made again by the peer's next call, at the peer's position; until then a peer \
            that is granted the log and required is waited for all the same. Detach it to go on without it.
            """)

    @Option(help: "The identity that the consumer belongs to.")
    var owner: String

    @Option(help: "What the consumer is called.")
    var name: String

    @Option(help: "Why, for those who come after.")
    var reason: String

    @OptionGroup var node: NodeConnection

    func run() async throws {
        var request = Bsfg_Admin_V1_DeleteConsumerRequest()
        request.owner = owner
        request.name = name
        request.reason = reason
        let (client, question) = (try node.adminClient(), request)
        let answer = try await CommandFailure.calling { () async throws(RPCClientError) in
            try await client.deleteConsumer(question)
        }
        StandardOutput.line("deleted; it had confirmed everything below offset \(answer.nextOffset)")
    }
}
