import Testing

@testable import WriteAheadLog

@Suite("Retention: backpressure and free space")
struct RetentionGateTests {
    let reject = LogPolicy.standard(StandardPolicy())
    let drop = LogPolicy.standard(StandardPolicy(whenFull: .dropOldest))
    let strict = LogPolicy.silStrict(StrictPolicy())

    func gate(_ policy: LogPolicy, isAlarmLatched: Bool = false) -> BackpressureGate {
        BackpressureGate(
            options: RetentionOptions(), policy: policy, capacityBytes: 1000,
            isAlarmLatched: isAlarmLatched)
    }

    @Test("the gate closes and opens by this table")
    func hysteresis() {
        // Fill, used, then whether the gate is closed under reject and under dropOldest.
        let table: [(fill: UInt64, used: UInt64, reject: Bool, drop: Bool)] = [
            (0, 0, false, false),
            (799, 799, false, false),
            (800, 800, true, false),
            (799, 799, true, false),
            (751, 751, true, false),
            (750, 750, false, false),
            (799, 799, false, false),
            (999, 999, true, false),
            (1000, 1000, true, true),
            (1200, 1200, true, true),
            (801, 801, true, true),
            (800, 800, true, false),
            (750, 900, false, false),
            // Full of what could be reclaimed, but has not been.
            (100, 1000, true, true),
            (100, 1000, true, true),
            (100, 999, false, false),
        ]
        var first = gate(reject)
        var second = gate(drop)
        for (row, expected) in table.enumerated() {
            for (isFirst, closed) in [(true, expected.reject), (false, expected.drop)] {
                var gate = isFirst ? first : second
                let was = gate.isClosed
                let events = gate.update(
                    fillBytes: expected.fill, usedBytes: expected.used, monotonicMilliseconds: 0)
                let fill = Double(expected.fill) / 1000
                #expect(gate.isClosed == closed, "row \(row)")
                #expect(
                    events
                        == (was == closed
                            ? []
                            : [closed ? .backpressureClosed(fill: fill) : .backpressureOpened(fill: fill)]
                        ), "row \(row)")
                #expect((gate.refusal != nil) == closed)
                if isFirst { first = gate } else { second = gate }
            }
        }
        #expect(!first.isAlarmLatched && !second.isAlarmLatched)
    }

    @Test("the retry hint follows the rate at which readers confirm, within its bounds")
    func retryHint() {
        var gate = gate(reject)
        func hint() -> Int64? {
            guard case .backpressure(_, let milliseconds) = gate.refusal else { return nil }
            return milliseconds
        }
        func update(_ fill: UInt64, at time: Int64) {
            _ = gate.update(fillBytes: fill, usedBytes: fill, monotonicMilliseconds: time)
        }
        #expect(hint() == nil)
        update(900, at: 1000)
        #expect(hint() == 1000)
        // 50 bytes in 5 s; 100 are missing.
        update(850, at: 6000)
        #expect(hint() == 10_000)
        update(849, at: 6000)
        #expect(hint() == 9705)  // 99 x 5000 / 51
        // Nothing for an hour; the next piece in that hour says: very slow.
        update(848, at: 3_606_000)
        #expect(hint() == 60_000)
        // Then fast: an old stall no longer counts.
        update(760, at: 3_606_100)
        #expect(hint() == 50)
        update(700, at: 3_606_101)
        #expect(hint() == nil)
    }

    @Test("sil_strict: the alarm stays until it is acknowledged, appends resume by themselves")
    func alarm() {
        var gate = gate(strict)
        func update(_ fill: UInt64) -> [LogEvent] {
            gate.update(fillBytes: fill, usedBytes: fill, monotonicMilliseconds: 0)
        }
        #expect(gate.acknowledgeAlarm(by: "ann", reason: "none") == nil)
        #expect(update(800) == [.backpressureClosed(fill: 0.8), .alarmRaised(fill: 0.8)])
        #expect(update(750) == [.backpressureOpened(fill: 0.75)])
        #expect(gate.isAlarmLatched && gate.refusal == nil)
        // Once raised it is not raised again.
        #expect(update(900) == [.backpressureClosed(fill: 0.9)])
        #expect(
            gate.acknowledgeAlarm(by: "ann", reason: "link is back")
                == .alarmAcknowledged(by: "ann", reason: "link is back"))
        #expect(!gate.isAlarmLatched && gate.refusal != nil)
        #expect(update(950) == [])
        _ = update(0)
        #expect(update(800).last == .alarmRaised(fill: 0.8))
        // Across a restart.
        #expect(self.gate(strict, isAlarmLatched: true).isAlarmLatched)
    }

    @Test("below the reserve appends are refused, with a quarter of it as hysteresis")
    func freeSpace() {
        var space = FreeSpaceGuard(options: RetentionOptions(freeSpaceReserveBytes: 1000))
        #expect(space.refusal == nil)
        #expect(space.update(freeBytes: 1000) == nil)
        #expect(space.update(freeBytes: 999) == .lowSpace(freeBytes: 999))
        #expect(space.update(freeBytes: 0) == nil)
        #expect(space.refusal == .noSpace(freeBytes: 0) && space.missingBytes == 1250)
        #expect(space.update(freeBytes: 1249) == nil && space.isLow)
        #expect(space.update(freeBytes: 1250) == .spaceRecovered(freeBytes: 1250))
        #expect(space.refusal == nil && space.missingBytes == 0)
        var unwatched = FreeSpaceGuard(options: RetentionOptions(freeSpaceReserveBytes: 0))
        #expect(unwatched.update(freeBytes: 0) == nil && unwatched.refusal == nil)
    }
}
