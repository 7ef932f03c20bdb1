/// A window that slides over a file from front to back. Every byte is read once, and given to a
/// digest as it is read when one is asked for: so what is verified is what was hashed.
///
/// Reads are aligned, so that they can go past the page cache. A failed read changes nothing and can
/// be tried again. Not thread-safe.
final class SegmentWindow {
    private static let chunkBytes = 256 * 1024
    private static let pageBytes: UInt64 = 4096

    private let file: any DiskFile
    private let limit: UInt64
    private let isUncached: Bool
    private let hash: SHA256Stream?
    private var buffer: UnsafeMutableRawBufferPointer
    /// The file positions that the buffer holds; the first is a multiple of a page.
    private var held: Range<UInt64>
    /// The file ended where it was read to.
    private var isAtFileEnd = false
    private(set) var readBytes: UInt64 = 0

    /// - Parameters:
    ///   - start: nothing before it is asked for.
    ///   - limit: nothing from it on is asked for, or hashed.
    ///   - hash: takes the bytes from `start` to `limit`; then `start` is the beginning of a page.
    init(
        _ file: any DiskFile, from start: UInt64, to limit: UInt64, isUncached: Bool,
        hash: SHA256Stream? = nil
    ) {
        precondition(hash == nil || start % SegmentWindow.pageBytes == 0, "a digest takes pages")
        self.file = file
        self.limit = limit
        self.isUncached = isUncached
        self.hash = hash
        let page = start & ~(SegmentWindow.pageBytes - 1)
        held = page..<page
        buffer = .allocate(
            byteCount: SegmentWindow.chunkBytes, alignment: Int(SegmentWindow.pageBytes))
    }

    deinit { buffer.deallocate() }

    /// The bytes at a position, valid until the next call; nil when the file ends before them. What
    /// is before `position` is forgotten.
    func bytes(_ position: UInt64, _ count: Int) throws(DiskError) -> UnsafeRawBufferPointer? {
        precondition(
            position >= held.lowerBound && position + UInt64(count) <= limit,
            "a window slides forward, within its limit")
        while held.upperBound < position + UInt64(count) {
            guard !isAtFileEnd else { return nil }
            try readMore(keeping: min(position, held.upperBound), needing: position + UInt64(count))
        }
        let start = Int(position - held.lowerBound)
        return UnsafeRawBufferPointer(rebasing: buffer[start..<start + count])
    }

    private func readMore(keeping position: UInt64, needing end: UInt64) throws(DiskError) {
        let page = position & ~(SegmentWindow.pageBytes - 1)
        let kept = Int(held.upperBound - page)
        let space = max(Int(rounded(end) - page), SegmentWindow.chunkBytes)
        let old = buffer
        let source = UnsafeRawBufferPointer(
            rebasing: old[Int(page - held.lowerBound)..<Int(held.upperBound - held.lowerBound)])
        if space > buffer.count {
            buffer = .allocate(byteCount: space, alignment: Int(SegmentWindow.pageBytes))
            buffer.copyMemory(from: source)
            old.deallocate()
        } else if kept < source.count || page > held.lowerBound {
            buffer.copyMemory(from: source)
        }
        held = page..<held.upperBound

        let wanted = min(buffer.count - kept, Int(rounded(limit) - held.upperBound))
        let part = UnsafeMutableRawBufferPointer(rebasing: buffer[kept..<kept + wanted])
        let count =
            isUncached
            ? try file.readUncached(into: part, at: held.upperBound)
            : try file.read(into: part, at: held.upperBound)
        isAtFileEnd = count < wanted
        if let hash, held.upperBound < limit {
            hash.update(
                UnsafeRawBufferPointer(
                    rebasing: part[..<min(count, Int(limit - held.upperBound))]))
        }
        held = page..<held.upperBound + UInt64(count)
        readBytes += UInt64(count)
    }

    private func rounded(_ position: UInt64) -> UInt64 {
        (position + SegmentWindow.pageBytes - 1) & ~(SegmentWindow.pageBytes - 1)
    }
}
