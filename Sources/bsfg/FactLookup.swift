internal import ArgumentParser
internal import Gateway
internal import RPC

/// Which log of the node on this machine is looked into.
struct LogChoice: ParsableArguments {
    @Option(help: "The stream; default facts.operational.")
    var stream: String?

    @Option(help: "The zone whose facts it has; default the node's own.")
    var origin: String?
}

struct FactGet: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "get", abstract: "Shows one fact of a node's log, by offset or by message id.")

    @Option(help: "Its offset in the log.")
    var offset: UInt64?

    @Option(help: "Its message id.")
    var messageID: String?

    @OptionGroup var log: LogChoice
    @OptionGroup var node: NodeConnection
    @OptionGroup var output: OutputOptions

    func validate() throws {
        guard (offset == nil) != (messageID == nil) else {
            throw ValidationError("Give one of --offset and --message-id.")
        }
    }

    func run() async throws {
        var request = Bsfg_Admin_V1_GetFactRequest()
        request.stream = log.stream ?? ""
        request.origin = log.origin ?? ""
        if let offset { request.offset = offset }
        request.messageID = messageID ?? ""
        let (client, question) = (try node.adminClient(), request)
        let bytes = try await CommandFailure.calling { () async throws(RPCClientError) in
            try await client.getFact(question)
        }
        switch output.format {
        case .json: try FactPage.printLines(bytes)
        case .table: StandardOutput.line(try FactPage(bytes).table)
        }
    }
}

struct FactQuery: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "query",
        abstract: "Lists the facts that a node's log took between two times; moves nothing.",
        discussion: "With -o json one fact a line.")

    @Option(help: "The first time, such as 2026-03-01T00:00:00Z.")
    var from: Instant

    @Option(help: "The last time; default now.")
    var to: Instant?

    @Option(help: "How many facts at most.")
    var limit: UInt32 = 1_000

    @OptionGroup var log: LogChoice
    @OptionGroup var node: NodeConnection
    @OptionGroup var output: OutputOptions

    func run() async throws {
        var request = Bsfg_Admin_V1_QueryFactsRequest()
        request.stream = log.stream ?? ""
        request.origin = log.origin ?? ""
        request.fromUnixMs = from.unixMilliseconds
        request.toUnixMs = to?.unixMilliseconds ?? .max
        let client = try node.adminClient()
        var left = limit
        while left > 0 {
            request.limit = min(left, 10_000)
            let question = request
            let bytes = try await CommandFailure.calling { () async throws(RPCClientError) in
                try await client.queryFacts(question)
            }
            let page = try FactPage(bytes)
            guard !page.entries.isEmpty else { return }
            switch output.format {
            case .json: try FactPage.printLines(bytes)
            case .table: for line in page.lines { StandardOutput.line(line) }
            }
            left -= min(left, UInt32(page.entries.count))
            request.fromOffset = page.nextOffset
        }
    }
}

/// A time as people write it, RFC 3339 in UTC.
struct Instant: ExpressibleByArgument {
    let unixMilliseconds: Int64

    init?(argument: String) {
        guard let milliseconds = Timestamp.unixMilliseconds(argument) else { return nil }
        unixMilliseconds = milliseconds
    }
}
