internal import CPlatform

/// Looks for bytes that are not zero where zeros must be, with bounded memory.
///
/// Not thread-safe.
final class ZeroScan {
    private static let chunkBytes = 256 * 1024

    private let file: any DiskFile
    private let buffer = UnsafeMutableRawBufferPointer.allocate(
        byteCount: ZeroScan.chunkBytes, alignment: 4096)

    init(_ file: any DiskFile) { self.file = file }

    deinit { buffer.deallocate() }

    /// The first non-zero byte in a range, or nil; a file that ends early has none beyond.
    func firstNonZero(in range: Range<UInt64>) throws(DiskError) -> UInt64? {
        var found: UInt64?
        try chunks(of: range) { position, bytes in
            guard found == nil, let index = bytes.firstIndex(where: { $0 != 0 }) else { return }
            found = position + UInt64(index)
        }
        return found
    }

    /// One past the last non-zero byte at or after `start`, or `start`.
    func nonZeroEnd(from start: UInt64) throws(DiskError) -> UInt64 {
        var end = start
        try chunks(of: start..<max(start, try file.size())) { position, bytes in
            guard let index = bytes.lastIndex(where: { $0 != 0 }) else { return }
            end = position + UInt64(index) + 1
        }
        return end
    }

    /// Gives the chunks that are not all zero.
    private func chunks(
        of range: Range<UInt64>, _ visit: (UInt64, UnsafeRawBufferPointer) -> Void
    ) throws(DiskError) {
        var position = range.lowerBound
        while position < range.upperBound {
            let wanted = Int(min(UInt64(buffer.count), range.upperBound - position))
            let part = UnsafeMutableRawBufferPointer(rebasing: buffer[..<wanted])
            let count = try file.read(into: part, at: position)
            guard count > 0 else { return }
            let bytes = UnsafeRawBufferPointer(rebasing: buffer[..<count])
            if bsfg_all_zero(bytes.baseAddress!, count) == 0 { visit(position, bytes) }
            position += UInt64(count)
        }
    }
}
