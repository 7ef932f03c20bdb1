internal import Glibc

/// Decides which configured peer or client a certificate is. An identity is (anchor, name): the name
/// selects the entry and the leaf must chain to that entry's own anchors, so one zone's CA cannot
/// issue another zone's name.
package final class IdentityVerifier: Sendable {
    /// A peer or client as configuration names it.
    package struct Entry: Sendable {
        package var kind: Caller.Kind
        package var identity: String
        package var anchors: TrustAnchors
        /// False: known and refused (`authorized: false`).
        package var authorised: Bool

        package init(
            kind: Caller.Kind, identity: String, anchors: TrustAnchors, authorised: Bool = true
        ) {
            self.kind = kind
            self.identity = identity
            self.anchors = anchors
            self.authorised = authorised
        }
    }

    package let entries: [Entry]
    package let nameKinds: Set<IdentityNameKind>
    package let generation: UInt64
    private let clock: @Sendable () -> Int64

    /// `generation` must differ from that of the verifier it replaces.
    package init(
        entries: [Entry], nameKinds: Set<IdentityNameKind>, generation: UInt64 = 1,
        clock: @escaping @Sendable () -> Int64 = { Int64(time(nil)) }
    ) throws(CertificateError) {
        guard !nameKinds.isEmpty else {
            throw CertificateError("tls.identity_from must name at least one of uri, dns, cn")
        }
        var seen: Set<[UInt8]> = []
        for entry in entries {
            if let problem = IdentityGrammar.problem(entry.identity) {
                throw CertificateError("identity '\(entry.identity)': \(problem)")
            }
            guard seen.insert(IdentityGrammar.folded(entry.identity)).inserted else {
                throw CertificateError(
                    "identity '\(entry.identity)' is configured twice; give each entry its own")
            }
        }
        self.entries = entries
        self.nameKinds = nameKinds
        self.generation = generation
        self.clock = clock
    }

    /// The caller a leaf stands for.
    package func check(
        leafDER: [UInt8], direction: CallDirection
    ) throws(CertificateRefusal) -> Caller {
        let (leaf, names) = try parse(leafDER)
        return try caller(leaf, names, try entry(leaf, names), direction)
    }

    /// The same for a server that we called: besides being one configured entry it must be this one.
    package func check(
        serverLeafDER: [UInt8], peer id: String
    ) throws(CertificateRefusal) -> Caller {
        let (leaf, names) = try parse(serverLeafDER)
        guard let expected = entries.first(where: { $0.kind == .peer(id: id) }) else {
            throw leaf.refusal(
                .identityMismatch, "peers.yaml has no peer '\(id)'; add it there")
        }
        let isExpected = names.contains { $0.matches(identity: expected.identity) }
        guard isExpected else {
            throw leaf.refusal(
                .identityMismatch,
                "peer '\(id)' has identity '\(expected.identity)' in peers.yaml, the server at its "
                    + "endpoint shows \(list(names)); correct the endpoint or the identity")
        }
        return try caller(leaf, names, try entry(leaf, names), .outgoing)
    }

    private func parse(
        _ der: [UInt8]
    ) throws(CertificateRefusal) -> (X509Certificate, [CertificateName]) {
        let leaf: X509Certificate
        do {
            leaf = try X509Certificate(der: der)
        } catch {
            throw CertificateRefusal(
                kind: .malformed, sentence: error.sentence, names: [], fingerprint: "", serial: "")
        }
        do {
            return (leaf, try leaf.names().filter { nameKinds.contains($0.kind) })
        } catch {
            throw leaf.refusal(.malformed, error.sentence)
        }
    }

    private func entry(
        _ leaf: X509Certificate, _ names: [CertificateName]
    ) throws(CertificateRefusal) -> Entry {
        let matching = entries.filter { entry in
            names.contains { $0.matches(identity: entry.identity) }
        }
        guard let entry = matching.first else {
            throw leaf.refusal(
                .noMatchingIdentity,
                "no configured identity is one of its names, which are \(list(names)); add its "
                    + "identity to peers.yaml or to clients in bsfg.yaml")
        }
        guard matching.count == 1 else {
            let identities = matching.map { "'\($0.identity)'" }.joined(separator: " and ")
            throw leaf.refusal(
                .ambiguousIdentity,
                "its names are \(identities), which are different entries; issue one certificate "
                    + "for each")
        }
        return entry
    }

    private func caller(
        _ leaf: X509Certificate, _ names: [CertificateName], _ entry: Entry,
        _ direction: CallDirection
    ) throws(CertificateRefusal) -> Caller {
        try entry.anchors.verify(leaf, direction: direction, atSeconds: clock())
        guard entry.authorised else {
            throw leaf.refusal(
                .notAuthorised,
                "'\(entry.identity)' is configured with authorized: false; set it to true to let "
                    + "it in")
        }
        return Caller(
            kind: entry.kind, identity: entry.identity,
            certificate: CallerCertificate(leaf, names: names))
    }

    private func list(_ names: [CertificateName]) -> String {
        guard !names.isEmpty else {
            let kinds = IdentityNameKind.allCases.filter(nameKinds.contains).map(\.rawValue)
            return "none of the kinds looked at (\(kinds.joined(separator: ", ")))"
        }
        let shown = names.prefix(8).map(\.description).joined(separator: ", ")
        return names.count > 8 ? "\(shown) and \(names.count - 8) more" : shown
    }
}

extension CallerCertificate {
    init(_ leaf: X509Certificate, names: [CertificateName]) {
        self.init(
            names: names.map(\.text), fingerprint: leaf.fingerprintHexadecimal,
            serial: leaf.serial.lowercased(), notBeforeUnixMilliseconds: leaf.notBefore * 1000,
            notAfterUnixMilliseconds: leaf.notAfter * 1000)
    }
}
