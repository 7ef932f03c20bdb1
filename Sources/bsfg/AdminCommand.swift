internal import ArgumentParser
internal import Gateway
internal import RPC

struct AdminCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "admin", abstract: "Closes and opens the gate to a peer.",
        subcommands: [Partition.self, Reconcile.self])

    struct Partition: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "partition",
            abstract: "Closes the gate to a peer, in both directions, also over a restart.",
            discussion: """
                We pull nothing from the peer and answer its fetches and confirmations with \
                gate_closed; /health and hello go on, and so do all other peers and our own \
                producers and consumers. Returns once no page of the peer is in flight.
                """)

        @Option(help: "The peer, as peers.yaml calls it.")
        var peer: String

        @Option(help: "Why, for those who come after.")
        var reason: String

        @Option(
            name: .customLong("for"),
            help: "When it ends by itself, as in 10m or 2h; without it with 'bsfg admin reconcile'.")
        var duration: String?

        @OptionGroup var node: NodeConnection
        @OptionGroup var output: OutputOptions

        func run() async throws {
            var request = Bsfg_Admin_V1_PartitionRequest()
            request.peer = peer
            request.reason = reason
            if let duration {
                guard let milliseconds = Quantity.milliseconds(duration), milliseconds > 0 else {
                    throw CommandFailure(
                        .usage, "--for is a duration, as in 30s, 10m or 2h, not '\(duration)'")
                }
                request.forMs = Int64(milliseconds)
            }
            let question = request
            let client = try node.adminClient()
            let answer = try await CommandFailure.calling { () async throws(RPCClientError) in
                try await client.partition(question)
            }
            GateOutput.show([answer.gate], output.format)
        }
    }

    struct Reconcile: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "reconcile",
            abstract: "Ends a partition: both directions catch up by themselves.")

        @Option(help: "The peer, as peers.yaml calls it.")
        var peer: String

        @OptionGroup var node: NodeConnection
        @OptionGroup var output: OutputOptions

        func run() async throws {
            var request = Bsfg_Admin_V1_ReconcileRequest()
            request.peer = peer
            let question = request
            let client = try node.adminClient()
            let answer = try await CommandFailure.calling { () async throws(RPCClientError) in
                try await client.reconcile(question)
            }
            if !answer.wasClosed, output.format == .table {
                StandardOutput.line("the gate to \(peer) was not closed by an operator")
            }
            GateOutput.show([answer.gate], output.format)
        }
    }
}

/// Gates as tables and JSON.
enum GateOutput {
    static func show(_ gates: [Bsfg_Admin_V1_Gate], _ format: OutputFormat) {
        switch format {
        case .table: StandardOutput.line(table(gates))
        case .json: StandardOutput.json(.list(gates.map(json)))
        }
    }

    static func table(_ gates: [Bsfg_Admin_V1_Gate]) -> String {
        var table = Table("PEER", "GATE", "WE PULL", "BREAKER", "IT PULLS", "REASON")
        for gate in gates {
            table.row([
                gate.peer, gate.mode, gate.hasInbound ? gate.inbound.mode : "-",
                gate.hasInbound ? gate.inbound.breaker : "-",
                gate.hasOutbound ? gate.outbound.mode : "-", reason(gate),
            ])
        }
        return table.text
    }

    private static func reason(_ gate: Bsfg_Admin_V1_Gate) -> String {
        if gate.hasClosure {
            let end =
                gate.closure.untilUnixMs > 0
                ? "until \(UTCText.text(gate.closure.untilUnixMs / 1_000))" : "until reconcile"
            return "operator, \(end): \(gate.closure.reason)"
        }
        let directions = [
            ("we pull", gate.hasInbound ? gate.inbound : nil),
            ("it pulls", gate.hasOutbound ? gate.outbound : nil),
        ]
        let parts = directions.compactMap { name, direction -> String? in
            guard let direction else { return nil }
            if !direction.reason.isEmpty { return "\(name): \(direction.reason)" }
            return direction.openStreams.isEmpty
                ? nil : "\(name): catching up with \(direction.openStreams.joined(separator: ", "))"
        }
        return parts.joined(separator: "; ")
    }

    static func json(_ gate: Bsfg_Admin_V1_Gate) -> JSONOutput {
        .object([
            ("peer", .text(gate.peer)),
            ("mode", .text(gate.mode)),
            ("inbound", gate.hasInbound ? json(gate.inbound) : .null),
            ("outbound", gate.hasOutbound ? json(gate.outbound) : .null),
            (
                "closure",
                gate.hasClosure
                    ? .object([
                        ("reason", .text(gate.closure.reason)),
                        ("since_unix_ms", .integer(gate.closure.sinceUnixMs)),
                        (
                            "until_unix_ms",
                            gate.closure.untilUnixMs > 0
                                ? .integer(gate.closure.untilUnixMs) : .null
                        ),
                    ]) : .null
            ),
        ])
    }

    private static func json(_ direction: Bsfg_Admin_V1_GateDirection) -> JSONOutput {
        .object([
            ("mode", .text(direction.mode)),
            ("reason", .text(direction.reason)),
            ("breaker", direction.breaker.isEmpty ? .null : .text(direction.breaker)),
            ("open_streams", .list(direction.openStreams.map { .text($0) })),
        ])
    }
}
