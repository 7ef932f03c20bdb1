// The manifest's table: which segments make the log, in order. Two slots, written in turn.
//
//   0  u32  magic "BSFT"
//   4  u32  CRC-32C of bytes 8 ..< 4096 + 128 x segments + 64 x runs
//   8  u32  format version
//  12  u32  commit alignment in bytes
//  16  u64  generation: the highest valid slot is the table
//  24  16   log identifier
//  40  u64  next segment id
//  48  u64  capacity in bytes
//  56  u64  segment length in bytes, of segments to be made
//  64  u32  count of segments
//  68  u32  count of key runs
//  72  u8   profile
//  80  u64  anchor: id of the last removed segment, 0 for none
//  88  u64  anchor: its last sequence
//  96  32   anchor: its digest
// 128  16   feature bits (read-compatible, incompatible)
// 144  64   the checkpoint: from where opening reads frames; all zero: from the first segment on
// 208 ..< 4096  zero
// 4096 +  128 bytes a segment, in order; then 64 bytes a key run, in order of their offsets; zeros
//         to the slot's end
//
// The checkpoint:
//
//   0  u64  segment id                8  u64  position of the next frame in it
//  16  u64  last sequence before     24  u64  next offset
//  32  u32  header CRC of the frame before (or of the segment header)
//  36  u32  zero
//  40  u64  epoch                    48  i64  greatest append time before
//  56  u64  the highest state generation that a frame before carried
//
// Every key of the records before the checkpoint is in the runs.
//
// A segment's entry:
//
//   0  u64  id                    8  u64  salt
//  16  u64  base offset          24  u64  first sequence
//  32  u64  last sequence; 0 for the last segment, which is being written
//  40  u64  logical end: where its last frame's padding ends; 0 for the last segment
//  48  i64  least append time    56  i64  greatest append time, milliseconds since 1970
//  64  32   digest, when sealed
//  96  u32  flags: 1 sealed, 2 repacked, 4 damaged, 8 cut (bytes beyond the logical end may be
//           anything)
// 100  u32  header CRC: what the first frame links to
// 104  u64  length of its file in bytes; 0 for the last segment
// 112  i64  when its last record was appended, by retention's clock; 0 for the last segment
// 120 ..< 128  zero

struct SegmentEntry: Equatable {
    static let byteCount = 128

    struct Flags {
        static let sealed: UInt32 = 1
        static let repacked: UInt32 = 2
        static let damaged: UInt32 = 4
        static let cut: UInt32 = 8
    }

    var id: UInt64
    var salt: UInt64
    var baseOffset: UInt64
    var firstSequence: UInt64
    var lastSequence: UInt64 = 0
    var logicalEnd: UInt64 = 0
    var leastTimeMilliseconds: Int64 = 0
    var greatestTimeMilliseconds: Int64 = 0
    /// SHA-256 over the digest before it and this segment's bytes up to the logical end.
    var digest = Digest256.zero
    var flags: UInt32 = 0
    var headerCRC: UInt32
    var fileBytes: UInt64 = 0
    var retentionMilliseconds: Int64 = 0

    var isSealed: Bool { flags & Flags.sealed != 0 }
}

/// From where opening reads frames: everything before is known without reading it.
struct Checkpoint: Equatable {
    static let byteCount = 64
    static let position = 144

    var segmentID: UInt64
    var position: UInt64
    var sequence: UInt64
    var nextOffset: UInt64
    var previousHeaderCRC: UInt32
    var epoch: UInt64
    var greatestTimeMilliseconds: Int64
    var stateGeneration: UInt64
}

/// What is left of the segments that truncation removed: the chain of digests goes on from it.
struct Anchor: Equatable {
    var segmentID: UInt64 = 0
    var lastSequence: UInt64 = 0
    var digest = Digest256.zero
}

struct SegmentTable: Equatable {
    static let magic: UInt32 = 0x5446_5342  // "BSFT"
    static let headerBytes = 4096

    var generation: UInt64
    var identifier: LogIdentifier
    var profile: Profile
    var commitAlignment: UInt32
    var capacityBytes: UInt64
    var segmentBytes: UInt64
    var nextSegmentID: UInt64
    var anchor = Anchor()
    var checkpoint: Checkpoint?
    var segments: [SegmentEntry]
    var runs: [RunEntry] = []

    /// Bytes of it in its slot; the rest of the slot is zero.
    var byteCount: Int {
        SegmentTable.headerBytes + segments.count * SegmentEntry.byteCount
            + runs.count * RunEntry.byteCount
    }

    func encode() -> [UInt8] {
        precondition(segments.count <= FormatLimits.segmentCountMaximum, "the table is full")
        precondition(runs.count <= FormatLimits.runCountMaximum, "the run table is full")
        let runsAt = SegmentTable.headerBytes + segments.count * SegmentEntry.byteCount
        var bytes = [UInt8](repeating: 0, count: byteCount)
        bytes.withUnsafeMutableBytes { buffer in
            let start = buffer.baseAddress!
            start.set(SegmentTable.magic, at: 0)
            start.set(FormatLimits.formatVersion, at: 8)
            start.set(commitAlignment, at: 12)
            start.set(generation, at: 16)
            (start + 24).copyMemory(from: identifier.bytes, byteCount: LogIdentifier.byteCount)
            start.set(nextSegmentID, at: 40)
            start.set(capacityBytes, at: 48)
            start.set(segmentBytes, at: 56)
            start.set(UInt32(segments.count), at: 64)
            start.set(UInt32(runs.count), at: 68)
            start.set(profile.rawValue, at: 72)
            start.set(anchor.segmentID, at: 80)
            start.set(anchor.lastSequence, at: 88)
            anchor.digest.withUnsafeBytes {
                (start + 96).copyMemory(from: $0.baseAddress!, byteCount: Digest256.byteCount)
            }
            checkpoint?.write(at: start + Checkpoint.position)
            for (index, entry) in segments.enumerated() {
                entry.write(at: start + SegmentTable.headerBytes + index * SegmentEntry.byteCount)
            }
            for (index, run) in runs.enumerated() {
                run.write(at: start + runsAt + index * RunEntry.byteCount)
            }
            start.set(Checksum.extend(0, UnsafeRawPointer(start + 8), buffer.count - 8), at: 4)
        }
        return bytes
    }

    init(
        identifier: LogIdentifier, profile: Profile, commitAlignment: UInt32,
        capacityBytes: UInt64, segmentBytes: UInt64
    ) {
        generation = 0
        self.identifier = identifier
        self.profile = profile
        self.commitAlignment = commitAlignment
        self.capacityBytes = capacityBytes
        self.segmentBytes = segmentBytes
        nextSegmentID = 1
        segments = []
    }

    init(_ bytes: UnsafeRawBufferPointer) throws(FormatError) {
        guard let start = bytes.baseAddress, bytes.count >= SegmentTable.headerBytes else {
            throw .truncated
        }
        guard start.integer(UInt32.self, at: 0) == SegmentTable.magic else {
            throw .invalid("not a segment table")
        }
        let count = Int(start.integer(UInt32.self, at: 64))
        let runCount = Int(start.integer(UInt32.self, at: 68))
        let runsAt = SegmentTable.headerBytes + count * SegmentEntry.byteCount
        let byteCount = runsAt + runCount * RunEntry.byteCount
        guard count <= FormatLimits.segmentCountMaximum,
            runCount <= FormatLimits.runCountMaximum, byteCount <= bytes.count
        else { throw .invalid("a segment table has too many segments or runs") }
        guard start.integer(UInt32.self, at: 4) == Checksum.extend(0, start + 8, byteCount - 8)
        else { throw .checksum }
        let version: UInt32 = start.integer(at: 8)
        guard version == FormatLimits.formatVersion else { throw .unsupported(UInt64(version)) }
        let features = start.integer(UInt64.self, at: 128) | start.integer(UInt64.self, at: 136)
        guard features == 0,
            let profile = Profile(rawValue: start.integer(at: 72))
        else { throw .unsupported(features) }
        generation = start.integer(at: 16)
        identifier = LogIdentifier(bytes: Array(bytes[24..<40]))
        self.profile = profile
        commitAlignment = start.integer(at: 12)
        capacityBytes = start.integer(at: 48)
        segmentBytes = start.integer(at: 56)
        nextSegmentID = start.integer(at: 40)
        segments = (0..<count).map {
            SegmentEntry(start + SegmentTable.headerBytes + $0 * SegmentEntry.byteCount)
        }
        anchor = Anchor(
            segmentID: start.integer(at: 80), lastSequence: start.integer(at: 88),
            digest: Digest256(bytes: UnsafeRawBufferPointer(start: start + 96, count: 32)))
        checkpoint = Checkpoint(start + Checkpoint.position)
        runs = []
        for index in 0..<runCount {
            runs.append(try RunEntry(start + runsAt + index * RunEntry.byteCount))
        }
        guard commitAlignment.nonzeroBitCount == 1,
            commitAlignment <= FormatLimits.commitAlignmentMaximum,
            segmentBytes >= FormatLimits.segmentBytesMinimum
        else { throw .invalid("a segment table contradicts itself") }
    }
}

extension SegmentEntry {
    fileprivate func write(at start: UnsafeMutableRawPointer) {
        start.set(id, at: 0)
        start.set(salt, at: 8)
        start.set(baseOffset, at: 16)
        start.set(firstSequence, at: 24)
        start.set(lastSequence, at: 32)
        start.set(logicalEnd, at: 40)
        start.set(leastTimeMilliseconds, at: 48)
        start.set(greatestTimeMilliseconds, at: 56)
        digest.withUnsafeBytes {
            (start + 64).copyMemory(from: $0.baseAddress!, byteCount: Digest256.byteCount)
        }
        start.set(flags, at: 96)
        start.set(headerCRC, at: 100)
        start.set(fileBytes, at: 104)
        start.set(retentionMilliseconds, at: 112)
    }

    fileprivate init(_ start: UnsafeRawPointer) {
        id = start.integer(at: 0)
        salt = start.integer(at: 8)
        baseOffset = start.integer(at: 16)
        firstSequence = start.integer(at: 24)
        lastSequence = start.integer(at: 32)
        logicalEnd = start.integer(at: 40)
        leastTimeMilliseconds = start.integer(at: 48)
        greatestTimeMilliseconds = start.integer(at: 56)
        digest = Digest256(bytes: UnsafeRawBufferPointer(start: start + 64, count: 32))
        flags = start.integer(at: 96)
        headerCRC = start.integer(at: 100)
        fileBytes = start.integer(at: 104)
        retentionMilliseconds = start.integer(at: 112)
    }
}

extension Checkpoint {
    fileprivate func write(at start: UnsafeMutableRawPointer) {
        start.set(segmentID, at: 0)
        start.set(position, at: 8)
        start.set(sequence, at: 16)
        start.set(nextOffset, at: 24)
        start.set(previousHeaderCRC, at: 32)
        start.set(epoch, at: 40)
        start.set(greatestTimeMilliseconds, at: 48)
        start.set(stateGeneration, at: 56)
    }

    /// Nil when none was taken: segment ids begin at 1.
    fileprivate init?(_ start: UnsafeRawPointer) {
        segmentID = start.integer(at: 0)
        guard segmentID != 0 else { return nil }
        position = start.integer(at: 8)
        sequence = start.integer(at: 16)
        nextOffset = start.integer(at: 24)
        previousHeaderCRC = start.integer(at: 32)
        epoch = start.integer(at: 40)
        greatestTimeMilliseconds = start.integer(at: 48)
        stateGeneration = start.integer(at: 56)
    }
}

extension SegmentTable {
    /// Takes the oldest segments out; the last of them becomes the anchor of the digests. Runs that
    /// hold no key at or above `firstOffset` go with them.
    mutating func removeFirst(_ count: Int, runsBelow firstOffset: UInt64?) {
        precondition(count < segments.count, "the last segment stays")
        guard count > 0 else { return }
        let last = segments[count - 1]
        anchor = Anchor(segmentID: last.id, lastSequence: last.lastSequence, digest: last.digest)
        segments.removeFirst(count)
        if let firstOffset { runs.removeAll { $0.endOffset <= firstOffset } }
        if let place = checkpoint, !segments.contains(where: { $0.id == place.segmentID }) {
            checkpoint = nil
        }
    }

    /// Whether its numbers can be counted on from.
    var isCountable: Bool {
        max(generation, nextSegmentID) < FormatLimits.counterMaximum
            && segmentBytes <= FormatLimits.segmentBytesMaximum
            && segments.allSatisfy { entry in
                entry.firstSequence >= 1
                    && max(entry.id, entry.baseOffset, entry.firstSequence)
                        < FormatLimits.counterMaximum
                    && entry.logicalEnd <= FormatLimits.segmentBytesMaximum
                    && max(entry.lastSequence, entry.fileBytes) < FormatLimits.counterMaximum
            }
            && checkpoint.map { checkpoint in
                max(checkpoint.sequence, checkpoint.nextOffset) < FormatLimits.counterMaximum
                    && checkpoint.position <= FormatLimits.segmentBytesMaximum
                    && segments.contains { $0.id == checkpoint.segmentID }
            } != false
    }
}

/// Where the manifest's slots lie in its one preallocated file.
enum ManifestLayout {
    static let fileName = "manifest"
    static let runTableBytes = 64 * 1024
    static let tableSlotBytes =
        SegmentTable.headerBytes + FormatLimits.segmentCountMaximum * SegmentEntry.byteCount
        + runTableBytes

    static func stateSlotPosition(_ slot: Int) -> UInt64 {
        UInt64(slot * FormatLimits.stateSlotBytes)
    }

    static func tableSlotPosition(_ slot: Int) -> UInt64 {
        UInt64(2 * FormatLimits.stateSlotBytes + slot * tableSlotBytes)
    }

    static let fileBytes = 2 * FormatLimits.stateSlotBytes + 2 * tableSlotBytes
}
