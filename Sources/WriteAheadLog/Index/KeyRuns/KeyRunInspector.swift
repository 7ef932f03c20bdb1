/// Reads every byte of one copy of a run, past the page cache, and says what is wrong with it. Goes
/// on after damage. Works in bounded steps, so that a running log can be checked slowly.
///
/// Not thread-safe.
final class KeyRunInspector {
    private let path: String
    private let entry: RunEntry
    private let identifier: LogIdentifier
    private let file: any DiskFile
    private let buffer = PageBuffer(pageCount: KeyRunWriter.bufferPages)

    private var header: KeyRunHeader?
    /// Where the next page to be read lies.
    private var position: UInt64 = 0
    private var last: Digest256?
    /// What the data pages say that the fences and the filter must be; a damaged page says nothing.
    private var fences: [UInt64?] = []
    private var filter: MappedMemory?
    private var isAllDataIntact = true
    private var attachmentCRC: UInt32 = 0

    /// What was found so far, in the order of the file.
    private(set) var damage: [KeyRunDamage] = []

    /// - Throws: when the file cannot be opened.
    init(
        _ disk: any Disk, directory: String, identifier: LogIdentifier, entry: RunEntry,
        copy: KeyRunCopy
    ) throws(DiskError) {
        path = directory + "/" + KeyRunLayout.fileName(id: entry.id, copy: copy)
        self.entry = entry
        self.identifier = identifier
        file = try disk.open(path, .read)
    }

    /// Reads everything.
    static func verify(
        _ disk: any Disk, directory: String, identifier: LogIdentifier, entry: RunEntry,
        copy: KeyRunCopy = .first
    ) throws(DiskError) -> [KeyRunDamage] {
        let inspector = try KeyRunInspector(
            disk, directory: directory, identifier: identifier, entry: entry, copy: copy)
        while inspector.step() {}
        return inspector.damage
    }

    /// Reads the next 256 KiB; false at the end.
    func step() -> Bool {
        if position == 0 { return readHeader() }
        guard let header, position < header.byteCount else { return false }
        let wanted = Int(min(UInt64(buffer.bytes.count), header.byteCount - position))
        let bytes = UnsafeMutableRawBufferPointer(rebasing: buffer.bytes[..<wanted])
        let count: Int
        do throws(DiskError) { count = try file.readUncached(into: bytes, at: position) } catch {
            note(position, error.sentence)
            for _ in 0..<wanted / KeyRunLayout.pageBytes {
                skipUnreadable(header)
                position += UInt64(KeyRunLayout.pageBytes)
            }
            return position < header.byteCount
        }
        for page in 0..<wanted / KeyRunLayout.pageBytes {
            if (page + 1) * KeyRunLayout.pageBytes > count {
                note(position, "the file is cut")
                return false
            }
            check(buffer.page(page), header)
            position += UInt64(KeyRunLayout.pageBytes)
        }
        if position == header.byteCount, attachmentCRC != header.attachmentCRC {
            note(header.attachmentPosition, "the attachment's checksum does not hold")
        }
        return position < header.byteCount
    }

    private func readHeader() -> Bool {
        let page = UnsafeMutableRawBufferPointer(rebasing: buffer.bytes[..<KeyRunLayout.pageBytes])
        do throws(DiskError) {
            let count = try file.readUncached(into: page, at: 0)
            let size = try file.size()
            let header: KeyRunHeader
            do throws(FormatError) {
                header = try KeyRunHeader(UnsafeRawBufferPointer(rebasing: page[..<count]))
            } catch {
                note(0, "header: \(error)")
                return false
            }
            var described = RunEntry(header, tier: entry.tier, copies: entry.copies)
            described.flags = entry.flags
            if described != entry || header.identifier != identifier {
                note(0, "it is not the file of the run table")
            }
            if size != header.byteCount {
                note(size, "it has \(size) bytes and not \(header.byteCount)")
            }
            let unused = KeyRunLayout.topPosition + header.fencePages * 8
            if !UnsafeRawBufferPointer(rebasing: page[unused...]).isAllZero
                || !UnsafeRawBufferPointer(rebasing: page[88..<KeyRunLayout.topPosition]).isAllZero
            {
                note(0, "unused space is not zero")
            }
            filter = MappedMemory(byteCount: header.filterBlocks * KeyFilter.blockBytes)
            self.header = header
            position = UInt64(KeyRunLayout.pageBytes)
            return position < header.byteCount
        } catch {
            note(0, error.sentence)
            return false
        }
    }

    // MARK: - Pages

    private func check(_ start: UnsafeRawPointer, _ header: KeyRunHeader) {
        if position >= header.attachmentPosition { return checkAttachment(start, header) }
        var number = Int(position / UInt64(KeyRunLayout.pageBytes)) - 1
        for kind in [KeyRunPageKind.data, .fences, .filter] {
            guard number >= header.pageCount(kind) else {
                return check(start, header, kind, number)
            }
            number -= header.pageCount(kind)
        }
    }

    private func check(
        _ start: UnsafeRawPointer, _ header: KeyRunHeader, _ kind: KeyRunPageKind, _ number: Int
    ) {
        let count = header.itemCount(kind, number)
        guard KeyRunPage.verify(start, kind, count: count, id: header.id, position: position) else {
            note(position, "the checksum of a page does not hold")
            return skipUnreadable(header)
        }
        let contents = start + KeyRunLayout.pageHeaderBytes
        let used = KeyRunLayout.pageHeaderBytes + count * kind.itemBytes
        let page = UnsafeRawBufferPointer(start: start, count: KeyRunLayout.pageBytes)
        if !UnsafeRawBufferPointer(rebasing: page[used...]).isAllZero
            || !UnsafeRawBufferPointer(rebasing: page[8..<KeyRunLayout.pageHeaderBytes]).isAllZero
            || page[5] != 0
        {
            note(position, "unused space is not zero")
        }
        switch kind {
        case .data: checkData(contents, count, header)
        case .fences: checkFences(contents, count, header, number)
        case .filter: checkFilter(contents, count, number)
        }
    }

    /// Expects nothing of what a page that cannot be used would have said.
    private func skipUnreadable(_ header: KeyRunHeader) {
        guard position < header.position(.fences, 0) else { return }
        isAllDataIntact = false
        fences.append(nil)
        last = nil
    }

    private func checkData(_ contents: UnsafeRawPointer, _ count: Int, _ header: KeyRunHeader) {
        fences.append(Digest256(at: contents).prefix)
        var isSound = true
        for place in 0..<count {
            let entry = KeyEntry(contents + place * KeyRunLayout.entryBytes)
            if let last, last.compare(entry.key) >= 0 { isSound = false }
            last = entry.key
            if !(header.firstOffset..<header.endOffset).contains(entry.offset) { isSound = false }
            if let filter {
                let hash = KeyHash(entry.key)
                KeyFilter.add(
                    hash,
                    to: filter.start + hash.block(of: header.filterBlocks) * KeyFilter.blockBytes)
            }
        }
        if !isSound { note(position, "an entry is out of order or out of the run's offsets") }
    }

    private func checkFences(
        _ contents: UnsafeRawPointer, _ count: Int, _ header: KeyRunHeader, _ number: Int
    ) {
        for place in 0..<count {
            let fence = Fences.read(contents, place)
            let expected = fences[number * KeyRunLayout.fencesPerPage + place]
            if expected != nil && expected != fence || place == 0 && header.top[number] != fence {
                return note(position, "a fence is not the first key of its page")
            }
        }
    }

    private func checkFilter(_ contents: UnsafeRawPointer, _ count: Int, _ number: Int) {
        guard let filter else { return }
        for word in 0..<count * KeyFilter.blockBytes / 8 {
            let place = number * KeyRunLayout.blocksPerPage * KeyFilter.blockBytes + word * 8
            let expected: UInt64 = UnsafeRawPointer(filter.start).integer(at: place)
            let stored: UInt64 = contents.integer(at: word * 8)
            if isAllDataIntact ? stored != expected : expected & ~stored != 0 {
                return note(position, "the filter is not that of the keys")
            }
        }
    }

    private func checkAttachment(_ start: UnsafeRawPointer, _ header: KeyRunHeader) {
        let done = Int(position - header.attachmentPosition)
        let count = min(header.attachmentBytes - done, KeyRunLayout.pageBytes)
        attachmentCRC = Checksum.extend(attachmentCRC, start, count)
        let page = UnsafeRawBufferPointer(start: start, count: KeyRunLayout.pageBytes)
        if !UnsafeRawBufferPointer(rebasing: page[count...]).isAllZero {
            note(position, "unused space is not zero")
        }
    }

    private func note(_ position: UInt64, _ reason: String) {
        damage.append(KeyRunDamage(path: path, position: position, reason: reason))
    }
}
