internal import ArgumentParser
internal import Facts
internal import Gateway
internal import RPC

struct FactCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "fact", abstract: "Appends, fetches, confirms, follows and looks up facts.",
        subcommands: [
            FactAppend.self,
            FactFetch.self,
            FactConfirm.self,
            FactTail.self,
            FactGet.self,
            FactQuery.self,
        ])
}

struct FactFetch: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "fetch",
        abstract: "Fetches a page of facts for a consumer. Nothing moves until it is confirmed.",
        discussion: """
            With -o json the page is one JSON object: entries, next_offset, head_offset and what \
            was confirmed.
            """)

    @Option(help: "The consumer, as 'bsfg consumer create' made it for our identity.")
    var consumer: String

    @Option(help: "How many facts at most, up to 10000.")
    var limit: UInt32?

    @Option(help: "Where to begin, in place of behind the last confirmed fact.")
    var fromOffset: UInt64?

    @Option(help: "Wait for facts up to this long, in milliseconds, up to 10000.")
    var wait: UInt32 = 0

    @OptionGroup var node: NodeConnection
    @OptionGroup var output: OutputOptions

    func run() async throws {
        let client = BoundaryClient(try node.client(.identity))
        var request = Bsfg_V1_FetchFactsRequest()
        request.consumerName = consumer
        request.limit = limit ?? 0
        request.waitMs = wait
        if let fromOffset { request.fromOffset = fromOffset }
        let question = request
        let bytes = try await CommandFailure.calling { () async throws(RPCClientError) in
            try await client.fetchFacts(question)
        }
        switch output.format {
        case .json: try FactPage.printJSON(bytes)
        case .table:
            let page = try FactPage(bytes)
            StandardOutput.line(page.table)
            StandardOutput.line(
                "\(page.entries.count) facts, "
                    + "\(page.headOffset - min(page.nextOffset, page.headOffset)) more up to the head "
                    + "\(page.headOffset)"
                    + (page.lastOffset.map {
                        "; confirm with: bsfg fact confirm --consumer \(consumer) --offset \($0)"
                    } ?? ""))
        }
    }
}

struct FactConfirm: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "confirm",
        abstract: "Confirms that everything up to an offset is safe with us.",
        discussion: "An offset at or below the cursor changes nothing.")

    @Option(help: "The consumer.")
    var consumer: String

    @Option(help: "The last offset that is safe.")
    var offset: UInt64

    @OptionGroup var node: NodeConnection
    @OptionGroup var output: OutputOptions

    func run() async throws {
        let client = BoundaryClient(try node.client(.identity))
        var request = Bsfg_V1_ConfirmReceiptRequest()
        request.consumerName = consumer
        request.offset = offset
        let question = request
        let answer = try await CommandFailure.calling { () async throws(RPCClientError) in
            try await client.confirmReceipt(question)
        }
        let confirmed: UInt64? = answer.hasCursorAdvancedTo ? answer.cursorAdvancedTo : nil
        switch output.format {
        case .table:
            StandardOutput.line(
                "confirmed up to \(confirmed.map { String($0) } ?? "nothing"), next is "
                    + "\(answer.nextOffset)")
        case .json:
            StandardOutput.json(
                .object([
                    ("consumer", .text(consumer)),
                    ("cursor_advanced_to", confirmed.map { .unsigned($0) } ?? .null),
                    ("next_offset", .unsigned(answer.nextOffset)),
                ]))
        }
    }
}
