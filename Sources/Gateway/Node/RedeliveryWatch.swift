internal import Buffers
internal import Logging
internal import Replication

/// Tells of facts that a source served again and not as it had served them before: it does not keep its history.
final class RedeliveryWatch: Sendable {
    private let logger: Logger
    /// A source that serves one such page after the other does not fill our log.
    private let budget: StreamLineBudget

    init(logger: Logger, now: @escaping @Sendable () -> Int64 = { MonotonicClock.milliseconds }) {
        self.logger = logger
        budget = StreamLineBudget(now: now)
    }

    /// One line for a page, whatever it brings, and ten a minute for a stream.
    func tell(_ entries: [RedeliveredEntry], stream: String, origin: String) {
        guard let first = entries.first, case .altered(let sentence) = first.verdict,
            let leftOut = budget.admits(entries.count, stream: stream, origin: origin)
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
}
