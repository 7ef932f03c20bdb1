internal import Glibc

/// A second look, with libcrypto, at the certificate of a server that our handshake refused: the TLS library has
/// one word for all that can be wrong with it.
struct ServerCertificateDiagnosis: Sendable {
    let tls: RPCClientTLS

    /// The error with the one reason, the issuer and the dates; nil where it is about something else. Blocks:
    /// verifies signatures.
    func explain(
        _ error: RPCClientError, _ endpoint: String, leafDER: [UInt8],
        atSeconds now: Int64 = Int64(time(nil))
    ) -> RPCClientError? {
        guard error.transportKind == .tls, let leaf = try? X509Certificate(der: leafDER),
            let roots = try? X509Certificate.all(pem: tls.trustRoots, name: "the CA files"),
            let anchors = try? TrustAnchors(certificates: roots, names: tls.trustNames)
        else { return nil }
        do throws(CertificateRefusal) {
            try anchors.verify(leaf, direction: .outgoing, atSeconds: now)
            return nil
        } catch {
            return .transport(
                kind: .tls,
                sentence: "\(endpoint): \(error.sentence); "
                    // Who issued it is said already where that is what is wrong.
                    + (error.kind == .unknownIssuer ? "" : "it was issued by '\(leaf.issuer)', ")
                    + "valid from \(UTCText.text(leaf.notBefore)) to \(UTCText.text(leaf.notAfter)) "
                    + "(\(error.kind.rawValue))")
        }
    }
}
