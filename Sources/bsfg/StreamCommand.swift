internal import ArgumentParser
internal import Gateway
internal import RPC

struct StreamCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "stream", abstract: "Shows the logs of a node, one for each stream and origin.",
        subcommands: [List.self, Info.self])

    struct List: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "list", abstract: "Lists the logs: role, history, first and last offset.")

        @OptionGroup var node: NodeConnection
        @OptionGroup var output: OutputOptions

        func run() async throws {
            let status = try await StreamCommand.status(node)
            switch output.format {
            case .table:
                var table = Table(
                    "STREAM", "ORIGIN", "ROLE", "FIRST#", "LAST#", "EPOCH#", "READERS#", "UUID")
                for stream in status.streams {
                    table.row([
                        stream.stream, stream.origin, stream.role, String(stream.firstOffset),
                        StreamCommand.last(stream).map { String($0) } ?? "-", String(stream.epoch),
                        String(StreamCommand.readers(of: stream, status).count), stream.logUuid,
                    ])
                }
                StandardOutput.line(table.text)
            case .json:
                StandardOutput.json(
                    .list(status.streams.map { StreamCommand.json($0, status) }))
            }
        }
    }

    struct Info: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "info",
            abstract: "Everything of a stream's logs: history, bounds, durability, readers.",
            discussion: """
                A stream is the same one after an outage when its UUID and epoch are, and its last \
                offset has only grown.
                """)

        @Argument(help: "The stream.")
        var stream: String

        @Option(help: "Only the log of this zone's facts.")
        var origin: String?

        @OptionGroup var node: NodeConnection
        @OptionGroup var output: OutputOptions

        func run() async throws {
            let status = try await StreamCommand.status(node)
            let found = status.streams.filter {
                $0.stream.utf8.elementsEqual(stream.utf8)
                    && $0.origin.utf8.elementsEqual((origin ?? $0.origin).utf8)
            }
            guard !found.isEmpty else {
                throw CommandFailure(
                    .refused,
                    "there is no log of \(stream)\(origin.map { " from \($0)" } ?? "") here; "
                        + NearestName.hint(for: stream, among: Set(status.streams.map(\.stream)).sorted()))
            }
            switch output.format {
            case .table: for log in found { Self.print(log, status) }
            case .json: StandardOutput.json(.list(found.map { StreamCommand.json($0, status) }))
            }
        }

        private static func print(
            _ log: Bsfg_Admin_V1_StreamStatus, _ status: Bsfg_Admin_V1_StatusResponse
        ) {
            StandardOutput.line(
                """
                \(log.stream) of \(log.origin)
                  role         \(log.role)\(log.terminal ? ", terminal" : "")
                  UUID         \(log.logUuid)
                  epoch        \(log.epoch)
                  first        \(log.firstOffset)
                  last         \(StreamCommand.last(log).map { String($0) } ?? "none yet")
                  durability   \(StreamCommand.durability)
                  profile      \(log.profile)
                  state        \(log.state)
                """)
            let readers = StreamCommand.readers(of: log, status)
            if readers.isEmpty && log.awaitedReaders.isEmpty {
                StandardOutput.line("  readers      none")
            }
            for reader in log.awaitedReaders {
                StandardOutput.line("  awaited      \(StreamCommand.awaited(reader))")
            }
            for reader in readers {
                StandardOutput.line(
                    "  reader       \(reader.name) (\(reader.owner)), next \(reader.nextOffset)"
                        + (reader.detached.isEmpty ? "" : ", detached: \(reader.detached)"))
            }
        }
    }

    /// What an acknowledgement stands for in this release.
    private static let durability = "fdatasync before the answer, replicas: 1"

    private static func status(_ node: NodeConnection) async throws -> Bsfg_Admin_V1_StatusResponse {
        let client = try node.adminClient()
        return try await CommandFailure.calling { () async throws(RPCClientError) in
            try await client.status()
        }
    }

    /// Of a peer that is granted a log and never came.
    static func awaited(_ identity: String) -> String {
        "\(identity) has not come yet, and nothing is removed before it does; take its grant back, or say "
            + "required: false in peers.yaml, if it will not"
    }

    private static func last(_ log: Bsfg_Admin_V1_StreamStatus) -> UInt64? {
        log.headOffset > 0 ? log.headOffset - 1 : nil
    }

    private static func readers(
        of log: Bsfg_Admin_V1_StreamStatus, _ status: Bsfg_Admin_V1_StatusResponse
    ) -> [Bsfg_Admin_V1_Consumer] {
        status.consumers.filter {
            $0.stream.utf8.elementsEqual(log.stream.utf8)
                && $0.origin.utf8.elementsEqual(log.origin.utf8)
        }
    }

    private static func json(
        _ log: Bsfg_Admin_V1_StreamStatus, _ status: Bsfg_Admin_V1_StatusResponse
    ) -> JSONOutput {
        .object([
            ("stream", .text(log.stream)),
            ("origin", .text(log.origin)),
            ("role", .text(log.role)),
            ("log_uuid", .text(log.logUuid)),
            ("epoch", .unsigned(log.epoch)),
            ("first_offset", .unsigned(log.firstOffset)),
            ("last_offset", last(log).map { .unsigned($0) } ?? .null),
            ("durability", .text(durability)),
            ("profile", .text(log.profile)),
            ("terminal", .flag(log.terminal)),
            ("readers", .list(readers(of: log, status).map(ConsumerCommand.json))),
            ("awaited_readers", .list(log.awaitedReaders.map { .text($0) })),
        ])
    }
}
