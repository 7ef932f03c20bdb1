/// What reading every byte of a log found.
package struct LogVerification: Sendable {
    package struct Damage: Hashable, Sendable {
        package var file: String
        package var position: UInt64
        /// The offsets that cannot be read because of it; empty when no record is touched.
        package var offsets: Range<UInt64>
        package var reason: String

        init(file: String, position: UInt64, offsets: Range<UInt64> = 0..<0, reason: String) {
            self.file = file
            self.position = position
            self.offsets = offsets
            self.reason = reason
        }

        init(_ file: String, _ damage: SegmentDamage) {
            self.init(
                file: file, position: damage.position, offsets: damage.offsets,
                reason: damage.reason)
        }
    }

    package var segmentCount = 0
    package var sealedSegmentCount = 0
    package var runCount = 0
    package var commitCount: UInt64 = 0
    package var recordCount: UInt64 = 0
    package var keyCount: UInt64 = 0
    package var firstOffset: UInt64 = 0
    package var headOffset: UInt64 = 0
    /// What stands after the last commit, by the decision table.
    package var row = RecoveryRow.cleanEnd
    package var end = RecoveryDecision.cleanEnd
    package var endFile = ""
    package var endPosition: UInt64 = 0
    package var damage: [Damage] = []
    /// Damage that was found before: its records are declared lost.
    package var declaredGaps: [Damage] = []
    /// What a crash may leave behind and opening puts right; each names its file and place.
    package var notices: [Damage] = []
    /// The newest digest of the chain that was found to be right: to be kept elsewhere, as an anchor.
    package var chainHead: ChainHead?

    package var isSound: Bool { damage.isEmpty }
}

/// A digest of the chain of segments, which speaks for every segment up to that one.
package struct ChainHead: Hashable, Sendable {
    package var segmentID: UInt64
    package var digest: Digest256

    package init(segmentID: UInt64, digest: Digest256) {
        self.segmentID = segmentID
        self.digest = digest
    }
}
