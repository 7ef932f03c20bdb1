import CPlatform
import Testing

@testable import WriteAheadLog

@Suite("Retention: the guarded clock")
struct RetentionClockTests {
    static let second: Int64 = 1000
    static let minute = 60 * second
    static let hour = 60 * minute
    static let day = 24 * hour
    /// 2026-01-01 and 2090-01-01.
    static let year2026: Int64 = 1_767_225_600_000
    static let year2090: Int64 = 3_786_912_000_000

    /// A machine whose wall clock is set at will; the log's clock and the stamps of three segments.
    struct Machine {
        var wall: Int64
        var monotonic: Int64 = 0
        var isSynchronised: Bool
        var clock: GuardedClock
        var stamps: [Int64] = []

        init(wall: Int64, isSynchronised: Bool, stored: UInt64 = 0) {
            self.wall = wall
            self.isSynchronised = isSynchronised
            clock = GuardedClock(
                stored: stored,
                .init(
                    wallMilliseconds: wall, monotonicNanoseconds: 0, isSynchronised: isSynchronised))
        }

        mutating func pass(_ milliseconds: Int64) -> GuardedClock.Observation {
            wall += milliseconds
            monotonic += milliseconds * 1_000_000
            let observation = clock.observe(
                .init(
                    wallMilliseconds: wall, monotonicNanoseconds: monotonic,
                    isSynchronised: isSynchronised))
            if let shift = observation.shift { stamps = stamps.map(shift.apply) }
            return observation
        }

        mutating func append() { stamps.append(clock.nowMilliseconds) }

        var ages: [Int64] { stamps.map { clock.nowMilliseconds - $0 } }

        /// The same log on a machine that was off meanwhile.
        mutating func reopen(after milliseconds: Int64, isSynchronised: Bool, wall: Int64? = nil) {
            let stamps = stamps
            self = Machine(
                wall: wall ?? self.wall + milliseconds, isSynchronised: isSynchronised,
                stored: clock.stored)
            self.stamps = stamps
        }
    }

    @Test("Decision 16: while the log is open only the monotonic clock ages records")
    func decision16Open() {
        var machine = Machine(wall: Self.year2026, isSynchronised: true)
        machine.append()
        for _ in 0..<100 { #expect(machine.pass(999) == .init()) }
        #expect(machine.ages == [99_900])
        // Parts of a millisecond add up.
        for _ in 0..<10 {
            machine.monotonic += 300_000
            _ = machine.pass(0)
        }
        #expect(machine.ages == [99_903])
        #expect(machine.clock.isTrusted)
    }

    @Test("Decision 16: a closed interval counts once the kernel reports a synchronised clock")
    func decision16Closed() {
        var machine = Machine(wall: Self.year2026, isSynchronised: true)
        machine.append()
        _ = machine.pass(Self.hour)
        machine.reopen(after: 3 * Self.day, isSynchronised: true)
        #expect(machine.clock.isTrusted && machine.ages == [Self.hour + 3 * Self.day])

        machine.reopen(after: 2 * Self.day, isSynchronised: false)
        #expect(machine.clock.suspicion == .closedIntervalUnknown)
        #expect(machine.ages == [Self.hour + 3 * Self.day])
        _ = machine.pass(Self.minute)
        machine.append()
        _ = machine.pass(Self.minute)
        machine.isSynchronised = true
        #expect(machine.pass(0).becameTrusted)
        // The new record did not live through the closed interval.
        #expect(
            machine.ages == [Self.hour + 5 * Self.day + 2 * Self.minute, Self.minute])
        #expect(machine.clock.nowMilliseconds == machine.wall)
    }

    @Test("Decision 16: a closed interval that was not counted before the next restart never is")
    func decision16Uncounted() {
        var machine = Machine(wall: Self.year2026, isSynchronised: true)
        machine.append()
        machine.reopen(after: 5 * Self.day, isSynchronised: false)
        _ = machine.pass(Self.hour)
        machine.append()
        machine.reopen(after: 5 * Self.day, isSynchronised: true)
        #expect(machine.clock.suspicion == .closedIntervalUnknown)
        let observation = machine.pass(Self.second)
        #expect(observation.becameTrusted)
        #expect(machine.ages == [Self.hour + Self.second, Self.second])
        #expect(machine.clock.nowMilliseconds == machine.wall)
    }

    @Test("Decision 16: a boot in 1970 ages nothing, and the way to now neither")
    func decision16Boot1970() {
        // A log made before the clock was ever right.
        var machine = Machine(wall: 5 * Self.second, isSynchronised: false)
        machine.append()
        _ = machine.pass(Self.minute)
        machine.wall = Self.year2026
        machine.isSynchronised = true
        guard case .jumpedForwards = machine.pass(Self.second).becameSuspect else {
            Issue.record("no jump was seen")
            return
        }
        #expect(!machine.clock.isTrusted)
        let observation = machine.pass(Self.second)
        #expect(observation.becameTrusted && observation.shift != nil)
        #expect(machine.ages == [Self.minute + 2 * Self.second])
        #expect(machine.clock.nowMilliseconds == machine.wall)

        // A log of 2026 on a machine that wakes up in 1970: no time goes back, none is added.
        machine.reopen(after: 0, isSynchronised: false, wall: 0)
        #expect(machine.clock.suspicion == .closedIntervalUnknown)
        _ = machine.pass(Self.hour)
        #expect(machine.ages == [Self.minute + 2 * Self.second + Self.hour])
        // The process ends in 1970 before the clock was set: still nothing unobserved counts.
        machine.reopen(after: 0, isSynchronised: true, wall: Self.year2026 + 30 * Self.day)
        _ = machine.pass(0)
        #expect(machine.ages == [Self.minute + 2 * Self.second + Self.hour])
        #expect(machine.clock.isTrusted)
        // From here on closed time counts again.
        machine.reopen(after: Self.day, isSynchronised: true)
        #expect(machine.ages == [Self.minute + 2 * Self.second + Self.hour + Self.day])
    }

    @Test("Decision 16: a jump to 2090 and back ages nothing", arguments: [false, true])
    func decision16Jump(isSynchronisedIn2090: Bool) {
        var machine = Machine(wall: Self.year2026, isSynchronised: true)
        machine.append()
        _ = machine.pass(Self.hour)
        let before = machine.clock.nowMilliseconds
        machine.wall = Self.year2090
        machine.isSynchronised = isSynchronisedIn2090
        #expect(
            machine.pass(0).becameSuspect
                == .jumpedForwards(milliseconds: Self.year2090 - Self.year2026 - Self.hour))
        #expect(machine.clock.nowMilliseconds == before && !machine.clock.isTrusted)
        _ = machine.pass(Self.minute)
        machine.append()
        #expect(machine.clock.isTrusted == isSynchronisedIn2090)
        #expect(machine.ages == [Self.hour + Self.minute, 0])

        machine.wall = Self.year2026 + Self.hour + Self.minute
        machine.isSynchronised = true
        guard case .jumpedBackwards = machine.pass(0).becameSuspect else {
            Issue.record("no jump was seen")
            return
        }
        let now = machine.clock.nowMilliseconds
        #expect(machine.pass(Self.second).becameTrusted)
        #expect(machine.clock.nowMilliseconds == now + Self.second)
        #expect(machine.ages == [Self.hour + Self.minute + Self.second, Self.second])
        // Where the wall clock is behind, closed time does not count; where it is not, it does.
        machine.reopen(after: Self.day, isSynchronised: true)
        _ = machine.pass(0)
        let closed = isSynchronisedIn2090 ? 0 : Self.day
        #expect(
            machine.ages == [Self.hour + Self.minute + Self.second + closed, Self.second + closed])
    }

    @Test("time in which a machine slept ages nothing, and small steps are no jumps")
    func sleepAndSteps() {
        var machine = Machine(wall: Self.year2026, isSynchronised: true)
        machine.append()
        machine.wall += 5 * Self.hour
        let observation = machine.pass(Self.second)
        #expect(observation.becameSuspect == nil)
        #expect(observation.shift?.byMilliseconds == 5 * Self.hour)
        #expect(machine.ages == [Self.second])
        machine.wall -= 500
        #expect(machine.pass(Self.second) == .init())
        machine.reopen(after: Self.day, isSynchronised: true)
        #expect(machine.ages == [2 * Self.second + Self.day - 500])
    }

    @Test("unsynchronised drift unties the stored value")
    func drift() {
        var machine = Machine(wall: Self.year2026, isSynchronised: true)
        machine.append()
        machine.isSynchronised = false
        #expect(machine.pass(Self.hour) == .init())
        machine.wall += 2 * Self.minute
        #expect(machine.pass(Self.second) == .init() && machine.clock.isTrusted)
        machine.reopen(after: Self.day, isSynchronised: true)
        _ = machine.pass(0)
        #expect(machine.ages == [Self.hour + Self.second])
    }

    @Test("a crash between moved stamps and the stored clock makes records younger, never older")
    func crashBetween() {
        var machine = Machine(wall: 0, isSynchronised: false)
        machine.append()
        _ = machine.pass(Self.hour)
        let stored = machine.clock.stored
        machine.wall = Self.year2026
        machine.isSynchronised = true
        _ = machine.pass(0)
        _ = machine.pass(0)
        let moved = machine.stamps
        machine = Machine(wall: machine.wall, isSynchronised: true, stored: stored)
        machine.stamps = moved
        _ = machine.pass(0)
        #expect(machine.ages.allSatisfy { (0...Self.hour).contains($0) })
    }

    @Test("nonsense readings and stored values are taken without overflow")
    func nonsense() {
        for stored in [0, 1, UInt64.max, 1 << 63, 1 << 62] {
            for first in [Int64.min, 0, .max] {
                for second in [Int64.min, 0, .max] {
                    var clock = GuardedClock(
                        stored: stored,
                        .init(wallMilliseconds: first, monotonicNanoseconds: 5, isSynchronised: true))
                    let before = clock.nowMilliseconds
                    for _ in 0..<3 {
                        _ = clock.observe(
                            .init(
                                wallMilliseconds: second, monotonicNanoseconds: 0,
                                isSynchronised: true))
                    }
                    #expect(clock.nowMilliseconds >= before && clock.stored != 0)
                }
            }
        }
    }

    @Test("the kernel can be asked, and the answer is the library's")
    func kernel() {
        #expect((0...1).contains(bsfg_clock_synchronised()))
        #expect(KernelClock.isSynchronised == (bsfg_clock_synchronised() == 1))
    }

    @Test("each suspicion says what it means")
    func sentences() {
        #expect(
            GuardedClock.SuspectReason.jumpedForwards(milliseconds: 7).sentence
                == "the wall clock jumped 7 milliseconds forwards; nothing unconfirmed expires until "
                + "the kernel reports a synchronised clock")
        #expect(
            GuardedClock.SuspectReason.jumpedBackwards(milliseconds: 7).sentence.contains("backwards"))
        #expect(
            GuardedClock.SuspectReason.closedIntervalUnknown.sentence.hasPrefix("how long the log"))
    }
}
