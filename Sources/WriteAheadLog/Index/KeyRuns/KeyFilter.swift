internal import CPlatform

/// What the filter needs of a key, mixed so that keys need not be uniform.
typealias KeyHash = bsfg_key_hash

extension KeyHash {
    @inline(__always)
    init(_ key: Digest256) {
        let hash =
            KeyHash.multiply(key.word(0) ^ 0x9E37_79B9_7F4A_7C15, key.word(1) ^ 0xBF58_476D_1CE4_E5B9)
            ^ KeyHash.multiply(
                key.word(2) ^ 0x94D0_49BB_1331_11EB, key.word(3) ^ 0xD6E8_FEB8_6659_FD93)
        self.init(place: hash >> 32, bits: KeyHash.multiply(hash, 0xA076_1D64_78BD_642F))
    }

    @inline(__always)
    private static func multiply(_ left: UInt64, _ right: UInt64) -> UInt64 {
        let product = left.multipliedFullWidth(by: right)
        return product.high ^ product.low
    }

    @inline(__always)
    func block(of blockCount: Int) -> Int {
        Int(truncatingIfNeeded: (place &* UInt64(truncatingIfNeeded: blockCount)) >> 32)
    }
}

extension Digest256 {
    @inline(__always)
    fileprivate func word(_ number: Int) -> UInt64 {
        switch number {
        case 0: UInt64(littleEndian: words.0)
        case 1: UInt64(littleEndian: words.1)
        case 2: UInt64(littleEndian: words.2)
        default: UInt64(littleEndian: words.3)
        }
    }
}

/// The blocked Bloom filter: one block is one cache line, so a probe costs one miss.
enum KeyFilter {
    static let blockBytes = 64
    static let bitsPerKey = 20

    /// Even, so that the filter can be folded once.
    static func blockCount(entryCount: Int) -> Int {
        let blocks = (entryCount * bitsPerKey + blockBytes * 8 - 1) / (blockBytes * 8)
        return (blocks + 1) & ~1
    }

    static func add(_ hash: KeyHash, to block: UnsafeMutableRawPointer) {
        for word in 0..<8 {
            let bit = (hash.bits >> UInt64(6 * word)) & 63
            let value: UInt64 = UnsafeRawPointer(block).integer(at: word * 8)
            block.set(value | (1 << bit), at: word * 8)
        }
    }

    /// False when the key is in no run that has this block.
    static func mayContain(_ hash: KeyHash, _ block: UnsafeRawPointer) -> Bool {
        // The only block of a filter is every key's.
        var filter = bsfg_filter(blocks: block, block_count: 1)
        var hash = hash
        var found: UInt32 = 0
        bsfg_filters_probe(&filter, 1, &hash, 1, &found)
        return found != 0
    }

    /// Ors a block into another.
    static func merge(_ block: UnsafeRawPointer, into target: UnsafeMutableRawPointer) {
        for word in 0..<8 {
            let value: UInt64 = UnsafeRawPointer(target).integer(at: word * 8)
            target.set(value | block.integer(UInt64.self, at: word * 8), at: word * 8)
        }
    }
}
