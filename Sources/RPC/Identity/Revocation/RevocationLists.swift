internal import COpenSSL

/// The CRLs in force for the CAs of one trust, at most one for each.
package struct RevocationLists: Sendable {
    /// By the fingerprint of the CA that signed it.
    package private(set) var lists: [[UInt8]: RevocationList] = [:]
    /// Whether certificates of a CA without a current CRL are refused (`crl: required`).
    package let isRequired: Bool

    package init(isRequired: Bool = false) {
        self.isRequired = isRequired
    }

    package subscript(authority: X509Certificate) -> RevocationList? {
        lists[authority.fingerprint]
    }

    /// Takes a CRL of `authority` unless a newer one is here.
    /// - Returns: false when the newer one stays.
    @discardableResult
    package mutating func take(_ list: RevocationList, of authority: X509Certificate) -> Bool {
        let key = authority.fingerprint
        if let known = lists[key], !list.replaces(known) { return false }
        lists[key] = list
        return true
    }

    /// Why a certificate of a chain is not taken, nil when no CRL says so.
    ///
    /// - Parameter chain: the leaf first, then each one's issuer.
    func refusal(
        ofLeaf leaf: X509Certificate, chain: [X509Certificate], atSeconds now: Int64
    ) -> CertificateRefusal? {
        for (certificate, issuer) in zip(chain, chain.dropFirst()) {
            let what =
                certificate.fingerprint == leaf.fingerprint ? "it" : "its issuer '\(certificate.subject)'"
            guard let list = self[issuer] else {
                guard isRequired else { continue }
                return leaf.refusal(
                    .revocationUnknown,
                    "there is no CRL of '\(issuer.subject)' here, and 'crl: required' asks for one; "
                        + "put the CA's CRL in place")
            }
            if let revoked = list.revocation(of: certificate) {
                return leaf.refusal(
                    .revoked,
                    "\(what) was revoked at \(UTCText.text(revoked)) by '\(issuer.subject)', serial "
                        + "\(certificate.serial), in CRL \(list.number?.description ?? "without a number"); "
                        + "issue a new one")
            }
            if isRequired, list.isStale(atSeconds: now) {
                return leaf.refusal(
                    .revocationUnknown,
                    "the CRL of '\(issuer.subject)' is stale since "
                        + "\(UTCText.text(list.nextUpdate ?? 0)), and 'crl: required' asks for a "
                        + "current one; fetch the CA's CRL")
            }
        }
        return nil
    }
}
