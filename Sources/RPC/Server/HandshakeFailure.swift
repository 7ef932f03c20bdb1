internal import NIOSSL

/// Why a handshake failed, as counted and logged: a fixed set of labels.
enum HandshakeFailure: String, Sendable, CaseIterable {
    case noCertificate = "no_certificate"
    case unknownCA = "unknown_ca"
    case expired
    case wrongUsage = "wrong_usage"
    case protocolVersion = "protocol_version"
    case noSharedCipher = "no_shared_cipher"
    case badCertificate = "bad_certificate"
    case refusedByCaller = "refused_by_caller"
    case notTLS = "not_tls"
    case closedByCaller = "closed_by_caller"
    case timeout
    case other

    /// The alert that the caller was sent, where there is one to tell.
    var alert: Int? {
        switch self {
        case .noCertificate: 116
        case .unknownCA: 48
        case .expired: 45
        case .wrongUsage: 43
        case .protocolVersion: 70
        case .noSharedCipher: 40
        case .badCertificate: 42
        case .refusedByCaller, .notTLS, .closedByCaller, .timeout, .other: nil
        }
    }

    /// What the operators of both sides are told; nil where nobody refused anybody.
    var sentence: String? {
        switch self {
        case .noCertificate: "the caller showed no certificate"
        case .unknownCA: "the caller's certificate is of no CA that is trusted here"
        case .expired: "the caller's certificate is expired, or not valid yet"
        case .wrongUsage: "the caller's certificate is not for a client"
        case .protocolVersion: "the caller does not speak TLS 1.3"
        case .noSharedCipher: "the caller offers no cipher that is used here"
        case .badCertificate: "the caller's certificate cannot be verified"
        case .refusedByCaller: "the caller refused our certificate"
        case .notTLS, .closedByCaller, .timeout, .other: nil
        }
    }

    /// What is known from BoringSSL's error alone: it tells every failed verification by one word,
    /// so `badCertificate` asks for a look at the certificate itself.
    static func classify(_ error: BoringSSLError) -> HandshakeFailure {
        guard case .sslError(let stack) = error else { return .closedByCaller }
        if stack.contains(.eofDuringHandshake) { return .closedByCaller }
        let text = stack.map(\.description).joined(separator: " ")
        for (word, failure) in words where text.contains(word) { return failure }
        return .other
    }

    /// What the TLS library calls it, in words that mean something to who reads them.
    static func explanation(_ error: BoringSSLError) -> String {
        if let alert = TLSAlert(error) { return "alert \(alert.number), \(alert.name)" }
        return TLSAlert.boringText(error) ?? "\(error)"
    }

    /// BoringSSL's reason words, the more telling first.
    private static let words: [(String, HandshakeFailure)] = [
        ("PEER_DID_NOT_RETURN_A_CERTIFICATE", .noCertificate),
        ("CERTIFICATE_VERIFY_FAILED", .badCertificate),
        ("UNSUPPORTED_PROTOCOL", .protocolVersion),
        ("NO_SHARED_CIPHER", .noSharedCipher),
        ("NO_SHARED_GROUP", .noSharedCipher),
        ("_ALERT_", .refusedByCaller),
        ("HTTP_REQUEST", .notTLS),
        ("HTTPS_PROXY_REQUEST", .notTLS),
        ("WRONG_VERSION_NUMBER", .notTLS),
        ("UNEXPECTED_RECORD", .notTLS),
    ]
}
