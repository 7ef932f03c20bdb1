internal import COpenSSL
internal import Glibc

/// Checks a server that is known by its address and not by a peer entry, as the command line does on
/// a machine that is no node: its leaf must chain to the given CA and name the host that was called.
package final class EndpointVerifier: Sendable {
    private let anchors: TrustAnchors
    private let host: String

    package init(anchors: TrustAnchors, host: String) {
        self.anchors = anchors
        self.host = host
    }

    package func check(leafDER: [UInt8]) throws(CertificateRefusal) -> Caller {
        let leaf: X509Certificate
        let names: [CertificateName]
        do {
            leaf = try X509Certificate(der: leafDER)
            names = try leaf.names()
        } catch {
            throw CertificateRefusal(
                kind: .malformed, sentence: error.sentence, names: [], fingerprint: "", serial: "")
        }
        try anchors.verify(leaf, direction: .outgoing)
        guard leaf.covers(host: host) else {
            throw leaf.refusal(
                .identityMismatch,
                "it does not name '\(host)'; call an address it names, or issue it again with "
                    + "--address \(host)")
        }
        return Caller(
            kind: .peer(id: host), identity: names.first?.text ?? host,
            certificate: CallerCertificate(leaf, names: names))
    }
}

extension X509Certificate {
    /// Whether an ordinary client that calls `host` (name or address) accepts this certificate.
    package func covers(host: String) -> Bool {
        if let address = IPAddress(host) {
            return X509_check_ip(handle, address.bytes, address.bytes.count, 0) == 1
        }
        let flags = UInt32(X509_CHECK_FLAG_NEVER_CHECK_SUBJECT | X509_CHECK_FLAG_NO_WILDCARDS)
        return X509_check_host(handle, host, host.utf8.count, flags, nil) == 1
    }
}
