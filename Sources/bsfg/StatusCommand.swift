internal import ArgumentParser
internal import Gateway
internal import RPC

struct StatusCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "status",
        abstract: "Shows a node: its logs, what it pulls, its consumers and whom it refused.",
        discussion: """
            Its certificate stands there as it is in force, with why newer files are not. Over --endpoint \
            only what every listed identity may see: zone, state, and our roles there. Exit status 1 when \
            something has stopped, is blocked or degraded, or the certificate is not what others take.
            """)

    @OptionGroup var node: NodeConnection
    @OptionGroup var output: OutputOptions

    func run() async throws {
        let client = try node.client(.any)
        if case .endpoint = try node.route(.any) { return try await remote(client) }
        let admin = AdminClient(client)
        let status = try await CommandFailure.calling { () async throws(RPCClientError) in
            try await admin.status()
        }
        let gates = try await CommandFailure.calling { () async throws(RPCClientError) in
            try await admin.listGates().gates
        }
        switch output.format {
        case .table: printTables(status, gates)
        case .json: StandardOutput.json(Self.json(status, gates))
        }
        let isStopped =
            status.streams.contains { !$0.state.utf8.elementsEqual("writing".utf8) }
            || status.streams.contains(where: \.alarm)
            || status.pulls.contains { $0.state.utf8.elementsEqual("blocked".utf8) }
            || status.hasCertificate && CertificateLine(certificate: status.certificate).isWrong
        if isStopped { throw CommandFailure(.failure, "") }
    }

    // MARK: - Remote

    private func remote(_ client: RPCClient) async throws {
        let health = try await CommandFailure.calling { () async throws(RPCClientError) in
            try await NodeHealth.ask(client)
        }
        switch output.format {
        case .table:
            StandardOutput.line(
                "zone \(health.zone), identity \(health.identity), release \(health.release): "
                    + health.status)
            StandardOutput.line(
                "we are \(health.callerIdentity) there, "
                    + (health.callerRoles.isEmpty
                        ? "without a role"
                        : "with the role \(health.callerRoles.joined(separator: " and "))"))
        case .json: StandardOutput.json(Self.json(health))
        }
        if !health.status.utf8.elementsEqual("ok".utf8) { throw CommandFailure(.failure, "") }
    }

    static func json(_ health: NodeHealth) -> JSONOutput {
        .object([
            ("status", .text(health.status)),
            ("zone", .text(health.zone)),
            ("identity", .text(health.identity)),
            ("release", .text(health.release)),
            ("caller_identity", .text(health.callerIdentity)),
            ("caller_roles", .list(health.callerRoles.map { .text($0) })),
            ("time_unix_ms", health.timeUnixMilliseconds.map { .integer($0) } ?? .null),
        ])
    }

    // MARK: - Tables

    private func printTables(
        _ status: Bsfg_Admin_V1_StatusResponse, _ gates: [Bsfg_Admin_V1_Gate]
    ) {
        StandardOutput.line(
            "zone \(status.zone), identity \(status.identity), release \(status.release), since "
                + UTCText.text(status.startedAtUnixMs / 1_000))
        StandardOutput.line("listening on \(status.listeners.joined(separator: ", "))")
        if status.hasCertificate {
            for line in CertificateLine(certificate: status.certificate).lines { StandardOutput.line(line) }
        }
        var logs = Table(
            "STREAM", "ORIGIN", "ROLE", "FIRST#", "HEAD#", "EPOCH#", "FILL#", "PROFILE", "GATE",
            "GAPS#", "STATE")
        for stream in status.streams {
            logs.row([
                stream.stream, stream.origin, stream.role, String(stream.firstOffset),
                String(stream.headOffset), String(stream.epoch), percent(stream.fill),
                stream.profile, stream.accepts ? "open" : "closed",
                String(stream.gaps.count), stream.state,
            ])
        }
        StandardOutput.line("\nLogs\n\(logs.text)")
        for stream in status.streams { printNotes(stream) }
        if !gates.isEmpty { StandardOutput.line("\nGates\n\(GateOutput.table(gates))") }
        if !status.pulls.isEmpty { printPulls(status.pulls) }
        if !status.consumers.isEmpty {
            StandardOutput.line("\nConsumers\n\(ConsumerCommand.table(status.consumers))")
        }
        if status.quarantine.count > 0 {
            StandardOutput.line(
                "\nQuarantine: \(status.quarantine.count) waiting for a decision; see bsfg quarantine list")
        }
        if status.hasArtifacts {
            StandardOutput.line("\nArtifacts: \(ArtifactListing.text(status.artifacts))")
        }
        printServer(status.server)
    }

    private func printNotes(_ stream: Bsfg_Admin_V1_StreamStatus) {
        let name = "\(stream.stream) of \(stream.origin)"
        if stream.alarm {
            StandardOutput.line("ALARM \(name): was full; see bsfg log alarm show")
        }
        for reader in stream.awaitedReaders {
            StandardOutput.line("\(name): \(StreamCommand.awaited(reader))")
        }
        for gap in stream.gaps {
            StandardOutput.line(
                "gap in \(name): offsets \(gap.firstOffset) to \(gap.lastOffset) "
                    + "(\(gap.reasons.joined(separator: ", ")))")
        }
    }

    private func printPulls(_ pulls: [Bsfg_Admin_V1_PullStatus]) {
        var table = Table(
            "PEER", "STREAM", "ORIGIN", "STATE", "NEXT#", "CONFIRMED#", "SOURCE HEAD#", "LAG#",
            "NEW#", "AGAIN#", "ALTERED#", "FAILURES#")
        for pull in pulls {
            table.row([
                pull.peer, pull.stream, pull.origin,
                pull.reason.isEmpty ? pull.state : "\(pull.state) (\(pull.reason))",
                pull.hasNextOffset ? String(pull.nextOffset) : "-",
                pull.hasConfirmedOffset ? String(pull.confirmedOffset) : "-",
                pull.hasSourceHeadOffset ? String(pull.sourceHeadOffset) : "-",
                Self.lag(pull).map { String($0) } ?? "-", String(pull.materialised),
                String(pull.redelivered), String(pull.altered), String(pull.failures),
            ])
        }
        StandardOutput.line("\nPulls\n\(table.text)")
        for pull in pulls where !pull.sentence.isEmpty {
            StandardOutput.line(
                Table.printable("\(pull.peer) \(pull.stream) \(pull.origin): \(pull.sentence)"))
        }
    }

    private func printServer(_ server: Bsfg_Admin_V1_ServerStatus) {
        StandardOutput.line(
            "\nServer: \(server.requests) requests, \(server.connections) connections, "
                + "\(server.openConnections) open")
        var table = Table("REFUSED AT", "REASON", "COUNT#")
        var isEmpty = true
        for (place, counts) in [
            ("TLS handshake", server.handshakeFailures), ("identity", server.callersRefused),
            ("request", server.errors),
        ] {
            for (reason, count) in counts.sorted(by: { $0.key < $1.key }) {
                table.row([place, reason, String(count)])
                isEmpty = false
            }
        }
        guard !isEmpty else { return }
        StandardOutput.line(table.text)
        if !server.handshakeFailures.isEmpty || !server.callersRefused.isEmpty {
            StandardOutput.line("Who they were: bsfg peer refusals")
        }
    }

    private func percent(_ fraction: Double) -> String {
        let tenths = Int((fraction * 1_000).rounded())
        return "\(tenths / 10).\(tenths % 10) %"
    }

    private static func lag(_ pull: Bsfg_Admin_V1_PullStatus) -> UInt64? {
        guard pull.hasNextOffset, pull.hasSourceHeadOffset else { return nil }
        return pull.sourceHeadOffset - min(pull.sourceHeadOffset, pull.nextOffset)
    }

    // MARK: - JSON

    static func json(
        _ status: Bsfg_Admin_V1_StatusResponse, _ gates: [Bsfg_Admin_V1_Gate]
    ) -> JSONOutput {
        .object([
            ("zone", .text(status.zone)),
            ("identity", .text(status.identity)),
            ("release", .text(status.release)),
            ("started_at_unix_ms", .integer(status.startedAtUnixMs)),
            ("listeners", .list(status.listeners.map { .text($0) })),
            ("streams", .list(status.streams.map(json))),
            ("gates", .list(gates.map(GateOutput.json))),
            ("pulls", .list(status.pulls.map(json))),
            ("quarantine", Self.json(status.quarantine)),
            ("artifacts", status.hasArtifacts ? ArtifactListing.json(status.artifacts) : .null),
            ("consumers", .list(status.consumers.map(ConsumerCommand.json))),
            ("server", json(status.server)),
            (
                "certificate",
                status.hasCertificate ? CertificateLine(certificate: status.certificate).json : .null
            ),
        ])
    }

    private static func json(_ stream: Bsfg_Admin_V1_StreamStatus) -> JSONOutput {
        .object([
            ("stream", .text(stream.stream)),
            ("origin", .text(stream.origin)),
            ("role", .text(stream.role)),
            ("log_uuid", .text(stream.logUuid)),
            ("epoch", .unsigned(stream.epoch)),
            ("first_offset", .unsigned(stream.firstOffset)),
            ("head_offset", .unsigned(stream.headOffset)),
            ("fill", .number(stream.fill)),
            ("profile", .text(stream.profile)),
            ("state", .text(stream.state)),
            ("directory", .text(stream.directory)),
            ("fill_bytes", .unsigned(stream.fillBytes)),
            ("capacity_bytes", .unsigned(stream.capacityBytes)),
            ("accepts", .flag(stream.accepts)),
            ("alarm", .flag(stream.alarm)),
            ("terminal", .flag(stream.terminal)),
            ("awaited_readers", .list(stream.awaitedReaders.map { .text($0) })),
            ("gaps", .list(stream.gaps.map(json))),
            ("refusals", .unsigned(stream.refusals)),
            (
                "events",
                .object(
                    stream.events.sorted { $0.key < $1.key }.map { ($0.key, .unsigned($0.value)) })
            ),
        ])
    }

    private static func json(_ quarantine: Bsfg_Admin_V1_QuarantineUsage) -> JSONOutput {
        .object([
            ("count", .unsigned(quarantine.count)),
            ("bytes", .unsigned(quarantine.bytes)),
            ("capacity_bytes", .unsigned(quarantine.capacityBytes)),
        ])
    }

    private static func json(_ gap: Bsfg_Admin_V1_Gap) -> JSONOutput {
        .object([
            ("first_offset", .unsigned(gap.firstOffset)),
            ("last_offset", .unsigned(gap.lastOffset)),
            ("reasons", .list(gap.reasons.map { .text($0) })),
        ])
    }

    private static func json(_ pull: Bsfg_Admin_V1_PullStatus) -> JSONOutput {
        .object([
            ("peer", .text(pull.peer)),
            ("stream", .text(pull.stream)),
            ("origin", .text(pull.origin)),
            ("state", .text(pull.state)),
            ("reason", .text(pull.reason)),
            ("sentence", .text(pull.sentence)),
            ("next_offset", pull.hasNextOffset ? .unsigned(pull.nextOffset) : .null),
            ("confirmed_offset", pull.hasConfirmedOffset ? .unsigned(pull.confirmedOffset) : .null),
            (
                "source_head_offset",
                pull.hasSourceHeadOffset ? .unsigned(pull.sourceHeadOffset) : .null
            ),
            ("lag", lag(pull).map { .unsigned($0) } ?? .null),
            ("pages", .unsigned(pull.pages)),
            ("fetched", .unsigned(pull.fetched)),
            ("materialised", .unsigned(pull.materialised)),
            ("redelivered", .unsigned(pull.redelivered)),
            ("recognised", .unsigned(pull.recognised)),
            ("uncompared", .unsigned(pull.uncompared)),
            ("altered", .unsigned(pull.altered)),
            ("confirms", .unsigned(pull.confirms)),
            ("failures", .unsigned(pull.failures)),
        ])
    }

    private static func json(_ server: Bsfg_Admin_V1_ServerStatus) -> JSONOutput {
        func counts(_ all: [String: UInt64]) -> JSONOutput {
            .object(all.sorted { $0.key < $1.key }.map { ($0.key, .unsigned($0.value)) })
        }
        return .object([
            ("connections", .unsigned(server.connections)),
            ("open_connections", .unsigned(server.openConnections)),
            ("requests", .unsigned(server.requests)),
            ("handshake_failures", counts(server.handshakeFailures)),
            ("callers_refused", counts(server.callersRefused)),
            ("errors", counts(server.errors)),
        ])
    }
}
