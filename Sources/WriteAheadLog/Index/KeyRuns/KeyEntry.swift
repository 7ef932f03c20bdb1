internal import CPlatform

/// A key of the log: where its record is and what the record says.
struct KeyEntry: Equatable, Sendable {
    var key: Digest256
    var content: Digest256
    var offset: UInt64

    init(key: Digest256, content: Digest256, offset: UInt64) {
        self.key = key
        self.content = content
        self.offset = offset
    }

    /// Reads the 72 bytes at `start`.
    init(_ start: UnsafeRawPointer) {
        key = Digest256(at: start)
        content = Digest256(at: start + 32)
        offset = start.integer(at: 64)
    }

    func write(at start: UnsafeMutableRawPointer) {
        start.storeBytes(of: key.words, as: (UInt64, UInt64, UInt64, UInt64).self)
        (start + 32).storeBytes(of: content.words, as: (UInt64, UInt64, UInt64, UInt64).self)
        start.set(offset, at: 64)
    }
}

/// Entries by number, wherever they lie.
protocol KeyEntries {
    var count: Int { get }
    subscript(number: Int) -> KeyEntry { get }
    func key(_ number: Int) -> Digest256
    /// Brings an entry on its way that is read soon.
    func prefetch(_ number: Int)
}

extension [KeyEntry]: KeyEntries {
    func key(_ number: Int) -> Digest256 { self[number].key }

    func prefetch(_ number: Int) {
        withUnsafeBufferPointer { bsfg_prefetch($0.baseAddress! + number) }
    }
}

extension Digest256 {
    init(at start: UnsafeRawPointer) {
        self.init(bytes: UnsafeRawBufferPointer(start: start, count: Digest256.byteCount))
    }

    /// The first eight bytes as a number that orders like the bytes.
    var prefix: UInt64 { UInt64(bigEndian: words.0) }

    /// Less than 0, 0 or more than 0, by the order of the bytes.
    func compare(_ other: Digest256) -> Int {
        if words.0 != other.words.0 { return prefix < other.prefix ? -1 : 1 }
        if words.1 != other.words.1 { return Digest256.order(words.1, other.words.1) }
        if words.2 != other.words.2 { return Digest256.order(words.2, other.words.2) }
        return words.3 == other.words.3 ? 0 : Digest256.order(words.3, other.words.3)
    }

    private static func order(_ left: UInt64, _ right: UInt64) -> Int {
        UInt64(bigEndian: left) < UInt64(bigEndian: right) ? -1 : 1
    }
}
