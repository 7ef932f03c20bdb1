/// How a peer's gate stands in one direction.
///
///     autonomous ──first answer──► reconciling ──every stream has caught up──► normal
///         ▲                             │                                        │
///         └── 3 transport failures, or 30 s of silence, or the operator ─────────┘
package enum GateMode: String, Sendable, Comparable {
    case normal
    /// Connected again; what came up meanwhile is being caught up with.
    case reconciling
    /// Closed: each side goes on by itself, the frontier is frozen.
    case autonomous

    /// The worse mode is the greater one.
    package static func < (left: GateMode, right: GateMode) -> Bool {
        left.severity < right.severity
    }

    private var severity: Int {
        switch self {
        case .normal: 0
        case .reconciling: 1
        case .autonomous: 2
        }
    }
}

/// One log that crosses a gate. Both names come from the configuration, where they are ASCII.
package struct GateStream: Hashable, Sendable, Comparable, CustomStringConvertible {
    package var stream: String
    package var origin: String

    package init(stream: String, origin: String) {
        self.stream = stream
        self.origin = origin
    }

    package static func < (left: GateStream, right: GateStream) -> Bool {
        (left.stream, left.origin) < (right.stream, right.origin)
    }

    package var description: String { "\(stream) of \(origin)" }
}

/// What a gate asks of whoever drives it, in the order in which it happened.
package enum GateAction: Sendable, Equatable {
    /// Pulls are to drop what is under way: the gate has closed.
    case closed(String)
    /// The peer answers again.
    case reachable
    /// Where we stand in a stream and where its source stood when it became reachable.
    case compared(GateStream, local: UInt64, peer: UInt64)
    case backfillRequired(GateStream, facts: UInt64)
    case replayInitiated(GateStream, from: UInt64)
    case cursorAdvanced(GateStream, to: UInt64)
    /// Everything of before the reconnection is here: back to normal.
    case reconciled
    /// Whoever waits for the gate asks it again.
    case wake
    /// Nothing was asked for a while: a hello shows that both sides are there.
    case greet
}

/// The times after which silence means something.
package enum GateTimes {
    /// Without a success, or a request, for this long a gate closes.
    package static let silenceMilliseconds: Int64 = 30_000
    /// An open gate is used at least this often.
    package static let greetingMilliseconds: Int64 = 10_000
    /// A probe that has not ended by then does not keep others from probing.
    package static let probeMilliseconds: Int64 = 20_000
}
