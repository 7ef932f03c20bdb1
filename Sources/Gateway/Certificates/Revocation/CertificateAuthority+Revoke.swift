internal import COpenSSL
internal import Glibc
package import RPC

extension CertificateAuthority {
    package static let revocationName = "ca.crl"
    /// How long a CRL is current by default: the next one is due before.
    package static let revocationDays = 30

    /// The CA's CRL in its directory; nil before the first.
    package static func revocationList(
        directory: String, authority: X509Certificate
    ) throws(CertificateError) -> RevocationList? {
        let path = "\(directory)/\(revocationName)"
        guard CertificateFiles.exists(path) else { return nil }
        guard let list = try RevocationList.all(file: path).first, list.isSigned(by: authority) else {
            throw CertificateError(
                "\(path) is not a CRL of '\(authority.subject)'; put that CA's newest CRL there, since "
                    + "the next one goes on from it")
        }
        return list
    }

    /// Makes the next CRL: everything that the one before revokes, and `serials` (hexadecimal) beside it.
    /// Without serials it says the same for longer.
    package func revoke(
        serials: [String], previous: RevocationList?, days: Int = CertificateAuthority.revocationDays,
        atSeconds now: Int64 = Int64(time(nil))
    ) throws(CertificateError) -> RevocationList {
        try Self.checkDays(days)
        guard now < certificate.notAfter else {
            throw CertificateError(
                "the CA expired at \(UTCText.text(certificate.notAfter)), and with it what it issued; "
                    + "make a new one")
        }
        guard let list = X509_CRL_new() else { throw .libcrypto("no memory for a CRL") }
        do {
            try fill(list, serials: serials, previous: previous, days: days, now)
        } catch {
            X509_CRL_free(list)
            throw error
        }
        return try RevocationList(owning: list)
    }

    private func fill(
        _ list: OpaquePointer, serials: [String], previous: RevocationList?, days: Int, _ now: Int64
    ) throws(CertificateError) {
        func check(_ done: Bool, _ what: String) throws(CertificateError) {
            guard done else { throw .libcrypto("the CRL's \(what) cannot be set") }
        }
        try check(X509_CRL_set_version(list, 1) == 1, "version")
        let name = X509_get_subject_name(certificate.handle)
        try check(X509_CRL_set_issuer_name(list, name) == 1, "issuer")
        // Clocks of plants are often behind, and a list from the future would puzzle them.
        let from = max(now - 3_600, previous?.thisUpdate ?? 0)
        try set(from, { X509_CRL_set1_lastUpdate(list, $0) }, "date")
        try set(now + Int64(days) * 86_400, { X509_CRL_set1_nextUpdate(list, $0) }, "date")
        if let previous {
            for index in 0..<bsfg_revoked_count(previous.handle) {
                let copy = X509_REVOKED_dup(bsfg_revoked(previous.handle, index))
                try check(copy != nil && X509_CRL_add0_revoked(list, copy) == 1, "entries")
            }
        }
        for serial in serials { try add(serial, to: list, now) }
        try check(X509_CRL_sort(list) == 1, "order")
        try setNumber(of: list, after: previous)
        try setKeyIdentifier(of: list)
        try check(X509_CRL_sign(list, key.handle, EVP_sha256()) > 0, "signature")
    }

    private func add(_ serial: String, to list: OpaquePointer, _ now: Int64) throws(CertificateError) {
        let digits = serial.utf8.filter { $0 != UInt8(ascii: ":") }
        let text = String(decoding: digits, as: UTF8.self)
        guard (1...40).contains(digits.count), digits.allSatisfy({ isHexadecimalDigit($0) }) else {
            throw CertificateError(
                "'\(serial)' is no serial number: it has 1 to 40 hexadecimal digits, as 'bsfg cert inspect' shows")
        }
        var number: OpaquePointer?
        guard BN_hex2bn(&number, text) > 0, let number else {
            throw .libcrypto("the serial number \(serial) cannot be read")
        }
        defer { BN_free(number) }
        guard let integer = BN_to_ASN1_INTEGER(number, nil) else {
            throw .libcrypto("the serial number \(serial) cannot be written")
        }
        defer { ASN1_INTEGER_free(integer) }
        var known: OpaquePointer?
        if X509_CRL_get0_by_serial(list, &known, integer) == 1 { return }
        guard let entry = X509_REVOKED_new() else { throw .libcrypto("no memory for a CRL") }
        var isAdded = false
        defer { if !isAdded { X509_REVOKED_free(entry) } }
        guard X509_REVOKED_set_serialNumber(entry, integer) == 1 else {
            throw .libcrypto("the serial number \(serial) cannot be written")
        }
        try set(now, { X509_REVOKED_set_revocationDate(entry, $0) }, "date")
        isAdded = X509_CRL_add0_revoked(list, entry) == 1
        if !isAdded { throw .libcrypto("the serial number \(serial) cannot be added") }
    }

    private func set(
        _ seconds: Int64, _ body: (UnsafeMutablePointer<ASN1_TIME>?) -> Int32, _ what: String
    ) throws(CertificateError) {
        guard let time = ASN1_TIME_set(nil, Int(seconds)) else {
            throw .libcrypto("the CRL's \(what) cannot be set")
        }
        defer { ASN1_TIME_free(time) }
        guard body(time) == 1 else { throw .libcrypto("the CRL's \(what) cannot be set") }
    }

    private func setNumber(
        of list: OpaquePointer, after previous: RevocationList?
    ) throws(CertificateError) {
        var number: OpaquePointer? = BN_new()
        defer { BN_free(number) }
        if let before = previous?.number {
            guard BN_hex2bn(&number, String(before.description.dropFirst(2))) > 0 else {
                throw .libcrypto("the CRL number cannot be read")
            }
        }
        guard number != nil, BN_add_word(number, 1) == 1,
            let integer = BN_to_ASN1_INTEGER(number, nil)
        else { throw .libcrypto("the CRL number cannot be set") }
        defer { ASN1_INTEGER_free(integer) }
        guard
            X509_CRL_add1_ext_i2d(list, NID_crl_number, UnsafeMutableRawPointer(integer), 0, 0) == 1
        else { throw .libcrypto("the CRL number cannot be set") }
    }

    private func setKeyIdentifier(of list: OpaquePointer) throws(CertificateError) {
        var context = X509V3_CTX()
        X509V3_set_ctx(&context, certificate.handle, nil, nil, list, 0)
        guard let made = X509V3_EXT_conf_nid(nil, &context, NID_authority_key_identifier, "keyid:always")
        else { throw .libcrypto("the CRL's key identifier cannot be made") }
        defer { X509_EXTENSION_free(made) }
        guard X509_CRL_add_ext(list, made, -1) == 1 else {
            throw .libcrypto("the CRL's key identifier cannot be set")
        }
    }
}

private func isHexadecimalDigit(_ byte: UInt8) -> Bool {
    switch byte {
    case UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "a")...UInt8(ascii: "f"),
        UInt8(ascii: "A")...UInt8(ascii: "F"):
        true
    default: false
    }
}
