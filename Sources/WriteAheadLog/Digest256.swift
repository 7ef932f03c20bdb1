/// A SHA-256 value that the caller computed: a record's key or the digest of its content.
///
/// The engine hashes nothing and compares these bytes as they are.
public struct Digest256: BitwiseCopyable, Hashable, Sendable {
    var words: (UInt64, UInt64, UInt64, UInt64)

    /// Bytes of a digest.
    public static let byteCount = 32

    /// 32 zero bytes: stands before the first digest of a chain.
    static let zero = Digest256(bytes: [UInt8](repeating: 0, count: byteCount))

    /// Copies exactly 32 bytes.
    public init(bytes: UnsafeRawBufferPointer) {
        precondition(bytes.count == Digest256.byteCount, "a digest has 32 bytes")
        words = bytes.loadUnaligned(as: (UInt64, UInt64, UInt64, UInt64).self)
    }

    /// Copies exactly 32 bytes.
    public init(bytes: [UInt8]) {
        self = bytes.withUnsafeBytes { Digest256(bytes: $0) }
    }

    /// Compares all 32 bytes.
    public static func == (left: Digest256, right: Digest256) -> Bool {
        left.words.0 == right.words.0 && left.words.1 == right.words.1
            && left.words.2 == right.words.2 && left.words.3 == right.words.3
    }

    /// One word is enough: the bytes of a SHA-256 are uniform already.
    public func hash(into hasher: inout Hasher) { hasher.combine(words.0) }

    /// Gives the 32 bytes to `body`, valid inside it only.
    public func withUnsafeBytes<Result>(_ body: (UnsafeRawBufferPointer) -> Result) -> Result {
        Swift.withUnsafeBytes(of: words) { body($0) }
    }

    /// The 32 bytes as an array.
    public var bytes: [UInt8] { withUnsafeBytes { Array($0) } }

    /// 64 lower-case hexadecimal characters.
    public var hexadecimal: String { withUnsafeBytes { Hexadecimal.encode($0) } }
}

/// Lower-case hexadecimal text without Foundation.
enum Hexadecimal {
    static func encode(_ bytes: UnsafeRawBufferPointer) -> String {
        let digits = Array("0123456789abcdef".utf8)
        return String(unsafeUninitializedCapacity: bytes.count * 2) { text in
            for (index, byte) in bytes.enumerated() {
                text[index * 2] = digits[Int(byte >> 4)]
                text[index * 2 + 1] = digits[Int(byte & 15)]
            }
            return bytes.count * 2
        }
    }
}
