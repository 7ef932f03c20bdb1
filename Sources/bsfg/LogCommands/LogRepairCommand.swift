internal import ArgumentParser
internal import WriteAheadLog

struct LogRepairCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "repair",
        abstract: "Makes a log that does not open one that does, and says first what that costs.",
        discussion: """
            For a log whose commits, segment files or manifest are damaged. With --dry-run, or without \
            --apply, it says what is wrong, what it would do and exactly which records would be lost, \
            and changes nothing. With --apply it copies first what it changes or leaves behind, then \
            declares the lost records, so that readers meet a gap and nothing else; everything that \
            can be read is kept. Where nothing tells how many records were lost at the end, a new \
            epoch begins. The log must not be open for writing. What root's command makes in the log's \
            directory becomes that directory's owner's.

            A sil_strict log that loses records wants the loss typed: --accept-loss with exactly what \
            was printed, such as 3..9 (first and last offset), 3..9,40..41, or 12.. for an end that \
            nothing tells.

            Exit status: 0 nothing to do, shown, or repaired; 1 it cannot be repaired, or a failure; 2 \
            wrong command line, or the loss was not accepted; 4 another process has the log open.
            """)

    @OptionGroup var log: LogDirectory

    @Flag(help: "Show what would be done; what happens without --apply, too.")
    var dryRun = false

    @Flag(help: "Do it.")
    var apply = false

    @Option(help: ArgumentHelp("The records that may be lost, as printed.", valueName: "A..B"))
    var acceptLoss: String?

    @Option(help: ArgumentHelp("The folder for copies; quarantine in the log's.", valueName: "DIR"))
    var quarantine: String?

    @OptionGroup var output: OutputOptions

    func validate() throws {
        if dryRun, apply { throw ValidationError("--dry-run and --apply exclude each other.") }
    }

    func run() throws {
        let (plan, copies) = try log.keepingOwner {
            try Self.wrap { () throws(RepairError) in
                let repair = try LogRepair(directory: log.dir)
                let plan = try repair.plan()
                if !apply || output.format == .table { show(plan) }
                guard apply else { return (plan, [String]()) }
                return (
                    plan,
                    try repair.apply(plan, acceptedLoss: acceptLoss, quarantine: quarantine)
                )
            }
        }
        guard apply else { return }
        switch output.format {
        case .table:
            for copy in copies { StandardOutput.line("copied to \(copy)") }
            StandardOutput.line(plan.isNeeded ? "repaired" : "nothing to repair")
        case .json: StandardOutput.json(json(plan, copies: copies))
        }
    }

    private static func wrap<Value>(_ body: () throws(RepairError) -> Value) throws(CommandFailure)
        -> Value
    {
        do throws(RepairError) { return try body() } catch {
            if case .log(let error) = error { throw error.commandFailure }
            if case .lossNotAccepted = error { throw CommandFailure(.usage, error.sentence) }
            throw CommandFailure(.failure, error.sentence)
        }
    }

    private func show(_ plan: RepairPlan) {
        guard output.format == .table else {
            return StandardOutput.json(json(plan, copies: []))
        }
        guard plan.isNeeded else {
            return StandardOutput.line("nothing to repair; log verify reads every byte")
        }
        var findings = Table("FILE", "BYTE#", "OFFSETS", "DAMAGE")
        for place in plan.findings {
            findings.row([
                place.file, String(place.position),
                place.offsets.isEmpty
                    ? "-" : "\(place.offsets.lowerBound)..<\(place.offsets.upperBound)",
                place.reason,
            ])
        }
        StandardOutput.line(findings.text + "\n")
        for action in plan.actions { StandardOutput.line("to do: \(action)") }
        StandardOutput.line(
            plan.lossSpecification.isEmpty
                ? "no record is lost"
                : "lost: \(plan.lossSpecification), \(plan.lostBytes) bytes that stay in their files")
    }

    private func json(_ plan: RepairPlan, copies: [String]) -> JSONOutput {
        .object([
            ("needed", .flag(plan.isNeeded)),
            ("applied", .flag(apply && plan.isNeeded)),
            ("loss", .text(plan.lossSpecification)),
            ("lost_bytes", .unsigned(plan.lostBytes)),
            (
                "lost",
                .list(
                    plan.losses.map {
                        .object([
                            ("first_offset", .unsigned($0.lowerBound)),
                            ("last_offset", .unsigned($0.upperBound - 1)),
                        ])
                    })
            ),
            ("unknown_from", plan.unknownFrom.map { .unsigned($0) } ?? .null),
            ("findings", LogVerify.json(plan.findings)),
            ("actions", .list(plan.actions.map { .text($0) })),
            ("copies", .list(copies.map { .text($0) })),
        ])
    }
}
