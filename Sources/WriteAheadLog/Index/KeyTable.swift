/// Which key is at which offset, with what content, as far as it is in memory: keys on their way into
/// the log, and those since the last checkpoint. Older ones are in the key runs.
///
/// A key is *reserved* by a caller's batch, then *admitted* to a commit with an offset, and *durable* when
/// the commit has ended, which moves `durableEndOffset` past it and touches no key. A checkpoint sets
/// the durable ones apart (`flushing`), and they leave when the run that holds them is published: a
/// key is in the next place before it leaves the one before. Guarded by the log's lock.
struct KeyTable {
    struct Entry {
        var offset: UInt64
        var content: Digest256
    }

    /// A key that is reserved or admitted.
    struct Pending {
        /// The batch that reserved it, by number, and the record's index in that batch.
        var owner: UInt64
        var index: Int
        var content: Digest256
        /// Nil while it is reserved and not admitted.
        var offset: UInt64?
    }

    private var recent = KeySlots()
    /// Being written into a run.
    private var flushing: KeySlots?
    /// Without keys, for those after the next checkpoint: making room under the lock, and growing into
    /// it, would hold everyone up for a millisecond at every checkpoint.
    private var spare: KeySlots?
    /// Reserved and admitted ones.
    private(set) var pendingCount = 0
    /// Records below are durable.
    private(set) var durableEndOffset: UInt64

    /// Keys of records below are forgotten, though they may still be here when truncation went on while
    /// no run could be written.
    var floorOffset: UInt64 = 0

    /// Whether keys in memory may be below the floor.
    private var hasForgotten: Bool { firstRecentOffset < floorOffset }
    /// No key in `recent` has a lower offset.
    private var firstRecentOffset: UInt64

    init(durableEndOffset: UInt64) {
        self.durableEndOffset = durableEndOffset
        firstRecentOffset = durableEndOffset
    }

    /// Durable keys since the last checkpoint began.
    var recentCount: Int { recent.count - pendingCount }
    /// Durable keys in memory.
    var count: Int { recentCount + (flushing?.count ?? 0) }

    /// What is known of a key.
    enum Finding {
        case absent
        case pending(Pending)
        case durable(Entry)
    }

    /// What memory knows of a key. O(1).
    func find(_ key: Digest256) -> Finding {
        if let place = recent.find(key) {
            let slot = recent[place]
            if slot.offset >= durableEndOffset {
                return .pending(
                    Pending(
                        owner: slot.owner, index: Int(slot.index), content: slot.content,
                        offset: slot.isReserved ? nil : slot.offset))
            }
            return slot.offset >= floorOffset ? .durable(Entry(slot)) : .absent
        }
        guard let flushing, let place = flushing.find(key), flushing[place].offset >= floorOffset
        else { return .absent }
        return .durable(Entry(flushing[place]))
    }

    /// Brings on its way what `find` will look at first.
    func prefetch(_ key: Digest256) {
        recent.prefetch(key)
        flushing?.prefetch(key)
    }

    /// Where a durable key that is still in memory stands.
    func durable(_ key: Digest256) -> Entry? {
        if case .durable(let entry) = find(key) { entry } else { nil }
    }

    /// - Precondition: the key is neither pending nor durable in memory.
    mutating func reserve(_ key: Digest256, content: Digest256, owner: UInt64, index: Int) {
        // What is below the floor counts as absent and makes way.
        if hasForgotten, let place = recent.find(key) { recent.remove(place) }
        recent.insert(
            KeySlots.Slot(
                key: key, content: content, offset: KeySlots.Slot.reserved, owner: owner,
                index: UInt32(index)))
        pendingCount += 1
    }

    /// Gives a reserved key its offset, if this record of this batch reserved it.
    ///
    /// - Returns: whether it did.
    mutating func admit(_ key: Digest256, owner: UInt64, index: Int, offset: UInt64) -> Bool {
        guard let place = reservation(key, owner: owner, index: index) else { return false }
        recent.setOffset(offset, at: place)
        return true
    }

    /// Takes back a key that this record of a batch reserved and that was not admitted.
    mutating func release(_ key: Digest256, owner: UInt64, index: Int) {
        guard let place = reservation(key, owner: owner, index: index) else { return }
        recent.remove(place)
        pendingCount -= 1
    }

    /// Where the next reservation to be looked for is likely to be: they are looked for in the order in
    /// which they were made, and were made one after the other.
    private var nextReservation = 0

    private mutating func reservation(_ key: Digest256, owner: UInt64, index: Int) -> Int? {
        let isLikely = recent.isThere(key, nextReservation)
        guard let place = isLikely ? nextReservation : recent.find(key) else { return nil }
        nextReservation = place + 1
        let slot = recent[place]
        return slot.isReserved && slot.owner == owner && Int(slot.index) == index ? place : nil
    }

    /// A commit with this many new keys has ended; all records below `offset` are durable.
    mutating func finished(keyCount: Int, endOffset: UInt64) {
        pendingCount -= keyCount
        durableEndOffset = endOffset
    }

    /// Forgets what was admitted from an offset on: it never was.
    mutating func forget(from offset: UInt64) {
        for place in recent.places.reversed()
        where recent[place].isLive && !recent[place].isReserved && recent[place].offset >= offset {
            recent.remove(place)
            pendingCount -= 1
        }
    }

    /// A key found while the log is opened; of one that is there twice, after it was forgotten in
    /// between, the last one counts.
    mutating func restore(_ key: Digest256, _ entry: Entry) {
        precondition(entry.offset < durableEndOffset, "what is found is durable")
        firstRecentOffset = min(firstRecentOffset, entry.offset)
        if let place = recent.find(key) { recent.remove(place) }
        recent.insert(
            KeySlots.Slot(
                key: key, content: entry.content, offset: entry.offset, owner: 0, index: 0))
    }

    /// Sets the durable keys apart for a run.
    ///
    /// - Precondition: the run before has been written.
    /// - Returns: slots that change no more; may be read without the lock.
    mutating func beginFlush() -> KeySlots {
        precondition(flushing == nil, "one run is written at a time")
        let apart = recent
        // As many come until the next one.
        recent = spare ?? KeySlots(capacity: apart.count)
        spare = nil
        // The pending ones came last, but for batches that were prepared long ago.
        var rest = pendingCount
        for place in apart.places.reversed() {
            guard rest > 0 else { break }
            let slot = apart[place]
            guard slot.isLive, slot.offset >= durableEndOffset else { continue }
            apart.remove(place)
            recent.insert(slot)
            rest -= 1
        }
        precondition(rest == 0, "what is pending is counted")
        flushing = apart
        firstRecentOffset = durableEndOffset
        return apart
    }

    /// The run is there: its keys need not be kept.
    mutating func endFlush() { flushing = nil }

    /// Room for the keys of a usual checkpoint; more than this is not kept for the next one.
    private static let spareBytesMaximum = 16 << 20

    /// Takes slots for the next checkpoint but one, unless they are large.
    ///
    /// - Precondition: they were set apart, their flush has ended and they have no keys any more.
    mutating func reuse(_ slots: KeySlots) {
        precondition(slots.count == 0 && slots !== flushing, "nobody looks for a key in them")
        spare = slots.byteCount <= KeyTable.spareBytesMaximum ? slots : nil
    }
}

extension KeyTable.Entry {
    fileprivate init(_ slot: KeySlots.Slot) {
        self.init(offset: slot.offset, content: slot.content)
    }
}
