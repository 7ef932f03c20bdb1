internal import CPlatform

/// The bytes of a file as pages that copies share until one of them is written, so that a snapshot of
/// a disk costs nothing and a changed copy costs what changed. A page of zeros takes no memory.
struct PagedBytes: @unchecked Sendable {
    static let pageBytes = 4096

    /// Written only while nobody else refers to it.
    private final class Page {
        let bytes: UnsafeMutableRawPointer

        init() { bytes = .allocate(byteCount: pageBytes, alignment: 4096) }

        deinit { bytes.deallocate() }
    }

    /// The file's length.
    private(set) var count = 0
    /// Nil where all is zero. Bytes of the last page beyond `count` are zero.
    private var pages: [Page?] = []

    func read(into buffer: UnsafeMutableRawBufferPointer, at position: Int) -> Int {
        let total = max(0, min(buffer.count, count - position))
        var done = 0
        while done < total {
            let place = position + done
            let within = place % PagedBytes.pageBytes
            let part = min(PagedBytes.pageBytes - within, total - done)
            let target = buffer.baseAddress! + done
            if let page = pages[place / PagedBytes.pageBytes] {
                target.copyMemory(from: page.bytes + within, byteCount: part)
            } else {
                target.initializeMemory(as: UInt8.self, repeating: 0, count: part)
            }
            done += part
        }
        return total
    }

    mutating func write(_ bytes: UnsafeRawBufferPointer, at position: Int) {
        resize(to: max(count, position + bytes.count))
        var done = 0
        while done < bytes.count {
            let place = position + done
            let within = place % PagedBytes.pageBytes
            let part = min(PagedBytes.pageBytes - within, bytes.count - done)
            writePart(
                UnsafeRawBufferPointer(rebasing: bytes[done..<done + part]),
                page: place / PagedBytes.pageBytes, at: within)
            done += part
        }
    }

    private mutating func writePart(_ part: UnsafeRawBufferPointer, page number: Int, at within: Int)
    {
        let isWhole = part.count == PagedBytes.pageBytes
        if pages[number] == nil || isWhole, bsfg_all_zero(part.baseAddress!, part.count) != 0 {
            // Nothing to change in a page of zeros; a whole page of zeros becomes one.
            if isWhole { pages[number] = nil }
            return
        }
        if let page = pages[number] {
            if !isKnownUniquelyReferenced(&pages[number]) {
                let copy = Page()
                if !isWhole {
                    copy.bytes.copyMemory(from: page.bytes, byteCount: PagedBytes.pageBytes)
                }
                pages[number] = copy
            }
        } else {
            let page = Page()
            page.bytes.initializeMemory(
                as: UInt8.self, repeating: 0, count: PagedBytes.pageBytes)
            pages[number] = page
        }
        (pages[number]!.bytes + within).copyMemory(
            from: part.baseAddress!, byteCount: part.count)
    }

    /// Longer: zeros are added. Shorter: what lay beyond is gone for good.
    mutating func resize(to newCount: Int) {
        guard newCount != count else { return }
        let pageCount = (newCount + PagedBytes.pageBytes - 1) / PagedBytes.pageBytes
        if newCount > count {
            if pageCount > pages.count {
                pages.append(contentsOf: repeatElement(nil, count: pageCount - pages.count))
            }
            count = newCount
            return
        }
        pages.removeLast(pages.count - pageCount)
        count = newCount
        let within = newCount % PagedBytes.pageBytes
        if within > 0 {
            let zeros = [UInt8](repeating: 0, count: PagedBytes.pageBytes - within)
            zeros.withUnsafeBytes { writePart($0, page: pageCount - 1, at: within) }
        }
    }

    /// Takes over the pages that a range touches, whole, as a device takes pages from the cache.
    mutating func takePages(of range: Range<Int>, from other: PagedBytes) {
        guard !range.isEmpty else { return }
        let last = min((range.upperBound - 1) / PagedBytes.pageBytes, other.pages.count - 1)
        let first = range.lowerBound / PagedBytes.pageBytes
        guard first <= last else { return }
        resize(to: max(count, min(other.count, (last + 1) * PagedBytes.pageBytes)))
        for number in first...last { pages[number] = other.pages[number] }
    }

    /// Bytes as an array, for inspection.
    func bytes(_ range: Range<Int>) -> [UInt8] {
        let size = max(0, min(range.upperBound, count) - range.lowerBound)
        return [UInt8](unsafeUninitializedCapacity: size) { buffer, initialized in
            initialized = read(into: UnsafeMutableRawBufferPointer(buffer), at: range.lowerBound)
        }
    }

    mutating func write(_ bytes: [UInt8], at position: Int) {
        bytes.withUnsafeBytes { write($0, at: position) }
    }

    /// Pages that hold anything but zeros.
    var occupiedPages: [Int] { pages.indices.filter { pages[$0] != nil } }
}
