import RPC
import Testing

@testable import Load

@Suite struct LoadRunTests {
    private static let millisecond: UInt64 = 1_000_000

    private func template(batch: Int? = nil) throws -> FactTemplate {
        try FactTemplate(
            run: "run", stream: "facts.operational", fromZone: "plant-a", toZone: "enterprise",
            batch: batch, messageBytes: 256, nowUnixMilliseconds: 1_700_000_000_000)
    }

    private func run(_ rate: Double, seconds: Double, batch: Int? = nil) throws -> LoadRun {
        LoadRun(
            LoadSchedule(
                pace: .open(callsPerSecond: rate), startNanoseconds: 0, warmUpSeconds: 0,
                seconds: seconds),
            try template(batch: batch))
    }

    @Test func `A latency counts from the time of the schedule, not from when the call was sent`() throws {
        let run = try run(1_000, seconds: 0.01)
        // The server stood still for 10 ms: ten calls leave together and are answered at once.
        for number in 0..<10 {
            guard case .send(let sent, _) = run.next(nowNanoseconds: 10 * Self.millisecond) else {
                Issue.record("call \(number) was not sent")
                return
            }
            run.answered(number: sent, .success([]), nowNanoseconds: 10 * Self.millisecond)
        }
        let figures = run.figures
        #expect(figures.answeredCalls == 10)
        #expect(figures.latencies.maximumMicroseconds == 10_000)
        #expect(try #require(figures.latencies.percentile(1)) >= 990)
    }

    @Test func `Facts of a batch count each, and answers after the end do not count in the rate`() throws {
        let run = try run(10, seconds: 1, batch: 7)
        var now: UInt64 = 0
        while case .send(let number, _) = run.next(nowNanoseconds: now) {
            let isLast = number == 9
            run.answered(
                number: number, .success([]),
                nowNanoseconds: isLast ? 2_000 * Self.millisecond : now + Self.millisecond)
            now += 100 * Self.millisecond
        }
        let figures = run.figures
        #expect(figures.sentCalls == 10)
        #expect(figures.acknowledgedFacts == 70)
        #expect(figures.answersInTime == 9)
        #expect(figures.factsPerSecond == 63)
        #expect(!figures.isComplete)
    }

    @Test func `A load of so many calls is over with its last answer`() throws {
        let run = LoadRun(
            LoadSchedule(
                pace: .closed, startNanoseconds: 0, warmUpSeconds: 0, seconds: 1_000, callsMaximum: 4),
            try template())
        var now: UInt64 = 0
        while case .send(let number, _) = run.next(nowNanoseconds: now) {
            now += 500 * Self.millisecond
            run.answered(number: number, .success([]), nowNanoseconds: now)
        }
        #expect(run.figures.seconds == 2)
        #expect(run.figures.callsPerSecond == 2)
        #expect(run.figures.isComplete)
    }

    @Test func `A server that refuses is not asked for ever`() throws {
        let run = try run(1_000_000, seconds: 100)
        var calls = 0
        while case .send(let number, _) = run.next(nowNanoseconds: 1_000 * Self.millisecond) {
            calls += 1
            run.answered(
                number: number,
                .failure(.transport(kind: .refused, sentence: "nothing listens there")),
                nowNanoseconds: 1_000 * Self.millisecond)
        }
        #expect(calls == 100)
        #expect(run.figures.failure == "nothing listens there")
        #expect(!run.figures.isComplete)
    }
}
