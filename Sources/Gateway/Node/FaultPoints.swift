internal import Facts
internal import Glibc
internal import Replication
internal import Synchronization

/// Places at which a test stops the process as a crash would: `BSFG_FAULT_POINT=committed:3` in the
/// environment ends it with SIGKILL at the third hit of *committed*, between two instructions of a real
/// node. Without the variable nothing is counted and nothing can happen; a node with a `sil_strict`
/// stream refuses to start with it.
package final class FaultPoints: Sendable {
    /// In the order of a fact's way.
    package enum Step: String, Sendable, CaseIterable {
        /// A page was made at the source and not sent.
        case served
        case received
        case quarantined
        case committed
        case confirmSent = "confirm_sent"
        /// The source has moved a cursor and not said so.
        case cursorDurable = "cursor_durable"
        /// Records that everybody confirmed were removed.
        case truncated

        init(_ step: PullStep) {
            switch step {
            case .received: self = .received
            case .quarantined: self = .quarantined
            case .committed: self = .committed
            case .confirmSent: self = .confirmSent
            }
        }
    }

    package static let variableName = "BSFG_FAULT_POINT"

    private let step: Step?
    /// At which hit the process ends, from 1 on.
    private let number: Int
    private let hits = Mutex(0)
    private let end: @Sendable (String) -> Void

    /// - Parameters:
    ///   - text: `step:number`; nil for none.
    ///   - end: what happens at the hit; called with one line that says which it is.
    package init(
        _ text: String?, isStrict: Bool, end: @escaping @Sendable (String) -> Void = kill
    ) throws(NodeError) {
        self.end = end
        guard let text else {
            (step, number) = (nil, 0)
            return
        }
        if isStrict { throw FaultPoints.strictRefusal }
        let parts = text.split(separator: ":", omittingEmptySubsequences: false)
        guard parts.count == 2, let step = Step(rawValue: String(parts[0])),
            let number = Int(parts[1]), number >= 1
        else {
            throw NodeError(
                "\(FaultPoints.variableName) is \(text), and is STEP:NUMBER with one of the steps "
                    + Step.allCases.map(\.rawValue).joined(separator: ", "))
        }
        (self.step, self.number) = (step, number)
    }

    private static let strictRefusal = NodeError(
        "\(variableName) is set, and a node with a sil_strict stream is never stopped on purpose; "
            + "start the node without it")

    /// Whether the streams of another configuration may be taken into this process.
    package func check(isStrict: Bool) throws(NodeError) {
        if step != nil, isStrict { throw FaultPoints.strictRefusal }
    }

    /// Of this process's environment.
    package static func fromEnvironment(isStrict: Bool) throws(NodeError) -> FaultPoints {
        try FaultPoints(getenv(variableName).map { String(cString: $0) }, isStrict: isStrict)
    }

    package func reached(_ step: Step) {
        guard step == self.step else { return }
        let isLast = hits.withLock { hits in
            hits += 1
            return hits == number
        }
        if isLast {
            end(#"{"event":"fault_point","step":"\#(step.rawValue)","hit":\#(number)}"#)
        }
    }

    /// The line tells a test which step it was; nothing is flushed or closed.
    package static func kill(_ line: String) {
        let bytes = Array((line + "\n").utf8)
        bytes.withUnsafeBytes { _ = write(STDERR_FILENO, $0.baseAddress!, $0.count) }
        _ = Glibc.kill(getpid(), SIGKILL)
    }
}
