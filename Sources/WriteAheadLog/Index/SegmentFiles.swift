/// Segment files that readers have open, a bounded number of them.
final class SegmentFiles: Sendable {
    private static let openMaximum = 32

    private let disk: any Disk
    private let directory: String
    private let open = Guarded<[UInt64: any DiskFile]>([:])
    private let points = Guarded<[UInt64: [SegmentIndex.Point]]>([:])

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

    /// A sealed segment's index with the points of its footer; without them when the footer cannot be
    /// used, which costs reading from the segment's front.
    func indexed(_ index: SegmentIndex) -> SegmentIndex {
        guard index.points.isEmpty, index.entry.isSealed, !index.isDamaged else { return index }
        var index = index
        if let points = points.withLock({ $0[index.entry.id] }) {
            index.take(points: points)
            return index
        }
        guard let footer = try? footer(index.entry) else { return index }
        points.withLock { points in
            if points.count >= SegmentFiles.openMaximum, let any = points.keys.first {
                points.removeValue(forKey: any)
            }
            points[index.entry.id] = footer.points
        }
        index.take(points: footer.points)
        return index
    }

    private func footer(_ entry: SegmentEntry) throws(LogError) -> SegmentFooter? {
        let file = try file(entry.id)
        do throws(DiskError) {
            guard let header = try file.segmentHeader(uncached: false), header.crc == entry.headerCRC,
                case .footer(let footer) = try FooterRoom.read(file, header: header),
                footer.matches(header, entry), footer.digest == entry.digest
            else { return nil }
            return footer
        } catch { throw .disk(error) }
    }

    /// Lets go of a segment that is removed.
    func forget(_ id: UInt64) {
        open.withLock { _ = $0.removeValue(forKey: id) }
        points.withLock { _ = $0.removeValue(forKey: id) }
    }
}
