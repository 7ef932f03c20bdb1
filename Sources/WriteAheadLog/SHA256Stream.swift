internal import COpenSSL

/// SHA-256 of bytes that come piece by piece, by libcrypto: for keys and content digests, and used again
/// for the next one. Nothing is allocated after `init`.
///
/// The algorithm is fetched once for the process: a one-shot digest would fetch it at every call.
/// Not thread-safe.
public final class SHA256Stream {
    /// Never changed and never freed after it was fetched.
    private nonisolated(unsafe) static let algorithm: OpaquePointer = {
        guard let found = EVP_MD_fetch(nil, "SHA256", nil) else {
            preconditionFailure("libcrypto has no SHA-256")
        }
        return found
    }()

    private let context: OpaquePointer

    /// Ready for the first digest.
    public init() {
        guard let context = EVP_MD_CTX_new() else { preconditionFailure("no memory for a digest") }
        self.context = context
        begin()
    }

    deinit { EVP_MD_CTX_free(context) }

    private func begin() {
        let began = EVP_DigestInit_ex2(context, SHA256Stream.algorithm, nil)
        precondition(began == 1, "libcrypto cannot begin a SHA-256")
    }

    /// Takes more bytes in. O(bytes).
    public func update(_ bytes: UnsafeRawBufferPointer) {
        guard bytes.count > 0 else { return }
        let updated = EVP_DigestUpdate(context, bytes.baseAddress, bytes.count)
        precondition(updated == 1, "libcrypto cannot take bytes into a SHA-256")
    }

    /// Takes the 32 bytes of a digest in.
    public func update(_ digest: Digest256) { digest.withUnsafeBytes { update($0) } }

    /// The digest of everything since the last one; the next update begins anew.
    public func finish() -> Digest256 {
        var words: (UInt64, UInt64, UInt64, UInt64) = (0, 0, 0, 0)
        let digest = withUnsafeMutableBytes(of: &words) { buffer in
            let ended = EVP_DigestFinal_ex(
                context, buffer.bindMemory(to: UInt8.self).baseAddress, nil)
            precondition(ended == 1, "libcrypto cannot end a SHA-256")
            return Digest256(bytes: UnsafeRawBufferPointer(buffer))
        }
        begin()
        return digest
    }
}
