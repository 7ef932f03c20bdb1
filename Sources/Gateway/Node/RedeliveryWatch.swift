internal import Buffers
internal import Logging
internal import Replication
internal import Synchronization

/// Tells of facts that a source served again and not as it had served them before: it does not keep its history.
final class RedeliveryWatch: Sendable {
    /// A source that serves one such page after the other does not fill our log.
    private static let linesAMinute = 10

    private struct Minute {
        var beganMilliseconds: Int64
        var lines = 0
        /// Entries that were not told of.
        var leftOut = 0
    }

    private let logger: Logger
    private let now: @Sendable () -> Int64
    /// By stream and origin, which are those of the configuration.
    private let minutes = Mutex<[[String]: Minute]>([:])

    init(logger: Logger, now: @escaping @Sendable () -> Int64 = { MonotonicClock.milliseconds }) {
        self.logger = logger
        self.now = now
    }

    /// One line for a page, whatever it brings, and ten a minute for a stream.
    func tell(_ entries: [RedeliveredEntry], stream: String, origin: String) {
        guard let first = entries.first, case .altered(let sentence) = first.verdict,
            let leftOut = admits(entries.count, [stream, origin])
        else { return }
        logger.error(
            """
            \(sentence): the source does not serve what it served before; what is stored stays as it is, ask the \
            operator of the source
            """,
            metadata: [
                "event": "redelivery_altered", "alert": "DigestMismatch", "stream": "\(stream)",
                "origin": "\(origin)", "offset": "\(first.offsets.lowerBound)", "count": "\(entries.count)",
                "left_out_before": "\(leftOut)",
            ])
    }

    /// - Returns: how many entries were left out before, where a line may be written.
    private func admits(_ count: Int, _ kind: [String]) -> Int? {
        let now = now()
        return minutes.withLock { minutes in
            var minute = minutes[kind] ?? Minute(beganMilliseconds: now)
            defer { minutes[kind] = minute }
            if now - minute.beganMilliseconds >= 60_000 {
                minute.beganMilliseconds = now
                minute.lines = 0
            }
            guard minute.lines < RedeliveryWatch.linesAMinute else {
                minute.leftOut += count
                return nil
            }
            minute.lines += 1
            defer { minute.leftOut = 0 }
            return minute.leftOut
        }
    }
}
