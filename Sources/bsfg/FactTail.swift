internal import ArgumentParser
internal import Facts
internal import Gateway
internal import RPC

struct FactTail: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "tail",
        abstract: "Shows the last facts of a log, without a consumer and moving nothing.",
        discussion: "With -o json one entry a line.")

    @Flag(name: .customShort("f"), help: "Go on with what comes, also over a restart of the node.")
    var follow = false

    @Option(name: [.customShort("n"), .long], help: "How many of the last facts.")
    var lines: UInt64 = 10

    @Option(help: "The stream; default facts.operational.")
    var stream: String?

    @Option(help: "The zone whose facts; default the node's own.")
    var origin: String?

    @Option(help: "Where to begin, in place of --lines.")
    var fromOffset: UInt64?

    @OptionGroup var node: NodeConnection
    @OptionGroup var output: OutputOptions

    private static let waitMilliseconds: UInt32 = 10_000
    private static let pauseMilliseconds = 1_000

    func run() async throws {
        let client = try node.adminClient()
        do {
            // Nothing lies at the head, so the answer is only where things are.
            let place = try FactPage(try await ask(client, from: nil))
            let head = place.headOffset
            var next = fromOffset ?? max(place.firstOffset, head - min(head, lines))
            // Beyond the head is refused by the node, with a sentence.
            repeat { next = try show(try await ask(client, from: next)) } while next < head
            if follow { try await follow(client, from: next) }
        } catch let error as RPCClientError {
            throw CommandFailure(error)
        }
    }

    private func follow(_ client: AdminClient, from offset: UInt64) async throws {
        var next = offset
        var isDown = false
        while true {
            do {
                next = try show(
                    try await ask(client, from: next, waitMilliseconds: Self.waitMilliseconds))
                isDown = false
            } catch let error as RPCClientError where error.isTransient {
                if !isDown { StandardError.line("bsfg: waiting for the node: \(error)") }
                isDown = true
                try await Task.sleep(for: .milliseconds(Self.pauseMilliseconds))
            }
        }
    }

    private func ask(_ client: AdminClient, from offset: UInt64?, waitMilliseconds: UInt32 = 0)
        async throws -> [UInt8]
    {
        var request = Bsfg_Admin_V1_PeekRequest()
        request.stream = stream ?? ""
        request.origin = origin ?? ""
        if let offset { request.fromOffset = offset }
        request.waitMs = waitMilliseconds
        return try await client.peek(request)
    }

    /// Shows a page and says where the next begins.
    private func show(_ bytes: [UInt8]) throws -> UInt64 {
        let page = try FactPage(bytes)
        switch output.format {
        case .table: for line in page.lines { StandardOutput.line(line) }
        case .json: try FactPage.printLines(bytes)
        }
        StandardOutput.flush()
        return page.nextOffset
    }
}
