import Replication
import Testing

private let audit = GateStream(stream: "facts.audit", origin: "plant-a")
private let operational = GateStream(stream: "facts.operational", origin: "plant-a")

@Suite struct InboundGateTests {
    /// A gate that has answered once, with both streams to catch up with.
    private func reconciling(at now: Int64 = 0) -> InboundGate {
        var gate = InboundGate(at: now)
        _ = gate.keep([audit, operational])
        _ = gate.permit(operational, at: now)
        _ = gate.opened(operational, local: 5, peer: 12)
        _ = gate.answered(.fact, at: now)
        return gate
    }

    private func normal(at now: Int64 = 0) -> InboundGate {
        var gate = reconciling(at: now)
        _ = gate.opened(audit, local: 0, peer: 0)
        _ = gate.progress(operational, offset: 12, blocked: nil)
        return gate
    }

    private func fail(_ gate: inout InboundGate, at now: Int64) -> [GateAction] {
        gate.failed("refused", began: now - 1, at: now, jitter: 0.5)
    }

    @Test("gateway decision 17: three transport failures close the inbound gate, two do not")
    func threeFailuresClose() {
        var gate = normal()
        #expect(gate.mode == .normal)
        #expect(fail(&gate, at: 10).isEmpty && fail(&gate, at: 20).isEmpty)
        #expect(gate.mode == .normal)
        #expect(fail(&gate, at: 30) == [.closed("refused")])
        #expect(gate.mode == .autonomous && gate.breaker == .open)
    }

    @Test func `a success in between begins the count anew`() {
        var gate = normal()
        _ = fail(&gate, at: 10)
        _ = fail(&gate, at: 20)
        #expect(gate.answered(.greeting, at: 25).isEmpty)
        _ = fail(&gate, at: 30)
        _ = fail(&gate, at: 40)
        #expect(gate.mode == .normal)
    }

    @Test func `calls that one lost connection took along are one failure`() {
        var gate = normal()
        for _ in 0..<10 {
            _ = gate.failed("lost", began: 5, at: 10, jitter: 0)
        }
        #expect(gate.mode == .normal)
        _ = gate.failed("lost", began: 11, at: 20, jitter: 0)
        #expect(gate.mode == .normal)
        #expect(gate.failed("lost", began: 21, at: 30, jitter: 0) == [.closed("lost")])
    }

    @Test("gateway decision 17: thirty seconds without a success close it, and only while something is asked")
    func silenceCloses() {
        var gate = normal()
        // Nothing is asked: the gate asks itself.
        #expect(gate.tick(at: 9_999, jitter: 0).isEmpty)
        #expect(gate.tick(at: 10_000, jitter: 0) == [.greet])
        #expect(gate.answered(.greeting, at: 10_001).isEmpty)
        #expect(gate.tick(at: 19_000, jitter: 0).isEmpty)
        _ = gate.permit(operational, at: 19_500)
        #expect(gate.tick(at: 49_499, jitter: 0) != [.closed("no answer for 30 s")])
        #expect(gate.tick(at: 49_500, jitter: 0) == [.closed("no answer for 30 s")])
        #expect(gate.tick(at: 90_000, jitter: 0).isEmpty, "closed once")
    }

    @Test("gateway decision 17: while closed one stream probes, with a pause of ten seconds at most")
    func probing() {
        var gate = normal()
        for time in [10, 20, 30] as [Int64] { _ = fail(&gate, at: time) }
        var now: Int64 = 30
        for _ in 0..<20 {
            guard case .wait(let milliseconds) = gate.permit(operational, at: now) else {
                Issue.record("a call passed a closed gate")
                return
            }
            #expect((1...ProbeBackoff.ceilingMilliseconds).contains(milliseconds))
            now += milliseconds
            #expect(gate.permit(operational, at: now) == .go)
            #expect(gate.breaker == .halfOpen)
            // The probe's next call passes, another stream's waits.
            #expect(gate.permit(operational, at: now) == .go)
            #expect(gate.permit(audit, at: now) != .go)
            // A hello alone opens nothing: a peer whose operator closed its gate answers it.
            #expect(gate.answered(.greeting, at: now).isEmpty && gate.mode == .autonomous)
            #expect(gate.failed("down", began: now, at: now + 1, jitter: 0.99) == [.wake])
            now += 1
        }
    }

    @Test func `a probe that never ends does not keep others from probing`() {
        var gate = InboundGate(at: 0)
        _ = gate.keep([audit, operational])
        #expect(gate.permit(operational, at: 0) == .go)
        #expect(gate.permit(audit, at: 19_999) != .go)
        #expect(gate.permit(audit, at: 20_000) == .go)
    }

    @Test func `an invitation makes the next probe due at once`() {
        var gate = normal()
        for time in [10, 20, 30] as [Int64] { _ = fail(&gate, at: time) }
        #expect(gate.permit(audit, at: 31) != .go)
        #expect(gate.invite(at: 31) == [.wake])
        #expect(gate.permit(audit, at: 31) == .go)
    }

    @Test("gateway decision 18: reconciling ends when every stream has reached the head of the reconnection")
    func reconciliation() {
        var gate = InboundGate(at: 0)
        _ = gate.keep([audit, operational])
        #expect(gate.permit(operational, at: 0) == .go)
        #expect(gate.opened(operational, local: 5, peer: 12).isEmpty)
        #expect(
            gate.answered(.fact, at: 1) == [
                .reachable, .compared(operational, local: 5, peer: 12),
                .backfillRequired(operational, facts: 7), .replayInitiated(operational, from: 5),
                .wake,
            ])
        #expect(gate.mode == .reconciling)
        #expect(gate.reconciliation.open.map(\.stream) == [audit, operational])
        // What came after the reconnection does not move the goal.
        #expect(gate.opened(operational, local: 5, peer: 99).isEmpty)
        #expect(gate.progress(operational, offset: 11, blocked: nil).isEmpty)
        #expect(gate.progress(operational, offset: 12, blocked: nil) == [.cursorAdvanced(operational, to: 12)])
        #expect(gate.mode == .reconciling, "the other stream is not there yet")
        #expect(gate.opened(audit, local: 3, peer: 3) == [.compared(audit, local: 3, peer: 3), .reconciled])
        #expect(gate.mode == .normal)
    }

    @Test("gateway decision 18: a blocked stream keeps reconciling open and is named")
    func blockedStreamsAreNamed() {
        var gate = reconciling()
        _ = gate.opened(audit, local: 0, peer: 4)
        _ = gate.progress(operational, offset: 12, blocked: nil)
        _ = gate.progress(audit, offset: 2, blocked: "from_zone_not_allowed")
        #expect(gate.mode == .reconciling)
        #expect(gate.reconciliation.open.map(\.blocked) == ["from_zone_not_allowed"])
        #expect(gate.reconciliation.open.map(\.stream) == [audit])
        _ = gate.progress(audit, offset: 4, blocked: nil)
        #expect(gate.mode == .normal)
    }

    @Test("gateway decision 11: a forward log without room is no gate change")
    func fullIsNoGateChange() {
        var gate = normal()
        var now: Int64 = 0
        // Nothing is fetched for ten minutes; hellos are answered.
        for _ in 0..<60 {
            now += 10_000
            #expect(gate.tick(at: now, jitter: 0) == [.greet])
            _ = gate.answered(.greeting, at: now + 1)
            #expect(gate.progress(operational, offset: 12, blocked: "forward_full").isEmpty)
        }
        #expect(gate.mode == .normal)
    }

    @Test("gateway decision 18: what the operator closed stays closed whatever answers")
    func operatorCloses() {
        var gate = normal()
        #expect(gate.closeByOperator("drill", at: 5) == [.closed("drill")])
        #expect(gate.permit(operational, at: 1_000_000) != .go)
        #expect(gate.answered(.fact, at: 6).isEmpty && gate.mode == .autonomous)
        #expect(gate.failed("x", began: 6, at: 7, jitter: 0).isEmpty && gate.reason == "drill")
        #expect(gate.invite(at: 8).isEmpty)
        #expect(gate.openByOperator(at: 9) == [.wake])
        #expect(gate.openByOperator(at: 9).isEmpty)
        #expect(gate.permit(operational, at: 9) == .go)
        #expect(gate.answered(.fact, at: 10).first == .reachable)
    }

    @Test func `streams that leave the configuration hold nothing up`() {
        var gate = reconciling()
        _ = gate.progress(operational, offset: 12, blocked: nil)
        #expect(gate.mode == .reconciling)
        #expect(gate.keep([operational]) == [.reconciled])
        // A stream that comes while the gate is normal catches up without it.
        #expect(gate.keep([operational, audit]).isEmpty && gate.mode == .normal)
    }

    /// Whatever happens in whatever order, what the gate promises holds after each step.
    @Test(arguments: 0..<50) func randomWalks(seed: Int) {
        var random = WalkRandom(seed: UInt64(seed))
        var gate = InboundGate(at: 0)
        _ = gate.keep([audit, operational])
        var now: Int64 = 0
        var failuresInARow = 0
        var isClosedByOperator = false
        for _ in 0..<2_000 {
            now += Int64(random.next(below: 4_000))
            let stream = random.next(below: 2) == 0 ? audit : operational
            let before = gate.mode
            var actions: [GateAction] = []
            switch random.next(below: 12) {
            case 0, 1, 2:
                let isOpen = gate.mode != .autonomous
                let permit = gate.permit(stream, at: now)
                if case .wait(let milliseconds) = permit {
                    #expect(!isOpen, "an open gate holds nobody up")
                    #expect((1...10_000).contains(milliseconds))
                } else {
                    #expect(!isClosedByOperator)
                }
            case 3, 4:
                actions = gate.answered(.fact, at: now)
                failuresInARow = 0
                if !isClosedByOperator { #expect(gate.mode != .autonomous) }
            case 5:
                actions = gate.answered(.greeting, at: now)
                if gate.mode != .autonomous { failuresInARow = 0 }
                #expect(before != .autonomous || gate.mode == .autonomous)
            case 6, 7:
                actions = gate.failed("down", began: now, at: now, jitter: random.share())
                if before != .autonomous {
                    failuresInARow += 1
                    #expect(gate.mode != .autonomous || failuresInARow >= InboundGate.failuresMaximum)
                }
            case 8: actions = gate.tick(at: now, jitter: random.share())
            case 9: actions = gate.opened(stream, local: 0, peer: UInt64(random.next(below: 3)))
            case 10:
                actions = gate.progress(
                    stream, offset: UInt64(random.next(below: 4)),
                    blocked: random.next(below: 2) == 0 ? nil : "blocked")
            default:
                if random.next(below: 10) == 0 {
                    if isClosedByOperator {
                        actions = gate.openByOperator(at: now)
                        isClosedByOperator = false
                    } else {
                        actions = gate.closeByOperator("drill", at: now)
                        isClosedByOperator = true
                    }
                } else {
                    actions = gate.abandoned(stream)
                }
            }
            if gate.mode == .autonomous, before != .autonomous { failuresInARow = 0 }
            #expect(isClosedByOperator == gate.isOperatorClosed)
            if isClosedByOperator { #expect(gate.mode == .autonomous) }
            #expect((gate.mode == .autonomous) == !gate.reason.isEmpty)
            #expect((gate.mode == .normal) == (gate.mode != .autonomous && gate.reconciliation.isComplete))
            #expect(gate.breaker == .closed || gate.mode == .autonomous)
            // Each change of mode is told, and nothing else is told as one.
            let isTold = actions.contains { action in
                switch action {
                case .closed, .reachable, .reconciled: true
                default: false
                }
            }
            #expect(gate.mode == before || isTold)
            if actions.contains(.reachable) { #expect(before == .autonomous) }
            if actions.contains(.reconciled) { #expect(gate.mode == .normal) }
        }
    }
}

@Suite struct OutboundGateTests {
    private let logs: [(stream: GateStream, confirmed: UInt64, head: UInt64)] = [
        (audit, 4, 4), (operational, 2, 9),
    ]

    @Test("gateway decision 17: thirty seconds without a request close the outbound gate, a request opens it")
    func silence() {
        var gate = OutboundGate()
        #expect(gate.mode == .autonomous && gate.reason == "has not called yet")
        #expect(gate.tick(at: 1_000_000).isEmpty)
        #expect(gate.called(at: 5) == [.reachable])
        #expect(gate.called(at: 6).isEmpty && gate.mode == .reconciling)
        #expect(gate.tick(at: 30_005).isEmpty)
        #expect(gate.tick(at: 30_006) == [.closed("no request for 30 s")])
        #expect(gate.called(at: 40_000) == [.reachable])
    }

    @Test("gateway decision 18: outbound reconciling ends when every cursor reached the head of that moment")
    func reconciliation() {
        var gate = OutboundGate()
        _ = gate.called(at: 0)
        #expect(gate.needsHeads)
        #expect(gate.reconcile(logs).isEmpty && gate.mode == .reconciling)
        // Heads are taken once.
        #expect(gate.reconcile([]).isEmpty)
        #expect(gate.progress(operational, offset: 8, blocked: "cursor_detached").isEmpty)
        #expect(gate.reconciliation.open.map(\.blocked) == ["cursor_detached"])
        #expect(gate.progress(operational, offset: 9, blocked: nil) == [.reconciled])
        #expect(gate.mode == .normal)
    }

    @Test func `a peer without cursors has nothing to catch up with`() {
        var gate = OutboundGate()
        _ = gate.called(at: 0)
        #expect(gate.reconcile([]) == [.reconciled])
    }

    @Test func `a cursor that is deleted holds nothing up`() {
        var gate = OutboundGate()
        _ = gate.called(at: 0)
        _ = gate.reconcile(logs)
        #expect(gate.keep([audit]) == [.reconciled])
    }

    @Test func `the operator's closing is ended by the operator only`() {
        var gate = OutboundGate()
        _ = gate.called(at: 0)
        #expect(gate.closeByOperator("drill") == [.closed("drill")])
        #expect(gate.called(at: 1).isEmpty && gate.mode == .autonomous)
        #expect(gate.openByOperator().isEmpty && gate.mode == .autonomous)
        #expect(gate.called(at: 2) == [.reachable])
    }

    @Test func `the worse mode is the greater one`() {
        #expect(max(GateMode.normal, .reconciling) == .reconciling)
        #expect(max(GateMode.reconciling, .autonomous) == .autonomous)
    }
}

@Suite struct ProbeBackoffTests {
    @Test("gateway decision 17: probe pauses double up to ten seconds and are spread by half")
    func pauses() {
        var least = ProbeBackoff()
        var most = ProbeBackoff()
        var previous: Int64 = 0
        for _ in 0..<40 {
            let (low, high) = (least.next(jitter: 0), most.next(jitter: 0.999))
            #expect(low >= previous / 2 && low <= high && high <= ProbeBackoff.ceilingMilliseconds)
            #expect(high < low * 2)
            previous = high
        }
        #expect(least.next(jitter: 0) == ProbeBackoff.ceilingMilliseconds / 2)
        least.reset()
        #expect(least.next(jitter: 0) == 100)
    }
}

/// A small generator with a seed, so that a walk that fails can be walked again.
private struct WalkRandom {
    private var state: UInt64

    init(seed: UInt64) { state = seed }

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var mixed = state
        mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
        return mixed ^ (mixed >> 31)
    }

    mutating func next(below bound: Int) -> Int { Int(next() % UInt64(bound)) }

    mutating func share() -> Double { Double(next() >> 11) / Double(1 << 53) }
}
