/// What happens in a log beside appends and reads.
public enum LogEvent: Hashable, Sendable {
    /// A write or sync failed; nothing is written any more.
    case poisoned(PoisonCause)
    /// New records are refused from now on. Fill is a share of the capacity.
    case backpressureClosed(fill: Double)
    case backpressureOpened(fill: Double)
    /// `silStrict` only: the high watermark was crossed. Stays until it is acknowledged.
    case alarmRaised(fill: Double)
    case alarmAcknowledged(by: String, reason: String)
    /// Records were lost: the gap is durable, the removal follows.
    case gapDeclared(Gap)
    /// These unconfirmed records will be removed at that time (milliseconds since 1970) unless they
    /// are confirmed before.
    case expiryApproaching(offsets: Range<UInt64>, atMilliseconds: Int64)
    /// These unconfirmed records are past their lifetime and go.
    case expired(offsets: Range<UInt64>)
    /// These records are no longer in the log.
    case truncated(offsets: Range<UInt64>)
    /// Truncation no longer waits for this cursor.
    case cursorDetached(owner: String, name: String, reason: String)
    /// The file system has less free space than the reserve; appends are refused.
    case lowSpace(freeBytes: UInt64)
    case spaceRecovered(freeBytes: UInt64)
    /// A segment could not be prepared in advance; tried again.
    case spareFailed(DiskError)
    /// Work on something that can be made again from the log failed; tried again.
    case derivedWorkFailed(what: String, DiskError)
    case segmentSealed(identifier: UInt64, digest: Digest256)
    case corruptionFound(Corruption)
    case keyRunRebuilt
    /// Keys of records that are gone were lost: a retry of one of them would be stored again.
    case dedupeHorizonLost
    /// The wall clock cannot be believed; nothing unconfirmed expires.
    case clockSuspect(reason: String)
    case clockTrusted
    /// Opening cut this many bytes of a torn commit.
    case tailCut(bytes: UInt64)
}
