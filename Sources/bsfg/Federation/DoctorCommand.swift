internal import ArgumentParser
internal import Gateway

struct DoctorCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "doctor", abstract: "Says what is wrong, why, and what to do next.",
        subcommands: [DoctorPeer.self])
}

struct DoctorPeer: AsyncParsableCommand {
    /// Four in a second: three seconds are more than a first call or a gate that catches up needs.
    private static let looksMaximum = 12

    static let configuration = CommandConfiguration(
        commandName: "peer",
        abstract: "One page of what is wrong between us and a peer.",
        discussion: """
            Our preconditions, the way to the peer, what both sides grant and pull, the gate and \
            every pull, and whom we refused in its name; with --peer-admin or --evidence also what the peer \
            grants and pulls. The nearest cause comes first; what follows is often its consequence. Exit \
            status 1 when something is wrong.
            """)

    @Argument(help: "The peer, as peers.yaml calls it.")
    var peer: String

    @Option(
        help: ArgumentHelp(
            "Our node's configuration. Environment: BSFG_CONFIG.", valueName: "DIR"))
    var config: String?

    @OptionGroup var refuser: RefuserOptions
    @OptionGroup var output: OutputOptions

    func run() async throws {
        let (configuration, _) = try PeerEntry.load(peer, config)
        let theirs = try await refuser.seen()
        let probe = PreflightProbe(
            configuration: configuration, peer: peer, theirs: theirs, approval: nil, measuresDisk: false,
            callsPeer: true, refuser: try refuser.refuser())
        var evidence = await probe.run()
        // What is only under way is no finding.
        for _ in 0..<Self.looksMaximum {
            guard let node = evidence.node, PeerDiagnosis.isUnderWay(node, peer: peer) else { break }
            try await Task.sleep(for: .milliseconds(250))
            evidence.node = await probe.node() ?? node
        }
        let found = PeerDiagnosis.diagnose(
            PreflightCriteria.judge(evidence), reach: evidence.reach, node: evidence.node,
            theirs: refuser.isLive ? try await refuser.seen() : theirs, isLive: refuser.isLive, plan: evidence.plan)
        switch output.format {
        case .table:
            if found.isEmpty { StandardOutput.line("nothing is wrong between us and \(peer)") }
            for (index, diagnosis) in found.enumerated() {
                StandardOutput.line(
                    "\(index + 1). \(Table.printable(diagnosis.finding))\n   likely: \(diagnosis.cause)"
                        + "\n   next: \(diagnosis.next)")
            }
        case .json:
            StandardOutput.json(
                .list(
                    found.map {
                        .object([
                            ("finding", .text($0.finding)), ("cause", .text($0.cause)),
                            ("next", .text($0.next)),
                        ])
                    }))
        }
        if !found.isEmpty { throw CommandFailure(.failure, "") }
    }
}
