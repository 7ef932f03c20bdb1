/// Merges neighbouring runs into one, in bounded steps: 256 KiB of each input are in memory, and the
/// writer's index, which the budget counts. On disk the output stands beside the inputs until the caller has put it into
/// the manifest's table and removed them.
///
/// Any error ends the merge: `cancel` it and begin again with a new id, after writing a damaged
/// input again. Not thread-safe.
final class KeyRunMerger {
    enum Progress: Equatable {
        case more
        case done(RunEntry)
    }

    private var sources: [KeyRunSource]
    private let writer: KeyRunWriter
    private let floorOffset: UInt64
    private let coverage: KeyRunCoverage

    /// Opens the output. Of a key in several inputs the highest offset stays; entries below
    /// `floorOffset` go.
    ///
    /// - Precondition: one input at least, and as many entries as one run holds; `KeyRunMergePlan`
    ///   sees to it.
    init(
        _ disk: any Disk, directory: String, identifier: LogIdentifier, id: UInt64,
        inputs: [KeyRun], floorOffset: UInt64, budget: KeyIndexBudget
    ) throws(DiskError) {
        let entries = inputs.map(\.entry)
        coverage = KeyRunCoverage(
            offsets: entries.map(\.firstOffset).min()!..<entries.map(\.endOffset).max()!,
            newestTimeMilliseconds: entries.map(\.newestTimeMilliseconds).max()!,
            tier: KeyRunMergePlan.tier(of: entries))
        self.floorOffset = floorOffset
        writer = try KeyRunWriter(
            disk, directory: directory, identifier: identifier, id: id,
            entryCountMaximum: entries.reduce(0) { $0 + $1.entryCount }, budget: budget)
        sources = inputs.map { KeyRunSource($0) }
    }

    /// Merges until so many bytes were written, or to the end, which writes the filter
    /// (at most 37 MiB with the fences) beside and makes all of it durable. With `.done` the output and its name are durable. It
    /// has one copy: where the inputs have two, its second is to be written before they go.
    func step(outputBytesMaximum: Int) throws(KeyRunError) -> Progress {
        let end = writer.writtenBytes + UInt64(max(outputBytesMaximum, KeyRunLayout.pageBytes))
        // Theirs alone for the whole step: the run time checks each look at a field of a class.
        var sources: [KeyRunSource] = []
        swap(&sources, &self.sources)
        defer { swap(&sources, &self.sources) }
        while writer.writtenBytes < end {
            guard let entry = try KeyRunMerger.next(&sources) else {
                do throws(DiskError) { return .done(try writer.finish(coverage)) } catch {
                    throw .disk(error)
                }
            }
            guard entry.offset >= floorOffset else { continue }
            do throws(DiskError) { try writer.append(entry) } catch { throw .disk(error) }
        }
        return .more
    }

    /// What the output's lookups need in memory, once it is done.
    func takeIndex() -> KeyRunIndex? { writer.takeIndex() }

    /// Removes the output.
    func cancel() { writer.cancel() }

    /// The entry with the least key; of equal keys the one with the highest offset, and the others
    /// are passed over.
    private static func next(_ sources: inout [KeyRunSource]) throws(KeyRunError) -> KeyEntry? {
        var place = 0
        while place < sources.count {
            if try sources[place].fill() { place += 1 } else { sources.remove(at: place) }
        }
        guard !sources.isEmpty else { return nil }
        var least = 0
        for place in sources.indices.dropFirst()
        where sources[place].prefix <= sources[least].prefix
            && sources[place].entry.key.compare(sources[least].entry.key) < 0
        {
            least = place
        }
        var entry = sources[least].entry
        sources[least].advance()
        for place in sources.indices
        where place != least && sources[place].prefix == entry.key.prefix
            && sources[place].entry.key == entry.key
        {
            if sources[place].entry.offset > entry.offset { entry = sources[place].entry }
            sources[place].advance()
        }
        return entry
    }
}

/// The entries of a run, in order, 64 pages in memory.
struct KeyRunSource {
    let run: KeyRun
    /// The entry at hand, and its key's prefix; valid after `fill` said so.
    private(set) var entry = KeyEntry(key: .zero, content: .zero, offset: 0)
    private(set) var prefix: UInt64 = 0

    private let buffer = PageBuffer(pageCount: KeyRunWriter.bufferPages)
    private var isFilled = false
    /// Entries of the run taken so far.
    private var taken = 0
    private var last: Digest256?

    init(_ run: KeyRun) { self.run = run }

    /// Has the next entry at hand; false at the end of the run.
    mutating func fill() throws(KeyRunError) -> Bool {
        if isFilled { return true }
        guard taken < run.header.entryCount else { return false }
        let page = taken / KeyRunLayout.entriesPerPage
        let place = taken % KeyRunLayout.entriesPerPage
        if place == 0, page % KeyRunWriter.bufferPages == 0 {
            let count = min(KeyRunWriter.bufferPages, run.header.dataPages - page)
            try run.readPages(.data, page, count: count, into: buffer.bytes)
        }
        entry = KeyEntry(
            buffer.page(page % KeyRunWriter.bufferPages) + KeyRunLayout.pageHeaderBytes
                + place * KeyRunLayout.entryBytes)
        // A page can be intact and still not be what this release would write.
        guard last.map({ $0.compare(entry.key) < 0 }) ?? true,
            run.entry.offsets.contains(entry.offset)
        else {
            throw run.contradiction(.data, page, "an entry out of order or out of the run's offsets")
        }
        prefix = entry.key.prefix
        last = entry.key
        isFilled = true
        return true
    }

    /// Lets go of the entry at hand.
    mutating func advance() {
        isFilled = false
        taken += 1
    }
}
