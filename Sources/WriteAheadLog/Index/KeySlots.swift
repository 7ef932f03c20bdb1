internal import CPlatform

/// Keys with their entries, found by hashing: slots in the order in which they came, and a table with
/// linear probing that has the number of a slot and half of its key's hash, so that a key that is not
/// there costs one cache line nearly always. Nothing is allocated but when it grows.
///
/// The hash is one multiplication by a secret odd number (Dietzfelbinger et al., "A Reliable Randomized
/// Algorithm for the Closest-Pair Problem"): callers choose the keys, and must not be able to choose
/// those that collide. Not thread-safe while it changes.
final class KeySlots: @unchecked Sendable {
    struct Slot: BitwiseCopyable {
        static let reserved: UInt64 = .max
        static let dead: UInt64 = .max - 1

        var key: Digest256
        var content: Digest256
        /// `reserved` before it has one.
        var offset: UInt64
        var owner: UInt64
        var index: UInt32

        var isReserved: Bool { offset == Slot.reserved }
        var isLive: Bool { offset != Slot.dead }
    }

    private static let leastTableBits = 6
    /// Below it dead slots are not worth a tidying.
    private static let tidyMinimum = 1024

    private let multiplier = UInt64.random(in: .min ... .max) | 1
    private var slots: MappedBuffer<Slot>
    /// The hash's lower half above the number of a slot, 0 for none; twice as many places as slots at
    /// least.
    private var table: MappedBuffer<UInt64>
    private var tableBits: Int
    /// Slots that were used, with the dead ones.
    private var usedCount = 0
    /// Keys.
    private(set) var count = 0

    /// - Parameter capacity: keys that it has room for before it grows.
    init(capacity: Int = 0) {
        tableBits = KeySlots.leastTableBits
        while 1 << (tableBits - 1) < capacity { tableBits += 1 }
        slots = MappedBuffer(count: max(capacity, 1 << (KeySlots.leastTableBits - 1)))
        table = MappedBuffer(count: 1 << tableBits)
    }

    /// All places in the order in which their keys came; some are dead.
    var places: Range<Int> { 0..<usedCount }

    /// - Precondition: one of `places`, now or when they were asked for.
    subscript(place: Int) -> Slot {
        precondition(place < slots.count)
        return slots[place]
    }

    /// Every key with its place in the log, in the order in which they came; valid until something changes.
    /// O(keys).
    var entries: KeySlotEntries {
        KeySlotEntries(self, places: places.compactMap { slots[$0].isLive ? UInt32($0) : nil })
    }

    /// Memory for slots and table.
    var byteCount: Int { slots.byteCount + table.byteCount }

    fileprivate func prefetch(_ place: Int) { bsfg_prefetch(slots.start + place) }

    /// Takes every key out and keeps the memory. O(room for keys).
    func removeAll() {
        table.start.update(repeating: 0, count: table.count)
        usedCount = 0
        count = 0
    }

    func setOffset(_ offset: UInt64, at place: Int) { slots.start[place].offset = offset }

    /// Brings the line of the table on its way in which looking for a key begins.
    func prefetch(_ key: Digest256) { bsfg_prefetch(table.start + home(hash(key))) }

    /// Whether the key is at a place, as far as it is one of `places`.
    func isThere(_ key: Digest256, _ place: Int) -> Bool {
        place < usedCount && slots[place].isLive && slots[place].key == key
    }

    /// The place of a key. O(1).
    func find(_ key: Digest256) -> Int? {
        let hash = hash(key)
        let mark = mark(hash)
        var bucket = home(hash)
        while true {
            let entry = table[bucket]
            if entry == 0 { return nil }
            if entry & KeySlots.markMask == mark {
                let place = KeySlots.place(entry)
                if slots[place].key == key { return place }
            }
            bucket = (bucket + 1) & mask
        }
    }

    /// - Precondition: the key is not there.
    func insert(_ slot: Slot) {
        if usedCount == slots.count { makeRoom() }
        slots[usedCount] = slot
        enter(usedCount)
        usedCount += 1
        count += 1
    }

    /// Takes a key out; its place is dead. Other places stay as they are.
    func remove(_ place: Int) {
        var hole = home(hash(slots[place].key))
        while KeySlots.place(table[hole]) != place { hole = (hole + 1) & mask }
        // What stands behind moves up when its way from home leads over the hole.
        var next = hole
        while true {
            next = (next + 1) & mask
            let entry = table[next]
            if entry == 0 { break }
            let way = (next &- home(hash(slots[KeySlots.place(entry)].key))) & mask
            if way >= (next &- hole) & mask {
                table[hole] = entry
                hole = next
            }
        }
        table[hole] = 0
        slots.start[place].offset = Slot.dead
        count -= 1
        while usedCount > 0, !slots[usedCount - 1].isLive { usedCount -= 1 }
    }

    private static let markMask: UInt64 = 0xFFFF_FFFF_0000_0000

    /// Of an entry of the table that is not 0.
    private static func place(_ entry: UInt64) -> Int {
        Int(truncatingIfNeeded: entry & ~markMask) - 1
    }

    private var mask: Int { 1 << tableBits - 1 }

    private func hash(_ key: Digest256) -> UInt64 { key.words.0 &* multiplier }

    private func mark(_ hash: UInt64) -> UInt64 { hash << 32 }

    private func home(_ hash: UInt64) -> Int {
        Int(truncatingIfNeeded: hash >> UInt64(64 - tableBits))
    }

    private func enter(_ place: Int) {
        let hash = hash(slots[place].key)
        var bucket = home(hash)
        while table[bucket] != 0 { bucket = (bucket + 1) & mask }
        table[bucket] = mark(hash) | UInt64(place + 1)
    }

    /// Closes the gaps of the dead when they are many, grows otherwise.
    private func makeRoom() {
        precondition(slots.count < 1 << 31, "keys since a checkpoint are bounded")
        let isTidied = usedCount >= KeySlots.tidyMinimum && count <= usedCount / 2
        let old = slots
        slots = MappedBuffer(count: isTidied ? old.count : old.count + old.count / 2)
        if 1 << (tableBits - 1) < slots.count {
            tableBits += 1
            table = MappedBuffer(count: 1 << tableBits)
        } else {
            table.start.update(repeating: 0, count: table.count)
        }
        var live = 0
        for place in 0..<usedCount where old[place].isLive {
            slots[live] = old[place]
            enter(live)
            live += 1
        }
        usedCount = live
    }
}

/// The entries of slots that change no more, read where they are: a copy of them would double what the keys
/// of a checkpoint take.
struct KeySlotEntries: KeyEntries {
    private let slots: KeySlots
    private let places: [UInt32]

    fileprivate init(_ slots: KeySlots, places: [UInt32]) {
        self.slots = slots
        self.places = places
    }

    var count: Int { places.count }

    subscript(number: Int) -> KeyEntry {
        let slot = slots[Int(places[number])]
        return KeyEntry(key: slot.key, content: slot.content, offset: slot.offset)
    }

    func key(_ number: Int) -> Digest256 { slots[Int(places[number])].key }

    func prefetch(_ number: Int) { slots.prefetch(Int(places[number])) }
}
