internal import Buffers
internal import Logging

/// Tells of facts that were put into quarantine, each with its alert: somebody has to decide about it.
struct QuarantineWatch: Sendable {
    let logger: Logger

    /// At the start: the process may have ended before it told.
    func tellWaiting(_ size: QuarantineSize) {
        guard size.count > 0 else { return }
        logger.error(
            "\(size.count) facts wait in quarantine; see bsfg quarantine list",
            metadata: [
                "event": "quarantine_waits", "alert": "Quarantine", "count": "\(size.count)",
                "bytes": "\(size.bytes)",
            ])
    }

    /// At the start: facts that had been put there were lost by the disk.
    func tellLost(_ losses: [Range<UInt64>]) {
        for offsets in losses {
            logger.critical(
                """
                a part of the quarantine was lost by the disk, and the facts that waited in it; their sources count \
                them as received
                """,
                metadata: [
                    "event": "quarantine_lost", "alert": "FactsDropped",
                    "first_offset": "\(offsets.lowerBound)", "last_offset": "\(offsets.upperBound - 1)",
                ])
        }
    }

    func tell(_ facts: [QuarantinedFact]) {
        for fact in facts {
            var metadata: Logger.Metadata = [
                "event": fact.isHalting ? "stream_halted" : "fact_quarantined",
                "alert": "Quarantine", "id": "\(fact.identifier)", "stream": "\(fact.stream)",
                "origin": "\(fact.origin)", "reason": "\(fact.reason.rawValue)",
            ]
            if let digest = fact.storedDigest { metadata["stored_digest"] = "\(digest)" }
            if let digest = fact.offeredDigest { metadata["offered_digest"] = "\(digest)" }
            let what =
                fact.isHalting
                ? "the stream halts until bsfg quarantine resolve"
                : "the stream goes on; see bsfg quarantine show"
            logger.error("\(fact.sentence): \(what) \(fact.identifier)", metadata: metadata)
        }
    }
}
