/// A run in the manifest's run table, 64 bytes:
///
///   0  u64  id                     8  u64  first offset covered
///  16  u64  end offset, exclusive 24  i64  newest append time, milliseconds since 1970
///  32  u64  length of the file    40  u32  count of entries
///  44  u8   tier                  45  u8   copies: 1 or 2
///  46  u16  flags: 1 rebuilding   48  u32  CRC of the run's header: this very file
///  52 ..< 64  zero
struct RunEntry: Hashable, Sendable {
    static let byteCount = 64
    static let tierMaximum: UInt8 = 31

    struct Flags {
        /// Its files cannot be used; its offsets count as missing until they are written again.
        static let rebuilding: UInt16 = 1
    }

    var id: UInt64
    var firstOffset: UInt64
    var endOffset: UInt64
    var newestTimeMilliseconds: Int64
    var byteCount: UInt64
    var entryCount: Int
    /// How often its entries were merged; at most `tierMaximum`.
    var tier: UInt8 = 0
    var copies: UInt8 = 1
    var flags: UInt16 = 0
    var headerCRC: UInt32

    var offsets: Range<UInt64> { firstOffset..<endOffset }

    func write(at start: UnsafeMutableRawPointer) {
        start.initializeMemory(as: UInt8.self, repeating: 0, count: RunEntry.byteCount)
        start.set(id, at: 0)
        start.set(firstOffset, at: 8)
        start.set(endOffset, at: 16)
        start.set(newestTimeMilliseconds, at: 24)
        start.set(byteCount, at: 32)
        start.set(UInt32(entryCount), at: 40)
        start.set(tier, at: 44)
        start.set(copies, at: 45)
        start.set(flags, at: 46)
        start.set(headerCRC, at: 48)
    }

    /// Reads the 64 bytes at `start` and bounds every number.
    init(_ start: UnsafeRawPointer) throws(FormatError) {
        id = start.integer(at: 0)
        firstOffset = start.integer(at: 8)
        endOffset = start.integer(at: 16)
        newestTimeMilliseconds = start.integer(at: 24)
        byteCount = start.integer(at: 32)
        entryCount = Int(start.integer(UInt32.self, at: 40))
        tier = start.integer(at: 44)
        copies = start.integer(at: 45)
        flags = start.integer(at: 46)
        headerCRC = start.integer(at: 48)
        guard flags & ~Flags.rebuilding == 0 else { throw .unsupported(UInt64(flags)) }
        guard id < FormatLimits.counterMaximum, firstOffset <= endOffset,
            endOffset < FormatLimits.counterMaximum,
            byteCount >= UInt64(KeyRunLayout.pageBytes),
            byteCount % UInt64(KeyRunLayout.pageBytes) == 0, byteCount < 1 << 32,
            entryCount <= KeyRunLayout.entryCountMaximum,
            UInt64(entryCount) <= endOffset - firstOffset,
            tier <= RunEntry.tierMaximum, (1...2).contains(copies)
        else { throw .invalid("a run's entry contradicts itself") }
    }

    init(_ header: KeyRunHeader, tier: UInt8 = 0, copies: UInt8 = 1) {
        id = header.id
        firstOffset = header.firstOffset
        endOffset = header.endOffset
        newestTimeMilliseconds = header.newestTimeMilliseconds
        byteCount = header.byteCount
        entryCount = header.entryCount
        self.tier = tier
        self.copies = copies
        headerCRC = header.crc
    }
}
