internal import ArgumentParser
internal import Gateway

struct FederationPlanCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "plan",
        abstract: "Shows what two configurations would do together, before anything runs.",
        discussion: """
            Who grants whom what, what is pulled from where and where it begins, and what is missing \
            on which side. Without the other side only what ours says alone. Exit status 1 when \
            something is missing.
            """)

    @OptionGroup var sides: FederationOptions

    @Option(
        help: ArgumentHelp("The peer's configuration directory, before its node runs.", valueName: "DIR"))
    var peerConfig: String?

    @OptionGroup var output: OutputOptions

    func run() async throws {
        let configuration = try sides.load()
        let plan: FederationPlan
        if let peerConfig {
            guard sides.peerAdmin == nil, sides.evidence == nil else {
                throw CommandFailure(
                    .usage, "--peer-config, --peer-admin and --evidence exclude each other; give one")
            }
            let theirs = try CommandFailure.wrap { try NodeConfiguration.load(directory: peerConfig) }
            plan = FederationPlan(
                ours: FederationSide(configuration), theirs: FederationSide(theirs), peer: sides.peer)
        } else {
            plan = sides.plan(configuration, try await sides.theirs())
        }
        switch output.format {
        case .table: Self.print(plan)
        case .json: StandardOutput.json(Self.json(plan))
        }
        if !plan.problems.isEmpty { throw CommandFailure(.failure, "") }
    }

    private static func print(_ plan: FederationPlan) {
        var grants = Table("FROM", "TO", "AUTHORIZED", "STREAMS", "ORIGINS", "ARTIFACTS")
        for grant in plan.grants {
            grants.row([
                grant.from, grant.to, grant.isAuthorised ? "yes" : "no", list(grant.streams),
                list(grant.origins), list(grant.artifacts),
            ])
        }
        StandardOutput.line("Grants\n\(grants.text)")
        var flows = Table("SOURCE", "RECEIVER", "STREAM", "ORIGIN", "BEGINS WITH", "GRANTED", "WHY")
        for flow in plan.flows {
            flows.row([
                flow.source, flow.receiver, flow.stream, flow.origin, flow.initMode,
                flow.isGranted.map { $0 ? "yes" : "NO" } ?? "not known", flow.justification ?? "-",
            ])
        }
        StandardOutput.line("\nPulls\n\(flows.text)")
        if !plan.isPeerKnown {
            StandardOutput.line(
                "\n\(plan.peer)'s side was not given: --peer-config DIR, --peer-admin SOCKET or "
                    + "--evidence FILE")
        }
        for problem in plan.problems {
            StandardOutput.line("\nmissing on \(problem.zone): \(problem.sentence)\n  \(problem.remedy)")
        }
        for flow in plan.unjustified {
            StandardOutput.line(
                "\nnote: \(flow.stream) of \(flow.origin) to \(flow.receiver) begins with "
                    + "\(flow.initMode); an acceptance asks for its justification")
        }
    }

    private static func list(_ names: [String]) -> String {
        names.isEmpty ? "-" : names.joined(separator: ", ")
    }

    private static func json(_ plan: FederationPlan) -> JSONOutput {
        .object([
            ("zone", .text(plan.zone)), ("peer", .text(plan.peer)),
            ("peer_known", .flag(plan.isPeerKnown)),
            ("grants", .list(plan.grants.map(json))),
            ("pulls", .list(plan.flows.map(json))),
            ("problems", .list(plan.problems.map(json))),
        ])
    }

    private static func json(_ grant: FederationPlan.Grant) -> JSONOutput {
        .object([
            ("from", .text(grant.from)), ("to", .text(grant.to)),
            ("authorized", .flag(grant.isAuthorised)), ("streams", texts(grant.streams)),
            ("origins", texts(grant.origins)), ("artifacts", texts(grant.artifacts)),
        ])
    }

    private static func json(_ flow: FederationPlan.Flow) -> JSONOutput {
        .object([
            ("source", .text(flow.source)), ("receiver", .text(flow.receiver)),
            ("stream", .text(flow.stream)), ("origin", .text(flow.origin)),
            ("init_mode", .text(flow.initMode)),
            ("justification", flow.justification.map { .text($0) } ?? .null),
            ("granted", flow.isGranted.map { .flag($0) } ?? .null),
        ])
    }

    private static func json(_ problem: FederationPlan.Problem) -> JSONOutput {
        .object([
            ("zone", .text(problem.zone)), ("sentence", .text(problem.sentence)),
            ("remedy", .text(problem.remedy)),
        ])
    }

    private static func texts(_ names: [String]) -> JSONOutput { .list(names.map { .text($0) }) }
}
