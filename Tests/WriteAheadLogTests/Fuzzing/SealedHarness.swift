@testable import WriteAheadLog

/// Any bytes as a footer, and any segment as one to be sealed. Nothing traps; a footer is written as
/// it is read, and sealing finds the records that scanning finds.
///
///     1    options: 1 a segment and not a footer, 2 checksums are made right, 4 frames are linked
///     ...  a footer's room, or a segment as `SegmentHarness` has it without its first three bytes
enum SealedHarness {
    private static let segmentBytes = 1 << 20
    private static let roomBytes = 5120

    static func check(_ bytes: UnsafeRawBufferPointer) {
        var input = HarnessInput(bytes)
        let options = input.byte()
        if options & 1 == 0 {
            footer(input.all(), isSealed: options & 2 != 0)
        } else {
            var image = SegmentHarness.image(input.all())
            guard image.count <= segmentBytes else { return }
            image += [UInt8](repeating: 0, count: segmentBytes - image.count)
            if options & 2 != 0 { SegmentSeal.seal(&image, linked: options & 4 != 0) }
            segment(image)
        }
    }

    private static func footer(_ bytes: [UInt8], isSealed: Bool) {
        var room = Array(bytes.prefix(roomBytes))
        room += [UInt8](repeating: 0, count: roomBytes - room.count)
        if isSealed { seal(footer: &room) }
        guard let footer = room.withUnsafeBytes({ try? SegmentFooter($0) }) else { return }
        guard footer.encode(roomBytes: roomBytes) == room else {
            harnessFailure("a footer is not written as it is read")
        }
        for offset in [0, footer.baseOffset, footer.endOffset, .max] {
            if let position = footer.position(ofOffset: offset), position >= footer.logicalEnd {
                harnessFailure("a footer leads beyond its segment's end")
            }
        }
        for time in [Int64.min, footer.greatestTimeMilliseconds, .max] {
            _ = footer.position(ofTime: time)
        }
    }

    private static func seal(footer room: inout [UInt8]) {
        room.withUnsafeMutableBytes { bytes in
            let start = bytes.baseAddress!
            let count = Int(UnsafeRawPointer(start).integer(UInt32.self, at: 12))
            let byteCount = SegmentFooter.headerBytes + count * SegmentFooter.pointBytes
            guard byteCount <= bytes.count else { return }
            start.set(Checksum.extend(0, UnsafeRawPointer(start + 8), byteCount - 8), at: 4)
        }
    }

    // MARK: Sealing

    private static func segment(_ image: [UInt8]) {
        guard let header = image.withUnsafeBytes({ try? SegmentHeader($0) }),
            header.segmentBytes == UInt64(segmentBytes)
        else { return }
        let (end, recordCount, scan) = image.withUnsafeBytes { bytes in
            var scan = SegmentScan(header: header, bytes: bytes, logicalEnd: nil)
            var recordCount: UInt64 = 0
            while true {
                switch scan.next() {
                case .frame(let frame): recordCount += UInt64(frame.header.recordCount)
                case .end(let end): return (end, recordCount, scan)
                }
            }
        }
        // What stands behind the last frame is never part of a closed segment.
        let disk = MemoryDisk()
        let kept = Int(min(end.position, header.frameLimit))
        disk.put("/segment", image[..<kept] + [UInt8](repeating: 0, count: image.count - kept))
        var entry = SegmentEntry(
            id: header.id, salt: header.salt, baseOffset: header.baseOffset,
            firstSequence: header.firstSequence, headerCRC: header.crc)
        entry.lastSequence = scan.sequence
        entry.logicalEnd = end.position
        do {
            let file = try disk.open("/segment", .readWrite)
            let sealer = SegmentSealer(
                file: file, path: "/segment", header: header, entry: entry,
                endOffset: scan.nextOffset, previousDigest: .zero)
            guard case .sealed(let footer) = try sealer.run() else { return }
            guard footer.recordCount == recordCount, footer.matches(header, entry),
                case .footer(let read) = try FooterRoom.read(file, header: header), read == footer
            else { harnessFailure("sealing finds other records than scanning") }
        } catch { harnessFailure("a disk in memory fails: \(error)") }
    }
}
