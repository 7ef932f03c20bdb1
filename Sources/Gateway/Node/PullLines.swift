internal import Buffers
internal import Logging
internal import Replication

/// Tells how pulls go on.
final class PullLines: Sendable {
    private let logger: Logger
    /// A source that refuses, each time in other words, does not fill our log. What somebody has to see to is counted
    /// for itself: a connection that comes and goes leaves room for it.
    private let alerts: StreamLineBudget
    private let others: StreamLineBudget

    init(logger: Logger, now: @escaping @Sendable () -> Int64 = { MonotonicClock.milliseconds }) {
        self.logger = logger
        alerts = StreamLineBudget(now: now)
        others = StreamLineBudget(now: now)
    }

    func tell(_ status: PullMachine.Status, _ cursor: CursorConfiguration) {
        let level = PullLines.level(status)
        guard let level, logger.logLevel <= level,
            let leftOut = (level == .error ? alerts : others).admits(
                stream: cursor.stream, origin: cursor.origin)
        else { return }
        var metadata: Logger.Metadata = [
            "peer": "\(cursor.peer)", "stream": "\(cursor.stream)", "origin": "\(cursor.origin)",
        ]
        if leftOut > 0 { metadata["left_out_before"] = "\(leftOut)" }
        switch status {
        case .connecting: logger.log(level: level, "connecting", metadata: metadata)
        case .pulling: logger.log(level: level, "pulling", metadata: metadata)
        case .unavailable(let sentence):
            logger.log(level: level, "source unavailable: \(sentence)", metadata: metadata)
        case .blocked(PullMachine.forwardFull, let sentence):
            logger.log(
                level: level, "pull paused: \(sentence)",
                metadata: metadata.merging([
                    "event": "\(PullMachine.forwardFull)", "alert": "StoreFillHigh",
                ]) { $1 })
        case .blocked(let reason, let sentence):
            logger.log(level: level, "stream blocked, \(reason): \(sentence)", metadata: metadata)
        case .stopped: preconditionFailure("what has no level is not told")
        }
    }

    /// Nil for what is not told.
    private static func level(_ status: PullMachine.Status) -> Logger.Level? {
        switch status {
        case .connecting: .debug
        case .pulling: .info
        // Nobody did anything wrong: it goes on by itself once there is room.
        case .unavailable, .blocked(PullMachine.forwardFull, _): .warning
        case .blocked: .error
        case .stopped: nil
        }
    }
}
