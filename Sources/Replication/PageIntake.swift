package import Buffers
package import Facts

/// What a received page means for a forward buffer at a position: which records go in, and where the
/// position is afterwards. Judged before anything is written.
package struct PageIntake: Sendable {
    /// Why a page cannot be materialised. Nothing of it is, and nothing is confirmed.
    package struct Refusal: Error, Sendable, Equatable {
        package var reason: ErrorReason
        package var sentence: String
    }

    /// What makes two facts of a stream the same one.
    package enum KeyRule: Sendable {
        /// Zone and message id.
        case identifier
        /// What they say.
        case content
    }

    private struct Taken {
        var entry: Int
        /// The position's next offset after it.
        var nextOffset: UInt64
    }

    /// What goes in, in order.
    package private(set) var records: [ForwardRecord] = []
    /// Entries below the position: delivered again and recognised.
    package private(set) var redeliveredCount = 0
    private let page: ReceivedPage
    private let start: SourcePosition
    private var taken: [Taken] = []
    private var nextOffset: UInt64 { taken.last?.nextOffset ?? start.nextOffset }

    /// - Parameter origin: the zone whose facts the stream is made of.
    package init(
        _ page: ReceivedPage, at position: SourcePosition, origin: [UInt8],
        keyedBy: KeyRule = .identifier
    ) throws(Refusal) {
        self.page = page
        start = position
        guard let source = page.source, source.logUuid.elementsEqual(position.logUUID),
            source.epoch == position.epoch
        else {
            throw Refusal(
                reason: .historyMismatch,
                sentence: "the page is of another log or epoch than the position")
        }
        for index in page.entries.indices { try take(index, origin, keyedBy) }
    }

    /// The position once every record is in.
    package var position: SourcePosition { position(after: records.count) }

    /// The position once the first `count` records are in.
    package func position(after count: Int) -> SourcePosition {
        guard count > 0 else { return start }
        var position = start
        position.nextOffset = taken[count - 1].nextOffset
        // Of the last one that is a record: a computed gap has none and leaves it as it was.
        let last = taken[..<count].last { page.entries[$0.entry].offset != nil }
        if let last, let digest = page.entries[last.entry].recordDigest {
            position.digest = digest
            position.digestOffset = page.entries[last.entry].offset
        }
        return position
    }

    private mutating func take(_ index: Int, _ origin: [UInt8], _ keyedBy: KeyRule)
        throws(Refusal)
    {
        let entry = page.entries[index]
        guard let range = PageIntake.offsets(entry) else {
            throw Refusal(
                reason: .malformedRequest, sentence: "an entry of the page names no offset")
        }
        if range.upperBound < nextOffset {
            redeliveredCount += 1
            return
        }
        guard range.lowerBound <= nextOffset,
            range.lowerBound == nextOffset || entry.item == .gap
        else {
            throw Refusal(
                reason: .historyMismatch,
                sentence: "offset \(range.lowerBound) follows where \(nextOffset) is "
                    + "expected: the source left something out")
        }
        try judge(entry, range.lowerBound, origin)
        let storedRecord =
            range.lowerBound < nextOffset
            ? try PageIntake.cut(entry, from: nextOffset) : entry.storedRecord
        let digest = entry.item == .message ? entry.contentDigest : nil
        let key =
            switch keyedBy {
            case .identifier: entry.item == .message ? entry.key : nil
            case .content: digest
            }
        records.append(
            ForwardRecord(key: key, contentDigest: digest, storedRecord: storedRecord))
        taken.append(Taken(entry: index, nextOffset: range.upperBound + 1))
    }

    /// The part of a gap that lies beyond the position (gateway decision 13): below it the receiver has
    /// the facts themselves, or an earlier part of the same gap.
    private static func cut(_ entry: ReceivedEntry, from offset: UInt64) throws(Refusal) -> [UInt8] {
        guard var notice = entry.notice else {
            preconditionFailure("only a gap stands for several offsets, and it was read already")
        }
        notice.first.offset = offset
        return StoredRecord.encode(.gap, notice, origin: entry.origin, isLate: entry.isLate)
    }

    /// The offsets of the log being read that an entry stands for.
    private static func offsets(_ entry: ReceivedEntry) -> ClosedRange<UInt64>? {
        if let offset = entry.offset { return offset < .max ? offset...offset : nil }
        guard entry.item == .gap, let notice = entry.notice, notice.first.hasOffset,
            notice.hasLastOffset, notice.first.offset <= notice.lastOffset,
            notice.lastOffset < .max
        else { return nil }
        return notice.first.offset...notice.lastOffset
    }

    private func judge(_ entry: ReceivedEntry, _ offset: UInt64, _ origin: [UInt8])
        throws(Refusal)
    {
        switch entry.verdict {
        case .intact: break
        case .checksumMismatch:
            throw Refusal(
                reason: .digestMismatch,
                sentence: "the bytes of offset \(offset) were changed on the way")
        case .digestMismatch:
            throw Refusal(
                reason: .digestMismatch,
                sentence: "the content of offset \(offset) is not what its digest says")
        case .formatUnsupported(let format):
            throw Refusal(
                reason: .malformedRequest,
                sentence: "offset \(offset) is of format \(format), which this release does not "
                    + "know; upgrade this node")
        case .malformed(let sentence):
            throw Refusal(
                reason: .malformedRequest, sentence: "offset \(offset) is malformed: \(sentence)")
        }
        guard entry.item == .message else { return }
        guard entry.origin != nil else {
            throw Refusal(
                reason: .malformedRequest, sentence: "offset \(offset) does not say where it began")
        }
        guard entry.fromZone == origin else {
            throw Refusal(
                reason: .fromZoneNotAllowed,
                sentence: "offset \(offset) is from zone "
                    + "\(String(decoding: entry.fromZone, as: UTF8.self)), the stream is of "
                    + String(decoding: origin, as: UTF8.self))
        }
    }
}
