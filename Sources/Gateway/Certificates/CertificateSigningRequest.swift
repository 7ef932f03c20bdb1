internal import COpenSSL
internal import Glibc
package import RPC

/// A new key, and the request (PKCS #10) by which a site's own CA makes a certificate of it.
package struct CertificateSigningRequest: Sendable {
    package let key: PrivateKey
    package let pem: [UInt8]

    /// While the certificate is awaited the key has a name of its own, so that the one in use stays.
    package static func keyFile(directory: String, name: String) -> String {
        "\(directory)/\(name).csr.key"
    }

    package static func requestFile(directory: String, name: String) -> String {
        "\(directory)/\(name).csr"
    }

    /// Asks for the same names and usages that `cert issue` writes.
    package static func make(
        _ request: CertificateRequest
    ) throws(CertificateError) -> CertificateSigningRequest {
        let (dns, addresses) = try CertificateAuthority.alternativeNames(request)
        let key = try PrivateKey.generate(request.keyKind)
        guard let handle = X509_REQ_new() else { throw .libcrypto("no memory for a request") }
        defer { X509_REQ_free(handle) }
        func check(_ done: Bool, _ part: String) throws(CertificateError) {
            guard done else { throw .libcrypto("the request's \(part) cannot be set") }
        }
        try check(X509_REQ_set_version(handle, 0) == 1, "version")
        let name = Array(request.identity.utf8)
        try check(
            X509_NAME_add_entry_by_NID(
                X509_REQ_get_subject_name(handle), NID_commonName, MBSTRING_UTF8, name,
                Int32(name.count), -1, 0) == 1, "common name")
        try check(X509_REQ_set_pubkey(handle, key.handle) == 1, "public key")
        try addExtensions(to: handle, dns, addresses)
        try check(X509_REQ_sign(handle, key.handle, EVP_sha256()) > 0, "signature")
        let bio = BIO_new(BIO_s_mem())
        defer { BIO_free(bio) }
        try check(PEM_write_bio_X509_REQ(bio, handle) == 1, "text")
        return CertificateSigningRequest(key: key, pem: memoryBytes(bio))
    }

    private static func addExtensions(
        to handle: OpaquePointer, _ dns: [String], _ addresses: [IPAddress]
    ) throws(CertificateError) {
        guard let names = GENERAL_NAMES_new() else { throw .libcrypto("no memory for names") }
        defer { GENERAL_NAMES_free(names) }
        for name in dns where bsfg_add_name(names, GEN_DNS, Array(name.utf8), Int32(name.utf8.count)) != 1 {
            throw .libcrypto("the name \(name) cannot be requested")
        }
        for address in addresses
        where bsfg_add_name(names, GEN_IPADD, address.bytes, Int32(address.bytes.count)) != 1 {
            throw .libcrypto("the address \(address.text) cannot be requested")
        }
        guard let usage = X509V3_EXT_conf_nid(nil, nil, NID_ext_key_usage, "serverAuth,clientAuth") else {
            throw .libcrypto("the extended key usage cannot be requested")
        }
        defer { X509_EXTENSION_free(usage) }
        var extensions: OpaquePointer?
        defer { bsfg_free_extensions(extensions) }
        guard
            X509V3_add1_i2d(&extensions, NID_subject_alt_name, UnsafeMutableRawPointer(names), 0, 0) == 1,
            X509v3_add_ext(&extensions, usage, -1) != nil,
            X509_REQ_add_extensions(handle, extensions) == 1
        else { throw .libcrypto("the names cannot be requested") }
    }

    /// Writes `<name>.csr` and its key. A key that still waits for its certificate is kept without `force`.
    package func write(directory: String, name: String, force: Bool) throws(CertificateError) {
        let keyFile = Self.keyFile(directory: directory, name: name)
        if !force, CertificateFiles.exists(keyFile) { throw CertificateFiles.refusal(keyFile) }
        try CertificateFiles.makeDirectory(directory)
        let requestFile = Self.requestFile(directory: directory, name: name)
        try CertificateFiles.write([
            CertificateFiles.NewFile(keyFile, try key.pem(), mode: 0o600, isReplacing: force),
            CertificateFiles.NewFile(requestFile, pem, mode: 0o644, isReplacing: true),
        ])
    }
}
