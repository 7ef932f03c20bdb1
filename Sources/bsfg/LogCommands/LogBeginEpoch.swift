internal import ArgumentParser
internal import Gateway
internal import WriteAheadLog

struct LogBeginEpoch: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "begin-epoch",
        abstract: "Begins a new epoch in a log that was restored, before its node starts.",
        discussion: """
            A restored log lacks what was appended after its backup. In a new epoch its next facts \
            are never taken for those, and its peers say so on their next call; see 'bsfg peer \
            accept-history'. The log must not be open for writing.

            A node whose log it is starts with its gates closed, until 'bsfg admin reconcile' for \
            each peer.
            """)

    @OptionGroup var log: LogDirectory

    @Flag(help: "The log was restored; there is no other reason yet.")
    var afterRestore = false

    @Option(help: "Why, in at most 64 bytes, for those who come after.")
    var reason: String

    @OptionGroup var output: OutputOptions

    func validate() throws {
        guard afterRestore else {
            throw ValidationError("Say --after-restore: a new epoch is for a log that was restored.")
        }
    }

    func run() throws {
        guard let profile = try LogInspector.storedProfile(directory: log.dir) else {
            throw CommandFailure(.usage, "there is no log in \(log.dir)")
        }
        let node = RestoredGates(logDirectory: log.dir)
        do throws(NodeError) {
            // First: a gate that is closed for nothing costs a command, one that is open too early more.
            try node?.close(reason: reason)
        } catch {
            throw CommandFailure(.failure, error.sentence)
        }
        let begun = try LogError.wrap { () throws(LogError) in
            try Log.beginEpoch(directory: log.dir, profile: profile, reason: reason)
        }
        switch output.format {
        case .table:
            StandardOutput.line(
                "epoch \(begun.epoch) begins at offset \(begun.firstOffset); start the node, "
                    + (node == nil ? "" : "open its gates with bsfg admin reconcile --peer PEER, ")
                    + "then accept its history at its peers")
        case .json:
            StandardOutput.json(
                .object([
                    ("epoch", .unsigned(begun.epoch)),
                    ("first_offset", .unsigned(begun.firstOffset)),
                    ("began_at_unix_ms", .integer(begun.beganMilliseconds)),
                    ("reason", .text(begun.reason)),
                ]))
        }
    }
}
