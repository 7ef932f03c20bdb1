import Logging
import Synchronization
import Testing

@testable import Gateway
@testable import Replication

@Suite struct RedeliveryWatchTests {
    private struct Handler: LogHandler {
        let lines: Lines
        var metadata: Logger.Metadata = [:]
        var logLevel = Logger.Level.trace
        subscript(metadataKey key: String) -> Logger.Metadata.Value? {
            get { metadata[key] }
            set { metadata[key] = newValue }
        }
        func log(
            level: Logger.Level, message: Logger.Message, metadata: Logger.Metadata?, source: String, file: String,
            function: String, line: UInt
        ) {
            lines.all.withLock { $0.append(metadata ?? [:]) }
        }
    }

    private final class Lines: Sendable { let all = Mutex<[Logger.Metadata]>([]) }
    private final class Clock: Sendable { let value = Mutex<Int64>(0) }

    @Test("gateway decision 38: a source that alters page after page does not fill our log")
    func tenLinesAMinute() {
        let (lines, clock) = (Lines(), Clock())
        let watch = RedeliveryWatch(logger: Logger(label: "test") { _ in Handler(lines: lines) }) {
            clock.value.withLock { $0 }
        }
        let entries = [RedeliveredEntry(offsets: 3...3, verdict: .altered("offset 3 came again altered"))]
        for _ in 0..<25 { watch.tell(entries, stream: "facts", origin: "plant-a") }
        #expect(lines.all.withLock { $0.count } == 10)
        watch.tell(entries, stream: "other", origin: "plant-a")
        #expect(lines.all.withLock { $0.count } == 11, "each stream has its own")
        clock.value.withLock { $0 = 60_000 }
        watch.tell(entries, stream: "facts", origin: "plant-a")
        #expect(lines.all.withLock { $0.last?["left_out_before"] } == "15")
        watch.tell([], stream: "facts", origin: "plant-a")
        #expect(lines.all.withLock { $0.count } == 12)
    }
}
