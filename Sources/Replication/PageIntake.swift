package import Buffers
package import Facts

/// What a received page means for a forward buffer at a position: which records go in, what goes to
/// quarantine in the place of which record, where the page stops, and where the position is afterwards.
/// Judged before anything is written.
package struct PageIntake: Sendable {
    /// Why a page is not believed. Nothing of it is materialised, and nothing is confirmed.
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

    /// Why nothing behind the records of the intake is taken from the page.
    package enum Stop: Sendable, Equatable {
        /// The configuration or this release has to change first; the entry is taken then.
        case blocked(reason: String, sentence: String)
        /// The bytes are not those that were sent; they are asked for again.
        case damaged(offset: UInt64, sentence: String)
        /// The entry can never be materialised, and the stream's profile leaves nothing out.
        case halted(Unfit)
    }

    /// An entry that can never be materialised.
    package struct Unfit: Sendable, Equatable {
        /// Of the page's entries.
        package var entry: Int
        package var offset: UInt64
        package var reason: QuarantinedFact.Reason
        package var sentence: String
    }

    /// The reason of a stream that is blocked by a message whose digest rules are not known here.
    package static let formatUnsupported = "format_unsupported"
    /// How often bytes that are not what was sent are asked for before they count as what there is.
    package static let fetchesMaximum = 3

    private struct Taken {
        var entry: Int
        /// The position's next offset after it.
        var nextOffset: UInt64
    }

    /// What goes in, in order, a notice in the place of what does not.
    package private(set) var records: [ForwardRecord] = []
    /// What goes to quarantine before the records are committed, by its place among them.
    package private(set) var unfit: [(record: Int, entry: Unfit)] = []
    /// Nil when the whole page is taken.
    package private(set) var stop: Stop?
    /// Entries of the page below the position: delivered again.
    private(set) var redelivered: [Int] = []
    package var redeliveredCount: Int { redelivered.count }
    package let page: ReceivedPage
    private let start: SourcePosition
    private let halts: Bool
    private var taken: [Taken] = []
    private var nextOffset: UInt64 { taken.last?.nextOffset ?? start.nextOffset }

    /// - Parameters:
    ///   - origin: the zone whose facts the stream is made of.
    ///   - halts: an entry that can never be materialised stops the stream (profile `silStrict`).
    ///   - fetchCounts: how often the bytes at an offset were fetched and were not what was sent.
    package init(
        _ page: ReceivedPage, at position: SourcePosition, origin: [UInt8],
        keyedBy: KeyRule = .identifier, halts: Bool = false, fetchCounts: [UInt64: Int] = [:]
    ) throws(Refusal) {
        self.page = page
        self.halts = halts
        start = position
        guard let source = page.source, source.logUuid.elementsEqual(position.logUUID),
            source.epoch == position.epoch
        else {
            throw Refusal(
                reason: .historyMismatch,
                sentence: "the page is of another log or epoch than the position")
        }
        for index in page.entries.indices {
            try take(index, origin, keyedBy, fetchCounts)
            if stop != nil { return }
        }
    }

    /// Offsets from a position on whose bytes are not what was sent.
    package static func damaged(_ page: ReceivedPage, from position: UInt64) -> [UInt64] {
        page.entries.compactMap { entry in
            guard let offset = entry.offset, offset >= position else { return nil }
            switch entry.verdict {
            case .checksumMismatch, .digestMismatch: return offset
            case .intact, .formatUnsupported, .malformed: return nil
            }
        }
    }

    /// What no source serves that reads from where it was asked to: facts below it, or anything beyond where it says
    /// that the page and its log end. Nil where there is nothing of it.
    package static func stray(_ page: ReceivedPage, from offset: UInt64, to nextOffset: UInt64) -> String? {
        if let head = page.headOffset, nextOffset > head {
            return "the page ends before offset \(nextOffset), and its log before \(head)"
        }
        for entry in page.entries {
            guard let range = offsets(entry) else { continue }
            if range.upperBound >= nextOffset {
                return "the page ends before offset \(nextOffset) and has an entry of offset \(range.upperBound)"
            }
            if entry.item == .message, range.lowerBound < offset {
                return "offset \(offset) was asked for, and the page has a fact of offset \(range.lowerBound)"
            }
        }
        return nil
    }

    /// The position once every record is in.
    package var position: SourcePosition { position(after: records.count) }

    /// The position once the first `count` records are in.
    package func position(after count: Int) -> SourcePosition {
        guard count > 0 else { return start }
        return position(nextOffset: taken[count - 1].nextOffset, after: count)
    }

    /// The position behind an entry that is refused after the first `count` records.
    package func position(past entry: Unfit, after count: Int) -> SourcePosition {
        position(nextOffset: entry.offset + 1, after: count)
    }

    private func position(nextOffset: UInt64, after count: Int) -> SourcePosition {
        var position = start
        position.nextOffset = nextOffset
        // Of the last one that is a record as the source has it: a computed gap has none, and bytes that
        // changed on the way have another digest than the source's.
        let last = taken[..<count].last {
            let entry = page.entries[$0.entry]
            return entry.offset != nil && entry.verdict == .intact
        }
        if let last, let digest = page.entries[last.entry].recordDigest {
            position.digest = digest
            position.digestOffset = page.entries[last.entry].offset
        }
        return position
    }

    /// The entry that a record was made of.
    package func entry(ofRecord index: Int) -> ReceivedEntry { page.entries[taken[index].entry] }

    /// A record as an entry that can never be materialised, since its key stands with other content.
    package func conflicting(_ index: Int, with offset: UInt64?) -> Unfit {
        let place = entry(ofRecord: index).offset ?? 0
        return Unfit(
            entry: taken[index].entry, offset: place, reason: .conflict,
            sentence: "offset \(place) has the key of "
                + (offset.map { "the fact at our offset \($0)" } ?? "an earlier one of its page")
                + " and other content")
    }

    private mutating func take(
        _ index: Int, _ origin: [UInt8], _ keyedBy: KeyRule, _ fetchCounts: [UInt64: Int]
    ) throws(Refusal) {
        let entry = page.entries[index]
        guard let range = PageIntake.offsets(entry) else {
            throw Refusal(
                reason: .malformedRequest, sentence: "an entry of the page names no offset")
        }
        if range.upperBound < nextOffset {
            redelivered.append(index)
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
        if let stop = judge(entry, range.lowerBound, origin) {
            // A notice that cannot be read says nothing of how far it reaches: it stands for one offset or for none.
            guard range == nextOffset...nextOffset else {
                throw Refusal(
                    reason: .malformedRequest,
                    sentence: "what is not readable stands for the offsets \(range.lowerBound) to "
                        + "\(range.upperBound), where \(nextOffset) is expected")
            }
            return leave(index, nextOffset, stop, fetchCounts)
        }
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

    /// What becomes of an entry that is not materialised as it is.
    private mutating func leave(
        _ index: Int, _ offset: UInt64, _ verdict: Judgement, _ fetchCounts: [UInt64: Int]
    ) {
        let reason: QuarantinedFact.Reason
        let sentence: String
        switch verdict {
        case .blocked(let reason, let sentence):
            stop = .blocked(reason: reason, sentence: sentence)
            return
        case .damaged(let text):
            guard fetchCounts[offset, default: 0] >= PageIntake.fetchesMaximum else {
                stop = .damaged(offset: offset, sentence: text)
                return
            }
            (reason, sentence) = (.digestMismatch, text)
        case .malformed(let text): (reason, sentence) = (.malformed, text)
        }
        let found = Unfit(entry: index, offset: offset, reason: reason, sentence: sentence)
        guard !halts else {
            stop = .halted(found)
            return
        }
        unfit.append((records.count, found))
        records.append(
            ForwardRecord(
                key: nil, contentDigest: nil,
                storedRecord: Quarantining.notice(
                    page.entries[index], found, start, storedDigest: nil)))
        taken.append(Taken(entry: index, nextOffset: offset + 1))
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
    static func offsets(_ entry: ReceivedEntry) -> ClosedRange<UInt64>? {
        if let offset = entry.offset { return offset < .max ? offset...offset : nil }
        guard entry.item == .gap, let notice = entry.notice, notice.first.hasOffset,
            notice.hasLastOffset, notice.first.offset <= notice.lastOffset,
            notice.lastOffset < .max
        else { return nil }
        return notice.first.offset...notice.lastOffset
    }

    private enum Judgement {
        case blocked(reason: String, sentence: String)
        case damaged(String)
        case malformed(String)
    }

    /// Nil for an entry that is materialised as it came.
    private func judge(_ entry: ReceivedEntry, _ offset: UInt64, _ origin: [UInt8]) -> Judgement? {
        switch entry.verdict {
        case .intact: break
        case .checksumMismatch:
            return .damaged("the bytes of offset \(offset) were changed on the way")
        case .digestMismatch:
            return .damaged("the content of offset \(offset) is not what its digest says")
        case .formatUnsupported(let format):
            return .blocked(
                reason: PageIntake.formatUnsupported,
                sentence: "offset \(offset) is of format \(format), which this release does not "
                    + "know; upgrade this node")
        case .malformed(let sentence):
            return .malformed("offset \(offset) is malformed: \(sentence)")
        }
        guard entry.item == .message else { return nil }
        guard entry.origin != nil else {
            return .malformed("offset \(offset) does not say where it began")
        }
        guard entry.fromZone == origin else {
            return .blocked(
                reason: ErrorReason.fromZoneNotAllowed.rawValue,
                sentence: "offset \(offset) is from zone "
                    + "\(String(decoding: entry.fromZone, as: UTF8.self)), the stream is of "
                    + String(decoding: origin, as: UTF8.self))
        }
        return nil
    }
}
