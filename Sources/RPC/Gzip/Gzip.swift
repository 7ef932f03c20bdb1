internal import CZlib

package enum GzipError: Error, Equatable, Sendable {
    /// The content is larger than the limit; nothing beyond it was inflated.
    case tooLarge(limitBytes: Int)
    /// Not gzip, or damaged.
    case malformed
    /// The content ends before the stream does.
    case truncated

    package var sentence: String {
        switch self {
        case .tooLarge(let limit):
            "the gzip content is larger than the limit of \(limit) bytes; send less at once"
        case .malformed: "the content is not valid gzip; send it again, or without gzip"
        case .truncated: "the gzip content ends early; send all of it, or send it without gzip"
        }
    }
}

/// zlib's gzip container, whole buffers in and out.
package enum Gzip {
    /// Window bits that ask zlib for the gzip container instead of its own.
    private static let gzipWindowBits: Int32 = 15 + 16
    private static let memoryLevel: Int32 = 8
    private static let stepBytes = 64 << 10

    /// The inflated content, at most `limitBytes` of it: a content that is larger is refused at the
    /// first byte beyond, whatever it claims.
    package static func inflate(
        _ content: [UInt8], limitBytes: Int
    ) throws(GzipError) -> [UInt8] {
        var result: Result<[UInt8], GzipError> = .failure(.malformed)
        content.withUnsafeBytes { bytes in
            result = inflated(bytes, limitBytes: limitBytes)
        }
        return try result.get()
    }

    private static func inflated(
        _ content: UnsafeRawBufferPointer, limitBytes: Int
    ) -> Result<[UInt8], GzipError> {
        guard content.count > 0 else { return .failure(.truncated) }
        precondition(content.count <= Int(UInt32.max), "bodies are far below zlib's limit")
        return withStream { stream in
            guard
                inflateInit2_(
                    stream, gzipWindowBits, ZLIB_VERSION, Int32(MemoryLayout<z_stream>.size))
                    == Z_OK
            else { return .failure(.malformed) }
            defer { inflateEnd(stream) }
            let input = content.assumingMemoryBound(to: UInt8.self).baseAddress!
            stream.pointee.next_in = UnsafeMutablePointer(mutating: input)
            stream.pointee.avail_in = UInt32(content.count)
            return inflateMembers(stream, limitBytes: limitBytes, hint: content.count * 4)
        }
    }

    private static func inflateMembers(
        _ stream: UnsafeMutablePointer<z_stream>, limitBytes: Int, hint: Int
    ) -> Result<[UInt8], GzipError> {
        var output: [UInt8] = []
        output.reserveCapacity(min(limitBytes, hint))
        var step = [UInt8](repeating: 0, count: stepBytes)
        while true {
            let (code, count) = step.withUnsafeMutableBufferPointer { buffer in
                stream.pointee.next_out = buffer.baseAddress
                stream.pointee.avail_out = UInt32(buffer.count)
                let code = CZlib.inflate(stream, Z_NO_FLUSH)
                return (code, buffer.count - Int(stream.pointee.avail_out))
            }
            if output.count + count > limitBytes {
                return .failure(.tooLarge(limitBytes: limitBytes))
            }
            output.append(contentsOf: step[..<count])
            switch code {
            case Z_STREAM_END:
                if stream.pointee.avail_in == 0 { return .success(output) }
                // Another member follows (RFC 1952, section 2.2).
                if inflateReset(stream) != Z_OK { return .failure(.malformed) }
            case Z_OK: break
            case Z_BUF_ERROR: return .failure(.truncated)
            default: return .failure(.malformed)
            }
        }
    }

    /// Level 1: for content that is sent once, speed counts more than the last per cent.
    package static func deflate(_ content: [UInt8], level: Int32 = 1) -> [UInt8] {
        withStream { stream in
            let started = deflateInit2_(
                stream, level, Z_DEFLATED, gzipWindowBits, memoryLevel, Z_DEFAULT_STRATEGY,
                ZLIB_VERSION, Int32(MemoryLayout<z_stream>.size))
            precondition(started == Z_OK, "out of memory")
            defer { deflateEnd(stream) }
            let capacity = Int(deflateBound(stream, UInt(content.count)))
            return [UInt8](unsafeUninitializedCapacity: capacity) { output, count in
                content.withUnsafeBufferPointer { input in
                    stream.pointee.next_in = UnsafeMutablePointer(mutating: input.baseAddress)
                    stream.pointee.avail_in = UInt32(input.count)
                    stream.pointee.next_out = output.baseAddress
                    stream.pointee.avail_out = UInt32(output.count)
                    let code = CZlib.deflate(stream, Z_FINISH)
                    precondition(code == Z_STREAM_END, "deflateBound holds the whole stream")
                    count = output.count - Int(stream.pointee.avail_out)
                }
            }
        }
    }

    /// zlib keeps a pointer back to its stream, which therefore must not move.
    private static func withStream<Value>(
        _ body: (UnsafeMutablePointer<z_stream>) -> Value
    ) -> Value {
        let stream = UnsafeMutablePointer<z_stream>.allocate(capacity: 1)
        stream.initialize(to: z_stream())
        defer { stream.deallocate() }
        return body(stream)
    }
}
