internal import Buffers
internal import Facts

/// An entry that came again, held against what is stored.
package struct RedeliveredEntry: Sendable, Equatable {
    package enum Verdict: Sendable, Equatable {
        /// It has the id and the content of what is stored, or is a loss that is stored as such.
        case same
        /// It has not; why, as a sentence.
        case altered(String)
        /// There is nothing here any more, or never was, to hold it against.
        case uncompared
    }

    /// Of the log being read.
    package var offsets: ClosedRange<UInt64>
    package var verdict: Verdict

    package var isAltered: Bool { if case .altered = verdict { true } else { false } }
}

/// Holds entries from below the position against the facts that were stored from there. Only reads: whatever it
/// finds, nothing is stored, confirmed or refused for it. Blocks.
struct RedeliveryComparison {
    /// How far a record may stand from where it would, had every offset of the source one record of ours: facts
    /// that were released late stand behind, losses and duplicates take no place.
    private static let displacementMaximum: UInt64 = 1_000
    private static let windowBytesMaximum = 4 * FactLimits.pageBytes

    private let buffer: any ForwardBuffer
    private let quarantine: any Quarantine
    private let position: SourcePosition
    private let keyedBy: PageIntake.KeyRule
    /// Where entries of this page were found: two of a source's facts are never one of ours.
    private var found: Set<UInt64> = []
    private var window: Window?
    /// The offsets that the window is made for.
    private let offsets: ClosedRange<UInt64>

    /// - Parameter position: what is durable now.
    /// - Returns: the entries of a page that are below the position, in its order.
    static func compare(
        _ page: ReceivedPage, _ indices: [Int], at position: SourcePosition, _ buffer: any ForwardBuffer,
        _ quarantine: any Quarantine, keyedBy: PageIntake.KeyRule
    ) -> [RedeliveredEntry] {
        let all = indices.compactMap { index in
            PageIntake.offsets(page.entries[index]).map { (entry: page.entries[index], offsets: $0) }
        }.filter { $0.offsets.upperBound < position.nextOffset }
        guard let first = all.map(\.offsets.lowerBound).min(), let last = all.map(\.offsets.upperBound).max()
        else { return [] }
        var comparison = RedeliveryComparison(
            buffer: buffer, quarantine: quarantine, position: position, keyedBy: keyedBy, offsets: first...last)
        return all.map { entry, offsets in
            RedeliveredEntry(offsets: offsets, verdict: comparison.verdict(entry, offsets))
        }
    }

    private init(
        buffer: any ForwardBuffer, quarantine: any Quarantine, position: SourcePosition,
        keyedBy: PageIntake.KeyRule, offsets: ClosedRange<UInt64>
    ) {
        self.buffer = buffer
        self.quarantine = quarantine
        self.position = position
        self.keyedBy = keyedBy
        self.offsets = offsets
    }

    private mutating func verdict(_ entry: ReceivedEntry, _ offsets: ClosedRange<UInt64>)
        -> RedeliveredEntry.Verdict
    {
        let offset = offsets.lowerBound
        guard entry.item == .message else {
            return around().isLoss(offsets) ? .same : .uncompared
        }
        if let waiting = waiting(at: offset) {
            return waiting == entry.storedRecord
                ? .same : .altered("offset \(offset) came again as something else than what is in quarantine")
        }
        switch entry.verdict {
        case .intact: break
        // It was not taken by this release, so that it was not read either.
        case .formatUnsupported: return .uncompared
        case .checksumMismatch, .digestMismatch, .malformed:
            return otherwise(entry, offset, "offset \(offset) came again and is damaged, what is stored is not")
        }
        guard let digest = entry.contentDigest, let identifier = entry.key else { return .uncompared }
        let standing: (offset: UInt64, content: Digest)?
        do throws(BufferError) {
            standing = try buffer.content(of: keyedBy == .content ? digest : identifier)
        } catch {
            return .uncompared
        }
        guard let standing else {
            // What was stored while keys were made otherwise has no key of this kind, and the same content.
            if around().content(offset, entry.origin, position) == digest { return .same }
            return otherwise(
                entry, offset, "offset \(offset) came again with "
                    + (keyedBy == .content ? "content that is" : "an id that is") + " not stored")
        }
        guard standing.content == digest else {
            // Two facts with one id: the second one of them may be what was refused here, and is forgotten since.
            return otherwise(
                entry, offset,
                "offset \(offset) came again with the id of our offset \(standing.offset) and other content")
        }
        // Facts that say the same are one where content decides, wherever they come from.
        guard keyedBy == .identifier else { return .same }
        guard found.insert(standing.offset).inserted else {
            return otherwise(entry, offset, "offset \(offset) came again as the fact of another offset")
        }
        if let began = around().places[standing.offset], began.logUUID == position.logUUID, began.offset != offset {
            // A source may have been given a fact once more, at another place, after it had lost or forgotten it.
            return otherwise(entry, offset, "offset \(offset) came again as the fact of offset \(began.offset)")
        }
        return .same
    }

    /// What is not found where it should be was altered if a fact stands here that came from its place.
    private mutating func otherwise(_ entry: ReceivedEntry, _ offset: UInt64, _ sentence: String)
        -> RedeliveredEntry.Verdict
    {
        around().hasFact(offset, entry.origin, position) ? .altered(sentence) : .uncompared
    }

    private func waiting(at offset: UInt64) -> [UInt8]? {
        let identifier = QuarantineIdentifier(
            logUUID: position.logUUID, epoch: position.epoch, offset: offset)
        return (try? quarantine.fact(identifier))?.storedRecord
    }

    // MARK: - By their place

    /// What stands where the page's facts stand: read once, since each read is of a whole frame.
    private struct Window {
        /// Where a fact began: in the log being read, or in another one that its zone has it from.
        struct Place: Hashable {
            var logUUID: [UInt8]
            var epoch: UInt64
            var offset: UInt64
        }

        /// By our offsets.
        var places: [UInt64: Place] = [:]
        /// The content digests of what began there; nil where the log has none.
        var origins: [Place: Digest?] = [:]
        /// The same by offsets of the log being read, of those that began in it.
        var facts: [UInt64: Digest?] = [:]
        /// In order.
        var losses: [ClosedRange<UInt64>] = []

        /// Nil where no fact stands that began there; its digest, if it has one, otherwise.
        private func found(_ offset: UInt64, _ origin: RecordOrigin?, _ position: SourcePosition) -> Digest?? {
            guard let origin else { return facts[offset] }
            let isOwn = origin.logUUID == position.logUUID
            let place = Place(
                logUUID: origin.logUUID, epoch: origin.epoch, offset: isOwn ? offset : origin.offset)
            return origins[place] ?? (isOwn ? nil : facts[offset])
        }

        func hasFact(_ offset: UInt64, _ origin: RecordOrigin?, _ position: SourcePosition) -> Bool {
            found(offset, origin, position) != nil
        }

        func content(_ offset: UInt64, _ origin: RecordOrigin?, _ position: SourcePosition) -> Digest? {
            found(offset, origin, position) ?? nil
        }

        func isLoss(_ offsets: ClosedRange<UInt64>) -> Bool {
            var (low, high) = (0, losses.count)
            while low < high {
                let middle = (low + high) / 2
                if losses[middle].lowerBound <= offsets.lowerBound { low = middle + 1 } else { high = middle }
            }
            return low > 0 && losses[low - 1].upperBound >= offsets.upperBound
        }
    }

    private mutating func around() -> Window {
        if let window { return window }
        var made = Window()
        let head = buffer.headOffset
        // A source may say any offsets, up to the last one that there can be.
        let (distance, isBeyond) = (position.nextOffset - offsets.lowerBound).addingReportingOverflow(
            Self.displacementMaximum)
        var next = max(buffer.firstOffset, isBeyond ? 0 : head - min(head, distance))
        let count = min(
            2 * FactLimits.pageFacts, Int(clamping: offsets.upperBound - offsets.lowerBound)
        ) + 2 * Int(Self.displacementMaximum)
        for _ in 0..<2 where next < head {
            do throws(BufferError) {
                _ = try buffer.read(
                    from: next, maximumCount: count, maximumBytes: Self.windowBytesMaximum
                ) { record in
                    take(record, into: &made)
                    return true
                }
                break
            } catch {
                // What was removed meanwhile cannot be looked at.
                guard case .gap(let gap) = error.kind else { break }
                next = gap.offsets.upperBound
            }
        }
        made.losses.sort { $0.lowerBound < $1.lowerBound }
        window = made
        return made
    }

    private func take(_ record: BufferRecord, into window: inout Window) {
        guard let stored = try? StoredRecord(record.payload) else { return }
        guard stored.item != .message else {
            guard let origin = stored.origin else { return }
            let place = Window.Place(logUUID: origin.logUUID, epoch: origin.epoch, offset: origin.offset)
            if origin.logUUID == position.logUUID {
                window.facts.updateValue(record.contentDigest, forKey: origin.offset)
            }
            window.origins.updateValue(record.contentDigest, forKey: place)
            window.places[record.offset] = place
            return
        }
        let entry = ReceivedEntry(storedRecord: Array(record.payload), offset: record.offset, statedDigest: nil)
        guard let notice = entry.notice, notice.first.logUuid.elementsEqual(position.logUUID),
            notice.first.offset <= notice.lastOffset
        else { return }
        window.losses.append(notice.first.offset...notice.lastOffset)
    }
}
