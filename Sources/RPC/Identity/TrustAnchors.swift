internal import COpenSSL
internal import Glibc

/// The certificates of one or more CA files, roots and every issuing CA: what a leaf is verified
/// against. Nothing else a peer sends is used, since NIOSSL shows only its leaf.
package final class TrustAnchors: @unchecked Sendable {
    package let certificates: [X509Certificate]
    /// The files they came from, for sentences.
    package let names: [String]
    /// Of these CAs.
    package let revocation: RevocationLists
    // libcrypto locks a store itself; it is only read after init.
    private let store: OpaquePointer

    /// Leaf, at most two issuing CAs, root.
    package static let chainCertificatesMaximum = 4
    package static let certificatesMaximum = 256

    package convenience init(files: [String]) throws(CertificateError) {
        var certificates: [X509Certificate] = []
        for file in files { certificates += try X509Certificate.all(file: file) }
        try self.init(certificates: certificates, names: files)
    }

    /// - Parameter certificates: those that are here more than once count once.
    package convenience init(
        certificates: [X509Certificate], names: [String],
        revocation: RevocationLists = RevocationLists()
    ) throws(CertificateError) {
        let from = names.joined(separator: ", ")
        let distinct = Self.distinct(certificates)
        guard !distinct.isEmpty else { throw CertificateError("\(from) holds no certificate") }
        guard distinct.count <= Self.certificatesMaximum else {
            throw CertificateError(
                "\(from) holds \(distinct.count) certificates, at most "
                    + "\(Self.certificatesMaximum) are read")
        }
        for certificate in distinct {
            guard certificate.isAuthority else {
                throw CertificateError(
                    "\(from) holds '\(certificate.subject)', which is not a certificate authority; "
                        + "keep only roots and issuing CAs there")
            }
            if let problem = certificate.keyKind.problem {
                throw CertificateError("'\(certificate.subject)' of \(from): \(problem)")
            }
        }
        try self.init(distinct: distinct, names: names, revocation: revocation)
    }

    /// What several trusts trust together. How many certificates there may be is a matter of each of them.
    package convenience init(
        union trusts: [TrustAnchors], names: [String], revocation: RevocationLists = RevocationLists()
    ) throws(CertificateError) {
        try self.init(
            distinct: Self.distinct(trusts.flatMap(\.certificates)), names: names, revocation: revocation)
    }

    private init(
        distinct certificates: [X509Certificate], names: [String], revocation: RevocationLists
    ) throws(CertificateError) {
        let from = names.joined(separator: ", ")
        guard let store = X509_STORE_new() else { throw .libcrypto("no memory for \(from)") }
        self.store = store
        self.certificates = certificates
        self.names = names
        self.revocation = revocation
        for certificate in certificates where X509_STORE_add_cert(store, certificate.handle) != 1 {
            throw .libcrypto("'\(certificate.subject)' of \(from) cannot be used as an anchor")
        }
    }

    private init(_ other: TrustAnchors, _ revocation: RevocationLists) {
        let isShared = X509_STORE_up_ref(other.store) == 1
        precondition(isShared, "a store can be shared")
        store = other.store
        certificates = other.certificates
        names = other.names
        self.revocation = revocation
    }

    /// The same CAs with these CRLs.
    package func with(_ revocation: RevocationLists) -> TrustAnchors { TrustAnchors(self, revocation) }

    private static func distinct(_ certificates: [X509Certificate]) -> [X509Certificate] {
        var seen: Set<[UInt8]> = []
        return certificates.filter { seen.insert($0.fingerprint).inserted }
    }

    deinit { X509_STORE_free(store) }

    /// Checks signatures, validity, usage, key sizes, chain length and CRLs. Blocks for a fraction of a
    /// millisecond (more for RSA): call it off event loops.
    package func verify(
        _ leaf: X509Certificate, direction: CallDirection,
        atSeconds now: Int64 = Int64(time(nil))
    ) throws(CertificateRefusal) {
        // Said before the chain is built, since libcrypto has only one word for all of them.
        if let problem = leaf.keyKind.problem { throw leaf.refusal(.unsupportedKey, problem) }
        if let problem = leaf.usageProblem(direction) { throw leaf.refusal(.wrongUsage, problem) }
        if now < leaf.notBefore {
            throw leaf.refusal(
                .notYetValid,
                "it is valid from \(UTCText.text(leaf.notBefore)), this clock says "
                    + "\(UTCText.text(now)); compare both clocks")
        }
        if now >= leaf.notAfter {
            throw leaf.refusal(
                .expired,
                "it expired at \(UTCText.text(leaf.notAfter)), this clock says "
                    + "\(UTCText.text(now)); issue a new one, and compare both clocks if it is new")
        }
        guard let context = X509_STORE_CTX_new() else {
            throw leaf.refusal(.malformed, "no memory to verify it")
        }
        defer { X509_STORE_CTX_free(context) }
        guard X509_STORE_CTX_init(context, store, leaf.handle, nil) == 1,
            let parameters = X509_STORE_CTX_get0_param(context)
        else { throw leaf.refusal(.malformed, "it cannot be verified") }
        X509_VERIFY_PARAM_set_purpose(parameters, direction.purpose)
        X509_VERIFY_PARAM_set_time(parameters, Int(now))
        // Depth counts what is between the leaf and the root.
        X509_VERIFY_PARAM_set_depth(parameters, Int32(Self.chainCertificatesMaximum - 2))
        // Level 2 is 112 bits: RSA-2048 or better, no SHA-1 signatures.
        X509_VERIFY_PARAM_set_auth_level(parameters, 2)
        guard X509_verify_cert(context) == 1 else {
            defer { ERR_clear_error() }
            throw refusal(of: leaf, context)
        }
        let refused = revocation.refusal(
            ofLeaf: leaf, chain: Self.chain(context), atSeconds: now)
        if let refused { throw refused }
    }

    /// The certificates of a chain that verified, the leaf first.
    private static func chain(_ context: OpaquePointer) -> [X509Certificate] {
        let chain = X509_STORE_CTX_get0_chain(context)
        return (0..<bsfg_chain_count(chain)).compactMap { index in
            guard let handle = bsfg_chain_certificate(chain, index), X509_up_ref(handle) == 1 else {
                return nil
            }
            return X509Certificate(owning: handle)
        }
    }

    private func refusal(of leaf: X509Certificate, _ context: OpaquePointer) -> CertificateRefusal {
        let code = X509_STORE_CTX_get_error(context)
        let text = String(cString: X509_verify_cert_error_string(Int(code)))
        let from = names.joined(separator: ", ")
        var blamed = leaf
        if let current = X509_STORE_CTX_get_current_cert(context), X509_up_ref(current) == 1 {
            blamed = X509Certificate(owning: current)
        }
        switch code {
        case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY, X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT,
            X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
            // Two sites may have named their CAs alike; then the name alone would mislead.
            let isNamesake = certificates.contains { $0.names(issuerOf: blamed) }
            return leaf.refusal(
                .unknownIssuer,
                "'\(blamed.subject)' was issued by "
                    + (isNamesake ? "another CA of the name " : "")
                    + "'\(blamed.issuer)', which is not in \(from); "
                    + "add that CA's certificate there if it is to be trusted")
        case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
            return leaf.refusal(
                .unknownIssuer,
                "it is self-signed and not in \(from); have it issued by a CA that is there")
        case X509_V_ERR_CERT_HAS_EXPIRED:
            return leaf.refusal(
                .expired,
                "its issuer '\(blamed.subject)' expired at \(UTCText.text(blamed.notAfter))")
        case X509_V_ERR_CERT_NOT_YET_VALID:
            return leaf.refusal(
                .notYetValid,
                "its issuer '\(blamed.subject)' is valid from \(UTCText.text(blamed.notBefore))")
        case X509_V_ERR_CERT_CHAIN_TOO_LONG:
            return leaf.refusal(
                .chainTooLong,
                "its chain has more than \(Self.chainCertificatesMaximum) certificates")
        case X509_V_ERR_INVALID_PURPOSE:
            return leaf.refusal(.wrongUsage, "'\(blamed.subject)': \(text)")
        default:
            return leaf.refusal(
                .untrusted, "'\(blamed.subject)' does not verify against \(from): \(text)")
        }
    }
}

extension X509Certificate {
    package var fingerprintHexadecimal: String { hexadecimal(fingerprint) }

    /// A refusal of this certificate; `problem` follows "the certificate ... is refused:".
    func refusal(_ kind: CertificateRefusal.Kind, _ problem: String) -> CertificateRefusal {
        let seen = (try? names()) ?? []
        return CertificateRefusal(
            kind: kind, sentence: "the certificate '\(subject)' is refused: \(problem)",
            names: seen, fingerprint: fingerprintHexadecimal, serial: serial)
    }
}

package func hexadecimal(_ bytes: [UInt8]) -> String {
    let digits = Array("0123456789abcdef".utf8)
    return String(
        decoding: bytes.flatMap { [digits[Int($0 >> 4)], digits[Int($0 & 15)]] }, as: UTF8.self)
}
