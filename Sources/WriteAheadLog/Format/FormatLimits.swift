/// The numbers that bound every structure on disk. Each is checked before anything is allocated.
enum FormatLimits {
    static let formatVersion: UInt32 = 1

    static let segmentHeaderBytes = 4096
    static let frameHeaderBytes = 128
    static let blockHeaderBytes = 32
    static let recordHeaderBytes = 16
    static let keyedRecordHeaderBytes = 80

    /// Raw bytes of a block; a larger record is a block of its own.
    static let blockBytes = 64 * 1024

    static let recordPayloadBytesMaximum = 4 * 1024 * 1024
    static let commitBytesMaximum = 8 * 1024 * 1024

    static let segmentBytesMinimum: UInt64 = 1 << 20
    /// A repacked segment is only as long as it needs to be, in steps of this.
    static let repackedSegmentBytesMinimum: UInt64 = 64 * 1024
    static let segmentBytesDefaultRange: ClosedRange<UInt64> = (16 << 20)...(256 << 20)
    static let segmentsPerCapacity: UInt64 = 64
    static let segmentsPerCapacityMinimum: UInt64 = 8
    static let segmentCountMaximum = 4096
    static let runCountMaximum = 1024

    static let commitAlignmentMaximum: UInt32 = 64 * 1024

    static let stateSlotBytes = 64 * 1024
    static let epochCountMaximum = 64
    static let epochReasonBytesMaximum = 64
    static let lossCountMaximum = 256
    static let cursorCountMaximum = 40
    static let cursorBytesMaximum = 1024
    static let registerCountMaximum = 16
    static let registerNameBytesMaximum = 64
    static let registerValueBytesMaximum = 512

    /// Room kept in every commit for the control records that ride in it.
    static let controlBytesMaximum = 60 * 1024

    /// Bytes of frames after which a checkpoint is taken.
    static func checkpointBytes(segmentBytes: UInt64) -> UInt64 { min(16 << 20, segmentBytes) }
    /// Bytes of frames beyond the last durable checkpoint at which no more are written before the
    /// next one; and what can stand there then: one commit more, which was being written when the
    /// limit was met, and the one that had been let in behind it.
    static let uncheckpointedBytesLimit: UInt64 = 32 << 20
    static let uncheckpointedBytesMaximum =
        uncheckpointedBytesLimit + 2 * UInt64(commitBytesMaximum + Int(commitAlignmentMaximum))

    /// No log counts this far. What its bytes say beyond is refused before anyone adds to it.
    static let counterMaximum: UInt64 = 1 << 62
    static let segmentBytesMaximum: UInt64 = 1 << 32

    /// The end of a segment is kept for the footer that sealing writes.
    static func footerBytes(segmentBytes: UInt64) -> UInt64 { 4096 + segmentBytes / 1024 }

    /// Frame header and body of one commit; never above half a segment.
    static func commitBytes(segmentBytes: UInt64) -> Int {
        min(commitBytesMaximum, Int(segmentBytes / 2))
    }

    /// The largest sum of blocks with records in one commit.
    static func dataBytes(segmentBytes: UInt64) -> Int {
        commitBytes(segmentBytes: segmentBytes) - frameHeaderBytes - controlBytesMaximum
            - blockHeaderBytes - Int(commitAlignmentMaximum)
    }

    static func payloadBytes(segmentBytes: UInt64) -> Int {
        min(
            recordPayloadBytesMaximum,
            dataBytes(segmentBytes: segmentBytes) - blockHeaderBytes - keyedRecordHeaderBytes)
    }

    /// The default: a sixty-fourth of the capacity, within 16 MiB and 256 MiB, in whole MiB.
    static func segmentBytes(capacityBytes: UInt64) -> UInt64 {
        let wanted = (capacityBytes / segmentsPerCapacity) & ~((1 << 20) - 1)
        return min(
            max(wanted, segmentBytesDefaultRange.lowerBound), segmentBytesDefaultRange.upperBound)
    }
}
