/// How commits are made durable.
public enum CommitWriting: String, Sendable, CaseIterable {
    /// Each commit is a write and a sync of the file (`fdatasync`).
    case synchronised
    /// Each commit is one write past the page cache that is durable when it returns (`O_DIRECT` with
    /// `O_DSYNC`). On many disks it is faster; `disk-test` measures both. Where a file system cannot,
    /// commits are synchronised.
    case direct
}

/// Writes frames as whole blocks past the page cache. The block in which the next frame begins holds the
/// end of the one before: it is kept, and written again with the same bytes.
///
/// Not thread-safe: it belongs to whoever holds the commit token.
final class BlockWriter {
    static let blockBytes = 4096

    private let file: any DiskFile
    private let path: String
    /// The block that the next frame begins in.
    private let block: UnsafeMutableRawBufferPointer
    private var position: UInt64
    /// Whether `block` has the bytes before `position`: not yet when a log was opened.
    private var knowsBlock: Bool

    /// - Returns: nil where the file system has no such writes.
    init?(_ disk: any Disk, _ path: String, position: UInt64) {
        guard let file = try? disk.openDirectSynchronous(path) else { return nil }
        self.file = file
        self.path = path
        self.position = position
        knowsBlock = BlockWriter.placeInBlock(position) == 0
        block = .allocate(byteCount: BlockWriter.blockBytes, alignment: BlockWriter.blockBytes)
    }

    deinit { block.deallocate() }

    static func placeInBlock(_ position: UInt64) -> Int { Int(position % UInt64(blockBytes)) }

    /// Where in its block the next frame begins.
    var frameStart: Int { BlockWriter.placeInBlock(position) }

    /// Makes a frame durable that lies in the commit's memory at `frameStart`, padding included.
    func write(_ commit: StagedCommit, frameBytes: Int) throws(DiskError) {
        let start = frameStart
        if !knowsBlock { try readBlock() }
        let end = start + frameBytes
        let blocksEnd = (end + BlockWriter.blockBytes - 1) & ~(BlockWriter.blockBytes - 1)
        commit.pad(to: blocksEnd)
        if start > 0 { commit.memory.copyMemory(from: block.baseAddress!, byteCount: start) }
        try file.write(
            UnsafeRawBufferPointer(start: commit.memory, count: blocksEnd),
            at: position - UInt64(start))
        position += UInt64(frameBytes)
        block.baseAddress!.copyMemory(
            from: commit.memory + (end - frameStart), byteCount: frameStart)
    }

    private func readBlock() throws(DiskError) {
        let count = try file.readUncached(into: block, at: position - UInt64(frameStart))
        guard count >= frameStart else { throw DiskError(.read, path, code: 0) }
        knowsBlock = true
    }
}
