internal import ArgumentParser
internal import Gateway
internal import RPC

struct ConfigCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "config",
        abstract: "Shows, checks, compares and reloads the configuration of a node.",
        subcommands: [Show.self, Validate.self, Diff.self, Reload.self])

    struct Directory: ParsableArguments {
        @Option(
            help: ArgumentHelp(
                "The directory with bsfg.yaml, peers.yaml and cursors.yaml. Environment: BSFG_CONFIG.",
                valueName: "DIR"))
        var config: String?

        func load() throws -> NodeConfiguration {
            guard let directory = config ?? NodeConnection.environment("BSFG_CONFIG") else {
                throw CommandFailure(.usage, "say which configuration: --config DIR (or BSFG_CONFIG)")
            }
            return try CommandFailure.wrap { try NodeConfiguration.load(directory: directory) }
        }

        /// What the node of the configuration has in force.
        func running(_ configuration: NodeConfiguration) async throws -> [ConfigurationListing.Line] {
            let client = AdminClient(socketPath: configuration.adminSocketPath)
            let shown = try await CommandFailure.calling { () async throws(RPCClientError) in
                try await client.showConfiguration()
            }
            return shown.lines.map { ConfigurationListing.Line(key: $0.key, value: $0.value) }
        }
    }

    struct Show: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "show",
            abstract: "Shows the configuration, one key a line, defaults included.",
            discussion: """
                What the files say; with --effective what the running node has in force, which is \
                the same after a reload or restart.
                """)

        @Flag(help: "What the running node has in force.")
        var effective = false

        @OptionGroup var directory: Directory
        @OptionGroup var output: OutputOptions

        func run() async throws {
            let configuration = try directory.load()
            let lines =
                effective
                ? try await directory.running(configuration)
                : ConfigurationListing(configuration).lines
            switch output.format {
            case .table: for line in lines { StandardOutput.line("\(line.key): \(line.value)") }
            case .json:
                StandardOutput.json(.object(lines.map { ($0.key, .text($0.value)) }))
            }
        }
    }

    struct Validate: ParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "validate",
            abstract: "Checks the files, the certificates that they name and whether the logs that are there fit.",
            discussion: "Exit status 2 with everything that is wrong, by file, line and column.")

        @OptionGroup var directory: Directory

        func run() throws {
            let configuration = try directory.load()
            let credentials = try CommandFailure.wrap { try NodeCredentials.load(configuration) }
            for warning in credentials.warnings { StandardError.line("warning: \(warning)") }
            let logs = LogsOfDirectory(configuration.dataDirectory)
            if let refusal = logs.refusal(configuration) { throw CommandFailure(.usage, refusal) }
            for directory in logs.unnamed(configuration) {
                StandardError.line("warning: \(LogsOfDirectory.warning(unnamed: directory))")
            }
            StandardOutput.line(
                "valid: zone \(configuration.zone), \(configuration.streams.count) streams, "
                    + "\(configuration.peers.count) peers, \(configuration.cursors.count) cursors, "
                    + "\(configuration.clients.count) clients")
        }
    }

    struct Diff: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "diff",
            abstract: "Compares the files with what the running node has in force.",
            discussion: """
                '-' is in force, '+' is in the files; what only a restart can change says so, and what \
                is for life, since there are logs of it. Exit status 1 when they differ.
                """)

        @OptionGroup var directory: Directory
        @OptionGroup var output: OutputOptions

        func run() async throws {
            let configuration = try directory.load()
            let changes = ConfigurationChanges(
                from: try await directory.running(configuration),
                to: ConfigurationListing(configuration).lines)
            switch output.format {
            case .table: for change in changes.changes { Self.print(change) }
            case .json: StandardOutput.json(.list(changes.changes.map(ConfigCommand.json)))
            }
            if !changes.isEmpty { throw CommandFailure(.failure, "") }
        }

        private static func print(_ change: ConfigurationChanges.Change) {
            let note = change.isForLife ? "   (for life: take it back)" : change.isLive ? "" : "   (restart)"
            if let before = change.before { StandardOutput.line("- \(change.key): \(before)\(note)") }
            if let after = change.after { StandardOutput.line("+ \(change.key): \(after)\(note)") }
        }
    }

    struct Reload: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "reload",
            abstract: "Has the running node read its configuration again.",
            discussion: """
                Peers, clients, cursors, zones, new streams and what streams keep change at once; \
                connections of peers and clients whose entry changed end. What is invalid, or needs a \
                restart, is refused as a whole and the node goes on as before. SIGHUP does the same.
                """)

        @OptionGroup var node: NodeConnection
        @OptionGroup var output: OutputOptions

        func run() async throws {
            let client = try node.adminClient()
            let answer = try await CommandFailure.calling { () async throws(RPCClientError) in
                try await client.reload()
            }
            for warning in answer.warnings { StandardError.line("warning: \(warning)") }
            switch output.format {
            case .table:
                StandardOutput.line(
                    answer.changes.isEmpty
                        ? "nothing changed; certificates and CA files were read again"
                        : "reloaded, generation \(answer.generation)")
                for change in answer.changes {
                    if !change.before.isEmpty { StandardOutput.line("- \(change.key): \(change.before)") }
                    if !change.after.isEmpty { StandardOutput.line("+ \(change.key): \(change.after)") }
                }
            case .json:
                StandardOutput.json(
                    .object([
                        ("generation", .unsigned(answer.generation)),
                        (
                            "changes",
                            .list(
                                answer.changes.map {
                                    .object([
                                        ("key", .text($0.key)), ("before", .text($0.before)),
                                        ("after", .text($0.after)),
                                    ])
                                })
                        ),
                        ("warnings", .list(answer.warnings.map { .text($0) })),
                    ]))
            }
        }
    }

    private static func json(_ change: ConfigurationChanges.Change) -> JSONOutput {
        .object([
            ("key", .text(change.key)),
            ("before", change.before.map { .text($0) } ?? .null),
            ("after", change.after.map { .text($0) } ?? .null),
            ("restart", .flag(!change.isLive && !change.isForLife)),
            ("for_life", .flag(change.isForLife)),
        ])
    }
}
