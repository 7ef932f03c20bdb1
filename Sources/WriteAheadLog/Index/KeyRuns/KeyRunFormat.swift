// A key run: the keys of a range of offsets, sorted, never changed once written. It answers "is this
// key in the log, where, with what content" without reading the record, also beyond retention.
// Derived from the log: a run that is lost is written again from the segments, except for the part
// beyond retention, of which there are two copies.
//
// `<16 hex digits>.run`, the digits being its id; the second copy, the same bytes, is `<16 hex>.run2`.
// Pages of 4096 bytes; all integers little-endian:
//
//   header     one page
//   data       D pages: the entries, in the order of their keys' bytes
//   fences     F pages: where each data page begins
//   filter     B blocks of 64 bytes in P pages: which keys cannot be in the run
//   attachment A bytes, then zeros to the next page: the writer's own, no part of the index
//
// Header:
//
//   0  u32  magic "BSFK"
//   4  u32  CRC-32C of bytes 8 ..< 4096
//   8  u32  format version; a file of any other version is not used but written again
//  12  u32  count of entries, N
//  16  16   log identifier
//  32  u64  run id
//  40  u64  first offset covered
//  48  u64  end of the offsets covered, exclusive
//  56  i64  newest append time covered, milliseconds since 1970
//  64  u32  data pages, D = ceil(N / 56): all are full but the last
//  68  u32  fence pages, F = ceil(D / 504)
//  72  u32  filter pages, P = ceil(B / 63)
//  76  u32  filter blocks, B: even, 0 when N is 0
//  80  u32  attachment length, A
//  84  u32  CRC-32C of the attachment
//  88 ..< 128  zero
// 128  8    the first fence of each fence page, F of them; then zero. So a header in memory leads
//           to the one fence page that matters.
//
// Every other page but the attachment's:
//
//   0  u32  CRC-32C of run id (u64), file position (u64), bytes 4 ..< 4096
//   4  u8   kind: 1 data, 2 fences, 3 filter
//   5  u8   zero
//   6  u16  count: of entries (<= 56), fences (<= 504), blocks (<= 63)
//   8 ..< 64  zero
//  64       the contents; then zero
//
// Data: 72 bytes an entry: key (32), content digest (32), offset (u64). Keys ascend strictly.
//
// Fences: the first 8 bytes of the first key of each data page. Different pages can have equal
// fences when keys are not uniform; a reader then compares whole keys.
//
// Filter: a blocked Bloom filter of 20 bits a key. With w0 ... w3 the key as four u64,
// m(a, b) the xor of the two halves of the 128-bit product a x b:
//
//   h = m(w0 ^ 9E3779B97F4A7C15, w1 ^ BF58476D1CE4E5B9)
//         ^ m(w2 ^ 94D049BB133111EB, w3 ^ D6E8FEB86659FD93)
//   g = m(h, A0761D6478BD642F)
//
// block (h >> 32) x B >> 32 has, in each of its eight u64 (i = 0 ... 7), bit (g >> 6i) & 63 set for
// every key of the run. Because B is even, the blocks 2n and 2n + 1 or-ed together are block n of a
// filter of half the size: so a reader short of memory holds 10 bits a key.

enum KeyRunLayout {
    static let magic: UInt32 = 0x4B46_5342  // "BSFK"
    static let formatVersion: UInt32 = 1

    static let pageBytes = 4096
    static let pageHeaderBytes = 64
    static let entryBytes = 72
    static let entriesPerPage = (pageBytes - pageHeaderBytes) / entryBytes
    static let fencesPerPage = (pageBytes - pageHeaderBytes) / 8
    static let blocksPerPage = (pageBytes - pageHeaderBytes) / KeyFilter.blockBytes

    static let topPosition = 128
    static let fencePagesMaximum = (pageBytes - topPosition) / 8
    static let dataPagesMaximum = fencePagesMaximum * fencesPerPage
    /// 13,999,104: what the first fences in one header lead to.
    static let entryCountMaximum = dataPagesMaximum * entriesPerPage
    static let attachmentBytesMaximum = 16 << 20

    static func pages(_ count: Int, perPage: Int) -> Int { (count + perPage - 1) / perPage }

    static func fileName(id: UInt64, copy: KeyRunCopy = .first) -> String {
        let digits = String(id, radix: 16)
        return String(repeating: "0", count: 16 - digits.count) + digits
            + (copy == .first ? ".run" : ".run2")
    }

    /// The id and the copy of a run file's name, or nil for another file.
    static func parse(fileName: String) -> (id: UInt64, copy: KeyRunCopy)? {
        guard let id = UInt64(fileName.prefix(16), radix: 16) else { return nil }
        for copy in KeyRunCopy.allCases where KeyRunLayout.fileName(id: id, copy: copy) == fileName {
            return (id, copy)
        }
        return nil
    }
}

/// Which of a run's two files.
enum KeyRunCopy: Int, CaseIterable, Sendable {
    case first = 0
    case second = 1

    var other: KeyRunCopy { self == .first ? .second : .first }
}

/// The sections of a run, in the order in which they lie.
enum KeyRunPageKind: UInt8 {
    case data = 1
    case fences = 2
    case filter = 3

    var countMaximum: Int {
        switch self {
        case .data: KeyRunLayout.entriesPerPage
        case .fences: KeyRunLayout.fencesPerPage
        case .filter: KeyRunLayout.blocksPerPage
        }
    }

    var itemBytes: Int {
        switch self {
        case .data: KeyRunLayout.entryBytes
        case .fences: 8
        case .filter: KeyFilter.blockBytes
        }
    }
}

/// The first page of a run.
struct KeyRunHeader: Equatable, Sendable {
    var identifier: LogIdentifier
    var id: UInt64
    var firstOffset: UInt64
    var endOffset: UInt64
    var newestTimeMilliseconds: Int64
    var entryCount: Int
    var filterBlocks: Int
    var attachmentBytes: Int
    var attachmentCRC: UInt32
    /// The first fence of each fence page, as a number that orders like the key's bytes.
    var top: [UInt64]

    /// Set by reading and writing.
    var crc: UInt32 = 0

    var dataPages: Int { KeyRunLayout.pages(entryCount, perPage: KeyRunLayout.entriesPerPage) }
    var fencePages: Int { KeyRunLayout.pages(dataPages, perPage: KeyRunLayout.fencesPerPage) }
    var filterPages: Int { KeyRunLayout.pages(filterBlocks, perPage: KeyRunLayout.blocksPerPage) }

    func pageCount(_ kind: KeyRunPageKind) -> Int {
        switch kind {
        case .data: dataPages
        case .fences: fencePages
        case .filter: filterPages
        }
    }

    /// How many entries, fences or blocks a page holds: all pages but a section's last are full.
    func itemCount(_ kind: KeyRunPageKind, _ number: Int) -> Int {
        let total =
            switch kind {
            case .data: entryCount
            case .fences: dataPages
            case .filter: filterBlocks
            }
        return min(kind.countMaximum, total - number * kind.countMaximum)
    }

    /// Where a page of a section lies in the file.
    func position(_ kind: KeyRunPageKind, _ number: Int) -> UInt64 {
        let before =
            switch kind {
            case .data: 1
            case .fences: 1 + dataPages
            case .filter: 1 + dataPages + fencePages
            }
        return UInt64((before + number) * KeyRunLayout.pageBytes)
    }

    var attachmentPosition: UInt64 { position(.filter, filterPages) }

    var byteCount: UInt64 {
        let pages = KeyRunLayout.pages(attachmentBytes, perPage: KeyRunLayout.pageBytes)
        return attachmentPosition + UInt64(pages * KeyRunLayout.pageBytes)
    }

    mutating func write(at start: UnsafeMutableRawPointer) {
        precondition(top.count == fencePages, "a run has a first fence for each fence page")
        start.initializeMemory(as: UInt8.self, repeating: 0, count: KeyRunLayout.pageBytes)
        start.set(KeyRunLayout.magic, at: 0)
        start.set(KeyRunLayout.formatVersion, at: 8)
        start.set(UInt32(entryCount), at: 12)
        (start + 16).copyMemory(from: identifier.bytes, byteCount: LogIdentifier.byteCount)
        start.set(id, at: 32)
        start.set(firstOffset, at: 40)
        start.set(endOffset, at: 48)
        start.set(newestTimeMilliseconds, at: 56)
        start.set(UInt32(dataPages), at: 64)
        start.set(UInt32(fencePages), at: 68)
        start.set(UInt32(filterPages), at: 72)
        start.set(UInt32(filterBlocks), at: 76)
        start.set(UInt32(attachmentBytes), at: 80)
        start.set(attachmentCRC, at: 84)
        for (index, fence) in top.enumerated() {
            start.set(fence.byteSwapped, at: KeyRunLayout.topPosition + index * 8)
        }
        crc = Checksum.extend(0, UnsafeRawPointer(start + 8), KeyRunLayout.pageBytes - 8)
        start.set(crc, at: 4)
    }
}

extension KeyRunHeader {
    /// Reads the first page; every length is bounded before anybody allocates by it.
    init(_ bytes: UnsafeRawBufferPointer) throws(FormatError) {
        guard let start = bytes.baseAddress, bytes.count >= KeyRunLayout.pageBytes else {
            throw .truncated
        }
        guard start.integer(UInt32.self, at: 0) == KeyRunLayout.magic else {
            throw .invalid("not a key run")
        }
        let crc: UInt32 = start.integer(at: 4)
        guard crc == Checksum.extend(0, start + 8, KeyRunLayout.pageBytes - 8) else {
            throw .checksum
        }
        let version: UInt32 = start.integer(at: 8)
        guard version == KeyRunLayout.formatVersion else { throw .unsupported(UInt64(version)) }
        let fencePages = Int(start.integer(UInt32.self, at: 68))
        guard fencePages <= KeyRunLayout.fencePagesMaximum else {
            throw .invalid("a key run has too many pages")
        }
        self.init(
            identifier: LogIdentifier(bytes: Array(bytes[16..<32])), id: start.integer(at: 32),
            firstOffset: start.integer(at: 40), endOffset: start.integer(at: 48),
            newestTimeMilliseconds: start.integer(at: 56),
            entryCount: Int(start.integer(UInt32.self, at: 12)),
            filterBlocks: Int(start.integer(UInt32.self, at: 76)),
            attachmentBytes: Int(start.integer(UInt32.self, at: 80)),
            attachmentCRC: start.integer(at: 84),
            top: (0..<fencePages).map {
                start.integer(UInt64.self, at: KeyRunLayout.topPosition + $0 * 8).byteSwapped
            }, crc: crc)
        guard entryCount <= KeyRunLayout.entryCountMaximum, self.fencePages == fencePages,
            dataPages == Int(start.integer(UInt32.self, at: 64)),
            filterBlocks % 2 == 0, (filterBlocks == 0) == (entryCount == 0),
            filterBlocks <= KeyFilter.blockCount(entryCount: KeyRunLayout.entryCountMaximum),
            filterPages == Int(start.integer(UInt32.self, at: 72)),
            attachmentBytes <= KeyRunLayout.attachmentBytesMaximum,
            firstOffset <= endOffset, endOffset < FormatLimits.counterMaximum,
            id < FormatLimits.counterMaximum
        else { throw .invalid("a key run's header contradicts itself") }
    }
}

/// The header of the pages after the first.
enum KeyRunPage {
    /// Completes a page whose contents stand at `pageHeaderBytes`, the rest being zero.
    static func seal(
        _ start: UnsafeMutableRawPointer, _ kind: KeyRunPageKind, count: Int, id: UInt64,
        position: UInt64
    ) {
        start.set(kind.rawValue, at: 4)
        start.set(UInt16(count), at: 6)
        start.set(crc(UnsafeRawPointer(start), id: id, position: position), at: 0)
    }

    /// Whether a page is intact, this one, and holds `count` items.
    static func verify(
        _ start: UnsafeRawPointer, _ kind: KeyRunPageKind, count: Int, id: UInt64, position: UInt64
    ) -> Bool {
        start.integer(UInt32.self, at: 0) == crc(start, id: id, position: position)
            && start.integer(UInt8.self, at: 4) == kind.rawValue
            && Int(start.integer(UInt16.self, at: 6)) == count
    }

    private static func crc(_ start: UnsafeRawPointer, id: UInt64, position: UInt64) -> UInt32 {
        let place = (id.littleEndian, position.littleEndian)
        let seed = withUnsafeBytes(of: place) { Checksum.of($0) }
        return Checksum.extend(seed, start + 4, KeyRunLayout.pageBytes - 4)
    }
}
