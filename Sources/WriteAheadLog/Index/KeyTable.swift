/// Which key is at which offset, with what content: in memory, rebuilt when the log is opened.
///
/// A key passes from `pending` (reserved by a caller, then admitted to a commit) to `durable`; it is
/// put in the next place before it leaves the one before. Guarded by the log's lock.
struct KeyTable {
    struct Entry {
        var offset: UInt64
        var content: Digest256
    }

    struct Pending {
        /// The batch that reserved it, by number, and the record's index in that batch.
        var owner: UInt64
        var index: Int32
        var content: Digest256
        /// Nil while reserved and not admitted.
        var admitted: (offset: UInt64, group: CommitGroup)?
    }

    private(set) var durable: [Digest256: Entry] = [:]
    var pending: [Digest256: Pending] = [:]

    mutating func publish(_ key: Digest256, _ entry: Entry) {
        durable[key] = entry
        pending.removeValue(forKey: key)
    }

    /// Takes back keys of a batch that is dropped before it was admitted.
    mutating func release(_ key: Digest256, owner: UInt64) {
        if let entry = pending[key], entry.owner == owner, entry.admitted == nil {
            pending.removeValue(forKey: key)
        }
    }
}
