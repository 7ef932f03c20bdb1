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

    package private(set) var records: [ForwardRecord] = []
    package private(set) var position: SourcePosition
    /// Entries below the position: delivered again and recognised.
    package private(set) var redeliveredCount = 0

    /// - Parameters:
    ///   - origin: the zone whose facts the stream is made of.
    ///   - range: which of the page's entries to take; nil for all.
    package init(
        _ page: ReceivedPage, at position: SourcePosition, origin: [UInt8],
        _ range: Range<Int>? = nil
    ) throws(Refusal) {
        self.position = position
        if let source = page.source {
            guard Array(source.logUuid) == position.logUUID, source.epoch == position.epoch else {
                throw Refusal(
                    reason: .historyMismatch,
                    sentence: "the page is of another log or epoch than the position")
            }
        }
        for entry in page.entries[range ?? page.entries.indices] { try take(entry, origin) }
    }

    private mutating func take(_ entry: ReceivedEntry, _ origin: [UInt8]) throws(Refusal) {
        guard let range = PageIntake.offsets(entry) else {
            throw Refusal(
                reason: .malformedRequest, sentence: "an entry of the page names no offset")
        }
        if range.upperBound < position.nextOffset {
            redeliveredCount += 1
            return
        }
        guard range.lowerBound <= position.nextOffset,
            range.lowerBound == position.nextOffset || entry.item == .gap
        else {
            throw Refusal(
                reason: .historyMismatch,
                sentence: "offset \(range.lowerBound) follows where \(position.nextOffset) is "
                    + "expected: the source left something out")
        }
        try judge(entry, range.lowerBound, origin)
        records.append(
            ForwardRecord(
                key: entry.item == .message ? entry.key : nil,
                contentDigest: entry.item == .message ? entry.contentDigest : nil,
                storedRecord: entry.storedRecord))
        position.nextOffset = range.upperBound + 1
        if let offset = entry.offset, let digest = entry.recordDigest {
            position.digest = digest
            position.digestOffset = offset
        }
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
                sentence: "offset \(offset) is from zone \(String(decoding: entry.fromZone, as: UTF8.self)), "
                    + "the stream is of \(String(decoding: origin, as: UTF8.self))")
        }
    }
}
