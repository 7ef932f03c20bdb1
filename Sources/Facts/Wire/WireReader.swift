/// Protocol buffers as bytes: what stays a byte string from its origin to the last relay must not pass
/// through decoded messages, which reorder maps and move unknown fields.
enum WireType: UInt8 {
    case varint = 0
    case fixed64 = 1
    case bytes = 2
    case fixed32 = 5
}

struct WireProblem: Error {
    var byteOffset: Int
    var text: String
}

/// One field as it stands in the bytes.
struct WireField {
    var number: UInt32
    var type: WireType
    /// Of varint, fixed32 and fixed64 fields.
    var value: UInt64
    /// Of length-delimited fields: where their content is.
    var content: Range<Int>
    /// The whole field, tag included.
    var whole: Range<Int>
}

/// Steps through the fields of one message.
struct WireReader {
    let bytes: UnsafeRawBufferPointer
    private(set) var position: Int
    private let end: Int

    init(_ bytes: UnsafeRawBufferPointer, _ range: Range<Int>? = nil) {
        self.bytes = bytes
        position = range?.lowerBound ?? 0
        end = range?.upperBound ?? bytes.count
    }

    /// Nil at the end of the message.
    mutating func next() throws(WireProblem) -> WireField? {
        guard position < end else { return nil }
        let start = position
        let tag = try varint()
        guard tag >> 3 >= 1, tag <= UInt64(UInt32.max), let number = UInt32(exactly: tag >> 3) else {
            throw WireProblem(byteOffset: start, text: "a field has no valid number")
        }
        guard let type = WireType(rawValue: UInt8(tag & 7)) else {
            throw WireProblem(
                byteOffset: start, text: "field \(number) has the unsupported wire type \(tag & 7)")
        }
        var field = WireField(number: number, type: type, value: 0, content: 0..<0, whole: 0..<0)
        switch type {
        case .varint: field.value = try varint()
        case .fixed32: field.value = UInt64(try fixed(4, as: UInt32.self))
        case .fixed64: field.value = try fixed(8, as: UInt64.self)
        case .bytes:
            let length = try varint()
            guard length <= UInt64(end - position) else {
                throw WireProblem(byteOffset: start, text: "field \(number) is longer than its message")
            }
            field.content = position..<position + Int(length)
            position = field.content.upperBound
        }
        field.whole = start..<position
        return field
    }

    private mutating func varint() throws(WireProblem) -> UInt64 {
        var value: UInt64 = 0
        var shift: UInt64 = 0
        while position < end {
            let byte = bytes[position]
            position += 1
            // The tenth byte holds the one bit that is left.
            guard shift < 63 || byte <= 1 else { break }
            value |= UInt64(byte & 0x7F) << shift
            if byte < 0x80 { return value }
            shift += 7
            guard shift < 70 else { break }
        }
        throw WireProblem(byteOffset: position, text: "a varint is cut or too long")
    }

    private mutating func fixed<Value: FixedWidthInteger>(
        _ count: Int, as type: Value.Type
    ) throws(WireProblem) -> Value {
        guard end - position >= count else {
            throw WireProblem(byteOffset: position, text: "a number is cut")
        }
        let value = bytes.loadUnaligned(fromByteOffset: position, as: Value.self)
        position += count
        return Value(littleEndian: value)
    }

    func slice(_ range: Range<Int>) -> UnsafeRawBufferPointer {
        UnsafeRawBufferPointer(rebasing: bytes[range])
    }

    /// Nil when the bytes are not UTF-8.
    func text(_ range: Range<Int>) -> String? {
        String(validating: slice(range), as: UTF8.self)
    }

    func array(_ range: Range<Int>) -> [UInt8] { Array(slice(range)) }
}

/// Appending fields; nothing is written for a default except where a caller wants it.
enum WireWriter {
    @inline(__always)
    static func appendVarint(_ value: UInt64, to output: inout [UInt8]) {
        var rest = value
        while rest >= 0x80 {
            output.append(UInt8(truncatingIfNeeded: rest) | 0x80)
            rest >>= 7
        }
        output.append(UInt8(truncatingIfNeeded: rest))
    }

    static func varintSize(_ value: UInt64) -> Int {
        value == 0 ? 1 : (70 - value.leadingZeroBitCount) / 7
    }

    @inline(__always)
    static func appendTag(_ number: UInt32, _ type: WireType, to output: inout [UInt8]) {
        appendVarint(UInt64(number) << 3 | UInt64(type.rawValue), to: &output)
    }

    static func append(_ number: UInt32, varint value: UInt64, to output: inout [UInt8]) {
        appendTag(number, .varint, to: &output)
        appendVarint(value, to: &output)
    }

    static func append(_ number: UInt32, fixed32 value: UInt32, to output: inout [UInt8]) {
        appendTag(number, .fixed32, to: &output)
        withUnsafeBytes(of: value.littleEndian) { output.append(contentsOf: $0) }
    }

    static func append(_ number: UInt32, fixed64 value: UInt64, to output: inout [UInt8]) {
        appendTag(number, .fixed64, to: &output)
        withUnsafeBytes(of: value.littleEndian) { output.append(contentsOf: $0) }
    }

    static func append(
        _ number: UInt32, bytes: UnsafeRawBufferPointer, to output: inout [UInt8]
    ) {
        appendTag(number, .bytes, to: &output)
        appendVarint(UInt64(bytes.count), to: &output)
        output.append(contentsOf: bytes)
    }

    static func append(_ number: UInt32, bytes: [UInt8], to output: inout [UInt8]) {
        bytes.withUnsafeBytes { append(number, bytes: $0, to: &output) }
    }

    /// Writes nothing for an empty text, as proto3 does.
    static func append(_ number: UInt32, text: String, to output: inout [UInt8]) {
        var text = text
        text.withUTF8 { utf8 in
            if utf8.count > 0 { append(number, bytes: UnsafeRawBufferPointer(utf8), to: &output) }
        }
    }

    /// The size of a length-delimited field whose number is below 16.
    static func fieldSize(_ contentSize: Int) -> Int {
        1 + varintSize(UInt64(contentSize)) + contentSize
    }

    /// The same, and nothing for an empty text.
    static func fieldSize(_ text: String) -> Int {
        text.utf8.isEmpty ? 0 : fieldSize(text.utf8.count)
    }

    /// Puts the length of what `body` writes in front of it.
    static func appendMessage<Failure: Error>(
        _ number: UInt32, to output: inout [UInt8],
        _ body: (inout [UInt8]) throws(Failure) -> Void
    ) throws(Failure) {
        appendTag(number, .bytes, to: &output)
        let start = output.count
        try body(&output)
        var length: [UInt8] = []
        appendVarint(UInt64(output.count - start), to: &length)
        output.insert(contentsOf: length, at: start)
    }
}
