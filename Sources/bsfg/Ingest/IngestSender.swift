internal import Facts
internal import Gateway
internal import RPC

/// Sends batches until each is answered for good. A batch whose outcome is not known is sent again
/// as it was: what is there already is recognised by its id.
struct IngestSender: Sendable {
    let client: BoundaryClient
    let report: IngestReport
    let patienceSeconds: Int

    private static let callMilliseconds = 30_000
    private static let firstPauseMilliseconds = 50
    private static let pauseMillisecondsMaximum = 2_000

    func send(_ batches: IngestBatches, inFlight: Int) async throws {
        try await withThrowingTaskGroup(of: Void.self) { group in
            var count = 0
            var failure: (any Error)?
            var rows = batches.start().makeAsyncIterator()
            while true {
                let batch: IngestBatch
                do {
                    guard let next = try await rows.next() else { break }
                    batch = next
                } catch {
                    // What was read before is still delivered.
                    failure = error
                    break
                }
                if count == inFlight {
                    try await group.next()
                    count -= 1
                }
                group.addTask {
                    try await deliver(batch)
                    batches.taken()
                }
                count += 1
            }
            try await group.waitForAll()
            if let failure { throw failure }
        }
    }

    private func deliver(_ batch: IngestBatch) async throws {
        let answer = try await answered(batch)
        guard answer.outcomes.count == batch.lines.count else {
            throw CommandFailure(
                .failure,
                "the node answered \(answer.outcomes.count) of \(batch.lines.count) facts; check "
                    + "that both are of the same release")
        }
        report.answered(answer.outcomes, lines: batch.lines)
        try checkOptions(answer.outcomes)
    }

    /// What the options say wrongly is wrong in every row.
    private func checkOptions(_ outcomes: [Bsfg_V1_AppendResult]) throws {
        for outcome in outcomes where outcome.outcome == .invalid {
            switch ErrorReason(rawValue: outcome.error.reason) {
            case .unknownZone:
                throw CommandFailure(
                    .usage,
                    "--to: the node does not know that zone; name a peer of peers.yaml, or one "
                        + "under zones in bsfg.yaml")
            case .fromZoneNotAllowed:
                throw CommandFailure(
                    .usage, "--from: this node takes facts of \(report.zone) only; leave it out")
            default: continue
            }
        }
    }

    private func answered(_ batch: IngestBatch) async throws -> Bsfg_V1_AppendFactsResponse {
        let clock = ContinuousClock()
        var since: ContinuousClock.Instant?
        var pause = Self.firstPauseMilliseconds
        while true {
            do throws(RPCClientError) {
                return try await client.appendFacts(
                    batch.request, timeoutMilliseconds: Self.callMilliseconds)
            } catch {
                // A node that is killed in the middle of a handshake looks like a refusal by TLS.
                guard
                    error.isTransient || error.transportKind == .tls
                        || error.transportKind == .certificateRefused
                else {
                    throw CommandFailure(error)
                }
                let began = since ?? clock.now
                since = began
                guard clock.now - began < .seconds(patienceSeconds) else {
                    let counts = report.counts
                    throw CommandFailure(
                        .unavailable,
                        "gave up after \(patienceSeconds) s with \(counts.appended) facts appended "
                            + "and \(counts.existing) found: \(error); run the same command again "
                            + "to go on")
                }
                report.waits(for: error.description)
                let wanted = max(pause, error.retryAfterMilliseconds ?? 0)
                let milliseconds = Int.random(in: wanted...(wanted + wanted / 2))
                try await Task.sleep(for: .milliseconds(milliseconds))
                pause = min(pause * 2, Self.pauseMillisecondsMaximum)
            }
        }
    }
}
