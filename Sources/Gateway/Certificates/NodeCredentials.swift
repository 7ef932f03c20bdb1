internal import Glibc
package import Logging
package import RPC

/// Everything a node needs to prove who it is and to know who others are, read from the files its
/// configuration names and checked before anything listens.
package struct NodeCredentials: Sendable {
    /// The node's leaf, then any issuing CA in the same file.
    package let chain: [X509Certificate]
    /// The key of the leaf, read and checked with it.
    let keyPEM: [UInt8]
    package let verifier: IdentityVerifier
    /// What it judges by.
    let trust: NodeTrust
    /// The same, and our own certificate, as it was when these came into force.
    let digests: TrustDigests
    /// The clients that were made with these, or with those before them.
    let outgoing: OutgoingClients
    /// For the TLS handshake: it trusts every CA that any entry is anchored at.
    package let serverTLS: RPCServerTLS
    /// Of the files just before they were read: whatever changes from then on is a change.
    let fileState: CertificateFileState
    /// What our own certificate is looked at with, as others will.
    private let anchors: TrustAnchors
    /// Whether our own chain leads to a CA that is trusted here, whatever its dates and usages are.
    let isAnchored: Bool
    /// What lies in the files and is not in force; nil when everything is.
    let withheld: WithheldFiles?
    /// What `serve` says at start and `cert status` shows; nothing that keeps a node from working.
    package let warnings: [String]

    /// What the warnings are about: they say at which time they were given, too.
    var warningSubjects: Set<String> { Set(warnings.map(Self.subject)) }

    private static func subject(_ warning: String) -> String {
        warning.split(separator: ", this clock says", maxSplits: 1).first.map(String.init) ?? warning
    }

    /// Writes the warnings to a log.
    /// - Parameter told: what was said already.
    package func warn(_ logger: Logger, except told: Set<String> = []) {
        for warning in warnings where !told.contains(Self.subject(warning)) {
            let isStale = revocation.staleWarnings.contains(warning)
            logger.warning("\(warning)", metadata: isStale ? ["event": "crl_stale", "alert": "CrlStale"] : nil)
        }
    }

    package var leaf: X509Certificate { chain[0] }

    /// The CRLs in force.
    var revocation: RevocationFiles { trust.revocation }

    /// Why others refuse our certificate now, as far as the files here know. Blocks.
    func ownProblem(atSeconds now: Int64 = Int64(time(nil))) -> String? {
        for direction in [CallDirection.incoming, .outgoing] {
            do throws(CertificateRefusal) {
                try anchors.verify(leaf, direction: direction, atSeconds: now)
            } catch where error.kind != .unknownIssuer || isAnchored {
                return error.sentence
            } catch {}
        }
        return nil
    }

    /// `generation` rises with every reload.
    package static func load(
        _ configuration: NodeConfiguration, generation: UInt64 = 1,
        atSeconds now: Int64 = Int64(time(nil))
    ) throws(ConfigurationError) -> NodeCredentials {
        try load(configuration, generation: generation, replacing: nil, atSeconds: now)
    }

    /// - Parameter replaced: those in force. Whatever of the new cannot be used leaves theirs in its place: the
    ///   pair, which gives way only to one that others will accept, and each trust. Nothing else waits for it.
    static func load(
        _ configuration: NodeConfiguration, generation: UInt64, replacing replaced: NodeCredentials?,
        atSeconds now: Int64 = Int64(time(nil))
    ) throws(ConfigurationError) -> NodeCredentials {
        let seen = CertificateFileState(watchedFiles(configuration), staleLists: [])
        do {
            var (pair, pairProblem) = try usablePair(configuration, replacing: replaced)
            try requireAuthorities(configuration, replacing: replaced?.trust)
            let trust = try NodeTrust(configuration, replacing: replaced?.trust, atSeconds: now)
            let verifier = try IdentityVerifier(
                entries: entries(configuration, trust), nameKinds: configuration.tls.identityFrom,
                generation: generation)
            // What others know us by, as far as their CRLs are here: who is refused looks at itself first. The
            // place for a CA of ours is `tls.ca`: in a peer's file it could vouch for that peer.
            let anchors = try trust.union(configuration)
            var check = OwnCertificateCheck(configuration: configuration, leaf: pair.chain[0], now: now)
            if let replaced, let obstacle = check.obstacle(anchors: anchors, replacing: replaced) {
                pairProblem = "\(configuration.tls.certificateFile): \(obstacle)"
                pair = Pair(replaced)
                check = OwnCertificateCheck(configuration: configuration, leaf: pair.chain[0], now: now)
            }
            return NodeCredentials(
                chain: pair.chain, keyPEM: pair.keyPEM, verifier: verifier, trust: trust,
                digests: TrustDigests(pair.chain, verifier, atSeconds: now),
                outgoing: replaced?.outgoing ?? OutgoingClients(),
                serverTLS: RPCServerTLS(
                    certificateChain: pair.chain, privateKey: pair.keyPEM, trustRoots: anchors.certificates),
                fileState: seen.with(staleLists: trust.revocation.staleFingerprints(atSeconds: now)),
                anchors: anchors, isAnchored: check.isAnchored(anchors),
                withheld: WithheldFiles(pair: pairProblem, trusts: trust.withheld),
                warnings: check.warnings(anchors: anchors) + trust.revocation.warnings)
        } catch let error as ConfigurationError {
            throw error
        } catch let error as CertificateError {
            throw refused(configuration.directory, error.sentence)
        } catch {
            throw refused(configuration.directory, "\(error)")
        }
    }

    private static func refused(
        _ file: String, _ sentence: String, command: String? = nil
    ) -> ConfigurationError {
        ConfigurationError(
            problems: [ConfigurationProblem(file: file, position: nil, sentence: sentence)],
            command: command)
    }

    /// Those of a trust that nothing is in force of.
    private static func requireAuthorities(
        _ configuration: NodeConfiguration, replacing inForce: NodeTrust?
    ) throws(ConfigurationError) {
        for source in NodeTrust.sources(configuration) where inForce?.has(source) != true {
            for path in source.authorityFiles where !CertificateFiles.exists(path) {
                throw missingAuthority(path, configuration)
            }
        }
    }

    /// Nothing here makes another zone's CA, and a new pair of ours would not help.
    private static func missingAuthority(
        _ path: String, _ configuration: NodeConfiguration
    ) -> ConfigurationError {
        func isIn(_ files: [String]) -> Bool { files.contains { $0.utf8.elementsEqual(path.utf8) } }
        let own = "\(ConfigurationPaths(directory: configuration.directory).root)/ca/"
            + CertificateAuthority.certificateName
        if isIn(configuration.tls.authorityFiles), CertificateFiles.exists(own), !isOfAnotherAuthority(configuration) {
            return refused(
                path, "the file does not exist; it holds the CA certificate that this zone is trusted by",
                command: "cp \(shellQuoted(own)) \(shellQuoted(path))")
        }
        let holder = configuration.peers.first { isIn($0.authorityFiles) }
        return refused(
            path,
            holder.map {
                "the file does not exist; copy the CA certificate of the peer \($0.id) there, or correct 'ca' of "
                    + "its entry in peers.yaml"
            }
                ?? "the file does not exist; copy the CA certificate that its entries are to be trusted by there")
    }

    /// Our own certificate, with any issuing CA, and its key.
    private struct Pair {
        var chain: [X509Certificate]
        var keyPEM: [UInt8]

        init(chain: [X509Certificate], keyPEM: [UInt8]) {
            self.chain = chain
            self.keyPEM = keyPEM
        }

        init(_ credentials: NodeCredentials) {
            self.init(chain: credentials.chain, keyPEM: credentials.keyPEM)
        }
    }

    /// The pair in the files; on a running node the one in force where that cannot be used, and why.
    private static func usablePair(
        _ configuration: NodeConfiguration, replacing replaced: NodeCredentials?
    ) throws -> (pair: Pair, problem: String?) {
        do {
            return (try ownPair(configuration), nil)
        } catch {
            guard let replaced else { throw error }
            let problem = (error as? ConfigurationError)?.problems[0].description ?? "\(error)"
            return (Pair(replaced), problem)
        }
    }

    private static func requirePair(_ configuration: NodeConfiguration) throws(ConfigurationError) {
        let tls = configuration.tls
        for path in [tls.certificateFile, tls.keyFile] where !CertificateFiles.exists(path) {
            let root = ConfigurationPaths(directory: configuration.directory).root
            let hasAuthority = CertificateFiles.exists(
                "\(root)/ca/\(CertificateAuthority.certificateName)")
            let issue = certificateCommand(configuration)
            throw refused(
                path, "the file does not exist",
                command: hasAuthority
                    ? issue : "\(authorityCommand(configuration)), then: \(issue)")
        }
        if let exposure = PrivateKey.exposureWords(file: tls.keyFile) {
            throw refused(tls.keyFile, exposure)
        }
    }

    private static func ownPair(_ configuration: NodeConfiguration) throws -> Pair {
        try requirePair(configuration)
        let tls = configuration.tls
        let chain = try X509Certificate.all(file: tls.certificateFile)
        guard chain.count <= TrustAnchors.chainCertificatesMaximum else {
            throw refused(
                tls.certificateFile,
                "the file holds \(chain.count) certificates, a chain has at most "
                    + "\(TrustAnchors.chainCertificatesMaximum)")
        }
        let keyPEM = try SmallFile.read(
            tls.keyFile, bytesMaximum: X509Certificate.fileBytesMaximum)
        let key = try PrivateKey(pem: keyPEM, name: tls.keyFile)
        guard key.belongs(to: chain[0]) else {
            throw refused(
                tls.keyFile,
                "this is not the key of \(tls.certificateFile); put the pair in place together",
                command: renewalCommand(configuration))
        }
        let names = try chain[0].names().filter { tls.identityFrom.contains($0.kind) }
        guard names.contains(where: { $0.matches(identity: configuration.identity) }) else {
            let shown = names.map(\.description).joined(separator: ", ")
            throw refused(
                tls.certificateFile,
                "the certificate names \(shown.isEmpty ? "nobody" : shown), bsfg.yaml says "
                    + "identity '\(configuration.identity)'; correct one of them",
                command: renewalCommand(configuration))
        }
        return Pair(chain: chain, keyPEM: keyPEM)
    }

    /// Everything that a change of means other certificates, other trust or other CRLs.
    static func watchedFiles(_ configuration: NodeConfiguration) -> [String] {
        let sources = NodeTrust.sources(configuration)
        let files =
            [configuration.tls.certificateFile, configuration.tls.keyFile]
            + sources.flatMap(\.authorityFiles) + sources.flatMap(\.revocationFiles)
        return Array(Set(files))
    }

    private static func entries(
        _ configuration: NodeConfiguration, _ trust: NodeTrust
    ) -> [IdentityVerifier.Entry] {
        configuration.peers.map { peer in
            IdentityVerifier.Entry(
                kind: .peer(id: peer.id), identity: peer.identity,
                anchors: trust.anchors(NodeTrust.Source(peer.authorityFiles, peer.revocation)),
                authorised: peer.authorized)
        }
            + configuration.clients.map { client in
                IdentityVerifier.Entry(
                    kind: .client(name: client.identity), identity: client.identity,
                    anchors: trust.anchors(NodeTrust.Source(client.authorityFiles, client.revocation)))
            }
    }
}
