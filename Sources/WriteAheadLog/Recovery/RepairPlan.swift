/// What repairing a log would do, found out without changing anything.
package struct RepairPlan: Sendable {
    package let directory: String
    package let profile: Profile
    /// What is wrong: files, places, records.
    package internal(set) var findings: [LogVerification.Damage] = []
    /// What would be done, a sentence each.
    package internal(set) var actions: [String] = []
    /// The records that would be declared lost, those that were declared before excepted.
    package internal(set) var losses: [Range<UInt64>] = []
    /// Bytes of segments that would be left behind as they are.
    package internal(set) var lostBytes: UInt64 = 0
    /// The offset from which on records may have been lost whose number nothing tells; a new epoch
    /// begins, so that no offset is given twice.
    package internal(set) var unknownFrom: UInt64?

    // What applying needs.
    var state: LogState
    var table: SegmentTable
    /// To be written over damaged ones.
    var headers: [SegmentHeader] = []
    /// Of segments without commits, in the place of missing ones.
    var emptySegments: [SegmentHeader] = []
    /// Bytes to be appended as zeros.
    var lengths: [(segmentID: UInt64, bytes: Range<UInt64>)] = []
    var copies: [(segmentID: UInt64, bytes: Range<UInt64>)] = []
    var beginsSegment = false
    var newSegment: SegmentHeader?
    /// Why a new epoch begins; nil when none does.
    var epochReason: String?
    var greatestGeneration: UInt64 = 0
    var headOffset: UInt64 = 0
    /// Where the last good frame of the last segment ends.
    var lastPlace: SegmentWalker.Start?

    init(directory: String, table: SegmentTable, state: LogState) {
        self.directory = directory
        profile = table.profile
        self.table = table
        self.state = state
    }

    package var isNeeded: Bool { !actions.isEmpty }

    /// The loss as an operator has to type it: `3..9`, first and last offset, several separated by
    /// commas, `12..` for an end that nothing tells; empty when no record is lost.
    package var lossSpecification: String {
        var parts = losses.map { "\($0.lowerBound)..\($0.upperBound - 1)" }
        if let unknownFrom { parts.append("\(unknownFrom)..") }
        return parts.joined(separator: ",")
    }
}

/// Why a log is not repaired.
package enum RepairError: Error, Hashable, Sendable {
    case log(LogError)
    /// Too little is left to know what the log was.
    case notProvable(String)
    /// The loss that was accepted is not the one that there is.
    case lossNotAccepted(expected: String)

    package var sentence: String {
        switch self {
        case .log(let error): error.sentence
        case .notProvable(let reason):
            "what is left does not prove what the log was: \(reason); restore it from a peer or a "
                + "backup"
        case .lossNotAccepted(let expected):
            "records would be lost; to accept exactly that, give --accept-loss \(expected)"
        }
    }
}
