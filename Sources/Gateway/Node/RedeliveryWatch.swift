internal import Buffers
internal import Logging
internal import Replication

/// Tells of facts that a source served again and not as it had served them before: it does not keep its history.
struct RedeliveryWatch: Sendable {
    let logger: Logger

    /// One line for a page, whatever it brings.
    func tell(_ entries: [RedeliveredEntry], stream: String, origin: String) {
        guard let first = entries.first, case .altered(let sentence) = first.verdict else { return }
        logger.error(
            """
            \(sentence): the source does not serve what it served before; what is stored stays as it is, ask the \
            operator of the source
            """,
            metadata: [
                "event": "redelivery_altered", "alert": "DigestMismatch", "stream": "\(stream)",
                "origin": "\(origin)", "offset": "\(first.offsets.lowerBound)", "count": "\(entries.count)",
            ])
    }
}
