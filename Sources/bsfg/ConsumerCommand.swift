internal import ArgumentParser
internal import Gateway
internal import RPC

struct ConsumerCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "consumer",
        abstract: "Creates, lists, detaches, attaches and deletes durable consumers of a node's logs.",
        subcommands: [
            Create.self,
            List.self,
            Detach.self,
            Attach.self,
            ConsumerShow.self,
            ConsumerDelete.self,
        ])

    enum Start: String, ExpressibleByArgument, CaseIterable {
        case fullBackfill = "full_backfill"
        case startNow = "start_now"
    }

    struct Create: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "create",
            abstract: "Creates a consumer for a client of bsfg.yaml with the role consumer.",
            discussion: """
                The owner fetches with 'bsfg fact fetch' and moves the cursor with 'bsfg fact \
                confirm'; nobody else may.
                """)

        @Option(help: "The identity in the client's certificate, as clients in bsfg.yaml has it.")
        var owner: String

        @Option(help: "What the consumer is called.")
        var name: String

        @Option(help: "The stream; default facts.operational.")
        var stream: String?

        @Option(help: "The zone whose facts it reads; default the node's own.")
        var origin: String?

        @Option(help: "full_backfill: from the first fact kept; start_now: what comes from now on.")
        var start = Start.fullBackfill

        @OptionGroup var node: NodeConnection
        @OptionGroup var output: OutputOptions

        func run() async throws {
            var request = Bsfg_Admin_V1_CreateConsumerRequest()
            request.owner = owner
            request.name = name
            request.stream = stream ?? ""
            request.origin = origin ?? ""
            request.initMode = start.rawValue
            let client = try node.adminClient()
            let created = try await CommandFailure.calling { () async throws(RPCClientError) in
                try await client.createConsumer(request)
            }
            ConsumerCommand.show([created.consumer], output.format, isList: false)
        }
    }

    struct List: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "list",
            abstract: "Lists consumers, those of peers too, and how far each has confirmed.")

        @OptionGroup var node: NodeConnection
        @OptionGroup var output: OutputOptions

        func run() async throws {
            let client = try node.adminClient()
            let answer = try await CommandFailure.calling { () async throws(RPCClientError) in
                try await client.listConsumers()
            }
            ConsumerCommand.show(answer.consumers, output.format, isList: true)
        }
    }

    struct Detach: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "detach",
            abstract: "Lets truncation go on without a consumer, a peer's too.",
            discussion: """
                It is served nothing until it is attached again, and what is removed meanwhile is a \
                gap for it.
                """)

        @Option(help: "The identity that the consumer belongs to.")
        var owner: String

        @Option(help: "What the consumer is called.")
        var name: String

        @Option(help: "Why, for those who come after.")
        var reason: String

        @OptionGroup var node: NodeConnection
        @OptionGroup var output: OutputOptions

        func run() async throws {
            var request = Bsfg_Admin_V1_DetachConsumerRequest()
            request.owner = owner
            request.name = name
            request.reason = reason
            let client = try node.adminClient()
            let question = request
            let answer = try await CommandFailure.calling { () async throws(RPCClientError) in
                try await client.detachConsumer(question)
            }
            ConsumerCommand.show([answer.consumer], output.format, isList: false)
        }
    }

    enum Init: String, ExpressibleByArgument, CaseIterable {
        case resume
        case fullBackfill = "full_backfill"
        case startNow = "start_now"
    }

    struct Attach: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "attach",
            abstract: "Lets truncation wait for a detached consumer again, and serves it.")

        @Option(help: "The identity that the consumer belongs to.")
        var owner: String

        @Option(help: "What the consumer is called.")
        var name: String

        @Option(
            name: .customLong("init"),
            help: """
                resume: where it stood, over the gap that it missed; full_backfill: from the first \
                fact kept; start_now: what comes from now on. A peer's can only resume.
                """)
        var initMode: Init

        @OptionGroup var node: NodeConnection
        @OptionGroup var output: OutputOptions

        func run() async throws {
            var request = Bsfg_Admin_V1_AttachConsumerRequest()
            request.owner = owner
            request.name = name
            request.initMode = initMode.rawValue
            let client = try node.adminClient()
            let question = request
            let answer = try await CommandFailure.calling { () async throws(RPCClientError) in
                try await client.attachConsumer(question)
            }
            ConsumerCommand.show([answer.consumer], output.format, isList: false)
        }
    }

    static func show(
        _ consumers: [Bsfg_Admin_V1_Consumer], _ format: OutputFormat, isList: Bool
    ) {
        switch format {
        case .table: StandardOutput.line(table(consumers))
        case .json:
            let all = consumers.map(json)
            StandardOutput.json(isList ? .object([("consumers", .list(all))]) : all[0])
        }
    }

    static func table(_ consumers: [Bsfg_Admin_V1_Consumer]) -> String {
        var table = Table(
            "OWNER", "CONSUMER", "STREAM", "ORIGIN", "NEXT#", "HEAD#", "BEHIND#", "BEGAN AS",
            "CREATED", "STATE")
        for consumer in consumers {
            table.row([
                consumer.owner, consumer.name, consumer.stream, consumer.origin,
                String(consumer.nextOffset), String(consumer.headOffset),
                String(behind(consumer)), consumer.initMode,
                UTCText.text(consumer.createdAtUnixMs / 1_000),
                consumer.detached.isEmpty
                    ? (consumer.required ? "attached" : "attached, not required")
                    : "detached: \(consumer.detached)",
            ])
        }
        return table.text
    }

    static func json(_ consumer: Bsfg_Admin_V1_Consumer) -> JSONOutput {
        .object([
            ("owner", .text(consumer.owner)),
            ("name", .text(consumer.name)),
            ("stream", .text(consumer.stream)),
            ("origin", .text(consumer.origin)),
            ("next_offset", .unsigned(consumer.nextOffset)),
            ("head_offset", .unsigned(consumer.headOffset)),
            ("behind", .unsigned(behind(consumer))),
            ("init_mode", .text(consumer.initMode)),
            ("created_at_unix_ms", .integer(consumer.createdAtUnixMs)),
            ("required", .flag(consumer.required)),
            ("detached", consumer.detached.isEmpty ? .null : .text(consumer.detached)),
        ])
    }

    private static func behind(_ consumer: Bsfg_Admin_V1_Consumer) -> UInt64 {
        consumer.headOffset - min(consumer.nextOffset, consumer.headOffset)
    }
}
