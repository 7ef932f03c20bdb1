internal import Glibc

/// Why the engine could not do what was asked. `rejected` left nothing behind; `outcomeUnknown` may
/// or may not survive and is safe to retry with the same key.
public enum LogError: Error, Hashable, Sendable {
    case rejected(RejectionReason)
    case outcomeUnknown(PoisonCause)
    /// An earlier write or sync failed; nothing is written any more, durable records can be read.
    case poisoned(PoisonCause)
    /// Bytes that were proven durable are not there; opening for writing is refused.
    case corrupt(Corruption)
    case disk(DiskError)
    case closed
    /// Another process has the log open for writing.
    case locked(directory: String)
    case notALog(directory: String, reason: String)
    /// The directory holds a log of another profile than the one asked for.
    case profileMismatch(stored: Profile, asked: Profile)
    case unsupportedFormat(directory: String, version: UInt64)
    case offsetOutOfRange(offset: UInt64, first: UInt64, head: UInt64)
    /// The log no longer has what was asked for; reading goes on at the gap's end.
    case gap(Gap)
    /// The cursor was detached: it is not moved until it is attached again.
    case cursorDetached(owner: String, name: String, reason: String)
    case cursorNotFound(owner: String, name: String)
    case cursorExists(owner: String, name: String)
    case epochMismatch(given: UInt64, current: UInt64)
}

/// Why something was refused with nothing left behind.
public enum RejectionReason: Hashable, Sendable {
    case payloadTooLarge(bytes: Int, maximumBytes: Int)
    case batchTooLarge(bytes: Int, maximumBytes: Int)
    case emptyBatch
    case invalidOptions(String)
    /// A register does not hold the expected value.
    case registerMismatch(name: String)
    case nameTooLong(name: String, maximumBytes: Int)
    case tooMany(what: String, maximum: Int)
    /// The disk has no room for the next segment, or the segment table is full.
    case noSpace
    /// More is queued than the engine keeps in memory.
    case overloaded
    /// The high watermark is reached; taken again at the low one, without a restart.
    case full(fill: Double, retryAfterMilliseconds: Int)
    /// The file system has less free space than the reserve.
    case lowSpace(freeBytes: UInt64)
    /// Whether a key is new cannot be told before damaged parts of the key index are rebuilt.
    case indexRebuilding
}

/// The first error of a log that stopped writing.
public struct PoisonCause: Hashable, Sendable {
    /// What the disk answered.
    public var error: DiskError
}

/// A place where bytes are not what they were.
public struct Corruption: Hashable, Sendable {
    /// The path of the damaged file.
    public var file: String
    /// The byte in it where the damage begins.
    public var position: UInt64
    /// The first offset that can no longer be read from there.
    public var offset: UInt64
    /// What is wrong there, in words.
    public var reason: String

    /// A place, its offset and what is wrong there.
    public init(file: String, position: UInt64, offset: UInt64, reason: String) {
        self.file = file
        self.position = position
        self.offset = offset
        self.reason = reason
    }
}

extension DiskError {
    /// What failed on what, in words.
    public var sentence: String {
        code == 0
            ? "cannot \(operation.rawValue) \(path): the disk took less than it was given"
            : "cannot \(operation.rawValue) \(path): \(String(cString: strerror(code)))"
    }
}

extension LogError {
    /// What happened and what to do, in one sentence.
    public var sentence: String {
        switch self {
        case .rejected(let reason): reason.sentence
        case .outcomeUnknown(let cause):
            "the outcome is unknown because of an earlier failure (\(cause.error.sentence)); retry "
                + "with the same key after the log was reopened"
        case .poisoned(let cause):
            "the log stopped writing after a failure (\(cause.error.sentence)); check the disk, then "
                + "restart"
        case .corrupt(let place):
            "\(place.file) is damaged at byte \(place.position), from offset \(place.offset) on "
                + "(\(place.reason)); keep the files and run log verify"
        case .disk(let error): error.sentence
        case .closed: "the log is closed; open it again"
        case .locked(let directory):
            "\(directory) is open for writing in another process; stop that one first"
        case .notALog(let directory, let reason):
            "\(directory) cannot be opened as a log: \(reason)"
        case .profileMismatch(let stored, let asked):
            "the log was made with profile \(stored.name), not \(asked.name); a profile is for life"
        case .unsupportedFormat(let directory, let version):
            "\(directory) was written in format \(version) by a later release; use that release"
        case .offsetOutOfRange(let offset, let first, let head):
            "offset \(offset) is not in the log, which holds \(first) up to \(head) exclusive"
        case .gap(let gap):
            "offsets \(gap.offsets.lowerBound) up to \(gap.offsets.upperBound) exclusive are no "
                + "longer in the log (\(gap.reasons.names.joined(separator: ", "))); go on at "
                + "\(gap.offsets.upperBound)"
        case .cursorDetached(let owner, let name, let reason):
            "cursor \(name) of \(owner) is detached (\(reason)); attach it again"
        case .cursorNotFound(let owner, let name):
            "there is no cursor \(name) of \(owner); create it first"
        case .cursorExists(let owner, let name):
            "cursor \(name) of \(owner) exists already; choose another name"
        case .epochMismatch(let given, let current):
            "epoch \(given) is not the log's epoch \(current); read the log's history again"
        }
    }
}

extension RejectionReason {
    /// What was refused and what to do, in one sentence.
    public var sentence: String {
        switch self {
        case .payloadTooLarge(let bytes, let maximum):
            "the record has \(bytes) bytes and at most \(maximum) fit; make it smaller"
        case .batchTooLarge(let bytes, let maximum):
            "the batch has \(bytes) bytes and at most \(maximum) fit in a commit; split it"
        case .emptyBatch: "the batch is empty; add a record"
        case .invalidOptions(let text): text
        case .registerMismatch(let name):
            "register \(name) does not hold the expected value; read it and decide again"
        case .nameTooLong(let name, let maximum):
            "the name \(name) has more than \(maximum) bytes; shorten it"
        case .tooMany(let what, let maximum):
            "the log holds at most \(maximum) \(what); remove one first"
        case .noSpace: "there is no room for the next segment; free disk space and retry"
        case .full(let fill, let milliseconds):
            "the log is \(Int(fill * 100)) % full; retry in \(milliseconds) ms, and see that its "
                + "readers confirm"
        case .lowSpace(let bytes):
            "the file system has \(bytes) free bytes, less than the reserve; free disk space"
        case .indexRebuilding:
            "a damaged part of the key index is being rebuilt; retry in a moment"
        case .overloaded: "more is queued than the log keeps in memory; retry after a moment"
        }
    }
}
