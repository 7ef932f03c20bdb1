internal import Synchronization
internal import WriteAheadLog

/// The time by which artifacts age: the logs' guarded clock, so that a wall clock that stands in 1970 or
/// jumps to 2090 makes nothing old.
final class ArtifactClock: Sendable {
    private let environment: LogEnvironment
    private let clock: Mutex<GuardedClock>

    /// - Parameter stored: what `stored` was; 0 for a new store.
    init(stored: UInt64, _ environment: LogEnvironment) {
        self.environment = environment
        clock = Mutex(GuardedClock(stored: stored, ArtifactClock.reading(environment)))
    }

    private static func reading(_ environment: LogEnvironment) -> GuardedClock.Reading {
        GuardedClock.Reading(
            wallMilliseconds: environment.wallMilliseconds(),
            monotonicNanoseconds: environment.monotonicNanoseconds(),
            isSynchronised: environment.isClockSynchronised())
    }

    /// Milliseconds since 1970.
    var nowMilliseconds: Int64 {
        clock.withLock { $0.now(monotonicNanoseconds: environment.monotonicNanoseconds()) }
    }

    /// Looks at the machine's clocks. Times kept so far are shifted before `stored` is kept.
    func observe() -> (isTrusted: Bool, shift: GuardedClock.Shift?) {
        let reading = ArtifactClock.reading(environment)
        return clock.withLock { clock in
            let observation = clock.observe(reading)
            return (clock.isTrusted, observation.shift)
        }
    }

    /// To be kept for the next opening.
    var stored: UInt64 { clock.withLock { $0.stored } }
}
