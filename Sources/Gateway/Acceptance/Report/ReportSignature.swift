internal import COpenSSL
package import RPC

extension PrivateKey {
    /// A signature over SHA-256, as `openssl dgst -sha256 -verify` reads it.
    package func signature(of bytes: [UInt8]) throws(CertificateError) -> [UInt8] {
        guard let context = EVP_MD_CTX_new() else { throw .libcrypto("no memory to sign") }
        defer { EVP_MD_CTX_free(context) }
        var length = 0
        guard EVP_DigestSignInit(context, nil, EVP_sha256(), nil, handle) == 1,
            EVP_DigestSign(context, nil, &length, bytes, bytes.count) == 1
        else { throw .libcrypto("the report cannot be signed with this key") }
        var signature = [UInt8](repeating: 0, count: length)
        guard EVP_DigestSign(context, &signature, &length, bytes, bytes.count) == 1 else {
            throw .libcrypto("the report cannot be signed with this key")
        }
        return Array(signature.prefix(length))
    }
}
