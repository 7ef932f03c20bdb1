import Testing

@testable import Load

@Suite struct LoadScheduleTests {
    private static let second: UInt64 = 1_000_000_000

    private func calls(_ schedule: inout LoadSchedule, at now: UInt64) -> [LoadSchedule.Call] {
        var calls: [LoadSchedule.Call] = []
        while case .send(let call) = schedule.next(nowNanoseconds: now) { calls.append(call) }
        return calls
    }

    @Test func `An open loop sends each call at its time and waits for the next`() {
        var schedule = LoadSchedule(
            pace: .open(callsPerSecond: 1_000), startNanoseconds: 5_000, warmUpSeconds: 0, seconds: 1)
        #expect(calls(&schedule, at: 5_000).map(\.scheduledNanoseconds) == [5_000])
        #expect(schedule.next(nowNanoseconds: 5_001) == .wait(untilNanoseconds: 1_005_000))
        #expect(calls(&schedule, at: 1_005_000).map(\.number) == [1])
    }

    @Test func `A server that stands still has a whole second's calls that count from their times`() {
        var schedule = LoadSchedule(
            pace: .open(callsPerSecond: 100), startNanoseconds: 0, warmUpSeconds: 0, seconds: 2)
        let late = calls(&schedule, at: Self.second)
        #expect(late.count == 101)
        #expect(late.first?.scheduledNanoseconds == 0)
        #expect(late[50].scheduledNanoseconds == Self.second / 2)
    }

    @Test func `A rate that divides nothing evenly keeps its number of calls over a long time`() {
        var schedule = LoadSchedule(
            pace: .open(callsPerSecond: 333.3), startNanoseconds: 0, warmUpSeconds: 0, seconds: 100,
            lateSecondsMaximum: 1_000)
        #expect(calls(&schedule, at: 100 * Self.second).count == 33_330)
        #expect(schedule.unsent() == 0)
    }

    @Test func `A closed loop counts from when it could send`() {
        var schedule = LoadSchedule(
            pace: .closed, startNanoseconds: 0, warmUpSeconds: 0, seconds: 1)
        #expect(
            schedule.next(nowNanoseconds: 7)
                == .send(.init(number: 0, scheduledNanoseconds: 7, isMeasured: true)))
        #expect(schedule.next(nowNanoseconds: Self.second) == .finished)
    }

    @Test func `Calls of the warm-up are sent and not measured`() {
        var schedule = LoadSchedule(
            pace: .open(callsPerSecond: 10), startNanoseconds: 0, warmUpSeconds: 1, seconds: 1)
        let all = calls(&schedule, at: 2 * Self.second)
        #expect(all.count == 20)
        #expect(all.filter(\.isMeasured).map(\.number) == Array(10..<20))
    }

    @Test func `A count ends a schedule before its time`() {
        var schedule = LoadSchedule(
            pace: .closed, startNanoseconds: 0, warmUpSeconds: 0, seconds: 1_000, callsMaximum: 3)
        #expect(calls(&schedule, at: 1).count == 3)
        #expect(schedule.next(nowNanoseconds: 1) == .finished)
    }

    @Test func `A schedule far behind is given up and says what it did not send`() {
        var schedule = LoadSchedule(
            pace: .open(callsPerSecond: 10), startNanoseconds: 0, warmUpSeconds: 0, seconds: 1,
            lateSecondsMaximum: 1)
        _ = schedule.next(nowNanoseconds: 0)
        #expect(schedule.next(nowNanoseconds: 2 * Self.second) == .finished)
        #expect(schedule.unsent() == 9)
    }
}
