internal import Glibc

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

/// Elements in mapped memory, zero at first.
struct MappedBuffer<Element: BitwiseCopyable>: @unchecked Sendable {
    private let memory: MappedMemory
    let start: UnsafeMutablePointer<Element>
    let count: Int

    /// - Precondition: the system has room, as for any array.
    init(count: Int) {
        guard let memory = MappedMemory(byteCount: count * MemoryLayout<Element>.stride) else {
            preconditionFailure("the system has no memory")
        }
        self.memory = memory
        self.count = count
        start = memory.start.bindMemory(to: Element.self, capacity: count)
    }

    var byteCount: Int { memory.byteCount }

    subscript(place: Int) -> Element {
        get { start[place] }
        nonmutating set { start[place] = newValue }
    }
}
