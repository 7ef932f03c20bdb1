internal import Synchronization

/// An open run: its header in memory, everything else read when it is needed. Of two copies each
/// page is read from the first one in which it is intact.
///
/// Thread-safe.
final class KeyRun: Sendable {
    let entry: RunEntry
    let header: KeyRunHeader
    let budget: KeyIndexBudget

    private struct File: Sendable {
        var copy: KeyRunCopy
        var path: String
        var file: any DiskFile
    }

    private let files: [File]
    /// Bit 1 for the first copy, bit 2 for the second, bit 4 when some page is in neither.
    private let damageBits: Atomic<UInt8>
    private static let lostBit: UInt8 = 4

    /// Opens the file that the manifest names, or its second copy when the first cannot be used
    /// (`damagedCopies` then says so). Reads one page of each copy.
    ///
    /// - Throws: when no copy can be used.
    init(
        _ disk: any Disk, directory: String, identifier: LogIdentifier, entry: RunEntry,
        budget: KeyIndexBudget
    ) throws(KeyRunError) {
        var files: [File] = []
        var header: KeyRunHeader?
        var failure: KeyRunError?
        var bits: UInt8 = 0
        for copy in KeyRunCopy.allCases.prefix(Int(entry.copies)) {
            let path = directory + "/" + KeyRunLayout.fileName(id: entry.id, copy: copy)
            do throws(KeyRunError) {
                let file: any DiskFile
                do throws(DiskError) { file = try disk.open(path, .read) } catch {
                    throw .disk(error)
                }
                header = try KeyRun.header(of: file, path, entry, identifier)
                files.append(File(copy: copy, path: path, file: file))
            } catch {
                bits |= 1 << UInt8(copy.rawValue)
                failure = failure ?? error
            }
        }
        guard let header else { throw failure! }
        self.header = header
        self.files = files
        self.entry = entry
        self.budget = budget
        damageBits = Atomic(bits)
        budget.add(keys: entry.entryCount)
    }

    deinit { budget.remove(keys: entry.entryCount) }

    /// The copies of which some page could not be used; a lookup finds them out as it goes.
    var damagedCopies: [KeyRunCopy] {
        let bits = damageBits.load(ordering: .relaxed)
        return KeyRunCopy.allCases.filter { bits & 1 << UInt8($0.rawValue) != 0 }
    }

    /// Whether a page was found that no copy has intact: the run must be written again.
    var isLost: Bool { damageBits.load(ordering: .relaxed) & KeyRun.lostBit != 0 }

    private static func header(
        of file: any DiskFile, _ path: String, _ entry: RunEntry, _ identifier: LogIdentifier
    ) throws(KeyRunError) -> KeyRunHeader {
        let page = PageBuffer(pageCount: 1)
        let count: Int
        let size: UInt64
        do throws(DiskError) {
            count = try file.read(into: page.bytes, at: 0)
            size = try file.size()
        } catch { throw .disk(error) }
        let header: KeyRunHeader
        do throws(FormatError) {
            header = try KeyRunHeader(UnsafeRawBufferPointer(rebasing: page.bytes[..<count]))
        } catch {
            throw .damaged(KeyRunDamage(path: path, position: 0, reason: "header: \(error)"))
        }
        guard header.crc == entry.headerCRC, header.identifier == identifier,
            header.id == entry.id, header.firstOffset == entry.firstOffset,
            header.endOffset == entry.endOffset, header.entryCount == entry.entryCount,
            header.byteCount == entry.byteCount
        else {
            throw .damaged(
                KeyRunDamage(path: path, position: 0, reason: "it is not the file of the run table"))
        }
        guard size == header.byteCount else {
            throw .damaged(
                KeyRunDamage(
                    path: path, position: size,
                    reason: "it has \(size) bytes and not \(header.byteCount)"))
        }
        return header
    }

    // MARK: - Pages

    /// Reads and checks `count` pages of a section in as few calls as possible.
    ///
    /// - Precondition: the pages are in the section and fit the buffer.
    func readPages(
        _ kind: KeyRunPageKind, _ first: Int, count: Int,
        into buffer: UnsafeMutableRawBufferPointer
    ) throws(KeyRunError) {
        let position = header.position(kind, first)
        let wanted = UnsafeMutableRawBufferPointer(
            rebasing: buffer[..<(count * KeyRunLayout.pageBytes)])
        let isRead = (try? files[0].file.read(into: wanted, at: position)) == wanted.count
        for number in 0..<count {
            let start = wanted.baseAddress! + number * KeyRunLayout.pageBytes
            if !isRead || !verify(start, kind, first + number) {
                try readDamagedPage(kind, first + number, into: start)
            }
        }
    }

    private func verify(_ start: UnsafeRawPointer, _ kind: KeyRunPageKind, _ number: Int) -> Bool {
        KeyRunPage.verify(
            start, kind, count: header.itemCount(kind, number), id: header.id,
            position: header.position(kind, number))
    }

    /// The slow way to a page: from each copy in turn.
    private func readDamagedPage(
        _ kind: KeyRunPageKind, _ number: Int, into start: UnsafeMutableRawPointer
    ) throws(KeyRunError) {
        let page = UnsafeMutableRawBufferPointer(start: start, count: KeyRunLayout.pageBytes)
        let position = header.position(kind, number)
        var failure: KeyRunError?
        for file in files {
            do throws(DiskError) {
                let count = try file.file.read(into: page, at: position)
                if count == page.count, verify(start, kind, number) { return }
                failure = .damaged(
                    KeyRunDamage(
                        path: file.path, position: position,
                        reason: count == page.count ? "checksum" : "the file is cut"))
            } catch { failure = .disk(error) }
            note(file.copy)
        }
        damageBits.bitwiseOr(KeyRun.lostBit, ordering: .relaxed)
        throw failure!
    }

    /// A run whose checksums hold and whose contents contradict each other, in every copy.
    func contradiction(_ kind: KeyRunPageKind, _ number: Int, _ reason: String) -> KeyRunError {
        for file in files { note(file.copy) }
        damageBits.bitwiseOr(KeyRun.lostBit, ordering: .relaxed)
        return .damaged(
            KeyRunDamage(
                path: files[0].path, position: header.position(kind, number), reason: reason))
    }

    private func note(_ copy: KeyRunCopy) {
        damageBits.bitwiseOr(1 << UInt8(copy.rawValue), ordering: .relaxed)
    }

    /// What the writer of the run attached.
    func attachment() throws(KeyRunError) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: header.attachmentBytes)
        var failure: KeyRunError?
        for file in files {
            let result = bytes.withUnsafeMutableBytes { buffer in
                Result { () throws(DiskError) in
                    try file.file.read(into: buffer, at: header.attachmentPosition)
                }
            }
            do throws(DiskError) {
                let count = try result.get()
                if count == bytes.count,
                    bytes.withUnsafeBytes({ Checksum.of($0) }) == header.attachmentCRC
                {
                    return bytes
                }
                failure = .damaged(
                    KeyRunDamage(
                        path: file.path, position: header.attachmentPosition, reason: "attachment"))
            } catch { failure = .disk(error) }
            note(file.copy)
        }
        damageBits.bitwiseOr(KeyRun.lostBit, ordering: .relaxed)
        throw failure!
    }

    // MARK: - Finding

    /// Looks a key up on disk: one page with an index in memory, three without. With keys that
    /// share their first eight bytes over many pages, a logarithm of their number more.
    func find(
        _ key: Digest256, _ hash: KeyHash, _ index: KeyRunIndex?, scratch: PageBuffer
    ) throws(KeyRunError) -> KeyEntry? {
        guard header.entryCount > 0 else { return nil }
        if index == nil, try !filterMayContain(hash, scratch) { return nil }
        let fences =
            if let index { index.fenceCounts(key.prefix) } else {
                try fenceCounts(key.prefix, scratch)
            }
        // The last page that begins at or below the key. Fences tell first keys apart by their
        // prefixes; where those are equal the keys themselves decide.
        var low = max(fences.below - 1, 0)
        var high = max(fences.upTo - 1, low)
        while low < high {
            let middle = (low + high + 1) / 2
            let entries = try dataPage(middle, scratch)
            if key.compare(Digest256(at: entries)) < 0 { high = middle - 1 } else { low = middle }
        }
        return search(key, try dataPage(low, scratch), header.itemCount(.data, low))
    }

    private func dataPage(_ number: Int, _ scratch: PageBuffer) throws(KeyRunError)
        -> UnsafeRawPointer
    {
        try readPages(.data, number, count: 1, into: scratch.bytes)
        return UnsafeRawPointer(scratch.page(0)) + KeyRunLayout.pageHeaderBytes
    }

    private func filterMayContain(_ hash: KeyHash, _ scratch: PageBuffer) throws(KeyRunError)
        -> Bool
    {
        let block = hash.block(of: header.filterBlocks)
        try readPages(.filter, block / KeyRunLayout.blocksPerPage, count: 1, into: scratch.bytes)
        let place = block % KeyRunLayout.blocksPerPage * KeyFilter.blockBytes
        return KeyFilter.mayContain(hash, scratch.page(0) + KeyRunLayout.pageHeaderBytes + place)
    }

    /// How many fences are below a prefix, and how many are at or below it.
    private func fenceCounts(_ prefix: UInt64, _ scratch: PageBuffer) throws(KeyRunError)
        -> (below: Int, upTo: Int)
    {
        let top = header.top.withUnsafeBufferPointer { Fences.counts($0, prefix) }
        let below = try fenceCounts(prefix, inPage: top.below - 1, scratch).below
        return (below, try fenceCounts(prefix, inPage: top.upTo - 1, scratch).upTo)
    }

    private func fenceCounts(_ prefix: UInt64, inPage number: Int, _ scratch: PageBuffer)
        throws(KeyRunError) -> (below: Int, upTo: Int)
    {
        guard number >= 0 else { return (0, 0) }
        try readPages(.fences, number, count: 1, into: scratch.bytes)
        let fences = (0..<header.itemCount(.fences, number)).map {
            Fences.read(scratch.page(0) + KeyRunLayout.pageHeaderBytes, $0)
        }
        let counts = fences.withUnsafeBufferPointer { Fences.counts($0, prefix) }
        let before = number * KeyRunLayout.fencesPerPage
        return (before + counts.below, before + counts.upTo)
    }

    private func search(_ key: Digest256, _ entries: UnsafeRawPointer, _ count: Int) -> KeyEntry? {
        var low = 0
        var high = count
        while low < high {
            let middle = (low + high) / 2
            let start = entries + middle * KeyRunLayout.entryBytes
            let comparison = key.compare(Digest256(at: start))
            if comparison == 0 { return KeyEntry(start) }
            if comparison < 0 { high = middle } else { low = middle + 1 }
        }
        return nil
    }
}

enum Fences {
    /// The fence at a place of a page's contents, as a number that orders like the key's bytes.
    static func read(_ start: UnsafeRawPointer, _ index: Int) -> UInt64 {
        start.integer(UInt64.self, at: index * 8).byteSwapped
    }

    /// Of ascending fences, how many are below a prefix and how many at or below it.
    static func counts(_ fences: UnsafeBufferPointer<UInt64>, _ prefix: UInt64)
        -> (below: Int, upTo: Int)
    {
        var low = 0
        var high = fences.count
        while low < high {
            let middle = (low + high) / 2
            if fences[middle] < prefix { low = middle + 1 } else { high = middle }
        }
        let below = low
        high = fences.count
        while low < high {
            let middle = (low + high) / 2
            if fences[middle] <= prefix { low = middle + 1 } else { high = middle }
        }
        return (below, low)
    }
}
