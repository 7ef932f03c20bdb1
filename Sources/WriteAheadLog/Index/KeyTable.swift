/// Which key is at which offset, with what content, as far as it is in memory: keys on their way into
/// the log, and those since the last checkpoint. Older ones are in the key runs.
///
/// A key passes from `pending` (reserved by a caller, then admitted to a commit) to `recent`, from
/// there with a checkpoint to `flushing` and then into a run: it is put in the next place before it
/// leaves the one before. Guarded by the log's lock.
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

    var pending: [Digest256: Pending] = [:]
    private(set) var recent: [Digest256: Entry] = [:]
    /// Being written into a run.
    private(set) var flushing: [Digest256: Entry] = [:]

    /// Keys of records below are forgotten, though they may still be here when truncation went on while
    /// no run could be written.
    var floorOffset: UInt64 = 0

    /// Where a durable key that is still in memory stands.
    func durable(_ key: Digest256) -> Entry? {
        guard let entry = recent[key] ?? flushing[key], entry.offset >= floorOffset else { return nil }
        return entry
    }

    var count: Int { recent.count + flushing.count }

    mutating func publish(_ key: Digest256, _ entry: Entry) {
        recent[key] = entry
        pending.removeValue(forKey: key)
    }

    /// Takes back keys of a batch that is dropped before it was admitted.
    mutating func release(_ key: Digest256, owner: UInt64) {
        if let entry = pending[key], entry.owner == owner, entry.admitted == nil {
            pending.removeValue(forKey: key)
        }
    }

    /// Sets the recent keys apart for a run.
    ///
    /// - Precondition: the run before has been written.
    mutating func beginFlush() -> [Digest256: Entry] {
        precondition(flushing.isEmpty, "one run is written at a time")
        flushing = recent
        recent = [:]
        return flushing
    }

    /// The run is there: its keys need not be kept.
    mutating func endFlush() { flushing = [:] }
}
