package import WriteAheadLog

/// Time that moves only when told, and random numbers from a seed.
package final class SimulationClock: @unchecked Sendable {
    private let monitor = Monitor()
    private var wall: Int64
    private var monotonic: Int64 = 1_000_000_000
    private var random: SimulationRandom

    package init(seed: UInt64, wallMilliseconds: Int64 = 1_700_000_000_000) {
        random = SimulationRandom(seed: seed)
        wall = wallMilliseconds
    }

    package var wallMilliseconds: Int64 { monitor.withLock { wall } }

    package func advance(milliseconds: Int64) {
        monitor.withLock {
            wall += milliseconds
            monotonic += milliseconds * 1_000_000
        }
    }

    /// Moves the wall clock alone, as an administrator or a time service does.
    package func step(wallMilliseconds milliseconds: Int64) {
        monitor.withLock { wall += milliseconds }
    }

    package var environment: LogEnvironment {
        LogEnvironment(
            wallMilliseconds: { [self] in wallMilliseconds },
            monotonicNanoseconds: { [self] in monitor.withLock { monotonic } },
            random: { [self] in monitor.withLock { random.next() | 1 } }, threads: false)
    }
}
