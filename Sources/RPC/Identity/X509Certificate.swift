internal import COpenSSL

/// A parsed X.509 certificate. Immutable, so it may be used from any thread.
package final class X509Certificate: @unchecked Sendable {
    /// libcrypto's object; valid as long as this one.
    package let handle: OpaquePointer

    /// Takes ownership of `handle`.
    package init(owning handle: OpaquePointer) {
        self.handle = handle
        // Fills the cache of decoded extensions now, where no other thread can see the object.
        X509_check_purpose(handle, -1, 0)
    }

    deinit { X509_free(handle) }

    package static let bytesMaximum = 64 << 10
    package static let fileBytesMaximum = 1 << 20

    package convenience init(der: [UInt8]) throws(CertificateError) {
        guard der.count <= Self.bytesMaximum else {
            throw CertificateError(
                "the certificate has \(der.count) bytes, at most \(Self.bytesMaximum) are read")
        }
        var consumed = 0
        let parsed = der.withUnsafeBufferPointer { buffer -> OpaquePointer? in
            var cursor = buffer.baseAddress
            let parsed = d2i_X509(nil, &cursor, buffer.count)
            if let cursor, let base = buffer.baseAddress { consumed = cursor - base }
            return parsed
        }
        guard let parsed else { throw .libcrypto("the certificate cannot be read as DER") }
        self.init(owning: parsed)
        guard consumed == der.count else {
            throw CertificateError("the certificate is followed by \(der.count - consumed) bytes")
        }
    }

    /// Every certificate of a PEM text, in order. Other blocks (a key beside it) are passed over.
    package static func all(
        pem: [UInt8], name: String
    ) throws(CertificateError) -> [X509Certificate] {
        guard pem.count <= fileBytesMaximum else {
            throw CertificateError(
                "\(name) has \(pem.count) bytes, at most \(fileBytesMaximum) are read")
        }
        guard let bio = BIO_new_mem_buf(pem, Int32(pem.count)) else {
            throw .libcrypto("\(name) cannot be read")
        }
        defer { BIO_free(bio) }
        var found: [X509Certificate] = []
        // An empty password keeps libcrypto from asking the terminal for one.
        while let parsed = PEM_read_bio_X509(bio, nil, { _, _, _, _ in 0 }, nil) {
            found.append(X509Certificate(owning: parsed))
        }
        if !isEndOfPEM(ERR_peek_last_error()) { throw .libcrypto("certificate \(found.count + 1) of \(name) cannot be read") }
        ERR_clear_error()
        guard !found.isEmpty else {
            throw CertificateError("\(name) holds no certificate in PEM form")
        }
        return found
    }

    /// Every certificate of a PEM file.
    package static func all(file path: String) throws(CertificateError) -> [X509Certificate] {
        try all(pem: try SmallFile.read(path, bytesMaximum: fileBytesMaximum), name: path)
    }

    package var der: [UInt8] {
        let count = Int(i2d_X509(handle, nil))
        precondition(count > 0, "a parsed certificate encodes")
        var bytes = [UInt8](repeating: 0, count: count)
        bytes.withUnsafeMutableBufferPointer { buffer in
            var cursor = buffer.baseAddress
            i2d_X509(handle, &cursor)
        }
        return bytes
    }

    package var pem: [UInt8] {
        let bio = BIO_new(BIO_s_mem())
        defer { BIO_free(bio) }
        PEM_write_bio_X509(bio, handle)
        return memoryBytes(bio)
    }

    /// SHA-256 of the DER form.
    package var fingerprint: [UInt8] {
        var digest = [UInt8](repeating: 0, count: 32)
        var count: UInt32 = 32
        let done = X509_digest(handle, EVP_sha256(), &digest, &count)
        precondition(done == 1 && count == 32, "SHA-256 of a parsed certificate")
        return digest
    }

    /// The serial number in hexadecimal, as `openssl x509 -serial` prints it.
    package var serial: String {
        guard let number = ASN1_INTEGER_to_BN(X509_get0_serialNumber(handle), nil) else {
            return ""
        }
        defer { BN_free(number) }
        guard let text = BN_bn2hex(number) else { return "" }
        defer { CRYPTO_free(text, #fileID, #line) }
        return String(cString: text)
    }

    package var subject: String { nameText(X509_get_subject_name(handle)) }
    package var issuer: String { nameText(X509_get_issuer_name(handle)) }

    /// Whether it names itself as its issuer.
    package var isSelfIssued: Bool {
        X509_NAME_cmp(X509_get_subject_name(handle), X509_get_issuer_name(handle)) == 0
    }

    /// Whether its subject is the name that `certificate` gives its issuer.
    func names(issuerOf certificate: X509Certificate) -> Bool {
        X509_NAME_cmp(
            X509_get_subject_name(handle), X509_get_issuer_name(certificate.handle)) == 0
    }

    /// Whether `authority` signed it.
    package func isIssued(by authority: X509Certificate) -> Bool {
        defer { ERR_clear_error() }
        guard authority.names(issuerOf: self), let key = X509_get0_pubkey(authority.handle) else {
            return false
        }
        return X509_verify(handle, key) == 1
    }

    package var isAuthority: Bool { X509_check_ca(handle) == 1 }

    /// Seconds since 1970.
    package var notBefore: Int64 { unixSeconds(X509_get0_notBefore(handle)) }
    /// Seconds since 1970.
    package var notAfter: Int64 { unixSeconds(X509_get0_notAfter(handle)) }
}

/// A distinguished name on one line, control characters escaped.
func nameText(_ name: OpaquePointer?) -> String {
    let bio = BIO_new(BIO_s_mem())
    defer { BIO_free(bio) }
    _ = bsfg_print_name(bio, name)
    return String(decoding: memoryBytes(bio), as: UTF8.self)
}

/// What a memory BIO holds.
package func memoryBytes(_ bio: OpaquePointer?) -> [UInt8] {
    var start: UnsafePointer<CChar>?
    let count = bsfg_memory_bytes(bio, &start)
    guard let start, count > 0 else { return [] }
    return UnsafeRawBufferPointer(start: start, count: count).map { $0 }
}

/// Whether reading PEM blocks ended because there is no other, and not at a damaged one.
func isEndOfPEM(_ code: UInt) -> Bool {
    Int32(code & UInt(ERR_REASON_MASK)) == PEM_R_NO_START_LINE
}

/// Seconds since 1970 of an ASN.1 time; libcrypto has already checked its form when it was parsed.
func unixSeconds(_ time: UnsafePointer<ASN1_TIME>?) -> Int64 {
    var days: Int32 = 0
    var rest: Int32 = 0
    guard let epoch = ASN1_TIME_set(nil, 0) else { return 0 }
    defer { ASN1_STRING_free(epoch) }
    guard ASN1_TIME_diff(&days, &rest, epoch, time) == 1 else { return 0 }
    return Int64(days) * 86_400 + Int64(rest)
}
