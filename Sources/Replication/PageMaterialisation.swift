package import Buffers
package import Facts

/// Brings received pages into a forward buffer: what can never be materialised is durable in quarantine
/// first, then the records and the position are committed. Blocks.
package struct PageMaterialisation: Sendable {
    package var buffer: any ForwardBuffer
    package var quarantine: any Quarantine
    package var stream: String
    /// The zone whose facts the stream is made of.
    package var origin: String
    package var keyedBy: PageIntake.KeyRule
    /// What can never be materialised stops the stream (profile `silStrict`).
    package var halts: Bool
    /// Milliseconds since 1970.
    package var now: @Sendable () -> Int64
    /// Told what is new in quarantine as soon as it is durable there.
    package var quarantined: @Sendable ([QuarantinedFact]) -> Void
    package var reached: @Sendable (PullStep) -> Void
    /// Told what a page brought again and not as it is stored.
    package var altered: @Sendable ([RedeliveredEntry]) -> Void

    package init(
        buffer: any ForwardBuffer, quarantine: any Quarantine, stream: String, origin: String,
        keyedBy: PageIntake.KeyRule, halts: Bool, now: @escaping @Sendable () -> Int64,
        quarantined: @escaping @Sendable ([QuarantinedFact]) -> Void,
        reached: @escaping @Sendable (PullStep) -> Void,
        altered: @escaping @Sendable ([RedeliveredEntry]) -> Void = { _ in }
    ) {
        self.buffer = buffer
        self.quarantine = quarantine
        self.stream = stream
        self.origin = origin
        self.keyedBy = keyedBy
        self.halts = halts
        self.now = now
        self.quarantined = quarantined
        self.reached = reached
        self.altered = altered
    }

    /// How a page ended.
    package enum End: Sendable, Equatable {
        case whole
        case blocked(reason: String, sentence: String)
        /// Bytes are asked for again.
        case damaged(sentence: String)
        case halted(ForwardHalt)
        /// The quarantine has no room for what this page needs it for.
        case quarantineFull(sentence: String)
    }

    package struct Outcome: Sendable {
        package var position: SourcePosition
        /// Delivered below the position, and delivered with a key that was there.
        package var redeliveredCount: Int
        /// Those below the position, held against what is stored.
        package var redelivered: [RedeliveredEntry] = []
        package var newCount = 0
        /// How many facts are new in quarantine.
        package var quarantinedCount = 0
        package var end: End
    }

    /// Commits what is new of a page together with the position that it reaches.
    /// - Throws: what the forward buffer or the quarantine throws, but for a full quarantine.
    package func materialise(
        _ page: ReceivedPage, at position: SourcePosition, fetchCounts: [UInt64: Int]
    ) throws(BufferError) -> Result<Outcome, PageIntake.Refusal> {
        let intake: PageIntake
        do throws(PageIntake.Refusal) {
            intake = try PageIntake(
                page, at: position, origin: Array(origin.utf8), keyedBy: keyedBy, halts: halts,
                fetchCounts: fetchCounts)
        } catch {
            return .failure(error)
        }
        var outcome = Outcome(
            position: position, redeliveredCount: intake.redeliveredCount, end: .whole)
        guard try keep(intake, &outcome) else { return .success(outcome) }
        let stopped = try put(intake, 0..<intake.records.count, &outcome)
        if let stopped {
            if case .halted(let unfit) = stopped { try halt(intake, unfit, &outcome) }
        } else if let stop = intake.stop {
            switch stop {
            case .blocked(let reason, let sentence):
                outcome.end = .blocked(reason: reason, sentence: sentence)
            case .damaged(_, let sentence): outcome.end = .damaged(sentence: sentence)
            case .halted(let unfit): try halt(intake, unfit, &outcome)
            }
        }
        compare(intake, &outcome)
        return .success(outcome)
    }

    /// What came again is no reason to store or to refuse anything; that it differs has to be known.
    private func compare(_ intake: PageIntake, _ outcome: inout Outcome) {
        // The same page is brought in again once there is room, and compared then.
        if case .quarantineFull = outcome.end { return }
        outcome.redelivered = RedeliveryComparison.compare(
            intake.page, intake.redelivered, at: outcome.position, buffer, quarantine, keyedBy: keyedBy)
        let differing = outcome.redelivered.filter(\.isAltered)
        if !differing.isEmpty { altered(differing) }
    }

    /// What the intake found unfit is durable before the records around it are.
    /// - Returns: false when the quarantine is full.
    private func keep(_ intake: PageIntake, _ outcome: inout Outcome) throws(BufferError) -> Bool {
        try keep(intake.unfit.map { fact(intake, $0.entry) }, &outcome)
    }

    private func keep(_ facts: [QuarantinedFact], _ outcome: inout Outcome) throws(BufferError)
        -> Bool
    {
        guard !facts.isEmpty else { return true }
        let new: [QuarantinedFact]
        do throws(BufferError) {
            new = try quarantine.put(facts)
        } catch {
            guard error.kind == .full else { throw error }
            outcome.end = .quarantineFull(sentence: error.sentence)
            return false
        }
        if !new.isEmpty { quarantined(new) }
        reached(.quarantined)
        outcome.quarantinedCount += new.count
        return true
    }

    private func fact(_ intake: PageIntake, _ unfit: PageIntake.Unfit) -> QuarantinedFact {
        var fact = Quarantining.fact(
            intake.page.entries[unfit.entry], unfit, intake.position, stream: stream,
            origin: origin, milliseconds: now())
        fact.isHalting = halts
        return fact
    }

    /// The fact is durable in quarantine before the stream halts for it.
    private func halt(_ intake: PageIntake, _ unfit: PageIntake.Unfit, _ outcome: inout Outcome)
        throws(BufferError)
    {
        var fact = fact(intake, unfit)
        if unfit.reason == .conflict, let key = key(intake, unfit),
            let standing = try buffer.content(of: key)
        {
            (fact.storedOffset, fact.storedDigest) = (standing.offset, standing.content)
        }
        guard try keep([fact], &outcome) else { return }
        let halt = ForwardHalt(
            identifier: fact.identifier, reason: fact.reason, sentence: fact.sentence)
        try buffer.setHalt(halt)
        outcome.end = .halted(halt)
    }

    private func key(_ intake: PageIntake, _ unfit: PageIntake.Unfit) -> Digest? {
        let entry = intake.page.entries[unfit.entry]
        return keyedBy == .content ? entry.contentDigest : entry.key
    }

    private enum Stopped {
        case halted(PageIntake.Unfit)
        case quarantineFull
    }

    /// One commit, or where the log takes only smaller ones (small segments) several, each with the
    /// position that it reaches.
    /// - Returns: why not everything of the range is in; nil when it is.
    private func put(_ intake: PageIntake, _ range: Range<Int>, _ outcome: inout Outcome)
        throws(BufferError) -> Stopped?
    {
        guard !range.isEmpty else { return nil }
        var isRoomMissing = false
        var kept = outcome
        // Nothing is written when it cannot be kept: the commit is given up by this error.
        let noRoom = BufferError(.full, "the quarantine is full")
        let replace: ([ForwardConflict]) throws(BufferError) -> [[UInt8]] = {
            (conflicts) throws(BufferError) in
            guard try keep(conflicts.map { fact($0, intake, range) }, &kept) else {
                isRoomMissing = true
                throw noRoom
            }
            return conflicts.map { notice($0, intake, range) }
        }
        do throws(BufferError) {
            let receipt = try buffer.putIfAbsent(
                Array(intake.records[range]), from: intake.position(after: range.lowerBound),
                to: intake.position(after: range.upperBound), replacing: halts ? nil : replace)
            outcome.quarantinedCount = kept.quarantinedCount
            outcome.position = intake.position(after: range.upperBound)
            let new = receipt.outcomes.count { if case .appended = $0 { true } else { false } }
            outcome.newCount += new
            outcome.redeliveredCount += range.count - new
            reached(.committed)
            return nil
        } catch {
            if isRoomMissing {
                outcome.end = kept.end
                return .quarantineFull
            }
            if case .conflict(let relative, _, _) = error.kind {
                let index = range.lowerBound + relative
                if let stopped = try put(intake, range.lowerBound..<index, &outcome) {
                    return stopped
                }
                // Asked for now: the one that stands may be of this very page.
                let standing = try intake.records[index].key.flatMap { key throws(BufferError) in
                    try buffer.content(of: key)
                }
                return .halted(intake.conflicting(index, with: standing?.offset))
            }
            guard error.kind == .batchTooLarge, range.count > 1 else { throw error }
            let middle = range.lowerBound + range.count / 2
            if let stopped = try put(intake, range.lowerBound..<middle, &outcome) { return stopped }
            return try put(intake, middle..<range.upperBound, &outcome)
        }
    }

    private func fact(_ conflict: ForwardConflict, _ intake: PageIntake, _ range: Range<Int>)
        -> QuarantinedFact
    {
        let index = range.lowerBound + conflict.index
        var found = fact(intake, intake.conflicting(index, with: conflict.offset))
        found.storedDigest = conflict.stored
        found.storedOffset = conflict.offset
        return found
    }

    private func notice(_ conflict: ForwardConflict, _ intake: PageIntake, _ range: Range<Int>)
        -> [UInt8]
    {
        let index = range.lowerBound + conflict.index
        return Quarantining.notice(
            intake.entry(ofRecord: index), intake.conflicting(index, with: conflict.offset),
            intake.position, storedDigest: conflict.stored)
    }
}
