/// When each call of a load is sent: a state machine without I/O or clock.
///
/// With an open loop the times are fixed before anything is sent, and a call that could not leave at its
/// time is sent late and counts from its time: a server that stands still for a second has a second's calls
/// that waited for it. A closed loop sends the next call when an answer came, and so asks less of a server
/// that is slow; it finds the highest rate.
package struct LoadSchedule: Sendable {
    package enum Pace: Sendable, Equatable {
        case open(callsPerSecond: Double)
        case closed
    }

    package struct Call: Sendable, Equatable {
        package let number: Int
        /// What its latency counts from.
        package let scheduledNanoseconds: UInt64
        /// False while warming up.
        package let isMeasured: Bool
    }

    package enum Step: Sendable, Equatable {
        case send(Call)
        case wait(untilNanoseconds: UInt64)
        case finished
    }

    package let pace: Pace
    package let startNanoseconds: UInt64
    /// Calls before this time warm up.
    package let measureFromNanoseconds: UInt64
    /// Calls whose time is this or later are not made.
    package let endNanoseconds: UInt64
    /// A schedule that is this far behind at its end is given up.
    private let lateNanosecondsMaximum: UInt64
    private let callsMaximum: Int
    /// All the calls that it may send are sent, before its time was over.
    package var isUsedUp: Bool { sent == callsMaximum }
    /// Calls sent so far; the number of the next one.
    package private(set) var sent = 0

    /// - Parameters:
    ///   - callsMaximum: ends the schedule before its time.
    ///   - lateSecondsMaximum: how long after its end calls of an open loop may still be sent.
    package init(
        pace: Pace, startNanoseconds: UInt64, warmUpSeconds: Double, seconds: Double,
        callsMaximum: Int = .max, lateSecondsMaximum: Double = 10
    ) {
        if case .open(let rate) = pace { precondition(rate > 0, "an open loop needs a rate") }
        self.pace = pace
        self.startNanoseconds = startNanoseconds
        self.callsMaximum = callsMaximum
        measureFromNanoseconds = startNanoseconds + UInt64(warmUpSeconds * 1e9)
        endNanoseconds = measureFromNanoseconds + UInt64(seconds * 1e9)
        lateNanosecondsMaximum = UInt64(lateSecondsMaximum * 1e9)
    }

    package mutating func next(nowNanoseconds now: UInt64) -> Step {
        guard sent < callsMaximum else { return .finished }
        let time: UInt64
        switch pace {
        case .closed: time = max(now, startNanoseconds)
        case .open: time = scheduled(sent)
        }
        guard time < endNanoseconds, now < endNanoseconds + lateNanosecondsMaximum else {
            return .finished
        }
        guard time <= now else { return .wait(untilNanoseconds: time) }
        defer { sent += 1 }
        return .send(
            Call(
                number: sent, scheduledNanoseconds: time,
                isMeasured: time >= measureFromNanoseconds))
    }

    /// The time of a call of an open loop. Counted from the start, so that nothing adds up.
    private func scheduled(_ number: Int) -> UInt64 {
        guard case .open(let rate) = pace else { return startNanoseconds }
        return startNanoseconds + UInt64((Double(number) / rate * 1e9).rounded())
    }

    /// Calls of an open loop whose time came and that were never sent.
    package func unsent() -> Int {
        guard case .open(let rate) = pace else { return 0 }
        let seconds = Double(endNanoseconds - startNanoseconds) / 1e9
        let due = Int(min((seconds * rate).rounded(.up), Double(callsMaximum)))
        return max(0, due - sent)
    }
}
