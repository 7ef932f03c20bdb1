internal import ArgumentParser
internal import FoundationEssentials
internal import Gateway
internal import RPC

struct QuarantineCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "quarantine",
        abstract: "Decides about facts that a node received and could not materialise.",
        discussion: """
            A fact that is malformed, does not have its digest or conflicts with another one waits in \
            quarantine while its stream goes on; a sil_strict stream halts for it instead, until \
            'resolve'.
            """,
        subcommands: [
            QuarantineList.self,
            QuarantineShow.self,
            QuarantineRetry.self,
            QuarantineExport.self,
            QuarantineDiscard.self,
            QuarantineResolve.self,
        ])

    static func fetch(_ id: String, _ node: NodeConnection) async throws
        -> Bsfg_Admin_V1_QuarantinedEntry
    {
        var request = Bsfg_Admin_V1_ShowQuarantineRequest()
        request.id = id
        let (client, question) = (try node.adminClient(), request)
        return try await CommandFailure.calling { () async throws(RPCClientError) in
            try await client.showQuarantine(question)
        }.entry
    }

    static func json(_ entry: Bsfg_Admin_V1_QuarantinedEntry, withContent: Bool) -> JSONOutput {
        var members: [(String, JSONOutput)] = [
            ("id", .text(entry.id)), ("stream", .text(entry.stream)),
            ("origin", .text(entry.origin)), ("reason", .text(entry.reason)),
            ("sentence", .text(entry.sentence)), ("halting", .flag(entry.halting)),
            ("quarantined_at_unix_ms", .integer(entry.quarantinedAtUnixMs)),
            ("offered_digest", text(entry.offeredDigest)),
            ("stored_digest", text(entry.storedDigest)),
            ("stored_offset", entry.hasStoredOffset ? .unsigned(entry.storedOffset) : .null),
            ("bytes", .unsigned(entry.bytes)),
        ]
        if withContent {
            members.append(("stored_record_base64", .text(entry.storedRecord.base64EncodedString())))
            members.append(("message_json", text(entry.messageJson)))
        }
        return .object(members)
    }

    private static func text(_ value: String) -> JSONOutput { value.isEmpty ? .null : .text(value) }
}

/// The fact that a command is about.
struct QuarantineTarget: ParsableArguments {
    @Argument(help: "The fact's id, as 'bsfg quarantine list' shows it.")
    var id: String
}

struct QuarantineList: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "list", abstract: "Lists what waits for a decision, oldest first.")

    @Option(help: "How many at most, up to 1000.")
    var limit: UInt32 = 100

    @Option(help: "Begin behind this id.")
    var after: String?

    @OptionGroup var node: NodeConnection
    @OptionGroup var output: OutputOptions

    func run() async throws {
        var request = Bsfg_Admin_V1_ListQuarantineRequest()
        request.limit = limit
        request.after = after ?? ""
        let (client, question) = (try node.adminClient(), request)
        let answer = try await CommandFailure.calling { () async throws(RPCClientError) in
            try await client.listQuarantine(question)
        }
        switch output.format {
        case .json:
            StandardOutput.json(
                .object([
                    ("count", .unsigned(answer.count)), ("bytes", .unsigned(answer.bytes)),
                    ("capacity_bytes", .unsigned(answer.capacityBytes)),
                    (
                        "entries",
                        .list(answer.entries.map { QuarantineCommand.json($0, withContent: false) })
                    ),
                ]))
        case .table:
            var table = Table("ID", "STREAM", "ORIGIN", "SINCE", "REASON", "BYTES#", "STATE")
            for entry in answer.entries {
                table.row([
                    entry.id, entry.stream, entry.origin,
                    UTCText.text(entry.quarantinedAtUnixMs / 1_000), entry.reason,
                    String(entry.bytes), entry.halting ? "its stream halts" : "waits",
                ])
            }
            if !answer.entries.isEmpty { StandardOutput.line(table.text) }
            StandardOutput.line(
                "\(answer.count) in quarantine, \(answer.bytes) of \(answer.capacityBytes) bytes")
        }
    }
}

struct QuarantineShow: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "show", abstract: "Shows one fact: why it is here, and what it says.")

    @OptionGroup var target: QuarantineTarget
    @OptionGroup var node: NodeConnection
    @OptionGroup var output: OutputOptions

    func run() async throws {
        let entry = try await QuarantineCommand.fetch(target.id, node)
        switch output.format {
        case .json: StandardOutput.json(QuarantineCommand.json(entry, withContent: true))
        case .table:
            var table = Table("FACT", entry.id)
            table.row(["stream", "\(entry.stream) of \(entry.origin)"])
            table.row(["reason", "\(entry.reason): \(entry.sentence)"])
            table.row(["since", UTCText.text(entry.quarantinedAtUnixMs / 1_000)])
            if entry.hasStoredOffset {
                table.row(["conflicts with", "our offset \(entry.storedOffset)"])
            }
            if !entry.storedDigest.isEmpty { table.row(["digest there", entry.storedDigest]) }
            if !entry.offeredDigest.isEmpty { table.row(["digest offered", entry.offeredDigest]) }
            table.row(["bytes", String(entry.bytes)])
            table.row(["decide with", Self.ways(entry)])
            StandardOutput.line(table.text)
            if !entry.messageJson.isEmpty { StandardOutput.line(entry.messageJson) }
        }
    }

    private static func ways(_ entry: Bsfg_Admin_V1_QuarantinedEntry) -> String {
        if entry.halting { return "resolve --retry, resolve --record-refusal" }
        return entry.reason == "conflict" ? "export, discard" : "retry, export, discard"
    }
}

struct QuarantineRetry: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "retry",
        abstract: "Appends a fact at the tail, marked late, if it can be materialised now.",
        discussion: """
            The source is asked for it once more; where it cannot be, the bytes that were kept are \
            judged again. A conflict stays one: export or discard it.
            """)

    @OptionGroup var target: QuarantineTarget
    @OptionGroup var node: NodeConnection
    @OptionGroup var output: OutputOptions

    func run() async throws {
        var request = Bsfg_Admin_V1_RetryQuarantineRequest()
        request.id = target.id
        let (client, question) = (try node.adminClient(), request)
        let answer = try await CommandFailure.calling { () async throws(RPCClientError) in
            try await client.retryQuarantine(question)
        }
        switch output.format {
        case .table:
            StandardOutput.line(
                answer.existing
                    ? "it was here already, at offset \(answer.offset)"
                    : "appended late at offset \(answer.offset)")
        case .json:
            StandardOutput.json(
                .object([
                    ("offset", .unsigned(answer.offset)), ("existing", .flag(answer.existing)),
                ]))
        }
    }
}

struct QuarantineExport: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "export",
        abstract: "Prints one fact as JSON with its bytes; it stays in quarantine.")

    @OptionGroup var target: QuarantineTarget
    @OptionGroup var node: NodeConnection

    func run() async throws {
        let entry = try await QuarantineCommand.fetch(target.id, node)
        StandardOutput.json(QuarantineCommand.json(entry, withContent: true))
    }
}

struct QuarantineDiscard: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "discard", abstract: "Forgets one fact for good; not of a sil_strict stream.")

    @OptionGroup var target: QuarantineTarget

    @Option(help: "Why, for those who come after.")
    var reason: String

    @OptionGroup var node: NodeConnection

    func run() async throws {
        var request = Bsfg_Admin_V1_DiscardQuarantineRequest()
        request.id = target.id
        request.reason = reason
        let (client, question) = (try node.adminClient(), request)
        _ = try await CommandFailure.calling { () async throws(RPCClientError) in
            try await client.discardQuarantine(question)
        }
        StandardOutput.line("discarded")
    }
}

struct QuarantineResolve: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "resolve",
        abstract: "Ends the halt of a sil_strict stream: tries the fact again, or records its refusal.",
        discussion: """
            --record-refusal puts the fact's bytes into the forward log as a refused record, which is \
            confirmed as facts are; nothing is left out silently.
            """)

    @OptionGroup var target: QuarantineTarget

    @Flag(help: "Fetch it again and go on if it can be materialised now.")
    var retry = false

    @Flag(help: "Keep its bytes as a refused record and go on behind it.")
    var recordRefusal = false

    @Option(help: "Why it is refused, for those who come after.")
    var reason: String?

    @OptionGroup var node: NodeConnection

    func validate() throws {
        guard retry != recordRefusal else {
            throw ValidationError("Give one of --retry and --record-refusal.")
        }
        guard retry || !(reason ?? "").isEmpty else {
            throw ValidationError("--record-refusal needs a --reason.")
        }
    }

    func run() async throws {
        var request = Bsfg_Admin_V1_ResolveQuarantineRequest()
        request.id = target.id
        request.resolution = retry ? "retry" : "record_refusal"
        request.reason = reason ?? ""
        let (client, question) = (try node.adminClient(), request)
        let answer = try await CommandFailure.calling { () async throws(RPCClientError) in
            try await client.resolveQuarantine(question)
        }
        StandardOutput.line(
            answer.hasRefusedOffset
                ? "the refusal stands at offset \(answer.refusedOffset); the stream goes on"
                : "the stream tries it again")
    }
}
