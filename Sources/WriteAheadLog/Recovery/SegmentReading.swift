internal import Glibc

/// Reads one segment that the table names, frame by frame with bounded memory, and judges what stands
/// at its end. Modifies nothing, and works beside a running writer: what looks damaged at the end of
/// the last segment is looked at again before it is believed.
///
/// Not thread-safe.
final class SegmentReading {
    enum Item {
        /// A good frame; the walker gives its records.
        case frame(SegmentWalker.Frame, SegmentWalker)
        /// Damage, and the position behind it where reading goes on.
        case damage(SegmentDamage, end: UInt64)
    }

    /// What stood after the last frame.
    struct End {
        /// Where the last frame ends, and what the next one would have to follow.
        var place: SegmentWalker.Start
        var row = RecoveryRow.cleanEnd
        var decision = RecoveryDecision.cleanEnd
        /// One past the last byte that is not zero; of the last segment only.
        var nonZeroEnd: UInt64 = 0
        /// Where what a torn end leaves behind begins: in the last good frame's padding or behind it.
        var cutPosition: UInt64 = 0
        /// Of a closed segment all of which could be read.
        var digest: Digest256?
    }

    /// What is known to have been durable.
    struct Proof {
        var sequence: UInt64
        var headOffset: UInt64

        init(_ state: LogState) {
            sequence = state.durableSequence
            headOffset = state.headOffset
        }
    }

    static let pauseMicroseconds: UInt32 = 40_000
    /// Behind a read error it goes on at the next multiple.
    private static let unreadableBytes: UInt64 = 256 * 1024

    let entry: SegmentEntry
    let file: any DiskFile
    let header: SegmentHeader
    /// Why the segment's own header could not be used: `header` is then made of what the table knows,
    /// which is enough to verify the frames behind.
    let headerFailure: String?
    private let path: String
    /// Where the next segment begins; nil for the last one.
    private let endOffset: UInt64?
    /// A frame that the writer is about to finish looks damaged for a moment: how often it is looked
    /// at again.
    private let attempts: Int

    var isLast: Bool { endOffset == nil }

    /// - Throws: when the file cannot be opened.
    init(
        _ disk: any Disk, directory: String, table: SegmentTable, number: Int, attempts: Int
    ) throws(DiskError) {
        entry = table.segments[number]
        let isLast = number == table.segments.count - 1
        endOffset = isLast ? nil : table.segments[number + 1].baseOffset
        path = directory + "/" + SegmentHeader.fileName(id: entry.id)
        self.attempts = attempts
        file = try disk.open(path, .read)
        // What is read may be in the page cache only: after this it is on the device.
        if isLast { try file.synchronise() }
        (header, headerFailure) = try SegmentReading.header(file, entry, table)
    }

    private static func header(
        _ file: any DiskFile, _ entry: SegmentEntry, _ table: SegmentTable
    ) throws(DiskError) -> (SegmentHeader, String?) {
        let image = try SegmentImage(
            file, limit: UInt64(FormatLimits.segmentHeaderBytes), uncached: true)
        var reason = "the segment header is not the one that the manifest names"
        if let failure = image.readFailure {
            reason = failure.error.sentence
        } else {
            do throws(FormatError) {
                let header = try SegmentHeader(image.bytes)
                if header.matches(entry, table) { return (header, nil) }
            } catch {
                reason = "the segment header does not verify (\(error))"
            }
        }
        let size = try file.size()
        let bounds = FormatLimits.segmentBytesMinimum...FormatLimits.segmentBytesMaximum
        let segmentBytes =
            [entry.fileBytes, size].first(where: bounds.contains) ?? table.segmentBytes
        let header = SegmentHeader(
            commitAlignment: table.commitAlignment, identifier: table.identifier, id: entry.id,
            salt: entry.salt, previousID: 0, firstSequence: entry.firstSequence,
            baseOffset: entry.baseOffset, epoch: 1, createdMilliseconds: 0,
            segmentBytes: segmentBytes,
            commitBytesMaximum: UInt32(FormatLimits.commitBytes(segmentBytes: segmentBytes)),
            profile: table.profile, crc: entry.headerCRC)
        return (header, reason)
    }

    /// Gives everything from the first frame on to `visit`, in order.
    ///
    /// - Parameters:
    ///   - previousDigest: for a closed segment, of the segment before: then its digest is told.
    ///   - proof: what something outside this segment proves durable.
    func read(
        previousDigest: Digest256? = nil, proof: Proof, _ visit: (Item) throws(LogError) -> Void
    ) throws(LogError) -> End {
        guard let endOffset else { return try readLast(proof, visit) }
        return try readClosed(endOffset, previousDigest, visit)
    }

    // MARK: - Closed

    private func readClosed(
        _ endOffset: UInt64, _ previousDigest: Digest256?,
        _ visit: (Item) throws(LogError) -> Void
    ) throws(LogError) -> End {
        let hash = previousDigest.map { previous in
            let hash = SHA256Stream()
            hash.update(previous)
            return hash
        }
        let end = SegmentWalker.End(entry, offset: endOffset)
        var walker = SegmentWalker(
            file: file, header: header, to: end, isUncached: true, hash: hash)
        var isWhole = true
        /// Where reading failed, until the walk goes on behind it.
        var unreadable: (position: UInt64, next: UInt64, reason: String)?
        while true {
            let step: SegmentWalker.Step
            do throws(DiskError) { step = try walker.next() } catch {
                isWhole = false
                let before = unreadable?.next ?? walker.position
                let next =
                    (before / SegmentReading.unreadableBytes + 1) * SegmentReading.unreadableBytes
                guard next < entry.logicalEnd else {
                    try visit(
                        .damage(
                            SegmentDamage(
                                position: unreadable?.position ?? walker.position,
                                offsets: walker.nextOffset..<max(walker.nextOffset, endOffset),
                                reason: error.sentence), end: entry.logicalEnd))
                    return End(place: walker.place)
                }
                unreadable = (unreadable?.position ?? walker.position, next, error.sentence)
                var start = walker.place
                start.position = next
                walker = SegmentWalker(
                    file: file, header: header, from: start, to: end, isUncached: true)
                continue
            }
            switch step {
            case .frame(let frame):
                unreadable = nil
                try visit(.frame(frame, walker))
            case .damage(var damage):
                if let place = unreadable {
                    damage.position = place.position
                    damage.reason = place.reason
                    unreadable = nil
                }
                try visit(.damage(damage, end: walker.position))
            case .searching: break
            case .end:
                var end = End(place: walker.place)
                if isWhole, let hash { end.digest = hash.finish() }
                return end
            }
        }
    }

    // MARK: - Last

    private func readLast(
        _ proof: Proof, _ visit: (Item) throws(LogError) -> Void
    ) throws(LogError) -> End {
        var walker = lastWalker(from: nil)
        var proof = proof
        proof.sequence = max(proof.sequence, header.firstSequence - 1)
        var looks = 1
        var isSearching = false
        /// Of the frame before: damage, unless that one is the last and its padding was being written.
        var padding: (damage: SegmentDamage, end: UInt64)?
        while true {
            let before = walker.place
            switch Result(catching: { () throws(DiskError) in try walker.next() }) {
            case .failure(let error):
                return try unreadable(before, error, proof, visit)
            case .success(.frame(let frame)):
                if let damage = padding { try visit(.damage(damage.damage, end: damage.end)) }
                padding = nil
                looks = 1
                isSearching = false
                proof.sequence = max(proof.sequence, frame.header.durableSequence)
                try visit(.frame(frame, walker))
            case .success(.damage(let damage)):
                if isSearching, walker.position >= header.frameLimit {
                    return try conclude(before, damage.reason, padding, proof, visit)
                }
                if !isSearching, damage.position >= header.firstFramePosition {
                    padding = (damage, walker.position)
                    continue
                }
                if let damage = padding { try visit(.damage(damage.damage, end: damage.end)) }
                padding = nil
                looks = 1
                isSearching = false
                try visit(.damage(damage, end: walker.position))
            case .success(.searching):
                guard !isSearching else { break }
                isSearching = true
                if case .success(before.position) = Result(catching: { () throws(DiskError) in
                    try self.nonZeroEnd(from: before.position)
                }) {
                    // Not looked at again: by then a writer may have gone on by several commits.
                    return try conclude(
                        before, "nothing stands there", padding, proof, nonZeroEnd: before.position, visit)
                }
                if looks < attempts {
                    // Perhaps the writer is in the middle of it.
                    looks += 1
                    isSearching = false
                    usleep(SegmentReading.pauseMicroseconds)
                    walker = lastWalker(from: before)
                }
            case .success(.end): return try conclude(before, "nothing stands there", padding, proof, visit)
            }
        }
    }

    private func lastWalker(from start: SegmentWalker.Start?) -> SegmentWalker {
        SegmentWalker(
            file: file, header: header, from: start,
            to: SegmentWalker.End(position: header.frameLimit), isUncached: false)
    }

    /// Judges by the decision table what stands after the last frame.
    ///
    /// - Parameter known: the end of what is not zero there, where it was seen already.
    private func conclude(
        _ place: SegmentWalker.Start, _ reason: String,
        _ padding: (damage: SegmentDamage, end: UInt64)?, _ proof: Proof, nonZeroEnd known: UInt64? = nil,
        _ visit: (Item) throws(LogError) -> Void
    ) throws(LogError) -> End {
        let nonZeroEnd: UInt64
        switch Result(catching: { () throws(DiskError) in
            if let known { return known }
            return try self.nonZeroEnd(from: place.position)
        }) {
        case .success(let end): nonZeroEnd = end
        case .failure(let error): return try unreadable(place, error, proof, visit)
        }
        let bytes: RecoveryEvidence.Bytes =
            nonZeroEnd == place.position
            ? .allZero
            : nonZeroEnd <= place.position + UInt64(header.commitBytesMaximum)
                ? .nonZeroWithinOneCommit : .nonZeroBeyondOneCommit
        let (row, decision) = DecisionTable.decide(
            RecoveryEvidence(
                frameVerifiesAndLinks: false, readFailed: false,
                provenDurable: place.sequence + 1 <= proof.sequence, bytes: bytes))
        var end = End(
            place: place, row: row, decision: decision, nonZeroEnd: nonZeroEnd,
            cutPosition: place.position)
        if let padding, decision != .corrupt {
            if place.sequence <= proof.sequence {
                // It was durable with its padding.
                try visit(.damage(padding.damage, end: padding.end))
            } else {
                end.cutPosition = padding.damage.position
                end.nonZeroEnd = max(nonZeroEnd, padding.end)
                (end.row, end.decision) = (.tornTail, .torn)
            }
        }
        if decision == .corrupt {
            if let padding { try visit(.damage(padding.damage, end: padding.end)) }
            try visit(
                .damage(damage(place, "row \(row.rawValue): \(reason)", proof), end: nonZeroEnd))
        }
        return end
    }

    /// A read error is never torn.
    private func unreadable(
        _ place: SegmentWalker.Start, _ error: DiskError, _ proof: Proof,
        _ visit: (Item) throws(LogError) -> Void
    ) throws(LogError) -> End {
        let row = RecoveryRow.readError
        try visit(
            .damage(
                damage(place, "row \(row.rawValue): \(error.sentence)", proof),
                end: header.frameLimit))
        return End(place: place, row: row, decision: .corrupt, nonZeroEnd: place.position)
    }

    /// One record at least stood there; how many is known only as far as a slot tells.
    private func damage(_ place: SegmentWalker.Start, _ reason: String, _ proof: Proof)
        -> SegmentDamage
    {
        SegmentDamage(
            position: place.position,
            offsets: place.nextOffset..<max(place.nextOffset + 1, proof.headOffset), reason: reason)
    }

    /// One past the last non-zero byte of the file at or after `start`, or `start`.
    private func nonZeroEnd(from start: UInt64) throws(DiskError) -> UInt64 {
        try ZeroScan(file).nonZeroEnd(from: start)
    }
}
