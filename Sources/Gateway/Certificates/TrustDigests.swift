internal import Facts
internal import RPC

/// What each entry is trusted by, and our own certificate, to tell whether one changed.
struct TrustDigests: Sendable {
    private var entries: [Caller.Kind: Digest] = [:]
    let own: Digest

    /// - Parameter now: when it comes into force. A required CRL may have had its time since, which is a change.
    init(_ chain: [X509Certificate], _ verifier: IdentityVerifier, atSeconds now: Int64) {
        own = SHA256.hash(chain.flatMap(\.fingerprint))
        for entry in verifier.entries { entries[entry.kind] = Self.digest(entry.anchors, now) }
    }

    func differs(_ other: TrustDigests, in kind: Caller.Kind) -> Bool {
        entries[kind] != other.entries[kind]
    }

    private static func digest(_ anchors: TrustAnchors, _ now: Int64) -> Digest {
        var bytes: [UInt8] = [anchors.revocation.isRequired ? 1 : 0]
        for authority in anchors.certificates {
            bytes += authority.fingerprint
            guard let list = anchors.revocation[authority] else {
                bytes.append(0)
                continue
            }
            // A stale CRL changes who is let in only where one is required.
            let isUnusable = anchors.revocation.isRequired && list.isStale(atSeconds: now)
            bytes += [1, isUnusable ? 1 : 0] + list.fingerprint
        }
        return SHA256.hash(bytes)
    }
}
