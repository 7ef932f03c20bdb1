// Retention's time. A wall clock may stand in 1970 after a boot, jump to 2090 and come back; nothing
// unconfirmed may be lost for that. So ages are differences of a clock of the log's own:
//
// - While the log is open it advances with the monotonic clock and with nothing else.
// - A closed interval (wall clock now, less the value stored) counts once the kernel reports a
//   synchronised clock, and only if the stored value was tied to a synchronised clock ("anchored").
//   Records appended meanwhile did not live through it: they are moved along (`Shift`).
// - A jump of the wall clock while open is not taken and makes the clock suspect: nothing
//   unconfirmed expires until the kernel reports a synchronised clock and the jump is over. Then the
//   clock moves forwards to the wall clock, all records are moved along, and no age has changed.
// - It never goes back. Where the wall clock is behind it, it goes on from where it is.
//
// Stored as one u64 in the state slot: milliseconds since 1970; bit 63: not anchored. 0: never stored.
//
// Whoever keeps times of this clock (one for each segment: of its last append) applies every shift to
// them, makes them durable, and stores the clock after that. If the process ends in between, records
// look younger than they are, never older. The same holds for a stored value
// that lags behind: open time that was not stored is not counted twice, at worst not at all.

package struct GuardedClock: Sendable {
    /// What the machine's clocks show at one moment.
    package struct Reading: Equatable, Sendable {
        /// Since 1970.
        package var wallMilliseconds: Int64
        /// Of a clock that never jumps.
        package var monotonicNanoseconds: Int64
        /// The kernel reports the wall clock as synchronised.
        package var isSynchronised: Bool

        package init(
            wallMilliseconds: Int64, monotonicNanoseconds: Int64, isSynchronised: Bool
        ) {
            self.wallMilliseconds = wallMilliseconds
            self.monotonicNanoseconds = monotonicNanoseconds
            self.isSynchronised = isSynchronised
        }
    }

    package enum SuspectReason: Hashable, Sendable {
        /// The log was opened without a synchronised clock: how long it was closed is not known.
        case closedIntervalUnknown
        case jumpedForwards(milliseconds: Int64)
        case jumpedBackwards(milliseconds: Int64)

        /// For the event `clockSuspect`.
        package var sentence: String {
            let consequence =
                "nothing unconfirmed expires until the kernel reports a synchronised clock"
            return switch self {
            case .closedIntervalUnknown:
                "how long the log was closed is not known; \(consequence)"
            case .jumpedForwards(let milliseconds):
                "the wall clock jumped \(milliseconds) milliseconds forwards; \(consequence)"
            case .jumpedBackwards(let milliseconds):
                "the wall clock jumped \(milliseconds) milliseconds backwards; \(consequence)"
            }
        }
    }

    /// Times of this clock from `fromMilliseconds` on that were taken before the shift become
    /// `byMilliseconds` greater, but no later than now.
    package struct Shift: Equatable, Sendable {
        package var fromMilliseconds: Int64
        var byMilliseconds: Int64
        var nowMilliseconds: Int64

        package func apply(_ time: Int64) -> Int64 {
            guard time >= fromMilliseconds else { return time }
            return min(RetentionSituation.moment(time, plus: byMilliseconds), nowMilliseconds)
        }
    }

    package struct Observation: Equatable, Sendable {
        /// Set when the clock became suspect with this observation, or again for another reason.
        package var becameSuspect: SuspectReason?
        package var becameTrusted = false
        package var shift: Shift?
    }

    /// A forward step of the wall clock, against the monotonic clock, beyond which it is a jump.
    static let forwardJumpMilliseconds: Int64 = 24 * 3600 * 1000
    /// A backward step beyond which it is a jump. Time services step by less without any harm here.
    static let backwardJumpMilliseconds: Int64 = 1000
    /// How far from a synchronised wall clock the clock may be and still be tied to it.
    static let anchorToleranceMilliseconds: Int64 = 60_000

    private static let unanchoredBit: UInt64 = 1 << 63
    private static let wallMillisecondsRange: ClosedRange<Int64> = 0...(1 << 61)

    package private(set) var nowMilliseconds: Int64
    /// Why nothing unconfirmed may expire now; nil while the clock is trusted.
    package private(set) var suspicion: SuspectReason?

    private var isAnchored: Bool
    /// The value at opening, while a closed interval waits for a synchronised clock.
    private var openedMilliseconds: Int64?
    private var last: Reading
    /// Of a millisecond, not yet counted.
    private var remainderNanoseconds: Int64 = 0

    /// - Parameter stored: from the state slot; 0 for a new log.
    package init(stored: UInt64, _ reading: Reading) {
        let reading = GuardedClock.bounded(reading)
        last = reading
        guard stored != 0 else {
            nowMilliseconds = reading.wallMilliseconds
            isAnchored = reading.isSynchronised
            return
        }
        nowMilliseconds = min(
            Int64(stored & ~GuardedClock.unanchoredBit),
            GuardedClock.wallMillisecondsRange.upperBound)
        let storedIsAnchored = stored & GuardedClock.unanchoredBit == 0
        isAnchored = false
        if reading.isSynchronised, storedIsAnchored {
            nowMilliseconds = max(nowMilliseconds, reading.wallMilliseconds)
            isAnchored = isNearWall
        } else {
            // Trusted with the first synchronised observation, which then also gives the shift.
            suspicion = .closedIntervalUnknown
            openedMilliseconds = storedIsAnchored ? nowMilliseconds : nil
        }
    }

    /// A stored value that is not before a time which the clock had shown already: it is stored less
    /// often than it is used.
    static func stored(_ value: UInt64, notBefore milliseconds: Int64) -> UInt64 {
        guard value != 0, milliseconds > Int64(value & ~unanchoredBit) else { return value }
        return value & unanchoredBit | UInt64(milliseconds)
    }

    /// What the clock will show at a moment of the monotonic clock if nothing else is observed.
    package func now(monotonicNanoseconds: Int64) -> Int64 {
        nowMilliseconds + max(0, monotonicNanoseconds - last.monotonicNanoseconds) / 1_000_000
    }

    package var isTrusted: Bool { suspicion == nil }

    /// The value for the state slot.
    package var stored: UInt64 {
        UInt64(max(nowMilliseconds, 1)) | (isAnchored ? 0 : GuardedClock.unanchoredBit)
    }

    /// Takes what the machine's clocks show now. To be called before every decision and at least
    /// once a minute while records are appended. O(1).
    package mutating func observe(_ given: Reading) -> Observation {
        let reading = GuardedClock.bounded(given)
        let nanoseconds =
            max(0, reading.monotonicNanoseconds - last.monotonicNanoseconds) + remainderNanoseconds
        let elapsed = nanoseconds / 1_000_000
        remainderNanoseconds = nanoseconds % 1_000_000
        nowMilliseconds += elapsed
        let step = reading.wallMilliseconds - last.wallMilliseconds - elapsed
        last = reading

        var observation = Observation()
        if step > GuardedClock.forwardJumpMilliseconds {
            suspicion = .jumpedForwards(milliseconds: step)
            observation.becameSuspect = suspicion
            isAnchored = false
        } else if step < -GuardedClock.backwardJumpMilliseconds {
            suspicion = .jumpedBackwards(milliseconds: -step)
            observation.becameSuspect = suspicion
            isAnchored = false
        } else if reading.isSynchronised {
            observation.shift = takeWall()
            isAnchored = isNearWall
            observation.becameTrusted = suspicion != nil
            suspicion = nil
        } else if !isNearWall {
            isAnchored = false
        }
        return observation
    }

    /// Moves forwards to the synchronised wall clock.
    private mutating func takeWall() -> Shift? {
        let from = openedMilliseconds
        openedMilliseconds = nil
        let missing = last.wallMilliseconds - nowMilliseconds
        guard missing > (from == nil ? GuardedClock.anchorToleranceMilliseconds : 0) else {
            return nil
        }
        nowMilliseconds += missing
        return Shift(
            fromMilliseconds: from ?? .min, byMilliseconds: missing,
            nowMilliseconds: nowMilliseconds)
    }

    private var isNearWall: Bool {
        abs(last.wallMilliseconds - nowMilliseconds) <= GuardedClock.anchorToleranceMilliseconds
    }

    /// A wall clock that shows nonsense stays within what can be added without overflow.
    private static func bounded(_ reading: Reading) -> Reading {
        var reading = reading
        reading.wallMilliseconds = min(
            max(reading.wallMilliseconds, wallMillisecondsRange.lowerBound),
            wallMillisecondsRange.upperBound)
        return reading
    }
}
