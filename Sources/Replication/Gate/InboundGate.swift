/// The gate to a peer that we pull from, with the circuit breaker of its calls.
///
/// Three transport failures in a row close it, or 30 s without a success while something is asked. Calls
/// that were under way at a failure belong to it: one lost connection is one failure, however many streams
/// it carried. While it is closed one stream at a time probes; a fetch or confirmation that is answered
/// opens it, whatever the answer is, since a refusal sets the state of its stream only.
///
/// Times are milliseconds of a clock that never jumps.
package struct InboundGate: Sendable {
    package static let failuresMaximum = 3

    package enum Breaker: String, Sendable {
        /// Calls pass.
        case closed
        /// Calls wait for the next probe.
        case open
        /// One stream probes.
        case halfOpen = "half_open"
    }

    /// Whether a call may be made now.
    package enum Permit: Sendable, Equatable {
        case go
        /// To be asked again after this time, or when the gate says *wake*.
        case wait(milliseconds: Int64)
    }

    /// What an answered call was.
    package enum Answer: Sendable {
        /// Hello or OpenCursor: an open gate counts it, a closed one does not, since a peer whose
        /// operator closed the gate answers these too.
        case greeting
        case fact
    }

    package private(set) var mode = GateMode.autonomous
    /// Why it is closed.
    package private(set) var reason: String
    package private(set) var isOperatorClosed = false
    package private(set) var reconciliation = Reconciliation([])
    private var streams: [GateStream] = []
    private var failures = 0
    private var lastFailureAt = Int64.min
    /// Something was asked then and nothing was answered since.
    private var askedAt: Int64?
    private var lastCallAt: Int64
    private var probe: (stream: GateStream, since: Int64)?
    private var probeDueAt: Int64
    private var backoff = ProbeBackoff()
    /// What opened cursors said while the gate was closed.
    private var compared: [GateStream: (local: UInt64, peer: UInt64)] = [:]

    package init(at now: Int64) {
        reason = "not reached yet"
        lastCallAt = now
        probeDueAt = now
    }

    package var breaker: Breaker {
        guard mode == .autonomous else { return .closed }
        return probe == nil ? .open : .halfOpen
    }

    // MARK: - Calls

    /// Asked before every call.
    package mutating func permit(_ stream: GateStream, at now: Int64) -> Permit {
        guard !isOperatorClosed else {
            return .wait(milliseconds: ProbeBackoff.ceilingMilliseconds)
        }
        if mode == .autonomous {
            if let probe, probe.stream != stream, now - probe.since < GateTimes.probeMilliseconds {
                return .wait(milliseconds: ProbeBackoff.ceilingMilliseconds)
            }
            if probe?.stream != stream {
                guard now >= probeDueAt else { return .wait(milliseconds: probeDueAt - now) }
                probe = (stream, now)
            }
        }
        began(at: now)
        return .go
    }

    /// A hello of the gate's own goes out.
    package mutating func began(at now: Int64) {
        askedAt = askedAt ?? now
        lastCallAt = now
    }

    package mutating func answered(_ answer: Answer, at now: Int64) -> [GateAction] {
        guard !isOperatorClosed, mode != .autonomous || answer == .fact else { return [] }
        failures = 0
        askedAt = nil
        guard mode == .autonomous else { return [] }
        mode = .reconciling
        reason = ""
        probe = nil
        reconciliation = Reconciliation(streams)
        var actions = [GateAction.reachable]
        for (stream, known) in compared.sorted(by: { $0.key < $1.key }) {
            actions += reconciliation.compare(stream, local: known.local, peer: known.peer)
        }
        compared = [:]
        return actions + [.wake] + endIfComplete()
    }

    /// A call did not get through, or was answered *unavailable*.
    ///
    /// - Parameters:
    ///   - began: when the call was made.
    ///   - jitter: 0 ..< 1, for the next probe.
    package mutating func failed(
        _ sentence: String, began: Int64, at now: Int64, jitter: Double
    ) -> [GateAction] {
        guard !isOperatorClosed else { return [] }
        if mode == .autonomous {
            reason = sentence
            probe = nil
            probeDueAt = now + backoff.next(jitter: jitter)
            return [.wake]
        }
        guard began > lastFailureAt else { return [] }
        lastFailureAt = now
        failures += 1
        return failures < InboundGate.failuresMaximum ? [] : close(sentence, at: now, jitter)
    }

    /// A call was given up by ourselves: it says nothing about the peer.
    package mutating func abandoned(_ stream: GateStream) -> [GateAction] {
        askedAt = nil
        guard probe?.stream == stream else { return [] }
        probe = nil
        return [.wake]
    }

    /// Time has passed.
    package mutating func tick(at now: Int64, jitter: Double) -> [GateAction] {
        guard mode != .autonomous else { return [] }
        if let askedAt, now - askedAt >= GateTimes.silenceMilliseconds {
            return close("no answer for 30 s", at: now, jitter)
        }
        guard now - lastCallAt >= GateTimes.greetingMilliseconds else { return [] }
        began(at: now)
        return [.greet]
    }

    /// The peer says that it is there: the next probe need not wait.
    package mutating func invite(at now: Int64) -> [GateAction] {
        guard mode == .autonomous, !isOperatorClosed, probe == nil, probeDueAt > now else {
            return []
        }
        probeDueAt = now
        return [.wake]
    }

    // MARK: - Streams

    /// The streams that are pulled.
    package mutating func keep(_ streams: [GateStream]) -> [GateAction] {
        self.streams = streams
        reconciliation.keep(streams)
        compared = compared.filter { streams.contains($0.key) }
        if let probe, !streams.contains(probe.stream) { self.probe = nil }
        return mode == .reconciling ? endIfComplete() : []
    }

    /// A cursor was opened: our position, and the head of the source.
    package mutating func opened(_ stream: GateStream, local: UInt64, peer: UInt64) -> [GateAction] {
        guard mode != .autonomous else {
            compared[stream] = (local, peer)
            return []
        }
        guard mode == .reconciling else { return [] }
        return reconciliation.compare(stream, local: local, peer: peer) + endIfComplete()
    }

    package mutating func progress(_ stream: GateStream, offset: UInt64, blocked: String?)
        -> [GateAction]
    {
        guard mode == .reconciling else { return [] }
        return reconciliation.progress(stream, offset: offset, blocked: blocked) + endIfComplete()
    }

    private mutating func endIfComplete() -> [GateAction] {
        guard reconciliation.isComplete else { return [] }
        mode = .normal
        backoff.reset()
        return [.reconciled]
    }

    // MARK: - Closing

    package mutating func closeByOperator(_ reason: String, at now: Int64) -> [GateAction] {
        guard !isOperatorClosed else {
            self.reason = reason
            return []
        }
        isOperatorClosed = true
        return close(reason, at: now, 0)
    }

    package mutating func openByOperator(at now: Int64) -> [GateAction] {
        guard isOperatorClosed else { return [] }
        isOperatorClosed = false
        reason = "opened by the operator, not reached yet"
        backoff.reset()
        probeDueAt = now
        lastCallAt = now
        return [.wake]
    }

    private mutating func close(_ sentence: String, at now: Int64, _ jitter: Double) -> [GateAction] {
        mode = .autonomous
        reason = sentence
        failures = 0
        askedAt = nil
        probe = nil
        compared = [:]
        reconciliation = Reconciliation([])
        probeDueAt = now + backoff.next(jitter: jitter)
        return [.closed(sentence)]
    }
}
