internal import CPlatform

// Everything on disk is little-endian and unaligned reads are allowed; these are the only places
// that know it.

extension UnsafeRawPointer {
    @inline(__always)
    func integer<Value: FixedWidthInteger>(_ type: Value.Type = Value.self, at offset: Int) -> Value {
        Value(littleEndian: loadUnaligned(fromByteOffset: offset, as: Value.self))
    }
}

extension UnsafeMutableRawPointer {
    @inline(__always)
    func set<Value: FixedWidthInteger>(_ value: Value, at offset: Int) {
        storeBytes(of: value.littleEndian, toByteOffset: offset, as: Value.self)
    }
}

extension UnsafeRawBufferPointer {
    var isAllZero: Bool {
        guard let start = baseAddress else { return true }
        return bsfg_all_zero(start, count) != 0
    }
}

/// CRC-32C (Castagnoli): "123456789" gives E3069283.
enum Checksum {
    @inline(__always)
    static func extend(_ crc: UInt32, _ start: UnsafeRawPointer, _ count: Int) -> UInt32 {
        bsfg_crc32c(crc, start, count)
    }

    /// Of one run of bytes and a second one behind it, from the values of both. O(log count).
    static func joined(_ first: UInt32, _ second: UInt32, _ secondCount: Int) -> UInt32 {
        bsfg_crc32c_joined(first, second, secondCount)
    }

    static func of(_ bytes: UnsafeRawBufferPointer) -> UInt32 {
        guard let start = bytes.baseAddress else { return 0 }
        return bsfg_crc32c(0, start, bytes.count)
    }
}

/// Appends fields of the variable parts of the format: the state slot and control records.
struct ByteWriter {
    private(set) var bytes: [UInt8] = []

    mutating func append<Value: FixedWidthInteger>(_ value: Value) {
        withUnsafeBytes(of: value.littleEndian) { bytes.append(contentsOf: $0) }
    }

    mutating func append(raw: [UInt8]) { bytes.append(contentsOf: raw) }

    /// A 16-bit length and that many bytes.
    mutating func append(counted value: [UInt8]) {
        precondition(value.count <= UInt16.max, "a counted field has at most 65,535 bytes")
        append(UInt16(value.count))
        bytes.append(contentsOf: value)
    }

    mutating func append(text: String) { append(counted: Array(text.utf8)) }

    /// Overwrites an integer written before, for lengths that are known only at the end.
    mutating func replace<Value: FixedWidthInteger>(_ value: Value, at offset: Int) {
        withUnsafeBytes(of: value.littleEndian) { source in
            for (index, byte) in source.enumerated() { bytes[offset + index] = byte }
        }
    }
}

/// Reads what `ByteWriter` wrote; every read past the end fails instead of trapping, because the
/// bytes come from a disk.
struct ByteReader {
    private let bytes: UnsafeRawBufferPointer
    private(set) var position = 0

    init(_ bytes: UnsafeRawBufferPointer) { self.bytes = bytes }

    var remaining: Int { bytes.count - position }

    mutating func integer<Value: FixedWidthInteger>(_ type: Value.Type = Value.self) throws(FormatError)
        -> Value
    {
        let size = MemoryLayout<Value>.size
        guard remaining >= size else { throw .truncated }
        defer { position += size }
        return Value(
            littleEndian: bytes.loadUnaligned(fromByteOffset: position, as: Value.self))
    }

    mutating func raw(_ count: Int) throws(FormatError) -> [UInt8] {
        guard count >= 0, remaining >= count else { throw .truncated }
        defer { position += count }
        return Array(bytes[position..<position + count])
    }

    mutating func counted() throws(FormatError) -> [UInt8] {
        try raw(Int(integer(UInt16.self)))
    }

    mutating func text() throws(FormatError) -> String {
        guard let text = String(validating: try counted(), as: UTF8.self) else {
            throw .invalid("text is not UTF-8")
        }
        return text
    }

    mutating func skip(_ count: Int) throws(FormatError) {
        guard count >= 0, remaining >= count else { throw .truncated }
        position += count
    }
}

/// Bytes that are not what the format says.
enum FormatError: Error, Equatable {
    case truncated
    case checksum
    case invalid(StaticString)
    /// Written by a later release; the number is the format version or the unknown feature bits.
    case unsupported(UInt64)

    static func == (left: FormatError, right: FormatError) -> Bool {
        "\(left)" == "\(right)"
    }
}
