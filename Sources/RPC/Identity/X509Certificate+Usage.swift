internal import COpenSSL

extension CallDirection {
    /// The extended key usage that the other side's certificate needs.
    var usageName: String { self == .incoming ? "clientAuth" : "serverAuth" }
    var purpose: Int32 { self == .incoming ? X509_PURPOSE_SSL_CLIENT : X509_PURPOSE_SSL_SERVER }
}

/// The kind and size of a public key.
package struct CertificateKeyKind: Sendable, Hashable, CustomStringConvertible {
    package enum Algorithm: String, Sendable, Hashable {
        case rsa = "RSA"
        case ellipticCurve = "EC"
        case ed25519 = "Ed25519"
        case other
    }

    package let algorithm: Algorithm
    package let bits: Int

    package var description: String {
        switch algorithm {
        case .rsa: "RSA-\(bits)"
        case .ellipticCurve: "P-\(bits)"
        case .ed25519: "Ed25519"
        case .other: "other"
        }
    }

    package static let rsaBitsMaximum = 4096
    package static let rsaBitsMinimum = 2048

    /// Why such a key is not used, nil when it is. Large RSA keys make every handshake expensive.
    package var problem: String? {
        switch algorithm {
        case .rsa where bits > Self.rsaBitsMaximum:
            "its key is RSA-\(bits), at most RSA-\(Self.rsaBitsMaximum) is accepted"
        case .rsa where bits < Self.rsaBitsMinimum:
            "its key is RSA-\(bits), at least RSA-\(Self.rsaBitsMinimum) is needed"
        case .other:
            "its key is neither RSA, an elliptic curve nor Ed25519"
        default:
            nil
        }
    }
}

extension X509Certificate {
    /// The extended key usages by name, empty when the certificate does not restrict its use.
    package var extendedKeyUsages: [String] {
        guard X509_get_extension_flags(handle) & UInt32(EXFLAG_XKUSAGE) != 0 else { return [] }
        let usage = X509_get_extended_key_usage(handle)
        let known: [(Int32, String)] = [
            (XKU_SSL_SERVER, "serverAuth"), (XKU_SSL_CLIENT, "clientAuth"),
            (XKU_SMIME, "emailProtection"), (XKU_CODE_SIGN, "codeSigning"),
            (XKU_TIMESTAMP, "timeStamping"), (XKU_OCSP_SIGN, "OCSPSigning"),
            (XKU_ANYEKU, "anyExtendedKeyUsage"),
        ]
        let names = known.filter { usage & UInt32($0.0) != 0 }.map(\.1)
        return names.isEmpty ? ["other"] : names
    }

    /// Why the certificate may not be shown by this side, nil when it may.
    package func usageProblem(_ direction: CallDirection) -> String? {
        let usages = extendedKeyUsages
        guard !usages.isEmpty, !usages.contains(direction.usageName) else { return nil }
        return "its extended key usage is \(usages.joined(separator: ", ")); "
            + "\(direction.usageName) is needed, issue it again with both"
    }

    package var keyKind: CertificateKeyKind {
        guard let key = X509_get0_pubkey(handle) else {
            return CertificateKeyKind(algorithm: .other, bits: 0)
        }
        let algorithm: CertificateKeyKind.Algorithm =
            switch EVP_PKEY_get_base_id(key) {
            case EVP_PKEY_RSA: .rsa
            case EVP_PKEY_EC: .ellipticCurve
            case EVP_PKEY_ED25519: .ed25519
            default: .other
            }
        return CertificateKeyKind(algorithm: algorithm, bits: Int(EVP_PKEY_get_bits(key)))
    }
}
