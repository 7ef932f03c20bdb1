import Logging
import Synchronization
import Testing

@testable import Gateway
@testable import Replication

@Suite struct RedeliveryWatchTests {
    private final class Clock: Sendable { let value = Mutex<Int64>(0) }

    @Test("gateway decision 38: a source that alters page after page does not fill our log")
    func tenLinesAMinute() {
        let (lines, clock) = (RecordedLines(), Clock())
        let watch = RedeliveryWatch(logger: lines.logger) {
            clock.value.withLock { $0 }
        }
        let entries = [RedeliveredEntry(offsets: 3...3, verdict: .altered("offset 3 came again altered"))]
        for _ in 0..<25 { watch.tell(entries, stream: "facts", origin: "plant-a") }
        #expect(lines.all.count == 10)
        watch.tell(entries, stream: "other", origin: "plant-a")
        #expect(lines.all.count == 11, "each stream has its own")
        clock.value.withLock { $0 = 60_000 }
        watch.tell(entries, stream: "facts", origin: "plant-a")
        #expect(lines.all.last?.metadata["left_out_before"] == "15")
        watch.tell([], stream: "facts", origin: "plant-a")
        #expect(lines.all.count == 12)
    }
}
