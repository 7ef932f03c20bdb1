import Logging
import Synchronization
import Testing

@testable import Gateway
@testable import Replication

@Suite struct PullLinesTests {
    private final class Clock: Sendable { let value = Mutex<Int64>(0) }

    private func cursor(_ stream: String) -> CursorConfiguration {
        CursorConfiguration(
            peer: "plant-a", stream: stream, origin: "plant-a", initMode: .fullBackfill, justification: nil)
    }

    @Test("gateway decision 38: a source that refuses in other words each time does not fill our log")
    func tenLinesAMinute() {
        let (lines, clock) = (RecordedLines(level: .info), Clock())
        let told = PullLines(logger: lines.logger) {
            clock.value.withLock { $0 }
        }
        for number in 0..<25 {
            // What is not written costs nothing.
            told.tell(.connecting, cursor("facts"))
            told.tell(.blocked(reason: "internal", sentence: "refused, \(number)"), cursor("facts"))
        }
        #expect(lines.all.count == 10)
        told.tell(.pulling, cursor("other"))
        #expect(lines.all.last?.message == "pulling", "each stream has its own")
        clock.value.withLock { $0 = 60_000 }
        told.tell(.blocked(reason: "internal", sentence: "again"), cursor("facts"))
        let last = lines.all.last
        #expect(last?.message == "stream blocked, internal: again" && last?.metadata["left_out_before"] == "15")
        told.tell(.stopped, cursor("facts"))
        told.tell(.blocked(reason: PullMachine.forwardFull, sentence: "no room"), cursor("facts"))
        let paused = lines.all.last
        #expect(paused?.message == "pull paused: no room" && paused?.metadata["alert"] == "StoreFillHigh")
        #expect(lines.all.count == 13)
    }

    @Test("gateway decision 38: a connection that comes and goes leaves room for what somebody has to see to")
    func flappingLeavesRoom() {
        let lines = RecordedLines(level: .info)
        let told = PullLines(logger: lines.logger) { 0 }
        for _ in 0..<25 {
            told.tell(.unavailable("gone"), cursor("facts"))
            told.tell(.pulling, cursor("facts"))
        }
        #expect(lines.all.count == 10)
        told.tell(.blocked(reason: "internal", sentence: "refused"), cursor("facts"))
        #expect(lines.all.last?.message == "stream blocked, internal: refused")
    }
}
