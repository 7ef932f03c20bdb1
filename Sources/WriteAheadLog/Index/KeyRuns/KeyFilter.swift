internal import Glibc

/// What the filter needs of a key, mixed so that keys need not be uniform.
struct KeyHash {
    /// Chooses the block.
    var place: UInt64
    /// Six bits for each word of the block.
    var bits: UInt64

    @inline(__always)
    init(_ key: Digest256) {
        let hash =
            KeyHash.multiply(key.word(0) ^ 0x9E37_79B9_7F4A_7C15, key.word(1) ^ 0xBF58_476D_1CE4_E5B9)
            ^ KeyHash.multiply(
                key.word(2) ^ 0x94D0_49BB_1331_11EB, key.word(3) ^ 0xD6E8_FEB8_6659_FD93)
        place = hash >> 32
        bits = KeyHash.multiply(hash, 0xA076_1D64_78BD_642F)
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

    /// False when the key is in no run that has this block. Without branches: which of the eight
    /// bits is missing cannot be predicted.
    @inline(__always)
    static func mayContain(_ hash: KeyHash, _ block: UnsafeRawPointer) -> Bool {
        var common = word(block, 0) &>> (hash.bits & 63)
        common &= word(block, 1) &>> ((hash.bits &>> 6) & 63)
        common &= word(block, 2) &>> ((hash.bits &>> 12) & 63)
        common &= word(block, 3) &>> ((hash.bits &>> 18) & 63)
        common &= word(block, 4) &>> ((hash.bits &>> 24) & 63)
        common &= word(block, 5) &>> ((hash.bits &>> 30) & 63)
        common &= word(block, 6) &>> ((hash.bits &>> 36) & 63)
        common &= word(block, 7) &>> ((hash.bits &>> 42) & 63)
        return common & 1 != 0
    }

    @inline(__always)
    private static func word(_ block: UnsafeRawPointer, _ number: Int) -> UInt64 {
        block.integer(at: number * 8)
    }

    /// Ors a block into another.
    static func merge(_ block: UnsafeRawPointer, into target: UnsafeMutableRawPointer) {
        for word in 0..<8 {
            let value: UInt64 = UnsafeRawPointer(target).integer(at: word * 8)
            target.set(value | block.integer(UInt64.self, at: word * 8), at: word * 8)
        }
    }
}

/// Zeroed memory straight from the kernel and back to it, so that what a budget counts is what the
/// process has; an allocator may keep megabytes of what it was given back.
final class MappedMemory: @unchecked Sendable {
    let start: UnsafeMutableRawPointer
    let byteCount: Int

    private static let hugePageBytes = 2 << 20

    /// Nil when the system has no room. `byteCount` may be 0.
    init?(byteCount: Int) {
        let length = max(byteCount, 1)
        guard
            let start = mmap(
                nil, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0),
            start != MAP_FAILED
        else { return nil }
        // A probe of a large filter misses the translation cache as well unless pages are large.
        if length >= MappedMemory.hugePageBytes { madvise(start, length, MADV_HUGEPAGE) }
        self.start = start
        self.byteCount = length
    }

    deinit { munmap(start, byteCount) }
}
