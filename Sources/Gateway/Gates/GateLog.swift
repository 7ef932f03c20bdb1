internal import Logging
internal import Replication

/// Writes what gates do to the node's log: the five events of a reconciliation by the runbook's words, with
/// stable names in the field `event`. Lines go through a bounded queue, since a slow log must not hold
/// up a gate; what does not fit is left out.
final class GateLog: Sendable {
    private static let linesMaximum = 4_096

    private struct Line: Sendable {
        var level: Logger.Level
        var message: String
        var metadata: Logger.Metadata
    }

    private let lines: AsyncStream<Line>.Continuation

    init(_ logger: Logger) {
        let (stream, lines) = AsyncStream<Line>.makeStream(
            bufferingPolicy: .bufferingOldest(GateLog.linesMaximum))
        self.lines = lines
        Task {
            for await line in stream {
                logger.log(level: line.level, "\(line.message)", metadata: line.metadata)
            }
        }
    }

    deinit { lines.finish() }

    func write(_ peer: String, _ side: PeerGates.Side, _ action: GateAction) {
        var metadata: Logger.Metadata = ["peer": "\(peer)", "direction": "\(side.rawValue)"]
        func line(
            _ event: String, _ message: String, _ stream: GateStream? = nil,
            level: Logger.Level = .info
        ) {
            metadata["event"] = "\(event)"
            if let stream {
                metadata["stream"] = "\(stream.stream)"
                metadata["origin"] = "\(stream.origin)"
            }
            lines.yield(Line(level: level, message: message, metadata: metadata))
        }
        switch action {
        case .closed(let reason):
            line("gate_autonomous", "gate closed: \(reason)", level: .warning)
        case .reachable: line("peer_reachable", "peer \(peer) reachable")
        case .compared(let stream, let local, let other):
            line("cursor_comparison", "cursor comparison: local=\(local), peer=\(other)", stream)
        case .backfillRequired(let stream, let facts):
            line("backfill_required", "backfill required: \(facts) facts", stream)
        case .replayInitiated(let stream, let offset):
            metadata["from"] = "\(offset)"
            line("replay_initiated", "replay initiated", stream)
        case .cursorAdvanced(let stream, let offset):
            line("cursor_advanced", "cursor advanced to \(offset)", stream)
        case .reconciled: line("gate_normal", "gate normal: everything has caught up")
        case .wake, .greet: break
        }
    }
}
