internal import CPlatform
internal import Glibc

/// What a run covers, told when it is complete.
struct KeyRunCoverage: Equatable, Sendable {
    var offsets: Range<UInt64>
    var newestTimeMilliseconds: Int64
    var tier: UInt8 = 0
}

/// Writes one run, page by page, in memory that does not grow with what it writes but for the
/// filter (2.5 B a key) and the fences (0.15 B a key): at most 37 MiB, which the budget counts and the
/// run's lookups take over.
///
/// Any error ends it: `cancel` removes the file, and the caller begins again with a new id. Not
/// thread-safe.
final class KeyRunWriter {
    private let disk: any Disk
    private let directory: String
    private let path: String
    private let file: any DiskFile
    private let identifier: LogIdentifier
    private let id: UInt64

    private let budget: KeyIndexBudget
    private let index: KeyIndexMemory
    private var isIndexTaken = false
    private var header: KeyRunHeader?
    /// Of the last entries, whose lines of the filter are on the way: they lie all over it.
    private var waitingHashes: [KeyHash] = []
    private let entryCountMaximum: Int
    private var fenceCount = 0
    private var last: Digest256?
    private var offsets: ClosedRange<UInt64>?
    private(set) var entryCount = 0

    /// Pages that wait to be written in one call.
    private let buffer = PageBuffer(pageCount: KeyRunWriter.bufferPages)
    private var bufferedPages = 0
    private var entriesInPage = 0
    private var position = UInt64(KeyRunLayout.pageBytes)
    /// From here to `position` is being brought to the device.
    private var begunPosition = UInt64(KeyRunLayout.pageBytes)
    private var isRemoved = false

    static let bufferPages = 64
    private static let waitingHashesMaximum = 16

    /// Makes the file, which must not exist.
    ///
    /// - Precondition: `entryCountMaximum`, which sizes the filter, is at most
    ///   `KeyRunLayout.entryCountMaximum`.
    init(
        _ disk: any Disk, directory: String, identifier: LogIdentifier, id: UInt64,
        entryCountMaximum: Int, budget: KeyIndexBudget
    ) throws(DiskError) {
        precondition(
            entryCountMaximum <= KeyRunLayout.entryCountMaximum, "more keys than one run holds")
        self.disk = disk
        self.directory = directory
        self.identifier = identifier
        self.id = id
        self.entryCountMaximum = entryCountMaximum
        path = directory + "/" + KeyRunLayout.fileName(id: id)
        let pageCount = (entryCountMaximum + KeyRunLayout.entriesPerPage - 1)
            / KeyRunLayout.entriesPerPage
        guard
            let index = KeyIndexMemory(
                blockCount: KeyFilter.blockCount(entryCount: entryCountMaximum),
                fenceCount: pageCount)
        else { throw DiskError(.write, path, code: ENOMEM) }
        self.index = index
        self.budget = budget
        file = try disk.open(path, .create)
        budget.beginWriting(index.byteCount)
    }

    deinit { if !isIndexTaken { budget.endWriting(index.byteCount, isKept: false) } }

    /// The length of the file so far.
    var writtenBytes: UInt64 { position + UInt64(bufferedPages * KeyRunLayout.pageBytes) }

    /// Takes the next entry.
    ///
    /// - Precondition: its key is above the one before; no more entries than announced.
    func append(_ entry: KeyEntry) throws(DiskError) {
        if let last { precondition(last.compare(entry.key) < 0, "a run's keys ascend") }
        precondition(entryCount < entryCountMaximum, "more entries than announced")
        if entriesInPage == KeyRunLayout.entriesPerPage { try endDataPage() }
        if entriesInPage == 0 {
            index.fences[fenceCount] = entry.key.prefix
            fenceCount += 1
        }
        entry.write(
            at: page + KeyRunLayout.pageHeaderBytes + entriesInPage * KeyRunLayout.entryBytes)
        addToFilter(KeyHash(entry.key))
        last = entry.key
        let low = min(offsets?.lowerBound ?? entry.offset, entry.offset)
        offsets = low...max(offsets?.upperBound ?? entry.offset, entry.offset)
        entriesInPage += 1
        entryCount += 1
    }

    private func addToFilter(_ hash: KeyHash) {
        bsfg_prefetch(index.block(of: hash))
        waitingHashes.append(hash)
        if waitingHashes.count == KeyRunWriter.waitingHashesMaximum { completeFilter() }
    }

    private func completeFilter() {
        for hash in waitingHashes {
            KeyFilter.add(hash, to: index.block(of: hash))
        }
        waitingHashes.removeAll(keepingCapacity: true)
    }

    /// Writes what remains, makes file and name durable. The writer is used up.
    ///
    /// - Precondition: the coverage has all offsets that were appended; the attachment has at most
    ///   16 MiB.
    func finish(_ coverage: KeyRunCoverage, attachment: [UInt8] = []) throws(DiskError) -> RunEntry {
        precondition(
            attachment.count <= KeyRunLayout.attachmentBytesMaximum, "the attachment is too large")
        if let offsets {
            precondition(
                coverage.offsets.lowerBound <= offsets.lowerBound
                    && offsets.upperBound < coverage.offsets.upperBound,
                "a run covers the offsets of its entries")
        }
        if entriesInPage > 0 { try endDataPage() }
        completeFilter()
        let fences = index.fences
        let top = stride(from: 0, to: fenceCount, by: KeyRunLayout.fencesPerPage).map { fences[$0] }
        try writeSection(.fences, itemCount: fenceCount) { number, target in
            target.set(fences[number].byteSwapped, at: 0)
        }
        // A run that turned out empty has no filter; one that shrank keeps the size it began with.
        let blocks = entryCount == 0 ? 0 : index.blockCount
        try writeSection(.filter, itemCount: blocks) { number, target in
            target.copyMemory(
                from: index.blocks + number * KeyFilter.blockBytes, byteCount: KeyFilter.blockBytes)
        }
        try writeAttachment(attachment)
        try flush()
        var header = KeyRunHeader(
            identifier: identifier, id: id, firstOffset: coverage.offsets.lowerBound,
            endOffset: coverage.offsets.upperBound,
            newestTimeMilliseconds: coverage.newestTimeMilliseconds, entryCount: entryCount,
            filterBlocks: blocks, attachmentBytes: attachment.count,
            attachmentCRC: attachment.withUnsafeBytes { Checksum.of($0) }, top: top)
        precondition(header.byteCount == position, "a run's sections add up")
        header.write(at: page)
        try file.write(UnsafeRawBufferPointer(start: page, count: KeyRunLayout.pageBytes), at: 0)
        try file.synchronise()
        try disk.synchroniseDirectory(directory)
        self.header = header
        return RunEntry(header, tier: coverage.tier)
    }

    /// The run's filter and fences as they stand here, so that nobody has to read them; nil when the run is
    /// empty or the budget has no room for them.
    ///
    /// - Precondition: the run is finished, and they were not taken before.
    func takeIndex() -> KeyRunIndex? {
        precondition(!isIndexTaken, "an index is taken once")
        guard let header, header.filterBlocks > 0 else { return nil }
        isIndexTaken = true
        guard budget.endWriting(index.byteCount, isKept: true) else { return nil }
        return KeyRunIndex(whole: index, fenceCount: header.dataPages, budget)
    }

    /// Removes the file, after an error or because nobody wants it any more. What cannot be removed
    /// stays unlisted and is removed when the log is opened.
    func cancel() {
        guard !isRemoved else { return }
        isRemoved = true
        try? disk.remove(path)
    }

    // MARK: - Pages

    private var page: UnsafeMutableRawPointer { buffer.page(bufferedPages) }

    private func endDataPage() throws(DiskError) {
        try endPage(.data, count: entriesInPage)
        entriesInPage = 0
    }

    private func endPage(_ kind: KeyRunPageKind, count: Int) throws(DiskError) {
        KeyRunPage.seal(page, kind, count: count, id: id, position: writtenBytes)
        bufferedPages += 1
        if bufferedPages == KeyRunWriter.bufferPages { try flush() }
    }

    private func flush() throws(DiskError) {
        if bufferedPages > 0 {
            let count = bufferedPages * KeyRunLayout.pageBytes
            try file.write(
                UnsafeRawBufferPointer(start: buffer.page(0), count: count), at: position)
            // One piece is on its way while the next is made; no more, so that commits do not wait for it.
            file.beginWriteBack(from: position, byteCount: count)
            if begunPosition < position {
                file.writeBack(from: begunPosition, byteCount: Int(position - begunPosition))
            }
            begunPosition = position
            position += UInt64(count)
        }
        bufferedPages = 0
        buffer.clear()
    }

    private func writeSection(
        _ kind: KeyRunPageKind, itemCount: Int,
        _ write: (_ index: Int, _ target: UnsafeMutableRawPointer) -> Void
    ) throws(DiskError) {
        for first in stride(from: 0, to: itemCount, by: kind.countMaximum) {
            let count = min(kind.countMaximum, itemCount - first)
            for index in 0..<count {
                write(first + index, page + KeyRunLayout.pageHeaderBytes + index * kind.itemBytes)
            }
            try endPage(kind, count: count)
        }
    }

    private func writeAttachment(_ attachment: [UInt8]) throws(DiskError) {
        for first in stride(from: 0, to: attachment.count, by: KeyRunLayout.pageBytes) {
            let end = min(first + KeyRunLayout.pageBytes, attachment.count)
            attachment.withUnsafeBytes {
                page.copyMemory(from: $0.baseAddress! + first, byteCount: end - first)
            }
            bufferedPages += 1
            if bufferedPages == KeyRunWriter.bufferPages { try flush() }
        }
    }
}

extension KeyRunWriter {
    /// Writes a whole run of entries in any order; of a key that is there twice the highest offset
    /// stays. On an error the file is removed.
    ///
    /// - Precondition: at most `KeyRunLayout.entryCountMaximum` entries.
    static func write(
        _ entries: some KeyEntries, _ coverage: KeyRunCoverage, attachment: [UInt8] = [],
        to disk: any Disk, directory: String, identifier: LogIdentifier, id: UInt64,
        budget: KeyIndexBudget
    ) throws(DiskError) -> (entry: RunEntry, index: KeyRunIndex?) {
        let writer = try KeyRunWriter(
            disk, directory: directory, identifier: identifier, id: id,
            entryCountMaximum: entries.count, budget: budget)
        do throws(DiskError) {
            var last: Digest256?
            let order = order(entries)
            for number in 0..<order.count {
                if number + prefetchedEntries < order.count {
                    entries.prefetch(Int(order[number + prefetchedEntries].index))
                }
                let entry = entries[Int(order[number].index)]
                if entry.key != last { try writer.append(entry) }
                last = entry.key
            }
            let entry = try writer.finish(coverage, attachment: attachment)
            return (entry, writer.takeIndex())
        } catch {
            writer.cancel()
            throw error
        }
    }

    /// In the order of their keys the entries lie all over the memory.
    private static let prefetchedEntries = 12

    private struct Ordered {
        var prefix: UInt64
        var index: UInt32
    }

    /// Indices by ascending key, of one key by descending offset. Moves 16 bytes an entry in place of
    /// 72: by the first bits of the keys, which are uniform, into about as many places as there are
    /// keys; what meets in one is compared.
    private static func order(_ entries: some KeyEntries) -> MappedBuffer<Ordered> {
        let bits = UInt64(max(1, min(20, Int.bitWidth - entries.count.leadingZeroBitCount)))
        // How many keys are before a place; while they are put there, where its next one goes.
        let ends = MappedBuffer<UInt32>(count: 1 << bits + 1)
        for number in 0..<entries.count {
            ends[Int(entries.key(number).prefix >> (64 - bits)) + 1] += 1
        }
        for place in 1..<ends.count { ends[place] += ends[place - 1] }
        let ordered = MappedBuffer<Ordered>(count: entries.count)
        for index in 0..<entries.count {
            let prefix = entries.key(index).prefix
            let place = Int(prefix >> (64 - bits))
            ordered[Int(ends[place])] = Ordered(prefix: prefix, index: UInt32(index))
            ends[place] += 1
        }
        func isBefore(_ left: Ordered, _ right: Ordered) -> Bool {
            if left.prefix != right.prefix { return left.prefix < right.prefix }
            let (left, right) = (Int(left.index), Int(right.index))
            let comparison = entries.key(left).compare(entries.key(right))
            return comparison != 0
                ? comparison < 0 : entries[left].offset > entries[right].offset
        }
        var start = 0
        for place in 0..<1 << bits {
            // Where the keys of a place end, those of the next one begin.
            let end = Int(ends[place])
            if end - start > 1 {
                var group = UnsafeMutableBufferPointer(
                    start: ordered.start + start, count: end - start)
                group.sort(by: isBefore)
            }
            start = end
        }
        return ordered
    }
}

/// Page-aligned memory for a number of pages.
final class PageBuffer: @unchecked Sendable {
    let bytes: UnsafeMutableRawBufferPointer
    private let pages: MappedBuffer<UInt8>

    init(pageCount: Int) {
        pages = MappedBuffer(count: pageCount * KeyRunLayout.pageBytes)
        bytes = UnsafeMutableRawBufferPointer(start: pages.start, count: pages.count)
    }

    func page(_ number: Int) -> UnsafeMutableRawPointer {
        bytes.baseAddress! + number * KeyRunLayout.pageBytes
    }

    func clear() { bytes.initializeMemory(as: UInt8.self, repeating: 0) }
}
