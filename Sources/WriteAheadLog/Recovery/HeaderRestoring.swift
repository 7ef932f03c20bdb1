/// Restores a segment's damaged header, whose checksum the table knows: everything in it but two
/// fields is known from elsewhere, and of those two one damaged byte can be found out. What is
/// restored is proven by the checksum.
enum HeaderRestoring {
    /// - Parameters:
    ///   - stored: the header's bytes as they are.
    ///   - known: made of what the table and the neighbours know; epoch and creation time are not.
    ///   - epoch: of the first frame.
    /// - Returns: the header whose checksum is the table's, or nil.
    static func restore(
        _ stored: [UInt8], known: SegmentHeader, crc: UInt32, epoch: UInt64?
    ) -> SegmentHeader? {
        guard stored.count >= FormatLimits.segmentHeaderBytes else { return nil }
        // A predecessor that was repacked had another id than the table knows.
        var other = known
        other.previousID = stored.withUnsafeBytes { $0.baseAddress!.integer(at: 72) }
        return restoreTimes(stored, known, crc, epoch) ?? restoreTimes(stored, other, crc, epoch)
    }

    private static func restoreTimes(
        _ stored: [UInt8], _ known: SegmentHeader, _ crc: UInt32, _ epoch: UInt64?
    ) -> SegmentHeader? {
        let (storedEpoch, created) = stored.withUnsafeBytes { bytes in
            (
                bytes.baseAddress!.integer(UInt64.self, at: 96),
                bytes.baseAddress!.integer(Int64.self, at: 104)
            )
        }
        for epoch in [storedEpoch, epoch ?? storedEpoch] {
            if let header = header(known, epoch, created, crc) { return header }
            for byte in 0..<8 {
                for change in UInt64(1)...255 {
                    let changed = Int64(bitPattern: UInt64(bitPattern: created) ^ change << (8 * byte))
                    if let header = header(known, epoch, changed, crc) { return header }
                }
            }
        }
        for byte in 0..<8 {
            for change in UInt64(1)...255 {
                if let header = header(known, storedEpoch ^ change << (8 * byte), created, crc) {
                    return header
                }
            }
        }
        return nil
    }

    private static func header(
        _ known: SegmentHeader, _ epoch: UInt64, _ created: Int64, _ crc: UInt32
    ) -> SegmentHeader? {
        var header = known
        header.epoch = epoch
        header.createdMilliseconds = created
        _ = header.encode()
        return header.crc == crc && epoch >= 1 ? header : nil
    }
}
