/// One pull before and after some of its facts were fetched once more.
package struct ReplayRecord: Sendable, Codable, Equatable {
    package var stream: String
    package var origin: String
    /// The zone that fetched again; nil in a report of a release that looked at one side only.
    package var receiver: String?
    package var before: NodeEvidence.Pull
    package var headBefore: UInt64
    /// What the pull had stored at a look before that one. A log and its pull are not counted in one moment: what came
    /// between the looks is not held against the log.
    package var earlierMaterialisedCount: UInt64?
    /// Nil: there was nothing to fetch again.
    package var fromOffset: UInt64?
    /// How many offsets below the position of that moment were asked for.
    package var requestedCount: UInt64?
    package var after: NodeEvidence.Pull?
    package var headAfter: UInt64 = 0
    package var problem: String?

    package init(
        stream: String, origin: String, before: NodeEvidence.Pull, headBefore: UInt64
    ) {
        self.stream = stream
        self.origin = origin
        self.before = before
        self.headBefore = headBefore
    }

    /// Offsets that were asked for again: those that had come before.
    package var askedCount: UInt64 {
        if let requestedCount { return requestedCount }
        guard let fromOffset, let next = before.nextOffset else { return 0 }
        return next - min(next, fromOffset)
    }

    /// Those that came again as they are stored.
    package var recognisedCount: UInt64 { rise(\.recognisedCount) }

    /// Those that came again with nothing here to hold them against.
    package var uncomparedCount: UInt64 { rise(\.uncomparedCount) }

    /// Facts that came again with another id or other content than what is stored.
    package var alteredCount: UInt64 { rise(\.alteredCount) }

    /// Those that came again, in order and unaltered.
    package var againCount: UInt64 {
        let (sum, isBeyond) = recognisedCount.addingReportingOverflow(uncomparedCount)
        return isBeyond ? .max : sum
    }

    /// The position is reached again, everything that was asked for came again, and the log grew by what was new
    /// alone.
    package var isComplete: Bool {
        guard let after, let next = after.nextOffset, next >= before.nextOffset ?? 0 else {
            return false
        }
        return againCount > 0 && againCount >= askedCount && addedCount <= 0
    }

    private func rise(_ count: (NodeEvidence.Pull) -> UInt64?) -> UInt64 {
        guard let now = after.flatMap(count) else { return 0 }
        return now - min(now, count(before) ?? 0)
    }

    /// By how much the log grew beyond what was new; less than nothing where the log was read before its pull.
    package var addedCount: Int64 {
        guard let after else { return 0 }
        let grown = Int64(clamping: headAfter) - Int64(clamping: headBefore)
        let new =
            Int64(clamping: after.materialisedCount)
            - Int64(clamping: earlierMaterialisedCount ?? before.materialisedCount)
        // The other side's numbers may be anything.
        let (added, isTooMuch) = grown.subtractingReportingOverflow(new)
        return isTooMuch ? .max : added
    }
}

/// Both sides before, during and after a partition that was made on purpose.
package struct PartitionRecord: Sendable, Codable, Equatable {
    package struct Appends: Sendable, Codable, Equatable {
        package var stream: String
        package var count = 0
        /// Of those, read again from the same node before the gate opened, as they were appended.
        package var readCount = 0
        package var problem: String?

        package init(stream: String, count: Int = 0, readCount: Int = 0, problem: String? = nil) {
            self.stream = stream
            self.count = count
            self.readCount = readCount
            self.problem = problem
        }
    }

    package var before: NodeEvidence
    package var peerBefore: NodeEvidence?
    package var isSettledBefore: Bool
    /// Why the gate was left alone: an operator keeps it closed.
    package var obstacle: String?
    /// Right after the gate closed.
    package var closed: NodeEvidence?
    package var peerClosed: NodeEvidence?
    package var ownAppends: Appends?
    package var peerAppends: Appends?
    /// After the appends and a while, with the gate still closed.
    package var during: NodeEvidence?
    package var peerDuring: NodeEvidence?
    package var after: NodeEvidence?
    package var peerAfter: NodeEvidence?
    package var isSettledAfter = false

    package init(before: NodeEvidence, peerBefore: NodeEvidence?, isSettledBefore: Bool) {
        self.before = before
        self.peerBefore = peerBefore
        self.isSettledBefore = isSettledBefore
    }
}
