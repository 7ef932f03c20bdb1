internal import Buffers
internal import Synchronization

/// What peers asked for last when their history was refused: an operator who accepts it goes on from
/// there. In memory, one for each cursor: a refused peer asks again by itself.
final class HistoryRefusals: Sendable {
    struct Refused: Sendable {
        /// Nil for a receiver that has received nothing, such as one that was wiped.
        var position: SourcePosition?
        var receiverUUID: [UInt8]
        var receiverEpoch: UInt64
        var sentence: String
    }

    private struct Reader: Hashable {
        var owner: [UInt8]
        var name: [UInt8]
    }

    private let refused = Mutex<[Reader: Refused]>([:])

    private static func reader(_ cursor: TrackedCursor) -> Reader {
        Reader(owner: Array(cursor.owner.utf8), name: Array(cursor.name.utf8))
    }

    func note(_ cursor: TrackedCursor, _ what: Refused) {
        refused.withLock { $0[HistoryRefusals.reader(cursor)] = what }
    }

    func forget(_ cursor: TrackedCursor) {
        refused.withLock { _ = $0.removeValue(forKey: HistoryRefusals.reader(cursor)) }
    }

    func last(_ cursor: TrackedCursor) -> Refused? {
        refused.withLock { $0[HistoryRefusals.reader(cursor)] }
    }
}
