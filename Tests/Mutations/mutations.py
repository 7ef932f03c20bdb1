"""The ten bugs: what each of them did to the log that had it, and how it is put into this one.

Paths are below Sources/WriteAheadLog. Every snippet must be there exactly once.
"""

from dataclasses import dataclass


@dataclass
class Edit:
    file: str
    old: str
    new: str


@dataclass
class Mutation:
    name: str
    edits: list


MUTATIONS = [
    # The answer goes out when the bytes are in the page cache.
    Mutation("ack before sync", [
        Edit(
            "Commit/SegmentWriter.swift",
            """            try file.write(bytes, at: place)
            try file.synchronise()
""",
            """            try file.write(bytes, at: place)
"""),
    ]),
    # A file is synced, its name is not: it is gone after a power cut, with everything in it.
    Mutation("skip directory sync", [
        Edit(
            "Commit/SegmentPreparer.swift",
            """            try ZeroFill.fill(file, byteCount: segmentBytes)
            try disk.synchroniseDirectory(directory)
""",
            """            try ZeroFill.fill(file, byteCount: segmentBytes)
"""),
        Edit(
            "Commit/SegmentPreparer.swift",
            """            try disk.synchroniseDirectory(directory)
            return Spare(id: id, file: file)
""",
            """            return Spare(id: id, file: file)
"""),
    ]),
    # The next commit goes behind the torn bytes, where no reader ever comes.
    Mutation("append after torn tail", [
        Edit(
            "Recovery/LogOpening.swift",
            "let isCut = walk.decision == .torn || ",
            "let isCut = "),
        Edit(
            "Recovery/LogOpening.swift",
            "                position: walk.end.position, previousHeaderCRC",
            """                position: walk.decision == .torn
                    ? (walk.end.nonZeroEnd + 4095) & ~4095 : walk.end.position,
                previousHeaderCRC"""),
    ]),
    # The second sync succeeds because the first one threw the pages away.
    Mutation("retry fsync", [
        Edit(
            "Commit/SegmentWriter.swift",
            """            try file.write(bytes, at: place)
            try file.synchronise()
""",
            """            try file.write(bytes, at: place)
            do throws(DiskError) { try file.synchronise() } catch { try file.synchronise() }
"""),
    ]),
    # Damage in the middle takes everything behind it, as if it had never been.
    Mutation("truncate on any bad CRC", [
        Edit(
            "Recovery/DecisionTable.swift",
            """            row: .provenDurable, frame: false, readFailed: false, provenDurable: true, bytes: nil,
            decision: .corrupt),
""",
            """            row: .provenDurable, frame: false, readFailed: false, provenDurable: true, bytes: nil,
            decision: .torn),
"""),
        Edit(
            "Recovery/DecisionTable.swift",
            """            bytes: .nonZeroBeyondOneCommit, decision: .corrupt),
""",
            """            bytes: .nonZeroBeyondOneCommit, decision: .torn),
"""),
    ]),
    # Old frames in a file that is used again pass for new ones.
    Mutation("no salt with recycling", [
        Edit(
            "Commit/SegmentPreparer.swift",
            """                try ZeroFill.fill(file, byteCount: segmentBytes)
                try disk.rename(oldPath, to: path)
""",
            """                try disk.rename(oldPath, to: path)
"""),
        Edit(
            "Commit/SegmentWriter.swift",
            "            salt: environment.random(), previousID: header.id,",
            "            salt: 1, previousID: header.id,"),
    ]),
    # The manifest names files that a crash finds gone.
    Mutation("manifest after unlink", [
        Edit(
            "Maintenance/RetentionWork.swift",
            """            let before = writer.table.runs
            try writer.changeTable(removing: true) {
""",
            """            let before = writer.table.runs
            for index in monitor.withLock({ Array(segments.prefix(count)) }) {
                try disk.remove(files.path(index.entry.id))
            }
            try writer.changeTable(removing: true) {
"""),
        Edit(
            "Maintenance/RetentionWork.swift",
            """        discard(removed)
        removeRunFiles(goneRuns)
""",
            """        removeRunFiles(goneRuns)
"""),
    ]),
    # Readers see a record whose commit is still on its way.
    Mutation("reader past durable", [
        Edit(
            "Commit/Committing.swift",
            """        let commit = pipeline.takeStaged()
        let group = commit.group
""",
            """        let commit = pipeline.takeStaged()
        if commit.recordCount > 0 { headOffset = commit.firstOffset + UInt64(commit.recordCount) }
        let group = commit.group
"""),
    ]),
    # A retry is told that its record is there while it is only queued.
    Mutation("duplicate acked early", [
        Edit(
            "Commit/CommitPipeline.swift",
            """                    dependency = CommitPipeline.later(dependency, admitted.group, staged.group)
""",
            ""),
    ]),
    # A damaged length is believed, and what follows is read from the wrong place.
    Mutation("length outside CRC", [
        Edit(
            "Format/FrameFormat.swift",
            "return Checksum.extend(crc, start + 12, FormatLimits.frameHeaderBytes - 12)",
            "return Checksum.extend(crc, start + 16, FormatLimits.frameHeaderBytes - 16)"),
    ]),
]
