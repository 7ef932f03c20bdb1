/// Files in a log's directory that its table does not name: spares and what a crash left. They hold
/// nothing, or nothing that counts any more; only commits above the table's would be lost data.
extension LogVerifier {
    func verifyUnlistedFiles() throws(LogError) {
        let listed = Set(table.segments.map(\.id))
        let listedRuns = Set(table.runs.map(\.id))
        for name in inspector.names.sorted() {
            let path = inspector.directory + "/" + name
            if let run = KeyRunLayout.parse(fileName: name)?.id, !listedRuns.contains(run) {
                notice(path, 0, "a key run that is in no table; opening removes it")
            }
            guard let id = SegmentHeader.id(fileName: name), !listed.contains(id) else { continue }
            do throws(DiskError) { try verifyUnlisted(path, id) } catch {
                // A running writer may have taken or removed it.
                notice(path, 0, error.sentence)
            }
        }
    }

    private func verifyUnlisted(_ path: String, _ id: UInt64) throws(DiskError) {
        let file = try inspector.disk.open(path, .read)
        let image = try SegmentImage(
            file, limit: UInt64(2 * FormatLimits.commitAlignmentMaximum), uncached: false)
        if let failure = image.readFailure { throw failure.error }
        let zeros = ZeroScan(file)
        let headerBytes = UInt64(FormatLimits.segmentHeaderBytes)
        let header = try? SegmentHeader(image.bytes)
        if header == nil, let place = try zeros.firstNonZero(in: 0..<headerBytes) {
            notice(
                path, place,
                "it is not listed, and begins with bytes that are no segment's; opening judges it")
        }
        if let header, header.identifier == table.identifier, header.id == id,
            let sequence = firstSequence(header, image.bytes)
        {
            guard sequence >= table.segments[table.segments.count - 1].firstSequence else {
                return notice(path, 0, "it is not listed: a removed segment, to be zeroed or removed")
            }
            // The writer may have begun it after the table was read.
            guard (try? inspector.isListed(id)) != true else { return }
            return found(
                LogVerification.Damage(
                    file: path, position: header.firstFramePosition,
                    offsets: header.baseOffset..<header.baseOffset + 1,
                    reason: "it holds commits that the manifest does not know"), in: nil)
        }
        if let place = try zeros.firstNonZero(in: headerBytes..<max(headerBytes, try file.size())) {
            notice(path, place, "a spare that is not zero there; it is zeroed again before it is used")
        } else if header != nil {
            notice(path, 0, "it is not listed: an unfinished roll, to be zeroed again")
        }
    }

    /// Of its first frame, if there is one.
    private func firstSequence(_ header: SegmentHeader, _ bytes: UnsafeRawBufferPointer) -> UInt64? {
        let first = header.firstFramePosition
        let front = UnsafeRawBufferPointer(rebasing: bytes[min(Int(first), bytes.count)...])
        return try? FrameHeader(
            front, salt: header.salt, position: first,
            commitBytesMaximum: Int(header.commitBytesMaximum)
        ).sequence
    }
}
