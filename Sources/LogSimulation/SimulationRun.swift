internal import Synchronization
package import WriteAheadLog

/// How thorough a simulation is.
package struct SimulationSettings: Sendable {
    /// Nil: drawn by the seed.
    package var profile: Profile?
    /// Operations of a seed, at least 16.
    package var operations = 220
    /// One in so many unsynced moments of a seed's calls becomes a crash point.
    package var spacing = 4
    /// Crash images drawn at a crash point.
    package var draws = 3
    /// Damaged images at each of the moments that are chosen for it.
    package var damages = 5

    package init() {}
}

package struct SimulationFailure: Sendable {
    package var seed: UInt64
    package var sentence: String
}

package struct SimulationReport: Sendable {
    package var tally = SimulationTally()
    package var failures: [SimulationFailure] = []
    package var durationMilliseconds: Int64 = 0

    package init() {}

    package var isSound: Bool { failures.isEmpty && tally.lost == 0 && tally.phantom == 0 }

    /// Rows of the decision table and kinds of faults that were met less often than a proof asks for,
    /// each in a few words.
    package func shortfalls(minimum: Int) -> [String] {
        let rows = RecoveryRow.allCases.map { ("row \($0.rawValue)", tally.rows[$0, default: 0]) }
        let faults = DiskFault.allCases.map { ($0.rawValue, tally.faults[$0, default: 0]) }
        return (rows + faults).filter { $0.1 < minimum }.map {
            "\($0.0): \($0.1) times, fewer than \(minimum)"
        }
    }

    /// Names and figures, in the order in which they are to be shown.
    package var figures: [(name: String, value: Int)] {
        [
            ("seeds", tally.seeds), ("complete seeds", tally.completeSeeds),
            ("operations", tally.operations), ("crashes", tally.crashes),
            ("crashes during recovery", tally.crashesDuringRecovery),
            ("openings", tally.openings), ("damaged disks", tally.damages),
            ("refusals", tally.refusals), ("declared gaps", tally.declaredGaps),
            ("records checked", tally.recordsChecked), ("keys checked", tally.keysChecked),
            ("lost", tally.lost), ("phantom", tally.phantom),
            ("newest commit lost to damage", tally.newestLost),
            ("lost to a lying flush (outside the contract)", tally.lostToLyingFlush),
            ("rolls", tally.rolls), ("removed segments", tally.truncations),
            ("recycled segments", tally.recycledSegments), ("checkpoints", tally.checkpoints),
            ("sealed segments", tally.sealedSegments), ("reopenings", tally.reopenings),
        ] + RecoveryRow.allCases.map { ("row \($0.rawValue)", tally.rows[$0, default: 0]) }
            + DiskFault.allCases.map { ($0.rawValue, tally.faults[$0, default: 0]) }
    }
}

/// Runs seeds on several threads.
package enum SimulationRun {
    /// - Parameters:
    ///   - seeds: run in order; each seed's run depends on nothing but it and the settings.
    ///   - seconds: no seed is begun after them.
    ///   - stopsAtFirstFailure: no seed is begun after a failure.
    ///   - progress: called now and then with all that was done so far.
    package static func run(
        seeds: Range<UInt64>, seconds: Int = .max, threads: Int = 2,
        stopsAtFirstFailure: Bool = false, settings: SimulationSettings = SimulationSettings(),
        progress: (@Sendable (SimulationReport) -> Void)? = nil
    ) -> SimulationReport {
        let began = LogEnvironment.linux.monotonicNanoseconds()
        let total = Mutex(SimulationReport())
        let next = Atomic<UInt64>(seeds.lowerBound)
        let isStopped = Atomic(false)
        let elapsed: @Sendable () -> Int64 = {
            (LogEnvironment.linux.monotonicNanoseconds() - began) / 1_000_000
        }
        let work: @Sendable () -> Void = {
            while !isStopped.load(ordering: .relaxed), elapsed() / 1000 < Int64(seconds) {
                let seed = next.wrappingAdd(1, ordering: .relaxed).oldValue
                guard seed < seeds.upperBound else { return }
                let (tally, failure) = run(seed: seed, settings: settings)
                if failure != nil, stopsAtFirstFailure { isStopped.store(true, ordering: .relaxed) }
                let report = total.withLock { total in
                    total.tally.add(tally)
                    if let failure { total.failures.append(failure) }
                    total.durationMilliseconds = elapsed()
                    return total
                }
                progress?(report)
            }
        }
        let others = (1..<max(1, threads)).map { EngineThread(name: "simulate-\($0)", work) }
        work()
        for thread in others { thread.join() }
        return total.withLock { total in
            total.failures.sort { $0.seed < $1.seed }
            total.durationMilliseconds = elapsed()
            return total
        }
    }

    /// Runs one seed; `trace` is told each operation.
    package static func run(
        seed: UInt64, settings: SimulationSettings = SimulationSettings(),
        trace: ((String) -> Void)? = nil
    ) -> (SimulationTally, SimulationFailure?) {
        var run = SeedRun(seed: seed, settings: settings, trace: trace)
        do throws(Violation) {
            try run.run()
            return (run.tally, nil)
        } catch {
            return (run.tally, SimulationFailure(seed: seed, sentence: error.sentence))
        }
    }
}
