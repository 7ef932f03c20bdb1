internal import CLZ4

/// The content coding `lz4` between nodes: four bytes with the length of the content, little-endian, then one
/// LZ4 block. Nobody but another node is ever sent it.
package enum LZ4Coding {
    static let name = "lz4"
    /// Below it there is little to win.
    package static let contentBytesMinimum = 4_096
    private static let headBytes = 4

    /// Why content cannot be had from its coding.
    package struct Malformed: Error {
        package var sentence: String
    }

    /// - Returns: nil when it would not become smaller.
    package static func encode(_ content: [UInt8]) -> [UInt8]? {
        guard content.count >= contentBytesMinimum, content.count <= Int(LZ4_MAX_INPUT_SIZE) else {
            return nil
        }
        let capacity = content.count - headBytes
        let coded = [UInt8](unsafeUninitializedCapacity: headBytes + capacity) { output, count in
            let stored = content.withUnsafeBytes { input in
                LZ4_compress_default(
                    input.baseAddress!.assumingMemoryBound(to: CChar.self),
                    UnsafeMutableRawPointer(output.baseAddress! + headBytes)
                        .assumingMemoryBound(to: CChar.self), Int32(input.count), Int32(capacity))
            }
            guard stored > 0 else { return }
            for place in 0..<headBytes {
                output.initializeElement(
                    at: place, to: UInt8(truncatingIfNeeded: content.count >> (8 * place)))
            }
            count = headBytes + Int(stored)
        }
        return coded.isEmpty ? nil : coded
    }

    /// - Parameter limitBytes: how long the content may be; looked at before anything is allocated.
    package static func decode(_ coded: [UInt8], limitBytes: Int) throws(Malformed) -> [UInt8] {
        guard coded.count > headBytes else {
            throw Malformed(sentence: "its lz4 coding is cut off")
        }
        var length = 0
        for place in 0..<headBytes { length |= Int(coded[place]) << (8 * place) }
        guard length > 0, length <= limitBytes else {
            throw Malformed(
                sentence: "its lz4 coding says \(length) bytes, and may be up to \(limitBytes)")
        }
        var taken: Int32 = -1
        let content = [UInt8](unsafeUninitializedCapacity: length) { output, count in
            taken = coded.withUnsafeBytes { input in
                LZ4_decompress_safe(
                    input.baseAddress!.assumingMemoryBound(to: CChar.self) + headBytes,
                    UnsafeMutableRawPointer(output.baseAddress!)
                        .assumingMemoryBound(to: CChar.self), Int32(input.count - headBytes),
                    Int32(length))
            }
            count = taken == Int32(length) ? length : 0
        }
        guard taken == Int32(length) else {
            throw Malformed(sentence: "its lz4 coding is malformed")
        }
        return content
    }
}
