/// Work on what can be made again from the log.
enum DerivedWork: CaseIterable {
    case checkpoint, sealing, keyRuns, scrubbing
}

/// What the maintainer knows between its steps. Guarded by the log's lock.
struct Upkeep {
    // Checkpoints.
    let checkpointBytes: UInt64
    /// Keys in memory that make one due as well: those of small records come to much before the bytes do.
    static let checkpointKeyCount = 120_000
    var uncheckpointedBytes: UInt64
    /// Captured and not yet written; kept after a failure, to be tried again.
    var capture: CheckpointCapture?
    var isCheckpointFailing = false
    /// Up to where the runs hold the keys, and in which segment opening would begin to read.
    var checkpointOffset: UInt64
    var checkpointSegmentID: UInt64?
    var nextRunID: UInt64

    // Retention.
    var planner: RetentionPlanner
    var gate: BackpressureGate
    var freeSpace: FreeSpaceGuard
    var clock: GuardedClock
    /// What the state slot may store: every shift before it is durable.
    var storedClock: UInt64
    var clockObservedNanoseconds: Int64
    var freeSpaceAskedNanoseconds: Int64 = .min
    var wasWrittenSinceAsked = true
    /// The digest that the first segment's continues.
    var anchorDigest: Digest256
    var closedBytes: UInt64 = 0
    let spareBytes: UInt64
    /// What the last plan would let go.
    var reclaimableBytes: UInt64 = 0
    /// Since the high watermark was reached, until the low one is.
    var isRoomNeeded = false
    var expiryAnnouncedBelow: UInt64 = 0
    /// The head when a cursor was attached again, while this log is open.
    var attachedAt: [CursorIdentity: UInt64] = [:]
    /// The plan may have changed: commits rolled, cursors moved, something was sealed.
    var isPlanStale = true
    /// When time alone changes the plan, by the monotonic clock.
    var nextMomentNanoseconds: Int64?

    /// While segments are being removed: the first offset that will be left; 0 otherwise.
    var removingBelow: UInt64 = 0

    // Sealing, key runs, scrubbing: what is under way.
    var sealing: SealingWork?
    /// Of the segment that is under way, one after the other.
    var sealingFailureCount = 0
    /// The newest, of the least tier, goes on; the others wait for it.
    var merging: [MergingWork] = []
    var scrubbing = ScrubbingState()

    // The thread.
    var isWanted = true
    var isEnded: Bool
    /// After a failure of derived work it is not tried again before this moment. Each kind waits for
    /// itself: a checkpoint that finds no room must not keep segments from being sealed and removed.
    var derivedRetryNanoseconds: [DerivedWork: Int64] = [:]

    static let derivedRetryNanoseconds: Int64 = 1_000_000_000

    init(_ opened: LogOpening.Opened, options: LogOptions, environment: LogEnvironment) {
        let table = opened.writer.table
        checkpointBytes = FormatLimits.checkpointBytes(segmentBytes: table.segmentBytes)
        uncheckpointedBytes = opened.uncheckpointedBytes
        checkpointOffset = opened.checkpointOffset
        checkpointSegmentID = table.checkpoint?.segmentID
        anchorDigest = table.anchor.digest
        nextRunID = (table.runs.map(\.id).max() ?? 0) + 1
        planner = RetentionPlanner(
            options: options.retention, capacityBytes: options.capacityBytes)
        let state = opened.pipeline.state
        gate = BackpressureGate(
            options: options.retention, policy: options.policy,
            capacityBytes: options.capacityBytes,
            isAlarmLatched: state.flags & LogState.Flags.alarm != 0)
        freeSpace = FreeSpaceGuard(options: options.retention)
        clock = GuardedClock(
            stored: GuardedClock.stored(
                state.retentionMilliseconds,
                notBefore: table.segments.map(\.retentionMilliseconds).max() ?? 0),
            environment.reading)
        storedClock = clock.stored
        clockObservedNanoseconds = environment.monotonicNanoseconds()
        spareBytes = UInt64(opened.preparer.spareCount) * table.segmentBytes
        isEnded = !environment.threads
    }
}

extension LogEnvironment {
    var reading: GuardedClock.Reading {
        GuardedClock.Reading(
            wallMilliseconds: wallMilliseconds(), monotonicNanoseconds: monotonicNanoseconds(),
            isSynchronised: isClockSynchronised())
    }
}
