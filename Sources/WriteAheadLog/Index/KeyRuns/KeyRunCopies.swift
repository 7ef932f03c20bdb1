/// The two copies that a run beyond retention has, because nothing could write it again.
enum KeyRunCopies {
    /// Writes the given copy of a run from the other one, page by page as intact in either, and
    /// makes it durable. A file that stands there is replaced. Returns the table's entry with two
    /// copies.
    ///
    /// - Throws: `.damaged` when a page is in neither copy; `.disk` otherwise. What was begun is
    ///   removed.
    static func write(
        _ copy: KeyRunCopy, of run: KeyRun, to disk: any Disk, directory: String
    ) throws(KeyRunError) -> RunEntry {
        // Read before the old file goes: it may hold what the other has not.
        let attachment = try run.attachment()
        let name = KeyRunLayout.fileName(id: run.entry.id, copy: copy)
        let working = name + ".new"
        do throws(KeyRunError) {
            try fill(working, attachment, run, disk, directory)
            do throws(DiskError) {
                try disk.rename(directory + "/" + working, to: directory + "/" + name)
                try disk.synchroniseDirectory(directory)
            } catch { throw .disk(error) }
        } catch {
            try? disk.remove(directory + "/" + working)
            throw error
        }
        var entry = run.entry
        entry.copies = 2
        return entry
    }

    /// The name under which a copy is being written; a leftover is removed when a log is opened.
    static func isWorkingName(_ fileName: String) -> Bool {
        fileName.hasSuffix(".new")
            && KeyRunLayout.parse(fileName: String(fileName.dropLast(4))) != nil
    }

    private static func fill(
        _ name: String, _ attachment: [UInt8], _ run: KeyRun, _ disk: any Disk, _ directory: String
    ) throws(KeyRunError) {
        let path = directory + "/" + name
        do throws(DiskError) {
            if try disk.list(directory).contains(name) { try disk.remove(path) }
        } catch { throw .disk(error) }
        let file: any DiskFile
        do throws(DiskError) { file = try disk.open(path, .create) } catch { throw .disk(error) }
        let buffer = PageBuffer(pageCount: KeyRunWriter.bufferPages)
        for kind in [KeyRunPageKind.data, .fences, .filter] {
            let pageCount = run.header.pageCount(kind)
            for first in stride(from: 0, to: pageCount, by: KeyRunWriter.bufferPages) {
                let count = min(KeyRunWriter.bufferPages, pageCount - first)
                try run.readPages(kind, first, count: count, into: buffer.bytes)
                try write(
                    UnsafeRawBufferPointer(
                        rebasing: buffer.bytes[..<(count * KeyRunLayout.pageBytes)]),
                    at: run.header.position(kind, first), file)
            }
        }
        buffer.clear()
        let padded = run.header.byteCount - run.header.attachmentPosition
        let tail = attachment + [UInt8](repeating: 0, count: Int(padded) - attachment.count)
        var header = run.header
        header.write(at: buffer.page(0))
        precondition(header.crc == run.header.crc, "a copy has the same header")
        do throws(DiskError) {
            if !tail.isEmpty { try file.write(array: tail, at: run.header.attachmentPosition) }
            try file.write(
                UnsafeRawBufferPointer(start: buffer.page(0), count: KeyRunLayout.pageBytes), at: 0)
            try file.synchronise()
        } catch { throw .disk(error) }
    }

    private static func write(
        _ bytes: UnsafeRawBufferPointer, at position: UInt64, _ file: any DiskFile
    ) throws(KeyRunError) {
        do throws(DiskError) { try file.write(bytes, at: position) } catch { throw .disk(error) }
    }
}
