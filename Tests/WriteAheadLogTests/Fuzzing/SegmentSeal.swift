@testable import WriteAheadLog

/// Makes the checksums of bytes right, whatever the bytes say, so that a fuzzer reaches what stands
/// behind them.
enum SegmentSeal {
    private static let frameCountMaximum = 64

    /// The header, then every frame where one would be looked for; with `linked` each also names the
    /// one before it and continues its numbers.
    static func seal(_ image: inout [UInt8], linked: Bool) {
        image.withUnsafeMutableBytes { bytes in
            guard bytes.count >= FormatLimits.segmentHeaderBytes else { return }
            let start = bytes.baseAddress!
            start.set(
                Checksum.extend(
                    0, UnsafeRawPointer(start + 8), FormatLimits.segmentHeaderBytes - 8),
                at: 4)
            guard let header = try? SegmentHeader(UnsafeRawBufferPointer(bytes)) else { return }
            var previous = header.crc
            var sequence = header.firstSequence
            var offset = header.baseOffset
            var position = Int(header.firstFramePosition)
            for _ in 0..<frameCountMaximum {
                guard position + FormatLimits.frameHeaderBytes <= bytes.count else { return }
                let frame = UnsafeMutableRawBufferPointer(rebasing: bytes[position...])
                let bodyBytes = Int(frame.baseAddress!.integer(UInt32.self, at: 12))
                guard frame.baseAddress!.integer(UInt32.self, at: 0) == FrameHeader.magic,
                    FormatLimits.frameHeaderBytes + bodyBytes <= frame.count
                else { return }
                if linked {
                    frame.baseAddress!.set(previous, at: 20)
                    frame.baseAddress!.set(sequence, at: 32)
                    frame.baseAddress!.set(offset, at: 56)
                }
                seal(frame: frame, bodyBytes: bodyBytes, header, at: position)
                previous = frame.baseAddress!.integer(at: 8)
                sequence &+= UInt64(frame.baseAddress!.integer(UInt32.self, at: 40))
                offset &+= UInt64(frame.baseAddress!.integer(UInt32.self, at: 44))
                position = Int(
                    FrameAlignment.end(
                        of: FormatLimits.frameHeaderBytes + bodyBytes, at: UInt64(position), header))
            }
        }
    }

    private static func seal(
        frame: UnsafeMutableRawBufferPointer, bodyBytes: Int, _ header: SegmentHeader,
        at position: Int
    ) {
        let start = frame.baseAddress!
        let headerBytes = FormatLimits.frameHeaderBytes
        let body = UnsafeMutableRawBufferPointer(
            rebasing: frame[headerBytes..<headerBytes + bodyBytes])
        seal(blocksOf: body)
        start.set(Checksum.of(UnsafeRawBufferPointer(body)), at: 16)
        var seed = (header.salt.littleEndian, UInt64(position).littleEndian)
        var crc = withUnsafeBytes(of: &seed) { Checksum.extend(0, $0.baseAddress!, 16) }
        crc = Checksum.extend(crc, UnsafeRawPointer(start), 8)
        crc = Checksum.extend(crc, UnsafeRawPointer(start + 12), headerBytes - 12)
        start.set(crc, at: 8)
    }

    private static func seal(blocksOf body: UnsafeMutableRawBufferPointer) {
        var rest = body
        while rest.count >= FormatLimits.blockHeaderBytes {
            let start = rest.baseAddress!
            let storedBytes = Int(start.integer(UInt32.self, at: 12))
            let byteCount = FormatLimits.blockHeaderBytes + storedBytes
            guard byteCount <= rest.count else { return }
            let stored = UnsafeMutableRawBufferPointer(
                rebasing: rest[FormatLimits.blockHeaderBytes..<byteCount])
            if start.integer(UInt8.self, at: 4) == BlockCodec.none { seal(recordsOf: stored) }
            let crc = Checksum.of(UnsafeRawBufferPointer(stored))
            start.set(Checksum.extend(crc, UnsafeRawPointer(start + 4), 28), at: 0)
            rest = UnsafeMutableRawBufferPointer(rebasing: rest[byteCount...])
        }
    }

    static func seal(recordsOf block: UnsafeMutableRawBufferPointer) {
        var rest = block
        while rest.count >= FormatLimits.recordHeaderBytes {
            let start = rest.baseAddress!
            let byteCount =
                Int(start.integer(UInt16.self, at: 4)) + Int(start.integer(UInt32.self, at: 8))
            guard byteCount <= rest.count, byteCount >= FormatLimits.recordHeaderBytes else {
                return
            }
            start.set(Checksum.extend(0, UnsafeRawPointer(start + 4), byteCount - 4), at: 0)
            rest = UnsafeMutableRawBufferPointer(rebasing: rest[byteCount...])
        }
    }
}

extension UnsafeMutableRawPointer {
    fileprivate func integer<Value: FixedWidthInteger>(_ type: Value.Type = Value.self, at offset: Int)
        -> Value
    {
        UnsafeRawPointer(self).integer(at: offset)
    }
}
