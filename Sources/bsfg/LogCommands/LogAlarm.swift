internal import ArgumentParser
internal import Gateway
internal import RPC

/// The alarm of a full `sil_strict` log, over the administration socket of the node that has it open.
struct LogAlarm: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "alarm",
        abstract: "Shows and acknowledges the alarm of sil_strict logs of a node that were full.",
        subcommands: [Show.self, Acknowledge.self])

    struct Show: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "show",
            abstract: "Lists the logs with an alarm. Exit status 1 when there is one.")

        @OptionGroup var node: NodeConnection
        @OptionGroup var output: OutputOptions

        func run() async throws {
            let client = try node.adminClient()
            let status = try await CommandFailure.calling { () async throws(RPCClientError) in
                try await client.status()
            }
            let raised = status.streams.filter(\.alarm)
            switch output.format {
            case .table:
                if raised.isEmpty { StandardOutput.line("no alarm") }
                for stream in raised { StandardOutput.line(Self.line(stream)) }
            case .json: StandardOutput.json(.object([("alarms", .list(raised.map(Self.json)))]))
            }
            if !raised.isEmpty { throw CommandFailure(.failure, "") }
        }

        private static func line(_ stream: Bsfg_Admin_V1_StreamStatus) -> String {
            "\(stream.stream) of \(stream.origin): was full, "
                + (stream.accepts ? "takes facts again" : "refuses new facts")
                + "; acknowledge with: bsfg log alarm ack --stream \(stream.stream) --origin "
                + "\(stream.origin) --reason WHY"
        }

        private static func json(_ stream: Bsfg_Admin_V1_StreamStatus) -> JSONOutput {
            .object([
                ("stream", .text(stream.stream)), ("origin", .text(stream.origin)),
                ("fill", .number(stream.fill)), ("accepts", .flag(stream.accepts)),
            ])
        }
    }

    struct Acknowledge: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "ack", abstract: "Ends a log's alarm; who and why goes to the node's log.")

        @Option(help: "The stream; default facts.operational.")
        var stream: String?

        @Option(help: "The zone whose facts it has; default the node's own.")
        var origin: String?

        @Option(help: "What was found and done.")
        var reason: String

        @OptionGroup var node: NodeConnection

        func run() async throws {
            var request = Bsfg_Admin_V1_AcknowledgeAlarmRequest()
            request.stream = stream ?? ""
            request.origin = origin ?? ""
            request.reason = reason
            let client = try node.adminClient()
            let question = request
            let answer = try await CommandFailure.calling { () async throws(RPCClientError) in
                try await client.acknowledgeAlarm(question)
            }
            StandardOutput.line(answer.acknowledged ? "acknowledged" : "there was no alarm")
        }
    }
}
