extension DiskFile {
    /// The header of the segment in this file; nil when what stands there is none that verifies.
    func segmentHeader(uncached: Bool) throws(DiskError) -> SegmentHeader? {
        let image = try SegmentImage(
            self, limit: UInt64(FormatLimits.segmentHeaderBytes), uncached: uncached)
        if let failure = image.readFailure { throw failure.error }
        return try? SegmentHeader(image.bytes)
    }
}

extension SegmentDamage {
    /// Without its header nothing in a segment can be verified.
    static func header(of index: SegmentIndex) -> SegmentDamage {
        SegmentDamage(
            position: 0, offsets: index.entry.baseOffset..<index.endOffset,
            reason: "the segment header does not verify")
    }
}
