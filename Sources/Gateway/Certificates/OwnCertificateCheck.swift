internal import Glibc
internal import RPC

/// Looks at a node's own certificate the way others will.
struct OwnCertificateCheck {
    let configuration: NodeConfiguration
    let leaf: X509Certificate
    let now: Int64

    /// Why another pair is not to take the place of the one in force: others would refuse it, and the one
    /// before may still be good. Nil where it may.
    func obstacle(anchors: TrustAnchors, replacing replaced: NodeCredentials) -> String? {
        // What else changed must not wait for a new pair when ours has had its time, or is revoked.
        guard leaf.fingerprint != replaced.leaf.fingerprint else { return nil }
        for direction in [CallDirection.incoming, .outgoing] {
            do throws(CertificateRefusal) {
                try anchors.verify(leaf, direction: direction, atSeconds: now)
            } catch {
                // Where no CA of ours is trusted here, nobody here can say who will accept us.
                if error.kind == .unknownIssuer && !replaced.isAnchored { continue }
                return error.sentence
            }
        }
        return nil
    }

    func isAnchored(_ anchors: TrustAnchors) -> Bool {
        do throws(CertificateRefusal) {
            try anchors.verify(
                leaf, direction: .incoming, atSeconds: max(leaf.notBefore, min(now, leaf.notAfter - 1)))
            return true
        } catch {
            // What is found out before a chain is looked for says nothing of one.
            return error.kind != .unknownIssuer && error.kind != .wrongUsage && error.kind != .unsupportedKey
        }
    }

    /// Nothing here keeps a node from starting: its own zone goes on working with an old
    /// certificate. A running node keeps the pair it has instead.
    func warnings(anchors: TrustAnchors) -> [String] {
        var found: [String] = []
        let file = configuration.tls.certificateFile
        let daysLeft = (leaf.notAfter - now) / 86_400
        if now < leaf.notBefore {
            found.append(
                "\(file) is not valid before \(UTCText.text(leaf.notBefore)), this clock says "
                    + "\(UTCText.text(now)); compare the clocks")
        } else if now >= leaf.notAfter {
            found.append(
                "\(file) expired at \(UTCText.text(leaf.notAfter)), this clock says "
                    + "\(UTCText.text(now)); peers will refuse it: "
                    + "\(NodeCredentials.renewalCommand(configuration))")
        } else if daysLeft < CertificateStatus.daysLeftMinimum {
            found.append(
                "\(file) expires in \(daysLeft) days, at \(UTCText.text(leaf.notAfter)); replace "
                    + "it with: \(NodeCredentials.renewalCommand(configuration))")
        }
        for direction in [CallDirection.incoming, .outgoing] {
            do {
                try anchors.verify(leaf, direction: direction, atSeconds: now)
            } catch  where error.kind != .expired && error.kind != .notYetValid {
                if !found.contains(error.sentence) { found.append(error.sentence) }
            } catch {}
        }
        for listener in configuration.listeners { found += uncovered(listener.address.host) }
        if let sentence = PrivateKey.exposure(file: configuration.tls.keyFile) {
            found.append(sentence)
        }
        return found
    }

    /// Ordinary clients check the name they called, so an address that no name covers fails for
    /// them. Listening everywhere says nothing about what is called: then any address will do.
    private func uncovered(_ host: String) -> [String] {
        if IPAddress(host)?.isUnspecified == true {
            let addresses = (try? leaf.addresses()) ?? []
            let names = ((try? leaf.names()) ?? []).filter {
                $0.kind == .dns && !$0.matches(identity: configuration.identity)
            }
            guard addresses.isEmpty && names.isEmpty else { return [] }
            return [
                "the node listens on \(host) and its certificate names no address; clients that "
                    + "check host names refuse it: issue it again with --address"
            ]
        }
        guard !leaf.covers(host: host) else { return [] }
        return [
            "the listen address \(host) is not named by the certificate; clients that check host "
                + "names refuse it: issue it again with --address \(host)"
        ]
    }
}
