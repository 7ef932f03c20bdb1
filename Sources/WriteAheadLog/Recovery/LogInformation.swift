/// What a log is and holds, as an inspector saw it.
package struct LogInformation: Sendable {
    package var identifier: LogIdentifier
    package var formatVersion: UInt32
    package var profile: Profile
    package var commitAlignmentBytes: UInt32
    package var capacityBytes: UInt64
    package var segmentBytes: UInt64
    package var tableGeneration: UInt64
    package var stateGeneration: UInt64
    /// The highest commit that the state slot records as durable.
    package var recordedSequence: UInt64
    package var lastSequence: UInt64 = 0
    package var firstOffset: UInt64
    /// One past the last durable offset.
    package var headOffset: UInt64 = 0
    /// What stands after the last commit.
    package var end = RecoveryDecision.cleanEnd
    package var segments: [SegmentInformation] = []
    package var epochs: [EpochEntry] = []
    package var cursors: [Cursor] = []
    package var registers: [(name: [UInt8], value: [UInt8])] = []
    /// Declared losses.
    package var losses: [Gap] = []
    package var runs: [RunInformation] = []
    /// From where opening reads frames: segment, position in it, next offset; nil: from the front.
    package var checkpoint: (segmentID: UInt64, position: UInt64, nextOffset: UInt64)?
    /// The last removed segment and its digest; nil when none was.
    package var anchor: ChainHead?
    /// The newest sealed segment and its digest, which speaks for every segment before it.
    package var chainHead: ChainHead?
    /// When the alarm began that nobody has acknowledged, milliseconds since 1970.
    package var alarmMilliseconds: Int64?
    /// Keys of removed records were lost, and nobody has accepted that.
    package var isDedupeHorizonLost: Bool
    package var isHalted: Bool
    /// Retention's clock: milliseconds since 1970 as far as the log has observed them.
    package var retentionMilliseconds: UInt64

    /// What segments and key runs take of the capacity, from 0.
    package var fill: Double {
        let closed = segments.dropLast().reduce(0) { $0 + $1.fileBytes }
        let used = closed + (segments.last?.endPosition ?? 0) + runs.reduce(0) { $0 + $1.byteCount }
        return Double(used) / Double(max(1, capacityBytes))
    }

    package var epoch: UInt64 { epochs.last?.epoch ?? 0 }

    init(_ table: SegmentTable, _ slot: LogState) {
        identifier = table.identifier
        formatVersion = FormatLimits.formatVersion
        profile = table.profile
        commitAlignmentBytes = table.commitAlignment
        capacityBytes = table.capacityBytes
        segmentBytes = table.segmentBytes
        tableGeneration = table.generation
        stateGeneration = slot.generation
        recordedSequence = slot.durableSequence
        firstOffset = table.segments[0].baseOffset
        losses = slot.losses.gaps(in: 0..<FormatLimits.counterMaximum)
        runs = table.runs.map(RunInformation.init)
        checkpoint = table.checkpoint.map { ($0.segmentID, $0.position, $0.nextOffset) }
        if table.anchor.segmentID != 0 {
            anchor = ChainHead(segmentID: table.anchor.segmentID, digest: table.anchor.digest)
        }
        chainHead = table.segments.last(where: \.isSealed).map {
            ChainHead(segmentID: $0.id, digest: $0.digest)
        }
        if slot.flags & LogState.Flags.alarm != 0 { alarmMilliseconds = slot.alarmMilliseconds }
        isDedupeHorizonLost = slot.flags & LogState.Flags.dedupeHorizonLost != 0
        isHalted = slot.flags & LogState.Flags.halted != 0
        retentionMilliseconds = slot.retentionMilliseconds
    }

    mutating func take(_ state: LogState) {
        epochs = state.epochs
        cursors = state.cursors.map(\.cursor)
        registers = state.registers.map { ($0.name, $0.value) }
    }
}

package struct SegmentInformation: Sendable {
    package var id: UInt64
    package var file: String
    package var previousID: UInt64
    package var baseOffset: UInt64
    package var endOffset: UInt64
    package var firstSequence: UInt64
    package var lastSequence: UInt64 = 0
    package var commitCount: UInt64 = 0
    /// Where its last commit ends.
    package var endPosition: UInt64 = 0
    package var segmentBytes: UInt64
    package var epoch: UInt64
    package var createdMilliseconds: Int64
    package var isSealed: Bool
    /// A torn tail was cut off: bytes beyond the end may be anything.
    package var isCut: Bool
    /// Some of it does not verify; its records that cannot be read are declared lost.
    package var isDamaged: Bool
    /// Its commits were written again without the padding between them.
    package var isRepacked: Bool
    /// SHA-256 over the digest before and this segment; nil until it is sealed.
    package var digest: Digest256?
    package var fileBytes: UInt64

    init(_ entry: SegmentEntry, _ header: SegmentHeader) {
        id = entry.id
        file = SegmentHeader.fileName(id: entry.id)
        previousID = header.previousID
        baseOffset = entry.baseOffset
        endOffset = entry.baseOffset
        firstSequence = entry.firstSequence
        segmentBytes = header.segmentBytes
        epoch = header.epoch
        createdMilliseconds = header.createdMilliseconds
        isSealed = entry.flags & SegmentEntry.Flags.sealed != 0
        isCut = entry.flags & SegmentEntry.Flags.cut != 0
        isDamaged = entry.flags & SegmentEntry.Flags.damaged != 0
        isRepacked = entry.flags & SegmentEntry.Flags.repacked != 0
        digest = entry.isSealed ? entry.digest : nil
        fileBytes = entry.fileBytes == 0 ? header.segmentBytes : entry.fileBytes
    }
}

package struct RunInformation: Sendable {
    package var file: String
    package var offsets: Range<UInt64>
    package var keyCount: Int
    /// Of all copies.
    package var byteCount: UInt64
    package var copies: Int
    package var tier: Int
    package var isRebuilding: Bool

    init(_ entry: RunEntry) {
        file = KeyRunLayout.fileName(id: entry.id)
        offsets = entry.offsets
        keyCount = entry.entryCount
        byteCount = entry.byteCount * UInt64(entry.copies)
        copies = Int(entry.copies)
        tier = Int(entry.tier)
        isRebuilding = entry.flags & RunEntry.Flags.rebuilding != 0
    }
}
