package import Buffers
package import Facts
internal import FoundationEssentials

/// How an entry that can never be materialised looks in quarantine and in the forward log.
package enum Quarantining {
    /// The record in its place: the offset of the source's log, why, and for a conflict 64 bytes, the
    /// digest that stands and the one that was offered.
    package static func notice(
        _ entry: ReceivedEntry, _ unfit: PageIntake.Unfit, _ position: SourcePosition,
        storedDigest: Digest?
    ) -> [UInt8] {
        var notice = notice(unfit.offset, unfit.reason, position)
        if let storedDigest, let offered = entry.contentDigest {
            notice.content = Data(storedDigest.bytes + offered.bytes)
        }
        return StoredRecord.encode(
            .quarantined, notice, origin: entry.origin, isLate: entry.isLate)
    }

    /// The record of a fact that an operator refused for good: the same with the bytes as they came.
    package static func refusal(_ fact: QuarantinedFact, _ position: SourcePosition) -> [UInt8] {
        var notice = notice(fact.identifier.offset, fact.reason, position)
        let stored = try? StoredRecord(fact.storedRecord)
        notice.content = Data(stored.map { Array(fact.storedRecord[$0.itemRange]) } ?? fact.storedRecord)
        return StoredRecord.encode(.refused, notice, origin: stored?.origin)
    }

    private static func notice(
        _ offset: UInt64, _ reason: QuarantinedFact.Reason, _ position: SourcePosition
    ) -> Bsfg_V1_Notice {
        var notice = Bsfg_V1_Notice()
        notice.first.logUuid = Data(position.logUUID)
        notice.first.epoch = position.epoch
        notice.first.offset = offset
        notice.lastOffset = offset
        notice.reasons = [reason.rawValue]
        return notice
    }

    /// What goes to quarantine.
    package static func fact(
        _ entry: ReceivedEntry, _ unfit: PageIntake.Unfit, _ position: SourcePosition,
        stream: String, origin: String, milliseconds: Int64
    ) -> QuarantinedFact {
        QuarantinedFact(
            identifier: QuarantineIdentifier(
                logUUID: position.logUUID, epoch: position.epoch, offset: unfit.offset),
            stream: stream, origin: origin, reason: unfit.reason, sentence: unfit.sentence,
            quarantinedMilliseconds: milliseconds,
            offeredDigest: entry.contentDigest ?? entry.statedDigest,
            storedRecord: entry.storedRecord)
    }

    /// A fact as it goes to the tail when it is released: marked late, otherwise as it came.
    package static func late(_ entry: ReceivedEntry, keyedBy: PageIntake.KeyRule) -> ForwardRecord? {
        guard entry.verdict == .intact, entry.item == .message, let digest = entry.contentDigest,
            let key = entry.key
        else { return nil }
        return ForwardRecord(
            key: keyedBy == .content ? digest : key, contentDigest: digest,
            storedRecord: entry.lateRecord)
    }
}
