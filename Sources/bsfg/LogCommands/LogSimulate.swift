internal import ArgumentParser
internal import Glibc
internal import LogSimulation
internal import Synchronization
internal import WriteAheadLog

struct LogSimulate: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "simulate",
        abstract: "Runs the log on a simulated disk that fails, tears and loses power, and judges it.",
        discussion: """
            Nothing on this machine's disks is touched. A seed decides everything that happens in its \
            run; a seed that fails is run again with --seed, which prints each operation.

            Exit status: 0 nothing lost and nothing wrong, 1 a failure, 2 wrong command line.
            """)

    /// From here on more seeds follow than any run has time for.
    private static let firstSeedMaximum = UInt64(Int64.max)

    @Option(help: "One seed, with a trace of its operations.")
    var seed: UInt64?

    @Option(help: "The first seed; the others follow. A random one unless given.")
    var firstSeed: UInt64?

    @Option(help: "How many seeds, at most.")
    var seeds: UInt64 = .max

    @Option(help: "For how long seeds are begun.")
    var minutes: Double = 1

    @Option(help: "Threads that run seeds.")
    var threads = 2

    @Flag(help: "Every crash state of small traces instead, none drawn.")
    var explore = false

    @Flag(help: "Figures as one JSON object a line; the last line has them all.")
    var json = false

    func validate() throws {
        guard minutes > 0, minutes <= 100_000 else {
            throw ValidationError("--minutes is above 0 and at most 100000.")
        }
        guard (1...256).contains(threads) else {
            throw ValidationError("--threads is from 1 to 256.")
        }
        guard seeds > 0 else { throw ValidationError("--seeds is at least 1.") }
        guard firstSeed ?? 0 <= Self.firstSeedMaximum else {
            throw ValidationError("--first-seed is at most \(Self.firstSeedMaximum).")
        }
    }

    func run() throws {
        if let seed { return try runOne(seed) }
        let first = firstSeed ?? UInt64.random(in: 0..<1 << 40)
        let report = explore ? explored(first) : simulated(first)
        show(report, isLast: true)
        for failure in report.failures {
            StandardError.line("seed \(failure.seed): \(failure.sentence)")
        }
        guard report.tally.seeds > 0 else {
            throw CommandFailure(.failure, "no seed was begun in the time; raise --minutes")
        }
        guard report.isSound else {
            throw CommandFailure(
                .failure, "the simulation found \(report.failures.count) failures; run each again with "
                    + "bsfg log simulate --seed")
        }
    }

    private func runOne(_ seed: UInt64) throws {
        let (tally, failure) = SimulationRun.run(seed: seed) { StandardOutput.line($0) }
        var report = SimulationReport()
        report.tally = tally
        if let failure {
            report.failures = [failure]
            show(report, isLast: true)
            throw CommandFailure(.failure, "seed \(seed): \(failure.sentence)")
        }
        show(report, isLast: true)
    }

    private func simulated(_ first: UInt64) -> SimulationReport {
        let told = Mutex<Int64>(0)
        let (end, overflow) = first.addingReportingOverflow(seeds)
        return SimulationRun.run(
            seeds: first..<(overflow ? .max : end), seconds: max(1, Int(minutes * 60)),
            threads: threads
        ) { report in
            let isDue = told.withLock { told in
                guard report.durationMilliseconds - told >= 10_000 else { return false }
                told = report.durationMilliseconds
                return true
            }
            if isDue { show(report, isLast: false) }
        }
    }

    /// Traces of both profiles, without and with maintenance, until the time is over: one of each at
    /// least.
    private func explored(_ first: UInt64) -> SimulationReport {
        var report = SimulationReport()
        let began = now()
        var seed = first
        repeat {
            for profile in Profile.allCases {
                for maintains in [false, true] {
                    var explorer = ExhaustiveExplorer(
                        profile: profile, seed: seed, maintains: maintains)
                    let failure = explorer.run()
                    var tally = explorer.tally
                    tally.seeds = 1
                    report.tally.add(tally)
                    if let failure { report.failures.append(failure) }
                    report.durationMilliseconds = now() - began
                }
            }
            show(report, isLast: false)
            seed &+= 1
        } while Double(now() - began) < minutes * 60_000 && seed - first < seeds
        return report
    }

    private func now() -> Int64 {
        var time = timespec()
        clock_gettime(CLOCK_MONOTONIC, &time)
        return Int64(time.tv_sec) * 1000 + Int64(time.tv_nsec) / 1_000_000
    }

    private func show(_ report: SimulationReport, isLast: Bool) {
        let tally = report.tally
        guard json else {
            guard isLast else {
                StandardOutput.line(
                    "\(tally.seeds) seeds, \(tally.crashes) crashes, \(tally.recordsChecked) records "
                        + "checked, lost \(tally.lost), phantom \(tally.phantom)")
                StandardOutput.flush()
                return
            }
            for figure in report.figures {
                StandardOutput.line("\(figure.name): \(figure.value)")
            }
            return
        }
        func object(_ pairs: [(String, Int)]) -> String {
            "{" + pairs.map { "\"\($0.0)\":\($0.1)" }.joined(separator: ",") + "}"
        }
        let rows = RecoveryRow.allCases.map { ($0.rawValue, tally.rows[$0, default: 0]) }
        let kinds = DiskFault.allCases.map { ($0.rawValue, tally.faults[$0, default: 0]) }
        let faults = kinds.reduce(0) { $0 + $1.1 } + tally.damages
        StandardOutput.line(
            "{\"seeds\":\(tally.seeds),\"completeSeeds\":\(tally.completeSeeds),"
                + "\"crashes\":\(tally.crashes),\"faults\":\(faults),"
                + "\"records\":\(tally.recordsChecked),\"lost\":\(tally.lost),"
                + "\"phantom\":\(tally.phantom),\"rows\":\(object(rows)),"
                + "\"faultKinds\":\(object(kinds)),"
                + "\"failingSeeds\":[\(report.failures.map { "\($0.seed)" }.joined(separator: ","))]}")
        StandardOutput.flush()
    }
}
