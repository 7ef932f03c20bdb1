// What stands at a place where the log expects a commit, and what that means.
//
// The log is read from a known good place. At position P the frame of sequence S is expected.
// D is the highest sequence that is proven durable by anything: the state slot, a frame's durable
// watermark, a later frame of this segment, a later segment.
//
//   row  frame at P            read     S <= D   bytes from P on                       decision
//   ---  --------------------  -------  -------  ------------------------------------  -------------
//    A   verifies and links    ok       -        -                                     accept
//    B   -                     error    -        -                                     corrupt
//    C   does not              ok       yes      -                                     corrupt
//    D   does not              ok       no       all zero to the segment's end         clean end
//    E   does not              ok       no       non-zero only in [P, P + max commit)  torn
//    F   does not              ok       no       non-zero beyond                       corrupt
//
// C takes zeros too: an acknowledged commit that reads as zeros is lost, not absent. E is torn
// because one commit is in flight, ever, and it lies in those bytes; F because more than one commit
// would have to be. A read error is never torn: a loose cable is no proof that nothing was there.
//
// Honest limit: the newest commit, until the state slot records it (at most a second later), is
// proven durable by nothing else. When such a commit is damaged on a disk that lost nothing, it
// reads as torn; the report therefore says "torn or damaged".

/// What was found at P. The fields are the columns of the table.
struct RecoveryEvidence: Equatable, Sendable {
    enum Bytes: Sendable, CaseIterable {
        case allZero
        case nonZeroWithinOneCommit
        case nonZeroBeyondOneCommit
    }

    var frameVerifiesAndLinks: Bool
    var readFailed: Bool
    var provenDurable: Bool
    var bytes: Bytes
}

/// A row of the table by its letter.
public enum RecoveryRow: String, Sendable, CaseIterable {
    case acceptedFrame = "A"
    case readError = "B"
    case provenDurable = "C"
    case cleanEnd = "D"
    case tornTail = "E"
    case damageBeyondOneCommit = "F"
}

/// How the log ended when it was opened. The raw values are part of the report's contract.
public enum RecoveryDecision: String, Sendable {
    case accept
    case cleanEnd = "clean end"
    case torn = "torn or damaged"
    case corrupt
}

/// The same table as data: the first row whose columns all match decides; nil matches anything.
enum DecisionTable {
    struct Row {
        var row: RecoveryRow
        var frame: Bool?
        var readFailed: Bool?
        var provenDurable: Bool?
        var bytes: RecoveryEvidence.Bytes?
        var decision: RecoveryDecision
    }

    static let rows: [Row] = [
        Row(
            row: .acceptedFrame, frame: true, readFailed: false, provenDurable: nil, bytes: nil,
            decision: .accept),
        Row(
            row: .readError, frame: nil, readFailed: true, provenDurable: nil, bytes: nil,
            decision: .corrupt),
        Row(
            row: .provenDurable, frame: false, readFailed: false, provenDurable: true, bytes: nil,
            decision: .corrupt),
        Row(
            row: .cleanEnd, frame: false, readFailed: false, provenDurable: false, bytes: .allZero,
            decision: .cleanEnd),
        Row(
            row: .tornTail, frame: false, readFailed: false, provenDurable: false,
            bytes: .nonZeroWithinOneCommit, decision: .torn),
        Row(
            row: .damageBeyondOneCommit, frame: false, readFailed: false, provenDurable: false,
            bytes: .nonZeroBeyondOneCommit, decision: .corrupt),
    ]

    static func decide(_ evidence: RecoveryEvidence) -> (row: RecoveryRow, decision: RecoveryDecision) {
        let match = rows.first { row in
            (row.frame == nil || row.frame == evidence.frameVerifiesAndLinks)
                && (row.readFailed == nil || row.readFailed == evidence.readFailed)
                && (row.provenDurable == nil || row.provenDurable == evidence.provenDurable)
                && (row.bytes == nil || row.bytes == evidence.bytes)
        }
        guard let match else { preconditionFailure("the decision table covers every case") }
        return (match.row, match.decision)
    }
}
