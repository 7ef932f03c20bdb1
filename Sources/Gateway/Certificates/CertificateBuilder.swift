internal import COpenSSL
internal import RPC

/// Assembles and signs one X.509v3 certificate.
struct CertificateBuilder {
    let handle: OpaquePointer

    /// The handle is handed on by `sign`; until then this owns it.
    init(
        commonName: String, notBefore: Int64, notAfter: Int64, key: PrivateKey
    ) throws(CertificateError) {
        guard let handle = X509_new() else { throw .libcrypto("no memory for a certificate") }
        self.handle = handle
        do {
            try check(X509_set_version(handle, 2), "version")
            try setSerial()
            try check(ASN1_TIME_set(X509_getm_notBefore(handle), Int(notBefore)) != nil, "date")
            try check(ASN1_TIME_set(X509_getm_notAfter(handle), Int(notAfter)) != nil, "date")
            try check(
                X509_NAME_add_entry_by_NID(
                    X509_get_subject_name(handle), NID_commonName, MBSTRING_UTF8, Array(commonName.utf8),
                    Int32(commonName.utf8.count), -1, 0), "common name '\(commonName)'")
            try check(X509_set_pubkey(handle, key.handle), "public key")
        } catch {
            X509_free(handle)
            throw error
        }
    }

    /// 127 random bits, so that serials of a lost CA directory never repeat.
    private func setSerial() throws(CertificateError) {
        guard let number = BN_new() else { throw .libcrypto("no memory for a serial number") }
        defer { BN_free(number) }
        try check(BN_rand(number, 127, 0, 0), "serial number")
        try check(BN_to_ASN1_INTEGER(number, X509_get_serialNumber(handle)) != nil, "serial number")
    }

    /// Adds an extension in the words of openssl's configuration files. `value` consists of our own
    /// words only: names from outside are added by `addAlternativeNames`, which parses nothing.
    func add(_ nid: Int32, _ value: String, issuer: X509Certificate?) throws(CertificateError) {
        var context = X509V3_CTX()
        X509V3_set_ctx(&context, issuer?.handle ?? handle, handle, nil, nil, 0)
        guard let made = X509V3_EXT_conf_nid(nil, &context, nid, value) else {
            throw .libcrypto("the certificate extension \(value) cannot be made")
        }
        defer { X509_EXTENSION_free(made) }
        try check(X509_add_ext(handle, made, -1), "extension \(value)")
    }

    func addAlternativeNames(
        dns: [String], addresses: [IPAddress]
    ) throws(CertificateError) {
        guard let names = GENERAL_NAMES_new() else { throw .libcrypto("no memory for names") }
        defer { GENERAL_NAMES_free(names) }
        for name in dns {
            try check(bsfg_add_name(names, GEN_DNS, Array(name.utf8), Int32(name.utf8.count)), name)
        }
        for address in addresses {
            let bytes = address.bytes
            try check(bsfg_add_name(names, GEN_IPADD, bytes, Int32(bytes.count)), address.text)
        }
        try check(
            X509_add1_ext_i2d(handle, NID_subject_alt_name, UnsafeMutableRawPointer(names), 0, 0),
            "alternative names")
    }

    /// Signs and hands over the certificate. Call it once, or `discard`.
    func sign(
        issuer: X509Certificate?, key: PrivateKey
    ) throws(CertificateError) -> X509Certificate {
        let name = X509_get_subject_name(issuer?.handle ?? handle)
        try check(X509_set_issuer_name(handle, name), "issuer")
        try check(X509_sign(handle, key.handle, EVP_sha256()) > 0, "signature")
        return X509Certificate(owning: handle)
    }

    func discard() { X509_free(handle) }

    private func check(_ status: Int32, _ part: String) throws(CertificateError) {
        try check(status == 1, part)
    }

    private func check(_ done: Bool, _ part: String) throws(CertificateError) {
        guard done else { throw .libcrypto("the certificate's \(part) cannot be set") }
    }
}
