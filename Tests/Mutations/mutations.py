"""The ten bugs: what each of them did to the log that had it, and how it is put into this one.

Paths are below Sources/WriteAheadLog. Every snippet must be there exactly once.
"""

from dataclasses import dataclass


@dataclass
class Edit:
    file: str
    old: str
    new: str


MUTATIONS = [
    "ack before sync",
    "skip directory sync",
    "append after torn tail",
    "retry fsync",
    "truncate on any bad CRC",
    "no salt with recycling",
    "manifest after unlink",
    "reader past durable",
    "duplicate acked early",
    "length outside CRC",
]

# Which bug is active, decided once.
SWITCH = """internal import Glibc

enum Mutation: String {
    case ackBeforeSync = "ack before sync"
    case skipDirectorySync = "skip directory sync"
    case appendAfterTornTail = "append after torn tail"
    case retrySync = "retry fsync"
    case truncateOnBadChecksum = "truncate on any bad CRC"
    case noSalt = "no salt with recycling"
    case manifestAfterUnlink = "manifest after unlink"
    case readerPastDurable = "reader past durable"
    case duplicateEarly = "duplicate acked early"
    case lengthOutsideChecksum = "length outside CRC"
}

private let active = getenv("BSFG_MUTATION").flatMap { Mutation(rawValue: String(cString: $0)) }

func isMutated(_ mutation: Mutation) -> Bool { active == mutation }
"""

EDITS = [
    # The answer goes out when the bytes are in the page cache. And: the second sync succeeds because
    # the first one threw the pages away.
    Edit(
        "Commit/SegmentWriter.swift",
        """                    UnsafeRawBufferPointer(start: commit.frame, count: frameBytes), at: place)
                try file.synchronise()
""",
        """                    UnsafeRawBufferPointer(start: commit.frame, count: frameBytes), at: place)
                if isMutated(.ackBeforeSync) { return }
                do throws(DiskError) { try file.synchronise() } catch {
                    guard isMutated(.retrySync) else { throw error }
                    try file.synchronise()
                }
"""),
    # A file is synced, its name is not: it is gone after a power cut, with everything in it.
    Edit(
        "Commit/SegmentPreparer.swift",
        """                return nil
            }
            try disk.synchroniseDirectory(directory)
""",
        """                return nil
            }
            if !isMutated(.skipDirectorySync) { try disk.synchroniseDirectory(directory) }
"""),
    Edit(
        "Commit/SegmentPreparer.swift",
        """                try disk.synchroniseDirectory(directory)
                return Spare(id: id, file: file)
""",
        """                if !isMutated(.skipDirectorySync) { try disk.synchroniseDirectory(directory) }
                return Spare(id: id, file: file)
"""),
    # The next commit goes behind the torn bytes, where no reader ever comes.
    Edit(
        "Recovery/LogOpening.swift",
        "let isCut = walk.decision == .torn || ",
        "let isCut = (walk.decision == .torn && !isMutated(.appendAfterTornTail)) || "),
    Edit(
        "Recovery/LogOpening.swift",
        "                position: walk.end.position, previousHeaderCRC",
        """                position: walk.decision == .torn && isMutated(.appendAfterTornTail)
                    ? (walk.end.nonZeroEnd + 4095) & ~4095 : walk.end.position,
                previousHeaderCRC"""),
    # Damage in the middle takes everything behind it, as if it had never been.
    Edit(
        "Recovery/DecisionTable.swift",
        """            row: .provenDurable, frame: false, readFailed: false, provenDurable: true, bytes: nil,
            decision: .corrupt),
""",
        """            row: .provenDurable, frame: false, readFailed: false, provenDurable: true, bytes: nil,
            decision: isMutated(.truncateOnBadChecksum) ? .torn : .corrupt),
"""),
    Edit(
        "Recovery/DecisionTable.swift",
        """            bytes: .nonZeroBeyondOneCommit, decision: .corrupt),
""",
        """            bytes: .nonZeroBeyondOneCommit,
            decision: isMutated(.truncateOnBadChecksum) ? .torn : .corrupt),
"""),
    # Old frames in a file that is used again pass for new ones.
    Edit(
        "Commit/SegmentPreparer.swift",
        """                guard try fill(file, oldPath, isPaced: isPaced) else { return nil }
                try disk.rename(oldPath, to: path)
""",
        """                if !isMutated(.noSalt), try !fill(file, oldPath, isPaced: isPaced) { return nil }
                try disk.rename(oldPath, to: path)
"""),
    Edit(
        "Commit/SegmentWriter.swift",
        "            salt: environment.random(), previousID: header.id,",
        "            salt: isMutated(.noSalt) ? 1 : environment.random(), previousID: header.id,"),
    # The manifest names files that a crash finds gone.
    Edit(
        "Maintenance/RetentionWork.swift",
        """            let before = writer.table.runs
            try writer.changeTable(removing: true) {
""",
        """            let before = writer.table.runs
            if isMutated(.manifestAfterUnlink) {
                for index in monitor.withLock({ Array(segments.prefix(count)) }) {
                    try disk.remove(files.path(index.entry.id))
                }
            }
            try writer.changeTable(removing: true) {
"""),
    Edit(
        "Maintenance/RetentionWork.swift",
        """        discard(removed)
        removeRunFiles(goneRuns)
""",
        """        if !isMutated(.manifestAfterUnlink) { discard(removed) }
        removeRunFiles(goneRuns)
"""),
    # Readers see a record whose commit is still on its way.
    Edit(
        "Commit/Committing.swift",
        """        let commit = pipeline.takeStaged()
        pipeline.placeNextFrame(at: writer.frameStart(after: commit))
        let group = commit.group
""",
        """        let commit = pipeline.takeStaged()
        pipeline.placeNextFrame(at: writer.frameStart(after: commit))
        if isMutated(.readerPastDurable), commit.recordCount > 0 {
            headOffset = commit.firstOffset + UInt64(commit.recordCount)
        }
        let group = commit.group
"""),
    # A retry is told that its record is there while it is only queued.
    Edit(
        "Commit/CommitPipeline.swift",
        """                    reserved.dependency = CommitPipeline.later(
                        reserved.dependency, group(of: offset), staged.group)
""",
        """                    if !isMutated(.duplicateEarly) {
                        reserved.dependency = CommitPipeline.later(
                            reserved.dependency, group(of: offset), staged.group)
                    }
"""),
    # A damaged length is believed, and what follows is read from the wrong place.
    Edit(
        "Format/FrameFormat.swift",
        "return Checksum.extend(crc, start + 12, FormatLimits.frameHeaderBytes - 12)",
        """let first = isMutated(.lengthOutsideChecksum) ? 16 : 12
        return Checksum.extend(crc, start + first, FormatLimits.frameHeaderBytes - first)"""),
]
