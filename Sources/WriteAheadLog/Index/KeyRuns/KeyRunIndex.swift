internal import CPlatform

/// How much of a run is in memory.
enum KeyIndexLevel: Int, Comparable, Sendable {
    /// Nothing: a lookup reads a page of the filter.
    case onDisk = 0
    /// The filter folded to 10 bits a key, and the fences.
    case folded = 1
    /// The filter as it is, 20 bits a key, and the fences.
    case whole = 2

    static func < (left: KeyIndexLevel, right: KeyIndexLevel) -> Bool {
        left.rawValue < right.rawValue
    }
}

/// The room of a filter and the fences behind it.
final class KeyIndexMemory: @unchecked Sendable {
    let blockCount: Int
    let fences: UnsafeMutableBufferPointer<UInt64>
    private let memory: MappedMemory

    /// All zero; nil when the system has no room.
    init?(blockCount: Int, fenceCount: Int) {
        let filterBytes = blockCount * KeyFilter.blockBytes
        guard let memory = MappedMemory(byteCount: filterBytes + fenceCount * 8) else { return nil }
        self.memory = memory
        self.blockCount = blockCount
        fences = UnsafeMutableBufferPointer(
            start: (memory.start + filterBytes).bindMemory(to: UInt64.self, capacity: fenceCount),
            count: fenceCount)
    }

    var byteCount: Int { blockCount * KeyFilter.blockBytes + fences.count * 8 }

    var blocks: UnsafeMutableRawPointer { memory.start }

    @inline(__always)
    func block(of hash: KeyHash) -> UnsafeMutableRawPointer {
        memory.start + hash.block(of: blockCount) * KeyFilter.blockBytes
    }
}

/// The filter and the fences of a run in memory, unchanging. Counted in its budget as long as
/// anybody holds it.
final class KeyRunIndex: @unchecked Sendable {
    let level: KeyIndexLevel
    private let budget: KeyIndexBudget
    private let byteCount: Int
    private let memory: KeyIndexMemory
    private let fences: UnsafeMutableBufferPointer<UInt64>

    static func byteCount(_ header: KeyRunHeader, _ level: KeyIndexLevel) -> Int {
        switch level {
        case .onDisk: 0
        case .folded: header.filterBlocks / 2 * KeyFilter.blockBytes + header.dataPages * 8
        case .whole: header.filterBlocks * KeyFilter.blockBytes + header.dataPages * 8
        }
    }

    /// Memory for an index; nil when the system has none. The bytes were taken from the budget
    /// before; they are given back in either case.
    private init?(_ header: KeyRunHeader, _ level: KeyIndexLevel, _ budget: KeyIndexBudget) {
        let byteCount = KeyRunIndex.byteCount(header, level)
        guard
            let memory = KeyIndexMemory(
                blockCount: level == .folded ? header.filterBlocks / 2 : header.filterBlocks,
                fenceCount: header.dataPages)
        else {
            budget.release(byteCount)
            return nil
        }
        self.level = level
        self.budget = budget
        self.byteCount = byteCount
        self.memory = memory
        fences = memory.fences
    }

    /// What a writer made; its bytes are taken from the budget.
    init(whole memory: KeyIndexMemory, fenceCount: Int, _ budget: KeyIndexBudget) {
        level = .whole
        self.budget = budget
        byteCount = memory.byteCount
        self.memory = memory
        fences = UnsafeMutableBufferPointer(rebasing: memory.fences[..<fenceCount])
    }

    deinit { budget.release(byteCount) }

    /// Reads filter and fences of a run, 256 KiB at a time, to stand in the place of `old`; nil when
    /// the budget or the system has no room.
    static func load(_ run: KeyRun, _ level: KeyIndexLevel, replacing old: KeyRunIndex?)
        throws(KeyRunError) -> KeyRunIndex?
    {
        guard run.budget.reserve(byteCount(run.header, level), replacing: old?.byteCount ?? 0),
            let index = KeyRunIndex(run.header, level, run.budget)
        else { return nil }
        let fold = level == .folded ? 1 : 0
        try forEachPage(of: run, .filter) { number, contents, count in
            for place in 0..<count {
                let block = (number * KeyRunLayout.blocksPerPage + place) >> fold
                KeyFilter.merge(
                    contents + place * KeyFilter.blockBytes,
                    into: index.memory.blocks + block * KeyFilter.blockBytes)
            }
        }
        try forEachPage(of: run, .fences) { number, contents, count in
            for place in 0..<count {
                index.fences[number * KeyRunLayout.fencesPerPage + place] = Fences.read(
                    contents, place)
            }
        }
        return index
    }

    private static func forEachPage(
        of run: KeyRun, _ kind: KeyRunPageKind,
        _ body: (_ number: Int, _ contents: UnsafeRawPointer, _ count: Int) -> Void
    ) throws(KeyRunError) {
        let buffer = PageBuffer(pageCount: KeyRunWriter.bufferPages)
        let pageCount = run.header.pageCount(kind)
        for first in stride(from: 0, to: pageCount, by: KeyRunWriter.bufferPages) {
            let count = min(KeyRunWriter.bufferPages, pageCount - first)
            try run.readPages(kind, first, count: count, into: buffer.bytes)
            for page in 0..<count {
                body(
                    first + page, buffer.page(page) + KeyRunLayout.pageHeaderBytes,
                    run.header.itemCount(kind, first + page))
            }
        }
    }

    /// The same index with half the filter, to stand in its place; nil when the system has no room.
    func folded(_ header: KeyRunHeader) -> KeyRunIndex? {
        precondition(level == .whole, "a filter is folded once")
        guard budget.reserve(KeyRunIndex.byteCount(header, .folded), replacing: byteCount),
            let index = KeyRunIndex(header, .folded, budget)
        else { return nil }
        for block in 0..<memory.blockCount {
            KeyFilter.merge(
                memory.blocks + block * KeyFilter.blockBytes,
                into: index.memory.blocks + block / 2 * KeyFilter.blockBytes)
        }
        for (place, fence) in fences.enumerated() { index.fences[place] = fence }
        return index
    }

    /// The filter, for as long as the index is held.
    var filter: bsfg_filter {
        bsfg_filter(blocks: memory.blocks, block_count: UInt64(memory.blockCount))
    }

    func fenceCounts(_ prefix: UInt64) -> (below: Int, upTo: Int) {
        Fences.counts(UnsafeBufferPointer(fences), prefix)
    }
}
