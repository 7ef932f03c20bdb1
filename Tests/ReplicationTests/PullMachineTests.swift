import Buffers
import Facts
import Replication
import Testing

@Suite struct PullMachineTests {
    private func pulling(at offset: UInt64 = 0) -> PullMachine {
        var machine = PullMachine(durable: offset > 0 ? place(offset) : nil)
        #expect(machine.start() == [.open])
        _ = machine.opened(at: place(offset))
        return machine
    }

    // MARK: - The ordinary way

    @Test func `opens, fetches, commits and confirms`() {
        var machine = PullMachine(durable: nil)
        #expect(machine.start() == [.open])
        #expect(machine.status == .connecting)
        // Nothing was received: nothing is confirmed.
        #expect(machine.opened(at: place(0)) == [.fetch(from: 0)])
        #expect(machine.status == .pulling)
        #expect(machine.fetched(isEmpty: false, nextOffset: 10) == [.commit, .fetch(from: 10)])
        #expect(machine.committed(place(10)) == [.confirm(place(10))])
        #expect(machine.durable == place(10))
        #expect(machine.confirmed(through: 10) == [])
        #expect(machine.confirmedOffset == 10)
        #expect(machine.fetched(isEmpty: true, nextOffset: 10) == [.fetch(from: 10)])
    }

    @Test("gateway decision 4: confirms the durable position again before it fetches")
    func confirmsFirst() {
        var machine = PullMachine(durable: place(7))
        _ = machine.start()
        #expect(machine.opened(at: place(7)) == [.confirm(place(7)), .fetch(from: 7)])
    }

    @Test("gateway decision 5: a start beyond zero with nothing received confirms nothing")
    func confirmsNothing() {
        var machine = PullMachine(durable: nil)
        _ = machine.start()
        let start = SourcePosition(logUUID: source, epoch: 1, nextOffset: 100)
        #expect(machine.opened(at: start) == [.fetch(from: 100)])
    }

    @Test("gateway decision 5: at most four pages are read ahead, one fetch in flight from the last next_offset")
    func readAhead() {
        var machine = pulling()
        #expect(machine.fetched(isEmpty: false, nextOffset: 1) == [.commit, .fetch(from: 1)])
        #expect(machine.fetched(isEmpty: false, nextOffset: 2) == [.fetch(from: 2)])
        #expect(machine.fetched(isEmpty: false, nextOffset: 3) == [.fetch(from: 3)])
        #expect(machine.fetched(isEmpty: false, nextOffset: 4) == [])
        #expect(
            machine.committed(place(1)) == [.commit, .fetch(from: 4), .confirm(place(1))])
    }

    @Test("gateway decision 5: one confirm is in flight and the next is of the newest durable position")
    func oneConfirm() {
        var machine = pulling()
        _ = machine.fetched(isEmpty: false, nextOffset: 1)
        _ = machine.fetched(isEmpty: false, nextOffset: 2)
        _ = machine.fetched(isEmpty: false, nextOffset: 3)
        #expect(machine.committed(place(1)).contains(.confirm(place(1))))
        #expect(machine.committed(place(2)) == [.commit])
        #expect(machine.committed(place(3)) == [])
        #expect(machine.confirmed(through: 1) == [.confirm(place(3))])
    }

    // MARK: - Halted

    @Test("gateway decision 16: a halt drops what was read ahead, confirms what is durable and fetches nothing")
    func halt() {
        var machine = pulling()
        _ = machine.fetched(isEmpty: false, nextOffset: 5)
        _ = machine.fetched(isEmpty: false, nextOffset: 9)
        let generation = machine.generation
        #expect(machine.halted("offset 3", at: place(3)) == [.confirm(place(3))])
        let halted = PullMachine.Status.blocked(reason: PullMachine.halted, sentence: "offset 3")
        #expect(machine.status == halted && machine.generation == generation + 1)
        #expect(machine.confirmed(through: 3) == [])
        #expect(machine.redeliver(from: 0) == [])
        // A source that comes back is confirmed to and not fetched from.
        let actions = machine.unavailable("gone", durable: place(3), jitter: 0)
        #expect(waits(actions) != nil && machine.waited() == [.open])
        #expect(machine.opened(at: place(3), haltSentence: "offset 3") == [.confirm(place(3))])
        #expect(machine.status == halted)
        #expect(machine.startAgain(durable: place(4)) == [.open])
        #expect(machine.opened(at: place(4)) == [.confirm(place(4)), .fetch(from: 4)])
    }

    @Test("gateway decision 7: after an accepted history a lower position is confirmed again")
    func startAgain() {
        var machine = pulling()
        _ = machine.fetched(isEmpty: false, nextOffset: 9)
        _ = machine.committed(place(9))
        _ = machine.confirmed(through: 9)
        #expect(machine.startAgain(durable: place(4)) == [.open])
        #expect(machine.confirmedOffset == nil)
        #expect(machine.opened(at: place(4)) == [.confirm(place(4)), .fetch(from: 4)])
        // Not before a commit that is out has ended.
        _ = machine.fetched(isEmpty: false, nextOffset: 9)
        #expect(machine.startAgain(durable: place(2)) == [])
        #expect(machine.staleCommitFailed(durable: place(2)) == [.open])
    }

    // MARK: - No room

    @Test func `a forward buffer without room pauses and goes on by itself`() {
        var machine = pulling()
        _ = machine.fetched(isEmpty: false, nextOffset: 1)
        _ = machine.fetched(isEmpty: false, nextOffset: 2)
        let generation = machine.generation
        #expect(
            machine.full("no room", durable: place(0), retryAfterMilliseconds: 1_000)
                == [.wait(milliseconds: 1_000)])
        let paused = PullMachine.Status.blocked(
            reason: PullMachine.forwardFull, sentence: "no room")
        #expect(machine.status == paused)
        // What is on its way may come; nothing more is asked for, and nothing is committed.
        #expect(machine.fetched(isEmpty: false, nextOffset: 3) == [])
        #expect(machine.waited() == [.commit])
        // Still none: the status is told once, whatever the sentence says.
        #expect(
            machine.full("none yet", durable: place(0), retryAfterMilliseconds: 1)
                == [.wait(milliseconds: 50)])
        #expect(machine.status == paused)
        #expect(machine.waited() == [.commit])
        #expect(machine.committed(place(1)) == [.commit, .fetch(from: 3), .confirm(place(1))])
        #expect(machine.status == .pulling && machine.generation == generation)
    }

    @Test func `what a part of a page moved is confirmed while it is paused`() {
        var machine = pulling()
        _ = machine.fetched(isEmpty: false, nextOffset: 10)
        #expect(
            machine.full("no room", durable: place(4), retryAfterMilliseconds: 100_000)
                == [.wait(milliseconds: 5_000), .confirm(place(4))])
        #expect(machine.confirmed(through: 4) == [])
    }

    @Test func `a source that is lost ends the pause`() {
        var machine = pulling()
        _ = machine.fetched(isEmpty: false, nextOffset: 1)
        _ = machine.full("no room", durable: place(0), retryAfterMilliseconds: 50)
        _ = machine.unavailable("gone", durable: place(0), jitter: 0)
        #expect(machine.status == .unavailable("gone") && !machine.isPaused)
        #expect(machine.waited() == [.open])
        #expect(machine.opened(at: place(0)) == [.fetch(from: 0)])
    }

    // MARK: - Failures

    @Test func `a failure drops what was read ahead and opens again from what is durable`() {
        var machine = pulling()
        let before = machine.generation
        _ = machine.fetched(isEmpty: false, nextOffset: 1)
        _ = machine.committed(place(1))
        _ = machine.fetched(isEmpty: true, nextOffset: 1)
        let actions = machine.unavailable("gone", durable: place(1), jitter: 0)
        #expect(waits(actions) != nil)
        #expect(machine.status == .unavailable("gone"))
        #expect(machine.generation > before)
        #expect(machine.waited() == [.open])
        #expect(machine.opened(at: place(1)) == [.confirm(place(1)), .fetch(from: 1)])
    }

    @Test func `who says that there is nothing, and did not wait, is not trusted with a fresh start`() {
        var machine = pulling()
        func fails() -> Int {
            let wait = waits(machine.unavailable("gone", durable: place(0), jitter: 0))
            _ = machine.waited()
            _ = machine.opened(at: place(0))
            return wait ?? 0
        }
        let first = fails()
        #expect(machine.fetched(isEmpty: true, isEarly: true, nextOffset: 0) == [.fetch(from: 0)])
        let second = fails()
        #expect(second == 2 * first)
        _ = machine.fetched(isEmpty: true, nextOffset: 0)
        #expect(fails() == first, "the end of the source was reached")
    }

    @Test func `a reset waits for the commit that is out`() {
        var machine = pulling()
        _ = machine.fetched(isEmpty: false, nextOffset: 5)
        _ = machine.unavailable("gone", durable: place(0), jitter: 0)
        #expect(machine.isDroppedCommitOut)
        #expect(machine.waited() == [])
        #expect(machine.committed(place(5)) == [.open])
        #expect(machine.durable == place(5))
        #expect(machine.opened(at: place(5)) == [.confirm(place(5)), .fetch(from: 5)])
        #expect(machine.fetched(isEmpty: false, nextOffset: 6) == [.commit, .fetch(from: 6)])
    }

    @Test func `a dropped commit that fails only lets go`() {
        var machine = pulling()
        _ = machine.fetched(isEmpty: false, nextOffset: 5)
        _ = machine.unavailable("gone", durable: place(0), jitter: 0)
        _ = machine.waited()
        #expect(machine.staleCommitFailed(durable: place(0)) == [.open])
        #expect(machine.durable == place(0))
    }

    @Test func `a failed commit is a reset of its own`() {
        var machine = pulling()
        _ = machine.fetched(isEmpty: false, nextOffset: 5)
        let actions = machine.refused(
            reason: "conflicting_duplicate", "no", isHistory: false, isCommit: true,
            durable: place(0), jitter: 0)
        #expect(waits(actions) != nil)
        #expect(machine.status == .blocked(reason: "conflicting_duplicate", sentence: "no"))
        #expect(!machine.isDroppedCommitOut)
        #expect(machine.waited() == [.open])
    }

    @Test func `waits longer each time, never above ten seconds`() {
        for jitter in [0, 0.5, 0.999] {
            var machine = pulling()
            var last = 0
            for count in 1...20 {
                let actions = machine.unavailable("gone", durable: place(0), jitter: jitter)
                let wait = waits(actions) ?? 0
                #expect(wait >= 100 && wait <= 10_000 && wait >= last, "failure \(count)")
                last = wait
                _ = machine.waited()
            }
            #expect(last >= 5_000)
        }
    }

    @Test func `a page that cannot be committed is not fetched at full speed for ever`() {
        var machine = pulling()
        var last = 0
        for _ in 1...12 {
            _ = machine.fetched(isEmpty: false, nextOffset: 5)
            let actions = machine.refused(
                reason: "digest_mismatch", "no", isHistory: false, isCommit: true,
                durable: place(0), jitter: 0)
            last = waits(actions) ?? 0
            _ = machine.waited()
            _ = machine.opened(at: place(0))
        }
        #expect(last >= 5_000)
        // Progress begins anew.
        _ = machine.fetched(isEmpty: false, nextOffset: 5)
        _ = machine.committed(place(5))
        #expect(waits(machine.unavailable("gone", durable: place(5), jitter: 0)) == 100)
    }

    // MARK: - History

    @Test("gateway decision 6: the first history refusal is asked once more and the second blocks")
    func asksOnceMore() {
        var machine = pulling(at: 3)
        func refuse(_ machine: inout PullMachine) -> [PullMachine.Action] {
            machine.refused(
                reason: "history_mismatch", "differs", isHistory: true, durable: place(3),
                jitter: 0)
        }
        let generation = machine.generation
        #expect(waits(refuse(&machine)) == 100)
        #expect(machine.status == .connecting)
        #expect(machine.generation > generation)
        #expect(machine.waited() == [.open])
        _ = machine.opened(at: place(3))
        #expect(waits(refuse(&machine)) != nil)
        #expect(machine.status == .blocked(reason: "history_mismatch", sentence: "differs"))
        // A confirm that passes settles it.
        _ = machine.waited()
        _ = machine.opened(at: place(3))
        _ = machine.confirmed(through: 3)
        _ = refuse(&machine)
        #expect(machine.status == .connecting)
    }

    // MARK: - Drill and end

    @Test func `redelivery goes through the ordinary path`() {
        var machine = pulling()
        _ = machine.fetched(isEmpty: false, nextOffset: 9)
        #expect(machine.redeliver(from: 1) == [], "nothing beyond the position")
        _ = machine.committed(place(9))
        _ = machine.confirmed(through: 9)
        #expect(machine.redeliver(from: 10) == [])
        #expect(machine.redeliver(from: 2) == [.fetch(from: 2)])
        #expect(machine.durable == place(9))
        #expect(machine.fetched(isEmpty: false, nextOffset: 9) == [.commit, .fetch(from: 9)])
        #expect(machine.committed(place(9)) == [])
    }

    @Test func `redelivery while a commit is out waits with its own`() {
        var machine = pulling()
        _ = machine.fetched(isEmpty: false, nextOffset: 4)
        _ = machine.committed(place(4))
        _ = machine.confirmed(through: 4)
        _ = machine.fetched(isEmpty: false, nextOffset: 8)
        #expect(machine.redeliver(from: 0) == [.fetch(from: 0)])
        #expect(machine.fetched(isEmpty: false, nextOffset: 8) == [.fetch(from: 8)])
        #expect(machine.committed(place(8)) == [.commit, .confirm(place(8))])
        #expect(machine.committed(place(8)) == [])
    }

    @Test func `nothing follows the end`() {
        var machine = pulling()
        _ = machine.fetched(isEmpty: false, nextOffset: 4)
        machine.stop()
        #expect(machine.committed(place(4)) == [])
        #expect(machine.durable == place(4))
        #expect(machine.fetched(isEmpty: false, nextOffset: 8) == [])
        #expect(machine.confirmed(through: 4) == [])
        #expect(machine.unavailable("gone", durable: place(4), jitter: 0) == [])
        #expect(machine.waited() == [] && machine.start() == [])
        #expect(machine.redeliver(from: 0) == [] && machine.opened(at: place(4)) == [])
        #expect(machine.status == .stopped)
    }

    @Test func `nothing follows the end of a pull that waits for room either`() {
        for isCommitting in [true, false] {
            var machine = pulling()
            _ = machine.fetched(isEmpty: false, nextOffset: 4)
            _ = machine.fetched(isEmpty: false, nextOffset: 8)
            _ = machine.full("full", durable: place(0), retryAfterMilliseconds: 100)
            if isCommitting { #expect(machine.waited() == [.commit]) }
            machine.stop()
            if isCommitting { #expect(machine.committed(place(4)) == []) }
            #expect(machine.waited() == [] && machine.resumed() == [])
            #expect(machine.status == .stopped && !machine.isPaused)
        }
    }

    @Test func `a source that has something new does not try again for room that is missing here`() {
        var machine = pulling()
        _ = machine.fetched(isEmpty: false, nextOffset: 4)
        #expect(
            machine.full("full", durable: place(0), retryAfterMilliseconds: 100)
                == [.wait(milliseconds: 100)])
        for _ in 0..<3 { #expect(machine.resumed() == []) }
        #expect(machine.waited() == [.commit])
        _ = machine.unavailable("gone", isCommit: true, durable: place(0), jitter: 0)
        #expect(machine.resumed() == [.open])
    }

    // MARK: - Any order of events

    /// A source of `head` facts and a receiver, with calls that end in any order and fail at will.
    @Test func `whatever happens each fact is committed once and in order`() {
        let seed = UInt64.random(in: .min ... .max)
        print("PullMachine seed \(seed)")
        var random = SplitMix(state: seed)
        for _ in 0..<400 {
            var world = World(&random, seed)
            world.run(&random)
        }
    }

    private struct World {
        var machine: PullMachine
        var durable: SourcePosition?
        var cursor: UInt64 = 0
        var head: UInt64
        /// Calls in flight with the generation that made them.
        var calls: [(action: PullMachine.Action, generation: UInt64)] = []
        /// Pages read ahead, as ranges.
        var pages: [Range<UInt64>] = []
        var commit: (page: Range<UInt64>, from: SourcePosition)?
        let seed: UInt64

        init(_ random: inout SplitMix, _ seed: UInt64) {
            head = UInt64.random(in: 0...40, using: &random)
            machine = PullMachine(durable: nil)
            self.seed = seed
        }

        mutating func run(_ random: inout SplitMix) {
            take(machine.start())
            for _ in 0..<200 { step(&random) }
            // Left alone, it reaches the head.
            for _ in 0..<600 where (durable?.nextOffset ?? 0) < head || cursor < head {
                step(&random, isKind: true)
            }
            #expect(durable?.nextOffset ?? 0 == head && cursor == head, "seed \(seed)")
        }

        mutating func take(_ actions: [PullMachine.Action]) {
            for action in actions {
                if action == .commit {
                    #expect(commit == nil, "two commits are out, seed \(seed)")
                    #expect(!pages.isEmpty, "no page to commit, seed \(seed)")
                    commit = (pages.removeFirst(), machine.durable!)
                } else {
                    calls.append((action, machine.generation))
                }
            }
            let current = calls.filter { $0.generation == machine.generation }.map(\.action)
            #expect(current.count { if case .fetch = $0 { true } else { false } } <= 1)
            #expect(current.count { if case .confirm = $0 { true } else { false } } <= 1)
            #expect(pages.count <= PullMachine.pagesAheadMaximum, "seed \(seed)")
            for case .confirm(let position) in current {
                #expect(position.nextOffset <= durable?.nextOffset ?? 0, "seed \(seed)")
            }
            #expect(cursor <= durable?.nextOffset ?? 0 && durable?.nextOffset ?? 0 <= head)
        }

        mutating func step(_ random: inout SplitMix, isKind: Bool = false) {
            if !isKind, Int.random(in: 0..<30, using: &random) == 0 {
                head += UInt64.random(in: 1...9, using: &random)
            }
            if !isKind, Int.random(in: 0..<25, using: &random) == 0, let durable {
                let from = durable.nextOffset - min(3, durable.nextOffset)
                let actions = machine.redeliver(from: from)
                if !actions.isEmpty { pages = [] }
                take(actions)
            }
            let isCommit = commit != nil && (calls.isEmpty || Bool.random(using: &random))
            let fails = !isKind && Int.random(in: 0..<8, using: &random) == 0
            if isCommit, let (page, from) = commit {
                commit = nil
                finish(page, from, fails, &random)
                return
            }
            guard !calls.isEmpty else { return }
            let index = Int.random(in: calls.indices, using: &random)
            let (action, generation) = calls.remove(at: index)
            // What a call does at the source happens also when nobody waits for it any more.
            if case .confirm(let position) = action, !fails {
                cursor = max(cursor, position.nextOffset)
            }
            guard generation == machine.generation else { return }
            if fails {
                if case .wait = action {} else { return fail(false, &random) }
            }
            switch action {
            case .open:
                let start = durable ?? place(0)
                durable = start
                take(machine.opened(at: start))
            case .fetch(let offset):
                #expect(offset <= head, "seed \(seed)")
                let end = min(head, offset + UInt64.random(in: 1...5, using: &random))
                if end > offset { pages.append(offset..<end) }
                take(machine.fetched(isEmpty: end == offset, nextOffset: end))
            case .confirm(let position):
                take(machine.confirmed(through: position.nextOffset))
            case .wait: take(machine.waited())
            case .commit: preconditionFailure("a commit is no call")
            }
        }

        mutating func finish(
            _ page: Range<UInt64>, _ from: SourcePosition, _ fails: Bool,
            _ random: inout SplitMix
        ) {
            #expect(from == durable, "a commit starts at what is durable, seed \(seed)")
            #expect(page.lowerBound <= from.nextOffset, "something was left out, seed \(seed)")
            if fails {
                if machine.isDroppedCommitOut {
                    take(machine.staleCommitFailed(durable: durable))
                } else {
                    fail(true, &random)
                }
                return
            }
            let to = place(max(page.upperBound, from.nextOffset))
            durable = to
            take(machine.committed(to))
        }

        mutating func fail(_ isCommit: Bool, _ random: inout SplitMix) {
            pages = []
            if Bool.random(using: &random) {
                take(
                    machine.unavailable(
                        "gone", isCommit: isCommit, durable: durable, jitter: 0.5))
            } else {
                take(
                    machine.refused(
                        reason: "history_mismatch", "differs",
                        isHistory: Bool.random(using: &random), isCommit: isCommit,
                        durable: durable, jitter: 0.5))
            }
        }
    }
}

let source = [UInt8](repeating: 9, count: 16)

func place(_ offset: UInt64) -> SourcePosition {
    SourcePosition(
        logUUID: source, epoch: 1, nextOffset: offset,
        digest: offset > 0 ? SHA256.hash(Array("\(offset)".utf8)) : nil,
        digestOffset: offset > 0 ? offset - 1 : nil)
}

/// The milliseconds of the one wait that the actions are.
private func waits(_ actions: [PullMachine.Action]) -> Int? {
    guard actions.count == 1, case .wait(let milliseconds) = actions[0] else { return nil }
    return milliseconds
}

/// A generator that a printed seed repeats.
struct SplitMix: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var value = state
        value = (value ^ (value >> 30)) &* 0xBF58_476D_1CE4_E5B9
        value = (value ^ (value >> 27)) &* 0x94D0_49BB_1331_11EB
        return value ^ (value >> 31)
    }
}
