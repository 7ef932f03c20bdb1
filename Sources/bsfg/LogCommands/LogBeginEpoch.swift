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
            each peer. Root's command leaves files that are the log's owner's.
            """)

    /// What the log keeps of it.
    private static let reasonBytesMaximum = 64
    /// 100 years, the longest there is.
    private static let dedupeHorizonMilliseconds: Int64 = 100 * 365 * 24 * 3600 * 1000

    @OptionGroup var log: LogDirectory

    @Flag(help: "The log was restored; there is no other reason yet.")
    var afterRestore = false

    @Option(help: "Why, in at most 64 bytes, for those who come after.")
    var reason: String

    @OptionGroup var output: OutputOptions

    func validate() throws {
        guard reason.utf8.count <= Self.reasonBytesMaximum else {
            throw ValidationError("--reason has at most \(Self.reasonBytesMaximum) bytes.")
        }
        guard afterRestore else {
            throw ValidationError("Say --after-restore: a new epoch is for a log that was restored.")
        }
    }

    func run() throws {
        guard let profile = try LogInspector.storedProfile(directory: log.dir) else {
            throw CommandFailure(.usage, "there is no log in \(log.dir)")
        }
        let node = RestoredGates(logDirectory: log.dir)
        let begun = try log.keepingOwner { try begin(profile, closing: node) }
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

    /// The gates close once the log is ours, so that a log that is in use or damaged closes none, and before
    /// the epoch begins: a gate that is closed for nothing costs a command, one that is open too early more.
    private func begin(_ profile: Profile, closing gates: RestoredGates?) throws(CommandFailure) -> EpochEntry {
        let opened = try LogError.wrap { () throws(LogError) in
            try Log.open(
                directory: log.dir, options: options(profile), disk: LinuxDisk(), environment: environment)
        }
        defer { opened.close() }
        do throws(NodeError) {
            try gates?.close(reason: reason)
        } catch {
            throw CommandFailure(.failure, error.sentence)
        }
        return try LogError.wrap { () throws(LogError) in try opened.beginEpoch(reason: reason) }
    }

    /// Without its threads and its node's options: nothing may be removed, expire or be forgotten here.
    private var environment: LogEnvironment {
        var environment = LogEnvironment.linux
        environment.threads = false
        return environment
    }

    private func options(_ profile: Profile) -> LogOptions {
        let policy: LogPolicy =
            switch profile {
            case .standard: .standard(StandardPolicy(unconfirmedLifetimeMilliseconds: nil))
            case .silStrict: .silStrict(StrictPolicy())
            }
        return LogOptions(
            policy: policy,
            retention: RetentionOptions(dedupeHorizonMilliseconds: Self.dedupeHorizonMilliseconds))
    }
}
