/// Copies of damaged or cut bytes in the folder `quarantine` of a log's directory: whatever the log
/// leaves behind, a person can look at. Nothing reads them again and nothing removes them.
struct Quarantine {
    static let folderName = "quarantine"
    /// More than this of one place is not copied: the bytes stay in the segment anyway.
    static let copyBytesMaximum: UInt64 = 64 << 20

    private let disk: any Disk
    private let directory: String
    private let folder: String

    /// - Parameter folder: another one than `quarantine` in the log's directory.
    init(disk: any Disk, directory: String, folder: String? = nil) {
        self.disk = disk
        self.directory = directory
        self.folder = folder ?? directory + "/" + Quarantine.folderName
    }

    /// Copies bytes of a segment to `<segment id>-<position>.bytes`, durably.
    ///
    /// - Returns: the copy's path within the log's directory. One that exists already is left as it
    ///   is: it was made of the same place before.
    func copy(ofSegment id: UInt64, bytes: Range<UInt64>) throws(DiskError) -> String {
        let segmentName = SegmentHeader.fileName(id: id)
        return try copy(
            ofFile: segmentName, as: "\(segmentName.prefix(16))-\(bytes.lowerBound)", bytes: bytes)
    }

    func copy(ofFile fileName: String, as copyName: String, bytes: Range<UInt64>) throws(DiskError)
        -> String
    {
        let name = copyName + ".bytes"
        try disk.createDirectory(folder)
        let isOwn = folder == directory + "/" + Quarantine.folderName
        let shown = (isOwn ? Quarantine.folderName : folder) + "/" + name
        guard try !disk.list(folder).contains(name) else { return shown }
        let source = try disk.open(directory + "/" + fileName, .read)
        let copy = try disk.open(folder + "/" + name, .create)
        let end = min(bytes.upperBound, bytes.lowerBound + Quarantine.copyBytesMaximum)
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 20, alignment: 4096)
        defer { buffer.deallocate() }
        var position = bytes.lowerBound
        while position < end {
            let part = UnsafeMutableRawBufferPointer(
                rebasing: buffer[..<min(buffer.count, Int(end - position))])
            let count = try source.read(into: part, at: position)
            guard count > 0 else { break }
            try copy.write(
                UnsafeRawBufferPointer(rebasing: part[..<count]),
                at: position - bytes.lowerBound)
            position += UInt64(count)
        }
        try copy.synchronise()
        try disk.synchroniseDirectory(folder)
        return shown
    }
}
