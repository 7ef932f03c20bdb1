/// What opening a log found and did, as data.
public struct RecoveryReport: Sendable {
    /// The log was made by this opening.
    public var created = false
    public var segmentCount = 0
    public var frameCount: UInt64 = 0
    public var recordCount: UInt64 = 0
    public var keyCount: UInt64 = 0
    /// What stood after the last good frame; rows of the decision table.
    public var row = RecoveryRow.cleanEnd
    public var decision = RecoveryDecision.cleanEnd
    /// The file and place of the end.
    public var endFile = ""
    public var endPosition: UInt64 = 0
    /// Bytes between the last good frame and the last non-zero byte that were cut off as torn. They
    /// stay in the file, beyond its logical end.
    public var cutBytes: UInt64 = 0
    /// The highest sequence that something proved durable before the end was looked at.
    public var provenSequence: UInt64 = 0
    public var lastSequence: UInt64 = 0
    /// Unlisted files that were removed: unfinished spares and rolls.
    public var removedFiles: [String] = []
    /// Unlisted segment files that no crash of this log can have left: not touched.
    public var keptFiles: [String] = []
    /// Slots of the manifest that could not be read; their twins were good.
    public var manifestDamage: [String] = []
    public var durationMilliseconds: Int64 = 0
}
