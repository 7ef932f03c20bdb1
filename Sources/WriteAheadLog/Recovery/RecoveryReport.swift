/// What opening a log found and did, as data.
public struct RecoveryReport: Sendable {
    /// The log was made by this opening.
    public var created = false
    /// Segments of the log, with the active one.
    public var segmentCount = 0
    /// Frames, records and keys that were read: those since the last checkpoint.
    public var frameCount: UInt64 = 0
    /// Records that the log holds.
    public var recordCount: UInt64 = 0
    /// Keys that are remembered.
    public var keyCount: UInt64 = 0
    /// What stood after the last good frame; rows of the decision table.
    public var row = RecoveryRow.cleanEnd
    /// How the last segment ended.
    public var decision = RecoveryDecision.cleanEnd
    /// The file and place of the end.
    public var endFile = ""
    /// The byte of the active segment after its last commit.
    public var endPosition: UInt64 = 0
    /// Bytes between the last good frame and the last non-zero byte that were cut off as torn. They
    /// stay in the file, beyond its logical end.
    public var cutBytes: UInt64 = 0
    /// The highest sequence that something proved durable before the end was looked at.
    public var provenSequence: UInt64 = 0
    /// The number of the last commit that was found.
    public var lastSequence: UInt64 = 0
    /// Unlisted files that were removed: unfinished spares and rolls.
    public var removedFiles: [String] = []
    /// Unlisted segment files that no crash of this log can have left: not touched.
    public var keptFiles: [String] = []
    /// Slots of the manifest that could not be read; their twins were good.
    public var manifestDamage: [String] = []
    /// Copies of bytes that were cut off or passed over, in the log's folder `quarantine`.
    public var quarantinedFiles: [String] = []
    /// Records that could not be read and are declared lost (profile standard only).
    public var losses: [Range<UInt64>] = []
    /// Offsets whose keys cannot be looked up before they have been gathered again.
    public var missingKeyRanges: [Range<UInt64>] = []
    /// What opening took, in milliseconds.
    public var durationMilliseconds: Int64 = 0
}

extension RecoveryReport {
    mutating func take(_ walk: SegmentWalk, _ table: SegmentTable) {
        segmentCount = table.segments.count
        frameCount = walk.frameCount
        recordCount = walk.recordCount
        keyCount = UInt64(walk.keys.count)
        row = walk.row
        decision = walk.decision
        endFile = SegmentHeader.fileName(id: walk.lastHeader.id)
        endPosition = walk.end.position
        provenSequence = walk.provenSequence
        lastSequence = walk.sequence
        losses = walk.losses
        if walk.decision == .torn { cutBytes = UInt64(walk.cutBytes.count) }
    }
}
