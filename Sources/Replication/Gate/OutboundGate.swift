/// The gate to a peer that pulls from us. It opens with the peer's first authenticated request and closes
/// after 30 s without one. Being closed by silence never refuses to serve: only the operator does.
///
/// Times are milliseconds of a clock that never jumps.
package struct OutboundGate: Sendable {
    package private(set) var mode = GateMode.autonomous
    /// Why it is closed.
    package private(set) var reason = "has not called yet"
    package private(set) var isOperatorClosed = false
    package private(set) var reconciliation = Reconciliation([])
    private var lastCallAt: Int64?
    /// The heads of the moment of reconnection are still to be told.
    package private(set) var needsHeads = false

    package init() {}

    /// The peer made an authenticated request.
    package mutating func called(at now: Int64) -> [GateAction] {
        lastCallAt = now
        guard mode == .autonomous, !isOperatorClosed else { return [] }
        mode = .reconciling
        reason = ""
        needsHeads = true
        return [.reachable]
    }

    /// Where each log that the peer reads ends now, and how far the peer has confirmed it.
    package mutating func reconcile(
        _ logs: [(stream: GateStream, confirmed: UInt64, head: UInt64)]
    ) -> [GateAction] {
        guard mode == .reconciling, needsHeads else { return [] }
        needsHeads = false
        reconciliation = Reconciliation(logs.map(\.stream))
        for log in logs {
            // The five events are the receiver's; here only the end matters.
            _ = reconciliation.compare(log.stream, local: log.confirmed, peer: log.head)
        }
        return endIfComplete()
    }

    package mutating func progress(_ stream: GateStream, offset: UInt64, blocked: String?)
        -> [GateAction]
    {
        guard mode == .reconciling, !needsHeads else { return [] }
        _ = reconciliation.progress(stream, offset: offset, blocked: blocked)
        return endIfComplete()
    }

    /// The logs that the peer still reads: a cursor may be deleted meanwhile.
    package mutating func keep(_ streams: [GateStream]) -> [GateAction] {
        guard mode == .reconciling, !needsHeads else { return [] }
        let known = Set(reconciliation.open.map(\.stream))
        reconciliation.keep(streams.filter(known.contains))
        return endIfComplete()
    }

    package mutating func tick(at now: Int64) -> [GateAction] {
        guard mode != .autonomous, let lastCallAt,
            now - lastCallAt >= GateTimes.silenceMilliseconds
        else { return [] }
        return close("no request for 30 s")
    }

    package mutating func closeByOperator(_ reason: String) -> [GateAction] {
        guard !isOperatorClosed else {
            self.reason = reason
            return []
        }
        isOperatorClosed = true
        return close(reason)
    }

    package mutating func openByOperator() -> [GateAction] {
        guard isOperatorClosed else { return [] }
        isOperatorClosed = false
        reason = "opened by the operator, has not called yet"
        return []
    }

    private mutating func endIfComplete() -> [GateAction] {
        guard reconciliation.isComplete else { return [] }
        mode = .normal
        return [.reconciled]
    }

    private mutating func close(_ sentence: String) -> [GateAction] {
        mode = .autonomous
        reason = sentence
        needsHeads = false
        reconciliation = Reconciliation([])
        return [.closed(sentence)]
    }
}
