/// The manifest: two state slots and two table slots in one preallocated file, written in turn, so
/// that the slot which holds the truth is never the one being written and nothing is allocated on a
/// full disk.
///
/// Not thread-safe: it belongs to whoever holds the commit token.
final class ManifestFile: @unchecked Sendable {
    let path: String
    private let file: any DiskFile
    /// How many bytes of each slot may not be zero: a shorter version clears what the longer one
    /// before it left, so that every byte of the file is either covered by a checksum or zero.
    private var stateBytes = [FormatLimits.stateSlotBytes, FormatLimits.stateSlotBytes]
    private var tableBytes = [ManifestLayout.tableSlotBytes, ManifestLayout.tableSlotBytes]

    init(path: String, file: any DiskFile) {
        self.path = path
        self.file = file
    }

    /// The name that the file has until its first contents are durable. While it stands and the
    /// manifest does not, a log is being made: no segment can hold anything that was acknowledged.
    static let workingName = ManifestLayout.fileName + ".new"

    /// Makes the file under its working name, durable before the first segment is made.
    static func begin(_ disk: any Disk, directory: String) throws(DiskError) -> any DiskFile {
        let working = directory + "/" + workingName
        if try disk.list(directory).contains(workingName) { try disk.remove(working) }
        let file = try disk.open(working, .create)
        try disk.synchroniseDirectory(directory)
        return file
    }

    /// Gives a file that was begun its first contents and then its name.
    static func finish(
        _ file: any DiskFile, _ disk: any Disk, directory: String, state: LogState,
        table: SegmentTable
    ) throws(DiskError) -> ManifestFile {
        let path = directory + "/" + ManifestLayout.fileName
        try ZeroFill.fill(file, byteCount: UInt64(ManifestLayout.fileBytes))
        let manifest = ManifestFile(path: path, file: file)
        try manifest.write(state)
        try manifest.write(table)
        try disk.rename(directory + "/" + workingName, to: path)
        try disk.synchroniseDirectory(directory)
        return manifest
    }

    func write(_ state: LogState) throws(DiskError) {
        let slot = Int(state.generation % 2)
        try write(
            state.encode(), at: ManifestLayout.stateSlotPosition(slot), clearing: &stateBytes[slot])
    }

    func write(_ table: SegmentTable) throws(DiskError) {
        let slot = Int(table.generation % 2)
        try write(
            table.encode(), at: ManifestLayout.tableSlotPosition(slot), clearing: &tableBytes[slot])
    }

    private func write(_ bytes: [UInt8], at position: UInt64, clearing used: inout Int)
        throws(DiskError)
    {
        var bytes = bytes
        let count = bytes.count
        if count < used { bytes += [UInt8](repeating: 0, count: used - count) }
        try file.write(array: bytes, at: position)
        try file.synchronise()
        used = count
    }

    /// What the device holds of a slot, past the page cache.
    struct Contents {
        var states: [LogState] = []
        var tables: [SegmentTable] = []
        /// Why a slot that is not all zero could not be read.
        var damage: [String] = []
        /// Whether a slot of the table does not verify, or has behind its end what a crash left of
        /// another version.
        var hasTornTable = false
        /// A slot written by a later release.
        var unsupportedVersion: UInt64?
    }

    func read() throws(DiskError) -> Contents {
        // What an earlier process wrote and did not sync becomes durable or fails here, before
        // anything is believed.
        try file.synchronise()
        let buffer = UnsafeMutableRawBufferPointer.allocate(
            byteCount: (ManifestLayout.fileBytes + 4095) & ~4095, alignment: 4096)
        defer { buffer.deallocate() }
        let count = try file.readUncached(into: buffer, at: 0)
        let bytes = UnsafeRawBufferPointer(rebasing: buffer[..<count])
        var contents = Contents()
        for slot in 0..<2 {
            let state = slice(
                bytes, ManifestLayout.stateSlotPosition(slot), FormatLimits.stateSlotBytes)
            do throws(FormatError) { contents.states.append(try LogState(state)) } catch {
                contents.note(error, "state slot \(slot)", state)
            }
            let table = slice(
                bytes, ManifestLayout.tableSlotPosition(slot), ManifestLayout.tableSlotBytes)
            do throws(FormatError) {
                let read = try SegmentTable(table)
                contents.tables.append(read)
                let rest = UnsafeRawBufferPointer(rebasing: table[min(read.byteCount, table.count)...])
                if !rest.isAllZero { contents.hasTornTable = true }
            } catch {
                contents.note(error, "table slot \(slot)", table)
                if !table.isAllZero { contents.hasTornTable = true }
            }
        }
        contents.states.sort { $0.generation > $1.generation }
        contents.tables.sort { $0.generation > $1.generation }
        return contents
    }

    /// The whole file, as the page cache has it.
    func allBytes() throws(DiskError) -> [UInt8] {
        let size = Int(min(try file.size(), UInt64(ManifestLayout.fileBytes) + 1))
        var bytes = [UInt8](repeating: 0, count: size)
        let count = try bytes.withUnsafeMutableBytes { buffer in
            Result { () throws(DiskError) in try file.read(into: buffer, at: 0) }
        }.get()
        bytes.removeLast(size - count)
        return bytes
    }

    private func slice(_ bytes: UnsafeRawBufferPointer, _ position: UInt64, _ count: Int)
        -> UnsafeRawBufferPointer
    {
        let start = min(Int(position), bytes.count)
        return UnsafeRawBufferPointer(rebasing: bytes[start..<min(start + count, bytes.count)])
    }
}

extension ManifestFile.Contents {
    fileprivate mutating func note(
        _ error: FormatError, _ name: String, _ bytes: UnsafeRawBufferPointer
    ) {
        if case .unsupported(let version) = error { unsupportedVersion = version }
        // A slot that was never written is all zero and no damage.
        if !bytes.isAllZero { damage.append("\(name): \(error)") }
    }
}

extension DiskFile {
    func write(array: [UInt8], at position: UInt64) throws(DiskError) {
        let result = array.withUnsafeBytes { bytes in
            Result { () throws(DiskError) in try write(bytes, at: position) }
        }
        try result.get()
    }
}
