internal import Synchronization

/// Segment files that readers have open, a bounded number of them.
final class SegmentFiles: Sendable {
    private static let openMaximum = 32

    private let disk: any Disk
    private let directory: String
    private let open = Mutex<[UInt64: any DiskFile]>([:])

    init(disk: any Disk, directory: String) {
        self.disk = disk
        self.directory = directory
    }

    func path(_ id: UInt64) -> String { directory + "/" + SegmentHeader.fileName(id: id) }

    func file(_ id: UInt64) throws(LogError) -> any DiskFile {
        if let file = open.withLock({ $0[id] }) { return file }
        let file: any DiskFile
        do throws(DiskError) { file = try disk.open(path(id), .read) } catch { throw .disk(error) }
        open.withLock { open in
            // Readers keep what they hold; which one is dropped only costs opening it again.
            if open.count >= SegmentFiles.openMaximum, let any = open.keys.first {
                open.removeValue(forKey: any)
            }
            open[id] = file
        }
        return file
    }

    /// Lets go of a segment that is removed.
    func forget(_ id: UInt64) { open.withLock { _ = $0.removeValue(forKey: id) } }
}
