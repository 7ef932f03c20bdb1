internal import ArgumentParser
internal import Facts
internal import Foundation
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

    /// What the probe learned beside its steps.
    private struct Finding {
        var health: NodeHealth?
        /// Theirs minus ours.
        var clockMilliseconds: Int64?
        var clockUncertaintyMilliseconds: Int64 = 0
        var problem: String?
    }

    func run() async throws {
        guard let directory = config ?? NodeConnection.environment("BSFG_CONFIG") else {
            throw CommandFailure(.usage, "say whose certificate to use: --config DIR (or BSFG_CONFIG)")
        }
        let configuration = try CommandFailure.wrap {
            try NodeConfiguration.load(directory: directory)
        }
        let credentials = try CommandFailure.wrap { try NodeCredentials.load(configuration) }
        let (known, address) = try target(configuration)
        let verifier = try verifier(known, address, configuration, credentials)
        var settings = RPCClientConfiguration(host: address.host, port: address.port)
        settings.connectTimeoutMilliseconds = timeoutSeconds * 1_000
        settings.handshakeTimeoutMilliseconds = timeoutSeconds * 1_000
        settings.callTimeoutMilliseconds = timeoutSeconds * 1_000
        let tls = try tls(known, address, configuration, credentials)
        let probe = await PeerProbe.run(settings, tls: tls, verifier: verifier)
        var finding = Finding()
        if probe.isGood {
            finding = await look(settings, tls, verifier, known)
        }
        show(probe, finding, address, known, warnings: credentials.warnings)
        if let error = probe.error {
            throw CommandFailure(CommandFailure(error).status, "")
        }
        if finding.problem != nil { throw CommandFailure(.refused, "") }
    }

    // MARK: - Whom, and as whom

    private func target(_ configuration: NodeConfiguration) throws
        -> (PeerConfiguration?, HostPort)
    {
        if let known = configuration.peer(id: peer) {
            guard let endpoint = known.endpoint else {
                throw CommandFailure(
                    .usage, "the peer \(peer) has no endpoint in peers.yaml; give host:port")
            }
            return (known, endpoint)
        }
        guard let address = HostPort(peer) else {
            throw CommandFailure(
                .usage,
                "'\(peer)' is neither a peer of peers.yaml nor host:port; "
                    + NearestName.hint(for: peer, among: configuration.peers.map(\.id)))
        }
        return (configuration.peers.first { $0.endpoint == address }, address)
    }

    private func verifier(
        _ known: PeerConfiguration?, _ address: HostPort, _ configuration: NodeConfiguration,
        _ credentials: NodeCredentials
    ) throws -> @Sendable ([UInt8]) async -> ServiceRefusal? {
        if let known {
            let verifier = credentials.verifier.server(peer: known.id)
            return { leaf in
                switch verifier.verify(leafDER: leaf, direction: .outgoing) {
                case .success: nil
                case .failure(let refusal):
                    ServiceRefusal(reason: refusal.kind, sentence: refusal.error.message)
                }
            }
        }
        let anchors = try CommandFailure.wrap {
            try TrustAnchors(files: configuration.tls.authorityFiles)
        }
        let verifier = EndpointVerifier(anchors: anchors, host: address.host)
        return { leaf in
            do throws(CertificateRefusal) {
                _ = try verifier.check(leafDER: leaf)
                return nil
            } catch {
                return ServiceRefusal(reason: error.kind.rawValue, sentence: error.sentence)
            }
        }
    }

    private func tls(
        _ known: PeerConfiguration?, _ address: HostPort, _ configuration: NodeConfiguration,
        _ credentials: NodeCredentials
    ) throws -> RPCClientTLS {
        try CommandFailure.wrap {
            var trust: [UInt8] = []
            for file in known?.authorityFiles ?? configuration.tls.authorityFiles {
                trust += try SmallFile.read(file, bytesMaximum: X509Certificate.fileBytesMaximum)
                trust.append(UInt8(ascii: "\n"))
            }
            return RPCClientTLS(
                certificateChain: credentials.chain.flatMap(\.pem),
                privateKey: try SmallFile.read(
                    configuration.tls.keyFile, bytesMaximum: X509Certificate.fileBytesMaximum),
                trustRoots: trust,
                serverName: IPAddress(address.host) == nil ? address.host : nil)
        }
    }

    // MARK: - What they say

    private func look(
        _ settings: RPCClientConfiguration, _ tls: RPCClientTLS,
        _ verifier: @escaping @Sendable ([UInt8]) async -> ServiceRefusal?,
        _ known: PeerConfiguration?
    ) async -> Finding {
        var finding = Finding()
        do throws(RPCClientError) {
            let client = try RPCClient(settings, tls: tls, verifier: verifier)
            // The first call pays for the connection; the second one's answer times the clocks.
            _ = try await NodeHealth.ask(client)
            let asked = Self.nowMilliseconds()
            let health = try await NodeHealth.ask(client)
            let answered = Self.nowMilliseconds()
            finding.health = health
            if let theirs = health.timeUnixMilliseconds {
                finding.clockMilliseconds = theirs - (asked + answered) / 2
                finding.clockUncertaintyMilliseconds = (answered - asked) / 2 + 1
            }
            if let known, !health.zone.utf8.elementsEqual(known.id.utf8) {
                finding.problem =
                    "the node there is of the zone \(health.zone), peers.yaml says \(known.id); "
                    + "correct the endpoint or the id"
            } else if known != nil,
                !health.callerRoles.contains(where: { $0.utf8.elementsEqual("peer".utf8) })
            {
                finding.problem =
                    "we are \(health.callerIdentity) there and no peer; ask for an entry in their "
                    + "peers.yaml with authorized: true"
            }
            await client.close()
        } catch {
            finding.problem = error.description
        }
        return finding
    }

    private static func nowMilliseconds() -> Int64 {
        Int64((Date().timeIntervalSince1970 * 1_000).rounded())
    }

    // MARK: - Output

    private func show(
        _ probe: PeerProbe, _ finding: Finding, _ address: HostPort, _ known: PeerConfiguration?,
        warnings: [String]
    ) {
        switch output.format {
        case .table: printTable(probe, finding, warnings)
        case .json: StandardOutput.json(json(probe, finding, address, known, warnings))
        }
    }

    private func printTable(_ probe: PeerProbe, _ finding: Finding, _ warnings: [String]) {
        var table = Table("STEP", "", "MS#", "")
        for result in probe.results {
            table.row([
                result.step.rawValue, result.isGood ? "good" : "FAILED",
                String(Int(result.milliseconds.rounded())), result.text,
            ])
        }
        StandardOutput.line(table.text)
        if let health = finding.health {
            StandardOutput.line(
                "\nthey: zone \(health.zone), identity \(health.identity), release "
                    + "\(health.release), \(health.status)")
            StandardOutput.line(
                "we there: \(health.callerIdentity), "
                    + (health.callerRoles.isEmpty
                        ? "without a role" : health.callerRoles.joined(separator: ", ")))
        }
        if let difference = finding.clockMilliseconds {
            StandardOutput.line(
                "clocks: " + Self.clockText(difference, finding.clockUncertaintyMilliseconds))
        }
        if let problem = finding.problem { StandardOutput.line("problem: \(problem)") }
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

    private func json(
        _ probe: PeerProbe, _ finding: Finding, _ address: HostPort, _ known: PeerConfiguration?,
        _ warnings: [String]
    ) -> JSONOutput {
        let steps = probe.results.map { result in
            JSONOutput.object([
                ("step", .text(result.step.rawValue)),
                ("good", .flag(result.isGood)),
                ("milliseconds", .number(result.milliseconds)),
                ("text", .text(result.text)),
            ])
        }
        return .object([
            ("endpoint", .text(address.description)),
            ("peer", known.map { .text($0.id) } ?? .null),
            ("good", .flag(probe.isGood && finding.problem == nil)),
            ("failure", probe.error?.transportKind.map { .text($0.rawValue) } ?? .null),
            ("steps", .list(steps)),
            ("health", finding.health.map(StatusCommand.json) ?? .null),
            ("clock_difference_ms", finding.clockMilliseconds.map { .integer($0) } ?? .null),
            ("problem", finding.problem.map { .text($0) } ?? .null),
            ("own_warnings", .list(warnings.map { .text($0) })),
        ])
    }
}

struct PeerRedeliver: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "redeliver",
        abstract: "The duplicate drill: fetches the last facts from a peer once more.",
        discussion: """
            They come through the ordinary path and are recognised: 'bsfg status' counts them as \
            AGAIN, and the log does not grow.
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
