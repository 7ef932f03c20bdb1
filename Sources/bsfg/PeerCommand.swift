internal import ArgumentParser
internal import Gateway
internal import RPC

struct PeerCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "peer", abstract: "Looks at the way to another node, and starts what it is asked for.",
        subcommands: [
            PeerProbeCommand.self,
            PeerStart.self,
            PeerRedeliver.self,
            PeerAcceptHistory.self,
            PeerList.self,
            PeerShow.self,
            PeerDenyTest.self,
            PeerRefusals.self,
        ])
}

struct PeerProbeCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "probe",
        abstract: "Tries the way to a node with our own certificate, step by step.",
        discussion: """
            Name, TCP, TLS, identity, answer; then who they are, how far their clock is from ours \
            and what we are there. A peer must have the identity that peers.yaml says; another \
            host:port must name the host in its certificate. Needs no running node here.
            """)

    @Argument(help: "A peer of peers.yaml, or host:port.")
    var peer: String

    @Option(
        help: ArgumentHelp(
            "Our node, whose certificate is used. Environment: BSFG_CONFIG.", valueName: "DIR"))
    var config: String?

    @Option(help: "How long to wait for an answer at each step.")
    var timeoutSeconds = 5

    @OptionGroup var output: OutputOptions

    func validate() throws {
        guard (1...60).contains(timeoutSeconds) else {
            throw ValidationError("--timeout-seconds is between 1 and 60.")
        }
    }

    func run() async throws {
        guard let directory = config ?? NodeConnection.environment("BSFG_CONFIG") else {
            throw CommandFailure(.usage, "say whose certificate to use: --config DIR (or BSFG_CONFIG)")
        }
        let configuration = try CommandFailure.wrap {
            try NodeConfiguration.load(directory: directory)
        }
        let credentials = try CommandFailure.wrap { try NodeCredentials.load(configuration) }
        let link = try link(configuration, credentials)
        let visit = await link.visit()
        let problem = link.peer.flatMap { visit.reach.disagreement(with: $0.id) }
        switch output.format {
        case .table: printTable(visit, problem, credentials.warnings)
        case .json:
            StandardOutput.json(Self.json(visit, problem, link, credentials.warnings))
        }
        if let error = visit.error {
            throw CommandFailure(CommandFailure(error).status, "")
        }
        if problem != nil { throw CommandFailure(.refused, "") }
    }

    private func link(
        _ configuration: NodeConfiguration, _ credentials: NodeCredentials
    ) throws -> PeerLink {
        let milliseconds = timeoutSeconds * 1_000
        if let known = try known(configuration) {
            return try CommandFailure.wrap {
                try PeerLink(
                    peer: known, credentials: credentials, timeoutMilliseconds: milliseconds)
            }
        }
        guard let address = HostPort(peer) else {
            throw CommandFailure(
                .usage,
                "'\(peer)' is neither a peer of peers.yaml nor host:port; "
                    + NearestName.hint(for: peer, among: configuration.peers.map(\.id)))
        }
        return try CommandFailure.wrap {
            try PeerLink(
                endpoint: address, configuration: configuration, credentials: credentials,
                timeoutMilliseconds: milliseconds)
        }
    }

    /// The peer that is called so, or that has this address.
    private func known(_ configuration: NodeConfiguration) throws -> PeerConfiguration? {
        if let known = configuration.peer(id: peer) {
            guard known.endpoint != nil else {
                throw CommandFailure(
                    .usage, "the peer \(peer) has no endpoint in peers.yaml; give host:port")
            }
            return known
        }
        guard let address = HostPort(peer) else { return nil }
        return configuration.peers.first { $0.endpoint == address }
    }

    // MARK: - Output

    private func printTable(_ visit: PeerVisit, _ problem: String?, _ warnings: [String]) {
        let reach = visit.reach
        var table = Table("STEP", "", "MS#", "")
        for step in reach.steps {
            table.row([
                step.name, step.isGood ? "good" : "FAILED",
                String(Int(step.milliseconds.rounded())), step.sentence,
            ])
        }
        StandardOutput.line(table.text)
        if let health = visit.health {
            StandardOutput.line(
                "\nthey: zone \(health.zone), identity \(health.identity), release "
                    + "\(health.release), \(health.status)")
            StandardOutput.line(
                "we there: \(health.callerIdentity), "
                    + (health.callerRoles.isEmpty
                        ? "without a role" : health.callerRoles.joined(separator: ", ")))
        }
        if let difference = reach.clockMilliseconds {
            StandardOutput.line(
                "clocks: " + Self.clockText(difference, reach.clockUncertaintyMilliseconds))
        }
        if let problem { StandardOutput.line("problem: \(problem)") }
        // The refused side looks at its own certificate first.
        for warning in warnings { StandardOutput.line("our own certificate: \(warning)") }
    }

    private static func clockText(_ difference: Int64, _ uncertainty: Int64) -> String {
        guard difference.magnitude > UInt64(uncertainty) else {
            return "equal within \(uncertainty) ms"
        }
        let text =
            difference.magnitude < 10_000
            ? "\(difference.magnitude) ms" : "\(difference.magnitude / 1_000) s"
        return "theirs is \(text) \(difference > 0 ? "ahead of" : "behind") ours"
            + (difference.magnitude > 2_000 ? "; set both by NTP" : "")
    }

    private static func json(
        _ visit: PeerVisit, _ problem: String?, _ link: PeerLink, _ warnings: [String]
    ) -> JSONOutput {
        let reach = visit.reach
        let steps = reach.steps.map { step in
            JSONOutput.object([
                ("step", .text(step.name)),
                ("good", .flag(step.isGood)),
                ("milliseconds", .number(step.milliseconds)),
                ("text", .text(step.sentence)),
            ])
        }
        return .object([
            ("endpoint", .text(link.endpoint.description)),
            ("peer", link.peer.map { .text($0.id) } ?? .null),
            ("good", .flag(visit.error == nil && problem == nil)),
            ("failure", visit.error?.transportKind.map { .text($0.rawValue) } ?? .null),
            ("steps", .list(steps)),
            ("health", visit.health.map(StatusCommand.json) ?? .null),
            ("clock_difference_ms", reach.clockMilliseconds.map { .integer($0) } ?? .null),
            ("problem", problem.map { .text($0) } ?? .null),
            ("own_warnings", .list(warnings.map { .text($0) })),
        ])
    }
}

struct PeerRedeliver: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "redeliver",
        abstract: "The duplicate drill: fetches the last facts from a peer once more.",
        discussion: """
            They come through the ordinary path, and each is held against the fact that was stored from \
            its offset: 'bsfg status' counts them as AGAIN, and the log does not grow. One with another id \
            or other content changes nothing here; it is counted as ALTERED, and logged with its offset.
            """)

    @Argument(help: "The peer they are pulled from.")
    var peer: String

    @Option(help: "How many offsets below the position.")
    var count: UInt64

    @Option(help: "The stream; default facts.operational.")
    var stream: String?

    @Option(help: "The zone whose facts; default the peer.")
    var origin: String?

    @OptionGroup var node: NodeConnection
    @OptionGroup var output: OutputOptions

    func run() async throws {
        var request = Bsfg_Admin_V1_RedeliverRequest()
        request.peer = peer
        request.stream = stream ?? ""
        request.origin = origin ?? ""
        request.count = count
        let client = try node.adminClient()
        let question = request
        let answer = try await CommandFailure.calling { () async throws(RPCClientError) in
            try await client.redeliver(question)
        }
        switch output.format {
        case .table: StandardOutput.line("fetching again from offset \(answer.fromOffset)")
        case .json:
            StandardOutput.json(.object([("from_offset", .unsigned(answer.fromOffset))]))
        }
    }
}
