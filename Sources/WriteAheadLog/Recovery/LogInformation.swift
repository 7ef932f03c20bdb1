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

    package var epoch: UInt64 { epochs.last?.epoch ?? 0 }

    init(_ table: SegmentTable, _ state: LogState) {
        identifier = table.identifier
        formatVersion = FormatLimits.formatVersion
        profile = table.profile
        commitAlignmentBytes = table.commitAlignment
        capacityBytes = table.capacityBytes
        segmentBytes = table.segmentBytes
        tableGeneration = table.generation
        stateGeneration = state.generation
        recordedSequence = state.durableSequence
        firstOffset = table.segments[0].baseOffset
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
    }
}
