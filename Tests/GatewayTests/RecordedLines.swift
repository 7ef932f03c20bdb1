import Logging
import Synchronization

/// Keeps the lines that were written to its logger.
final class RecordedLines: Sendable {
    struct Line: Sendable {
        var message: String
        var metadata: Logger.Metadata
    }

    private let lines = Mutex<[Line]>([])
    private let level: Logger.Level

    /// - Parameter level: what is below it is not written.
    init(level: Logger.Level = .trace) { self.level = level }

    var all: [Line] { lines.withLock { $0 } }
    var logger: Logger { Logger(label: "test") { _ in Handler(lines: self, logLevel: level) } }

    private struct Handler: LogHandler {
        let lines: RecordedLines
        var logLevel: Logger.Level
        var metadata: Logger.Metadata = [:]

        subscript(metadataKey key: String) -> Logger.Metadata.Value? {
            get { metadata[key] }
            set { metadata[key] = newValue }
        }

        func log(event: LogEvent) {
            lines.lines.withLock { $0.append(Line(message: "\(event.message)", metadata: event.metadata ?? [:])) }
        }
    }
}
