internal import COpenSSL
internal import Glibc
package import RPC

/// A private key. Immutable after it is made.
package final class PrivateKey: @unchecked Sendable {
    let handle: OpaquePointer

    package enum Kind: Sendable, Equatable {
        case p256
        case rsa(bits: Int)
    }

    private init(owning handle: OpaquePointer) { self.handle = handle }

    deinit { EVP_PKEY_free(handle) }

    package static func generate(_ kind: Kind) throws(CertificateError) -> PrivateKey {
        let made: OpaquePointer? =
            switch kind {
            case .p256: bsfg_generate_p256()
            case .rsa(let bits): bsfg_generate_rsa(UInt32(bits))
            }
        guard let made else { throw .libcrypto("a private key cannot be generated") }
        return PrivateKey(owning: made)
    }

    /// Reads an unencrypted PEM key.
    package convenience init(file path: String) throws(CertificateError) {
        try self.init(
            pem: try SmallFile.read(path, bytesMaximum: X509Certificate.fileBytesMaximum), name: path)
    }

    /// Reads an unencrypted PEM key; `name` is where it came from.
    package convenience init(pem: [UInt8], name path: String) throws(CertificateError) {
        guard let bio = BIO_new_mem_buf(pem, Int32(pem.count)) else {
            throw .libcrypto("\(path) cannot be read")
        }
        defer { BIO_free(bio) }
        guard let key = PEM_read_bio_PrivateKey(bio, nil, { _, _, _, _ in 0 }, nil) else {
            throw .libcrypto(
                "\(path) holds no private key that can be read; it must be PEM without a password")
        }
        self.init(owning: key)
    }

    /// PKCS#8 PEM, not encrypted: the file's mode protects it.
    package func pem() throws(CertificateError) -> [UInt8] {
        let bio = BIO_new(BIO_s_mem())
        defer { BIO_free(bio) }
        guard PEM_write_bio_PKCS8PrivateKey(bio, handle, nil, nil, 0, nil, nil) == 1 else {
            throw .libcrypto("a private key cannot be written")
        }
        return memoryBytes(bio)
    }

    package func belongs(to certificate: X509Certificate) -> Bool {
        defer { ERR_clear_error() }
        return X509_check_private_key(certificate.handle, handle) == 1
    }

    /// What to run when others than the owner can read a key file; nil when they cannot. A group
    /// may read it only when the owner is root, as the packaged service has it.
    package static func exposure(file path: String) -> String? {
        exposureWords(file: path).map { "\(path) \($0)" }
    }

    /// The same without the file's name, for where that stands before it.
    static func exposureWords(file path: String) -> String? {
        var information = stat()
        guard stat(path, &information) == 0 else { return nil }
        let mode = information.st_mode & 0o777
        let allowed: mode_t = information.st_uid == 0 ? 0o750 : 0o700
        guard mode & ~allowed != 0 else { return nil }
        return "has mode \(octal(mode)) and can be read by others: run chmod 600 \(path)"
    }

    private static func octal(_ mode: mode_t) -> String {
        let text = String(mode, radix: 8)
        return String(repeating: "0", count: max(0, 4 - text.utf8.count)) + text
    }
}
