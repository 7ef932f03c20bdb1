@testable import WriteAheadLog

/// Any bytes as a segment: scanning and reading its records never traps, and what is accepted is
/// accepted again when nothing else stands in the file.
///
///     1    options: 1 checksums are made right, 2 frames are linked, 4 a logical end follows
///     2    logical end beyond the first 4,096 bytes
///     128  front of the header; the rest of it is zero
///     ...  what stands behind the header
enum SegmentHarness {
    static let headerFrontBytes = 128

    static func check(_ bytes: UnsafeRawBufferPointer) {
        var input = HarnessInput(bytes)
        let options = input.byte()
        let end = UInt64(input.byte()) | UInt64(input.byte()) << 8
        var image = image(input.all())
        if options & 1 != 0 { SegmentSeal.seal(&image, linked: options & 2 != 0) }
        let logicalEnd = options & 4 != 0 ? UInt64(FormatLimits.segmentHeaderBytes) + end : nil
        check(image, logicalEnd: logicalEnd)
    }

    /// A segment from the front of its header and what stands behind it.
    static func image(_ bytes: [UInt8]) -> [UInt8] {
        var image = Array(bytes.prefix(headerFrontBytes))
        image += [UInt8](repeating: 0, count: FormatLimits.segmentHeaderBytes - image.count)
        return image + bytes.dropFirst(headerFrontBytes)
    }

    private static func check(_ image: [UInt8], logicalEnd: UInt64?) {
        var image = image
        guard let header = image.withUnsafeBytes({ try? SegmentHeader($0) }) else { return }
        checkRoundTrip(header)
        let first = scan(image, header, logicalEnd)
        // All that is kept of a segment is its frames: without the rest they are the same.
        let kept = min(Int(first.end.position), image.count)
        for place in kept..<image.count { image[place] = 0 }
        let second = scan(image, header, logicalEnd)
        guard second.frames == first.frames, second.records == first.records else {
            harnessFailure("other frames are accepted without what stood behind them")
        }
        guard second.end.bytes == .allZero, second.end.laterFrameSequence == nil else {
            harnessFailure("zeros after the last frame are not its end")
        }
    }

    private static func checkRoundTrip(_ header: SegmentHeader) {
        var copy = header
        let encoded = copy.encode()
        copy.crc = header.crc
        var decoded = encoded.withUnsafeBytes { try? SegmentHeader($0) }
        decoded?.crc = header.crc
        guard decoded == header, copy == header else {
            harnessFailure("a header is not read as it is written")
        }
    }

    private static func scan(_ image: [UInt8], _ header: SegmentHeader, _ logicalEnd: UInt64?) -> (
        frames: [FrameHeader], records: [String], end: SegmentScan.End
    ) {
        image.withUnsafeBytes { bytes in
            var scan = SegmentScan(header: header, bytes: bytes, logicalEnd: logicalEnd)
            var frames: [FrameHeader] = []
            var records: [String] = []
            while true {
                let sequence = scan.sequence
                switch scan.next() {
                case .frame(let frame):
                    guard frame.header.sequence == sequence + 1,
                        frame.endPosition >= frame.position + UInt64(frame.header.frameBytes)
                    else { harnessFailure("a frame does not follow the one before it") }
                    frames.append(frame.header)
                    records += read(frame)
                case .end(let end):
                    return (frames, records, end)
                }
            }
        }
    }

    /// Records as text; of a body that does not verify those before the place.
    private static func read(_ frame: SegmentScan.Frame) -> [String] {
        var seen: [String] = []
        var count: UInt64 = 0
        do {
            try FrameBody.walk(frame.header, frame.body) { item in
                switch item {
                case .record(let record):
                    seen.append(
                        "\(record.offset) \(record.appendTimeMilliseconds) \(record.crc) "
                            + "\(record.payload.reduce(0) { $0 &+ Int($1) })")
                    count += 1
                case .change(let change): seen.append("\(change)")
                case .other: break
                }
            }
        } catch {
            return seen + ["\(error)"]
        }
        guard frame.header.firstOffset + count == frame.header.endOffset else {
            harnessFailure("a frame has another number of records than it says")
        }
        return seen
    }
}
