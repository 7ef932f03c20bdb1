internal import COpenSSL

/// A certificate revocation list (CRL) of one CA. Immutable, so it may be used from any thread.
package final class RevocationList: @unchecked Sendable {
    /// libcrypto's object; valid as long as this one.
    package let handle: OpaquePointer
    /// Which of its CA's lists it is; nil in a list without a number, which is older than any with one.
    package let number: RevocationNumber?
    /// Seconds since 1970.
    package let thisUpdate: Int64
    /// When its CA promised a newer one, in seconds since 1970; nil: never.
    package let nextUpdate: Int64?

    package static let fileBytesMaximum = 16 << 20
    package static let listsMaximum = 64

    /// Takes ownership of `handle`.
    package init(owning handle: OpaquePointer) throws(CertificateError) {
        self.handle = handle
        number = RevocationNumber(of: handle)
        thisUpdate = unixSeconds(X509_CRL_get0_lastUpdate(handle))
        nextUpdate = X509_CRL_get0_nextUpdate(handle).map { unixSeconds($0) }
        // What it says of other certificates than it seems to, or what it leaves out, would be misread.
        for index in 0..<X509_CRL_get_ext_count(handle) {
            guard let found = X509_CRL_get_ext(handle, index) else { continue }
            let kind = OBJ_obj2nid(X509_EXTENSION_get_object(found))
            let isPartial = kind == NID_delta_crl || kind == NID_issuing_distribution_point
            guard !isPartial, X509_EXTENSION_get_critical(found) == 0 else {
                throw CertificateError(
                    "the CRL of '\(issuer)' is a part of one or has an extension that must not be "
                        + "ignored; give the CA's complete CRL")
            }
        }
    }

    deinit { X509_CRL_free(handle) }

    /// Every CRL of a file, which is PEM with one or more of them, or one in DER form.
    package static func all(file path: String) throws(CertificateError) -> [RevocationList] {
        let bytes = try SmallFile.read(path, bytesMaximum: fileBytesMaximum)
        do {
            return try all(bytes)
        } catch {
            throw CertificateError("\(path): \(error.sentence)")
        }
    }

    package static func all(_ bytes: [UInt8]) throws(CertificateError) -> [RevocationList] {
        // The tag of an ASN.1 sequence; PEM begins with a letter or a hyphen.
        if bytes.first == 0x30 { return [try one(der: bytes)] }
        guard let bio = BIO_new_mem_buf(bytes, Int32(bytes.count)) else {
            throw .libcrypto("the CRL cannot be read")
        }
        defer { BIO_free(bio) }
        var found: [RevocationList] = []
        while let parsed = PEM_read_bio_X509_CRL(bio, nil, { _, _, _, _ in 0 }, nil) {
            found.append(try RevocationList(owning: parsed))
            guard found.count <= listsMaximum else {
                throw CertificateError("the file holds more than \(listsMaximum) CRLs")
            }
        }
        guard isEndOfPEM(ERR_peek_last_error()) else {
            throw .libcrypto("CRL \(found.count + 1) cannot be read")
        }
        ERR_clear_error()
        guard !found.isEmpty else { throw CertificateError("the file holds no CRL") }
        return found
    }

    private static func one(der: [UInt8]) throws(CertificateError) -> RevocationList {
        var consumed = 0
        let parsed = der.withUnsafeBufferPointer { buffer -> OpaquePointer? in
            var cursor = buffer.baseAddress
            let parsed = d2i_X509_CRL(nil, &cursor, buffer.count)
            if let cursor, let base = buffer.baseAddress { consumed = cursor - base }
            return parsed
        }
        guard let parsed else { throw .libcrypto("the CRL cannot be read as DER") }
        let list = try RevocationList(owning: parsed)
        guard consumed == der.count else {
            throw CertificateError("the CRL is followed by \(der.count - consumed) bytes")
        }
        return list
    }

    package var pem: [UInt8] {
        let bio = BIO_new(BIO_s_mem())
        defer { BIO_free(bio) }
        PEM_write_bio_X509_CRL(bio, handle)
        return memoryBytes(bio)
    }

    /// SHA-256 of the DER form.
    package var fingerprint: [UInt8] {
        var digest = [UInt8](repeating: 0, count: 32)
        var count: UInt32 = 32
        let done = X509_CRL_digest(handle, EVP_sha256(), &digest, &count)
        precondition(done == 1 && count == 32, "SHA-256 of a parsed CRL")
        return digest
    }

    package var issuer: String { nameText(X509_CRL_get_issuer(handle)) }

    package var revokedCount: Int { Int(bsfg_revoked_count(handle)) }

    /// Whether `authority` signed it and may do so.
    package func isSigned(by authority: X509Certificate) -> Bool {
        defer { ERR_clear_error() }
        guard
            X509_NAME_cmp(X509_CRL_get_issuer(handle), X509_get_subject_name(authority.handle)) == 0,
            X509_get_key_usage(authority.handle) & UInt32(KU_CRL_SIGN) != 0,
            let key = X509_get0_pubkey(authority.handle)
        else { return false }
        return X509_CRL_verify(handle, key) == 1
    }

    /// When a certificate of this CA was revoked, in seconds since 1970; nil when it was not.
    package func revocation(of certificate: X509Certificate) -> Int64? {
        var entry: OpaquePointer?
        // 2: taken off the list again.
        guard X509_CRL_get0_by_cert(handle, &entry, certificate.handle) == 1, let entry else {
            return nil
        }
        return unixSeconds(X509_REVOKED_get0_revocationDate(entry))
    }

    package func isStale(atSeconds now: Int64) -> Bool { nextUpdate.map { now >= $0 } ?? false }

    /// Whether this one takes the other's place: a higher number, or the same and not made before.
    package func replaces(_ other: RevocationList) -> Bool {
        switch (number, other.number) {
        case (let own?, let theirs?) where own != theirs: own > theirs
        case (_?, nil): true
        case (nil, _?): false
        default: thisUpdate >= other.thisUpdate
        }
    }
}

/// A CRL number: up to 20 bytes, so no machine integer holds it.
package struct RevocationNumber: Sendable, Hashable, Comparable, CustomStringConvertible {
    /// Upper-case hexadecimal without leading zeros.
    private let digits: [UInt8]

    init?(of list: OpaquePointer) {
        guard let raw = X509_CRL_get_ext_d2i(list, NID_crl_number, nil, nil) else { return nil }
        let integer = raw.assumingMemoryBound(to: ASN1_INTEGER.self)
        defer { ASN1_INTEGER_free(integer) }
        guard let number = ASN1_INTEGER_to_BN(integer, nil) else { return nil }
        defer { BN_free(number) }
        guard BN_is_negative(number) == 0, let text = BN_bn2hex(number) else { return nil }
        defer { CRYPTO_free(text, #fileID, #line) }
        digits = Array(String(cString: text).utf8.drop { $0 == UInt8(ascii: "0") })
    }

    package static func < (left: RevocationNumber, right: RevocationNumber) -> Bool {
        left.digits.count != right.digits.count
            ? left.digits.count < right.digits.count
            : left.digits.lexicographicallyPrecedes(right.digits)
    }

    /// As `openssl crl -crlnumber` prints it.
    package var description: String {
        "0x" + (digits.isEmpty ? "0" : String(decoding: digits, as: UTF8.self))
    }
}
