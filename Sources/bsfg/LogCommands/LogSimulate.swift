internal import ArgumentParser
internal import LogSimulation
internal import WriteAheadLog

struct LogSimulate: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "simulate",
        abstract: "Crashes the log engine on a simulated disk, over and over, and judges what is left.",
        discussion: """
            Each seed is a run of its own: appends, rolls, truncations, confirmations and reopenings \
            on a disk in memory that tears, forgets and damages; every crash state is opened and held \
            against what was acknowledged. The same seed does the same on every machine. Touches no \
            file.

            Exit status: 0 nothing was lost and nothing made up, 1 a seed failed, 2 wrong command line.
            """)

    @Option(help: "One seed, each of its operations printed.")
    var seed: UInt64?

    @Option(help: ArgumentHelp("Seeds from A up to B, both included.", valueName: "A..B"))
    var seeds: SeedRange?

    @Option(help: "No seed is begun after so many minutes.")
    var minutes: Double?

    @Option(help: "How many seeds run at once.")
    var threads = 2

    @Option(help: "standard or sil_strict; drawn by the seed when it is left out.")
    var profile: ProfileArgument?

    @Flag(help: "The same as -o json.")
    var json = false

    @OptionGroup var output: OutputOptions

    func validate() throws {
        if seed != nil, seeds != nil { throw ValidationError("--seed and --seeds exclude each other.") }
        if seed == nil, seeds == nil, minutes == nil {
            throw ValidationError("Give --seed, --seeds or --minutes.")
        }
        guard (1...64).contains(threads) else {
            throw ValidationError("--threads is from 1 to 64.")
        }
        guard (minutes ?? 1) > 0, (minutes ?? 1) <= 100_000 else {
            throw ValidationError("--minutes is above 0 and at most 100000.")
        }
    }

    func run() throws {
        var settings = SimulationSettings()
        settings.profile = profile?.profile
        let isJSON = json || output.format == .json
        let report: SimulationReport
        if let seed {
            let trace: ((String) -> Void)? = isJSON ? nil : { StandardOutput.line($0) }
            var one = SimulationReport()
            let (tally, failure) = SimulationRun.run(seed: seed, settings: settings, trace: trace)
            one.tally = tally
            one.failures = failure.map { [$0] } ?? []
            report = one
        } else {
            report = SimulationRun.run(
                seeds: seeds?.range ?? 0..<UInt64.max,
                seconds: minutes.map { Int($0 * 60) } ?? .max, threads: threads, settings: settings)
        }
        if isJSON { StandardOutput.json(json(report)) } else { show(report) }
        guard report.isSound else {
            let seeds = report.failures.prefix(10).map { String($0.seed) }.joined(separator: ", ")
            throw CommandFailure(
                .failure, "records were lost or made up; see log simulate --seed for \(seeds)")
        }
    }

    private func show(_ report: SimulationReport) {
        var table = Table("SIMULATED", "COUNT#")
        for (name, value) in report.figures { table.row([name, String(value)]) }
        StandardOutput.line(table.text)
        for failure in report.failures {
            StandardOutput.line("seed \(failure.seed): \(failure.sentence)")
        }
    }

    private func json(_ report: SimulationReport) -> JSONOutput {
        .object([
            ("sound", .flag(report.isSound)),
            ("duration_ms", .integer(report.durationMilliseconds)),
            (
                "figures",
                .object(report.figures.map { ($0.name, .integer(Int64($0.value))) })
            ),
            (
                "failures",
                .list(
                    report.failures.map {
                        .object([("seed", .unsigned($0.seed)), ("sentence", .text($0.sentence))])
                    })
            ),
        ])
    }
}

/// `A..B`, both included.
struct SeedRange: ExpressibleByArgument {
    let range: Range<UInt64>

    init?(argument: String) {
        let parts = argument.split(separator: ".", omittingEmptySubsequences: false)
        guard parts.count == 3, parts[1].isEmpty, let first = UInt64(parts[0]),
            let last = UInt64(parts[2]), first <= last, last < .max
        else { return nil }
        range = first..<last + 1
    }
}
