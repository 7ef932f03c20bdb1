internal import COpenSSL
internal import CPlatform

/// A SHA-256 value: a fact's key, the digest of its content, a record's digest.
package struct Digest: Hashable, Sendable, CustomStringConvertible {
    package static let byteCount = 32

    private var words: (UInt64, UInt64, UInt64, UInt64)

    /// Copies exactly 32 bytes.
    package init(_ bytes: UnsafeRawBufferPointer) {
        precondition(bytes.count == Digest.byteCount, "a digest has 32 bytes")
        words = bytes.loadUnaligned(as: (UInt64, UInt64, UInt64, UInt64).self)
    }

    /// Nil unless there are exactly 32 bytes.
    package init?(_ bytes: some Collection<UInt8>) {
        guard bytes.count == Digest.byteCount else { return nil }
        let copy = Array(bytes)
        self = copy.withUnsafeBytes { Digest($0) }
    }

    /// Nil unless the text is 64 hexadecimal digits.
    package init?(hexadecimal: String) {
        guard let bytes = Hexadecimal.decode(Array(hexadecimal.utf8)) else { return nil }
        self.init(bytes)
    }

    package static func == (left: Digest, right: Digest) -> Bool {
        left.words.0 == right.words.0 && left.words.1 == right.words.1
            && left.words.2 == right.words.2 && left.words.3 == right.words.3
    }

    /// One word is enough: the bytes of a SHA-256 are uniform already.
    package func hash(into hasher: inout Hasher) { hasher.combine(words.0) }

    package func withUnsafeBytes<Result>(_ body: (UnsafeRawBufferPointer) -> Result) -> Result {
        Swift.withUnsafeBytes(of: words) { body($0) }
    }

    package var bytes: [UInt8] { withUnsafeBytes { Array($0) } }

    /// 64 lower-case hexadecimal characters.
    package var hexadecimal: String { Hexadecimal.encode(bytes) }

    package var description: String { hexadecimal }
}

/// Streaming SHA-256 by libcrypto. The algorithm is fetched from its provider once a process: with
/// OpenSSL 3 an implicit fetch at every digest costs more than hashing a fact.
package struct SHA256: ~Copyable {
    private let context: OpaquePointer

    private nonisolated(unsafe) static let algorithm: OpaquePointer = {
        guard let found = EVP_MD_fetch(nil, "SHA256", nil) else {
            preconditionFailure("libcrypto has no SHA-256; is its provider configuration intact?")
        }
        return found
    }()

    package init() {
        guard let context = EVP_MD_CTX_new() else { preconditionFailure("out of memory") }
        self.context = context
        let began = EVP_DigestInit_ex2(context, SHA256.algorithm, nil)
        precondition(began == 1, "libcrypto could not begin a SHA-256")
    }

    deinit { EVP_MD_CTX_free(context) }

    package mutating func update(_ bytes: UnsafeRawBufferPointer) {
        guard bytes.count > 0 else { return }
        let updated = EVP_DigestUpdate(context, bytes.baseAddress, bytes.count)
        precondition(updated == 1, "libcrypto could not continue a SHA-256")
    }

    package mutating func update(_ bytes: [UInt8]) {
        bytes.withUnsafeBytes { update($0) }
    }

    package mutating func update(_ text: StaticString) {
        update(UnsafeRawBufferPointer(start: text.utf8Start, count: text.utf8CodeUnitCount))
    }

    /// The digest of everything. Nothing can be added behind it: libcrypto refuses.
    package mutating func finish() -> Digest {
        var result: (UInt64, UInt64, UInt64, UInt64) = (0, 0, 0, 0)
        return withUnsafeMutableBytes(of: &result) { output in
            let ended = EVP_DigestFinal_ex(
                context, output.baseAddress?.assumingMemoryBound(to: UInt8.self), nil)
            precondition(ended == 1, "libcrypto could not end a SHA-256")
            return Digest(UnsafeRawBufferPointer(output))
        }
    }

    package static func hash(_ bytes: UnsafeRawBufferPointer) -> Digest {
        var hash = SHA256()
        hash.update(bytes)
        return hash.finish()
    }

    package static func hash(_ bytes: [UInt8]) -> Digest {
        bytes.withUnsafeBytes { hash($0) }
    }
}

extension SHA256 {
    /// A field of our digests: its length as four bytes, little-endian, then its bytes.
    mutating func updateFramed(_ bytes: UnsafeRawBufferPointer) {
        updateLittleEndian(UInt32(bytes.count))
        update(bytes)
    }

    mutating func updateFramed(_ bytes: [UInt8]) {
        bytes.withUnsafeBytes { updateFramed($0) }
    }

    mutating func updateLittleEndian(_ value: some FixedWidthInteger) {
        withUnsafeBytes(of: value.littleEndian) { update($0) }
    }
}

/// CRC-32C (Castagnoli) as the log engine and `Entry.crc32c` use it.
package enum CRC32C {
    package static func checksum(_ bytes: UnsafeRawBufferPointer) -> UInt32 {
        bsfg_crc32c(0, bytes.baseAddress, bytes.count)
    }

    package static func checksum(_ bytes: [UInt8]) -> UInt32 {
        bytes.withUnsafeBytes { checksum($0) }
    }
}
