/// Gathers a segment's footer from its frames, in order: what sealing writes and what verifying
/// expects to find are made by the same hand.
struct FooterGathering {
    private(set) var footer: SegmentFooter
    private var points: SparsePoints

    /// - Parameters:
    ///   - entry: of a closed segment.
    ///   - endOffset: one past its last record: the next segment's base offset.
    ///   - previousDigest: of the segment before; the anchor's for the first one; `Digest256.zero` for
    ///     the first ever.
    init(
        header: SegmentHeader, entry: SegmentEntry, endOffset: UInt64, previousDigest: Digest256
    ) {
        footer = SegmentFooter(
            identifier: header.identifier, segmentID: header.id, salt: header.salt,
            baseOffset: header.baseOffset, endOffset: endOffset,
            firstSequence: header.firstSequence, lastSequence: entry.lastSequence,
            logicalEnd: entry.logicalEnd, previousDigest: previousDigest, digest: .zero)
        points = SparsePoints(
            countMaximum: SegmentFooter.pointCountMaximum(segmentBytes: header.segmentBytes))
    }

    /// Takes what is in a frame, before `take(frame:)` of the same one.
    ///
    /// - Throws: when an append time goes back.
    mutating func take(_ item: FrameBody.Item) throws(FormatError) {
        guard case .record(let record) = item else {
            footer.controlRecordCount += 1
            return
        }
        let time = record.appendTimeMilliseconds
        if footer.recordCount == 0 {
            footer.leastTimeMilliseconds = time
            footer.greatestTimeMilliseconds = time
        }
        guard time >= footer.greatestTimeMilliseconds else {
            throw .invalid("an append time is before the one of the record before")
        }
        footer.greatestTimeMilliseconds = time
        footer.recordCount += 1
        if record.key != nil { footer.keyedRecordCount += 1 }
    }

    mutating func take(frame: SegmentWalker.Frame) {
        footer.frameCount += 1
        guard frame.header.recordCount > 0 else { return }
        points.append(
            SegmentFooter.Point(
                offset: frame.header.firstOffset, position: frame.position,
                greatestTimeMilliseconds: footer.greatestTimeMilliseconds))
    }

    /// The whole footer.
    mutating func finish(digest: Digest256) -> SegmentFooter {
        footer.digest = digest
        footer.points = points.points
        return footer
    }
}
