package import Buffers

/// One pull as a state machine without I/O: what to do next, from what has happened.
///
///     open -> confirm the position again -> fetch, up to four pages ahead -> commit in order
///          -> confirm the newest durable position, one confirm in flight
///
/// A failure drops the pages that were read ahead, waits, and opens again: the durable position is
/// the only memory. Calls of before are answered to nobody, but a commit that is out cannot be
/// taken back: whatever follows a reset waits for it, so that the position read afterwards is the
/// one that stands. The first history refusal is asked once more, since a confirm may have been
/// overtaken; the second one blocks.
///
/// A forward buffer without room is no failure: the page waits, nothing more is fetched, and the commit
/// is tried again after a while. The status says so once.
package struct PullMachine: Sendable {
    package static let pagesAheadMaximum = 4
    /// The reason of `blocked` while the forward buffer has no room.
    package static let forwardFull = "forward_full"
    /// The reason while the quarantine has no room for what a page needs it for.
    package static let quarantineFull = "quarantine_full"
    /// The reason of a stream that stopped for an operator (profile `silStrict`).
    package static let halted = "halted"

    package enum Action: Sendable, Equatable {
        /// Ask for the cursor with the durable position.
        case open
        case fetch(from: UInt64)
        /// Commit the oldest page.
        case commit
        case confirm(SourcePosition)
        /// Come back with `waited` after a while.
        case wait(milliseconds: Int)
    }

    package enum Status: Sendable, Equatable {
        case connecting
        case pulling
        /// The source cannot be reached; tried again by itself.
        case unavailable(String)
        /// It can be reached and refuses, or its facts cannot be materialised.
        case blocked(reason: String, sentence: String)
        case stopped
    }

    package private(set) var status = Status.connecting
    package private(set) var durable: SourcePosition?
    /// What the source has acknowledged as confirmed.
    package private(set) var confirmedOffset: UInt64?
    private let pagesAhead: Int
    private var fetchFrom: UInt64 = 0
    private var pages = 0
    private var isFetching = false
    /// At most one commit is out at any time, across resets.
    private var isCommitting = false
    /// The commit that is out is of a page that a reset dropped.
    private var isCommitStale = false
    private var isConfirming = false
    private var isWaiting = false
    /// The forward buffer had no room for the oldest page.
    package private(set) var isPaused = false
    /// The wait for room is over: the commit is tried again.
    private var isRoomDue = false
    /// Nothing is fetched or committed until an operator decides; what is durable is confirmed.
    private var isHalted = false
    /// The wait is over and only a commit that is out holds up the next opening.
    private var isOpenDue = false
    private var failures = 0
    private var historyRefusals = 0
    /// Rises with every reset: what was asked for before is answered to nobody.
    package private(set) var generation: UInt64 = 0

    /// - Parameter pagesAhead: how many pages may be held, the one that is being committed among them.
    package init(durable: SourcePosition?, pagesAhead: Int = pagesAheadMaximum) {
        precondition(
            (1...PullMachine.pagesAheadMaximum).contains(pagesAhead), "one page is always held")
        self.durable = durable
        self.pagesAhead = pagesAhead
    }

    package mutating func start() -> [Action] {
        guard status != .stopped else { return [] }
        status = .connecting
        return [.open]
    }

    /// The source knows us: receiving goes on at `position`, which is durable.
    /// - Parameter haltSentence: why receiving stopped for an operator; nil when it did not.
    package mutating func opened(at position: SourcePosition, haltSentence: String? = nil) -> [Action]
    {
        guard status != .stopped else { return [] }
        durable = position
        fetchFrom = position.nextOffset
        status = .pulling
        if let haltSentence {
            isHalted = true
            status = .blocked(reason: PullMachine.halted, sentence: haltSentence)
        }
        var actions: [Action] = []
        if position.nextOffset > 0, position.digest != nil {
            isConfirming = true
            actions.append(.confirm(position))
        }
        return actions + next()
    }

    /// A page has come; `nextOffset` is where the next one begins. An empty page is not committed.
    /// - Parameter isEarly: it is empty and came long before what was asked to be waited for.
    package mutating func fetched(isEmpty: Bool, isEarly: Bool = false, nextOffset: UInt64) -> [Action] {
        isFetching = false
        fetchFrom = nextOffset
        if isEmpty {
            // A page that cannot be committed is fetched well each time: only the end of the
            // source and a commit are progress. Who did not wait there says nothing.
            if !isEarly { failures = 0 }
        } else {
            pages += 1
        }
        return next()
    }

    /// The commit that was out is durable, whatever happened meanwhile.
    package mutating func committed(_ position: SourcePosition) -> [Action] {
        precondition(isCommitting, "a commit ends once")
        isCommitting = false
        durable = position
        if isCommitStale {
            isCommitStale = false
        } else {
            pages -= 1
            failures = 0
            if isPaused {
                isPaused = false
                status = .pulling
            }
        }
        return openIfDue() + next()
    }

    /// The commit that was out found no room: its page is the oldest one again.
    /// - Parameter durable: the position, which a part of the page may have moved.
    package mutating func full(
        _ sentence: String, reason: String = PullMachine.forwardFull, durable: SourcePosition?,
        retryAfterMilliseconds: Int
    ) -> [Action] {
        precondition(isCommitting && !isCommitStale, "a commit ends once")
        isCommitting = false
        guard status != .stopped else { return [] }
        self.durable = durable
        if !isPaused { status = .blocked(reason: reason, sentence: sentence) }
        isPaused = true
        isRoomDue = false
        return [.wait(milliseconds: min(5_000, max(50, retryAfterMilliseconds)))] + next()
    }

    /// The commit that was out ended at a fact for which the stream stops until an operator decides;
    /// everything before it is durable.
    package mutating func halted(_ sentence: String, at position: SourcePosition) -> [Action] {
        precondition(isCommitting, "a commit ends once")
        isCommitting = false
        durable = position
        guard !isCommitStale, status != .stopped else {
            // What opens next finds the halt.
            isCommitStale = false
            return openIfDue() + next()
        }
        reset(position)
        isHalted = true
        status = .blocked(reason: PullMachine.halted, sentence: sentence)
        return next()
    }

    /// An operator decided: everything is done again from the position, which may have moved.
    package mutating func startAgain(durable: SourcePosition?) -> [Action] {
        guard status != .stopped else { return [] }
        reset(durable)
        confirmedOffset = nil
        failures = 0
        historyRefusals = 0
        isWaiting = false
        isOpenDue = true
        status = .connecting
        return openIfDue()
    }

    /// The commit that was out failed after a reset had dropped its page: nothing came of it but
    /// the position that stands. (Of a page that was not dropped, its failure is a reset.)
    package mutating func staleCommitFailed(durable: SourcePosition?) -> [Action] {
        precondition(isCommitting && isCommitStale, "a commit ends once")
        isCommitting = false
        isCommitStale = false
        self.durable = durable
        return openIfDue() + next()
    }

    /// Whether the commit that is out belongs to a page that a reset dropped.
    package var isDroppedCommitOut: Bool { isCommitting && isCommitStale }

    package mutating func confirmed(through nextOffset: UInt64) -> [Action] {
        isConfirming = false
        historyRefusals = 0
        confirmedOffset = max(confirmedOffset ?? 0, nextOffset)
        return next()
    }

    /// Nothing is wrong, but everything is to be done again from the durable position.
    /// - Parameter isCommit: it was the commit that failed, so none is out any more.
    package mutating func unavailable(
        _ sentence: String, isCommit: Bool = false, durable: SourcePosition?, jitter: Double
    ) -> [Action] {
        guard status != .stopped else { return [] }
        if isCommit { isCommitting = false }
        failures += 1
        status = .unavailable(sentence)
        return restart(durable, jitter)
    }

    package mutating func refused(
        reason: String, _ sentence: String, isHistory: Bool, isCommit: Bool = false,
        durable: SourcePosition?, jitter: Double
    ) -> [Action] {
        guard status != .stopped else { return [] }
        if isCommit { isCommitting = false }
        failures += 1
        if isHistory {
            historyRefusals += 1
            if historyRefusals == 1 {
                status = .connecting
                reset(durable)
                isWaiting = true
                return [.wait(milliseconds: 100)]
            }
        }
        status = .blocked(reason: reason, sentence: sentence)
        return restart(durable, jitter)
    }

    package mutating func waited() -> [Action] {
        if isPaused, status != .stopped {
            isRoomDue = true
            return next()
        }
        guard isWaiting, status != .stopped else { return [] }
        isWaiting = false
        isOpenDue = true
        return openIfDue()
    }

    /// The other side is there: a wait for another try is over. One for room here is not, and has its own end.
    package mutating func resumed() -> [Action] { isPaused ? [] : waited() }

    private mutating func openIfDue() -> [Action] {
        guard isOpenDue, !isCommitting, status != .stopped else { return [] }
        isOpenDue = false
        return [.open]
    }

    /// Reads again from below the position through the same path (the duplicate drill).
    package mutating func redeliver(from offset: UInt64) -> [Action] {
        guard status == .pulling, !isHalted, let durable, offset <= durable.nextOffset else { return [] }
        reset(durable)
        fetchFrom = offset
        return next()
    }

    package mutating func stop() {
        // The pages are gone with whoever held them; a commit that is out ends as a dropped one.
        reset(durable)
        isWaiting = false
        status = .stopped
    }

    private mutating func restart(_ durable: SourcePosition?, _ jitter: Double) -> [Action] {
        reset(durable)
        isWaiting = true
        // 100 ms doubled up to 10 s, spread by half so that nodes do not come back together.
        let ceiling = min(10_000, 100 << min(failures, 7))
        return [.wait(milliseconds: ceiling / 2 + Int(Double(ceiling / 2) * jitter))]
    }

    private mutating func reset(_ durable: SourcePosition?) {
        generation += 1
        self.durable = durable
        pages = 0
        isFetching = false
        isCommitStale = isCommitting
        isConfirming = false
        isOpenDue = false
        isPaused = false
        isRoomDue = false
        isHalted = false
    }

    private mutating func next() -> [Action] {
        guard status != .stopped, status == .pulling || isPaused || isHalted else { return [] }
        var actions: [Action] = []
        if !isHalted, pages > 0, !isCommitting, !isPaused || isRoomDue {
            isCommitting = true
            isRoomDue = false
            actions.append(.commit)
        }
        if !isHalted, !isFetching, !isPaused, pages < pagesAhead {
            isFetching = true
            actions.append(.fetch(from: fetchFrom))
        }
        if !isConfirming, let durable, durable.nextOffset > (confirmedOffset ?? 0),
            durable.digest != nil
        {
            isConfirming = true
            actions.append(.confirm(durable))
        }
        return actions
    }
}
