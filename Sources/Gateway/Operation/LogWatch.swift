internal import Logging
internal import WriteAheadLog

/// Tells what happens in a node's logs, and what the node cannot go on after: a log of profile
/// `silStrict` that stopped writing. Such a node must not look as if it were in service.
final class LogWatch: Sendable {
    private let failures: AsyncStream<NodeError>
    private let report: AsyncStream<NodeError>.Continuation
    private let faults: FaultPoints
    private let logger: Logger

    init(_ logs: StreamLogs, _ faults: FaultPoints, _ logger: Logger) {
        (failures, report) = AsyncStream<NodeError>.makeStream(
            bufferingPolicy: .bufferingOldest(1))
        self.faults = faults
        self.logger = logger
        watch(logs.all)
    }

    /// Watches logs that were opened.
    func watch(_ logs: [StreamLog]) {
        let (faults, logger, report) = (faults, logger, report)
        for log in logs {
            let events = log.log.events()
            // Ends with the stream, when the log is closed.
            Task {
                for await event in events {
                    if case .truncated = event { faults.reached(.truncated) }
                    LogEventLine(event).write(to: logger, about: log)
                    if let failure = LogWatch.failure(event, log) { report.yield(failure) }
                }
            }
        }
    }

    /// Waits for the first log that the node cannot go on without; nil when the task is cancelled.
    func failure() async -> NodeError? {
        for await failure in failures { return failure }
        return nil
    }

    private static func failure(_ event: WriteAheadLog.LogEvent, _ log: StreamLog) -> NodeError? {
        guard case .poisoned(let cause) = event, log.stream.profile == .silStrict else { return nil }
        return NodeError(
            "the sil_strict log \(log.stream.name) of \(log.origin) stopped writing "
                + "(\(cause.error.sentence)); check the disk, then start the node again")
    }
}
