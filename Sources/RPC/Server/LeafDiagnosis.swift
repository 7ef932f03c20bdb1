internal import COpenSSL

/// A second look, with libcrypto, at a leaf that the handshake refused: NIOSSL sends the alert that
/// tells the caller why, and keeps no trace of it for our own counters and log.
struct LeafDiagnosis: Sendable {
    let trustRoots: [X509Certificate]

    struct Finding: Sendable {
        var failure: HandshakeFailure
        /// What libcrypto calls it.
        var explanation: String
    }

    /// Blocking: verifies signatures.
    func examine(_ leafDER: [UInt8]) -> Finding {
        let certificate = leafDER.withUnsafeBufferPointer { bytes in
            var cursor = bytes.baseAddress
            return d2i_X509(nil, &cursor, bytes.count)
        }
        guard let certificate else {
            return Finding(
                failure: .badCertificate, explanation: "not a certificate")
        }
        defer { X509_free(certificate) }

        guard let store = X509_STORE_new(), let context = X509_STORE_CTX_new() else {
            preconditionFailure("out of memory")
        }
        defer {
            X509_STORE_CTX_free(context)
            X509_STORE_free(store)
        }
        for authority in trustRoots { X509_STORE_add_cert(store, authority.handle) }
        X509_STORE_set_purpose(store, X509_PURPOSE_SSL_CLIENT)
        X509_STORE_CTX_init(context, store, certificate, nil)
        let verified = X509_verify_cert(context) == 1
        let code = X509_STORE_CTX_get_error(context)
        let explanation = String(cString: X509_verify_cert_error_string(Int(code)))
        return Finding(
            failure: verified ? .badCertificate : Self.failure(code), explanation: explanation)
    }

    private static func failure(_ code: Int32) -> HandshakeFailure {
        switch code {
        case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT, X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY,
            X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE, X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN,
            X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT, X509_V_ERR_CERT_SIGNATURE_FAILURE:
            .unknownCA
        case X509_V_ERR_CERT_HAS_EXPIRED, X509_V_ERR_CERT_NOT_YET_VALID: .expired
        case X509_V_ERR_INVALID_PURPOSE: .wrongUsage
        default: .badCertificate
        }
    }
}
