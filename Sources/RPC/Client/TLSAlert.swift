internal import NIOSSL

/// A fatal alert with which the other side ended TLS.
struct TLSAlert: Equatable, Sendable {
    var number: Int

    init(number: Int) { self.number = number }

    /// The alert behind an error of NIOSSL, which shows it in text only: BoringSSL's library 16
    /// (SSL) reports alert `n` as reason `1000 + n` in the low twelve bits of its error number.
    init?(_ error: any Error) {
        for number in Self.boringNumbers(error) where number >> 24 == 16 {
            let reason = Int(number & 0xFFF)
            if (1000..<1256).contains(reason) {
                self.number = reason - 1000
                return
            }
        }
        return nil
    }

    /// BoringSSL's error numbers in an error of NIOSSL.
    static func boringNumbers(_ error: any Error) -> [UInt32] {
        boringStack(error).compactMap { entry in
            let words = entry.description.split(separator: " ")
            return words.count > 1 && words[0] == "Error:" ? UInt32(words[1]) : nil
        }
    }

    /// What BoringSSL calls an error, without where in its source it was found: that is the path of a build.
    /// Nil where it is none of its errors.
    static func boringText(_ error: any Error) -> String? {
        let texts = boringStack(error).map { entry in
            // "Error: NUMBER error:HEX:library:function:REASON at FILE:LINE"
            let words = entry.description.split(separator: ":")
            guard words.count > 5 else { return entry.description }
            return String(words[5].split(separator: " ").first ?? words[5])
        }
        return texts.isEmpty ? nil : texts.joined(separator: ", ")
    }

    private static func boringStack(_ error: any Error) -> [BoringSSLInternalError] {
        let boring: BoringSSLError? =
            switch error {
            case NIOSSLError.handshakeFailed(let inner), NIOSSLError.shutdownFailed(let inner):
                inner
            case let direct as BoringSSLError: direct
            default: nil
            }
        return switch boring {
        case .sslError(let stack), .unknownError(let stack): stack
        default: []
        }
    }

    var name: String {
        switch number {
        case 40: "handshake failure"
        case 42: "bad certificate"
        case 43: "unsupported certificate"
        case 44: "certificate revoked"
        case 45: "certificate expired"
        case 46: "certificate unknown"
        case 48: "unknown CA"
        case 49: "access denied"
        case 51: "decrypt error"
        case 70: "protocol version"
        case 80: "internal error"
        case 112: "unrecognised name"
        case 116: "certificate required"
        case 120: "no application protocol"
        default: "alert"
        }
    }

    /// Whether it says that our certificate is not taken, or is missing. That of a signature that does not fit
    /// (51) and that of no common ground (40) speak of us, and not of whom the certificate names.
    var isAboutCertificate: Bool {
        switch number {
        case 42, 43, 44, 45, 46, 48, 49, 116: true
        default: false
        }
    }

    /// What it means for us, and what to do.
    private var advice: String {
        switch number {
        case 42, 46, 51: "it cannot use our certificate; check the certificate and key files"
        case 43:
            "our certificate is not meant for clients; issue one with the client extended key usage"
        case 44: "our certificate is revoked; issue a new one"
        case 45:
            "our certificate is expired, or not yet valid by the server's clock; renew it, and "
                + "compare both clocks"
        case 48:
            "it does not trust the CA of our certificate; give the server our CA's certificate, "
                + "or use a certificate of a CA that it trusts"
        case 49: "access is denied; check the server's configuration for our identity"
        case 70: "it does not take TLS 1.3; update the server"
        case 112: "it does not know the host name we asked for; check the endpoint"
        case 116: "it requires a client certificate and we sent none; configure one"
        case 120: "it does not offer HTTP/2; check that the endpoint is a bsfg node"
        default: "see the server's log"
        }
    }

    var sentence: String {
        "the server refused TLS with alert \(number) (\(name)): \(advice)"
    }
}
