internal import Glibc
package import RPC

/// Everything a node needs to prove who it is and to know who others are, read from the files its
/// configuration names and checked before anything listens.
package struct NodeCredentials: Sendable {
    /// The node's leaf, then any issuing CA in the same file.
    package let chain: [X509Certificate]
    /// The key of the leaf, read and checked with it.
    let keyPEM: [UInt8]
    package let verifier: IdentityVerifier
    /// The CRLs in force.
    let revocation: RevocationFiles
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
    /// Why the pair that lies in the files is not the one in force; nil where it is.
    let withheldPair: String?
    /// What `serve` says at start and `cert status` shows; nothing that keeps a node from working.
    package let warnings: [String]

    package var leaf: X509Certificate { chain[0] }

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

    /// - Parameter replaced: those in force, whose pair gives way only to one that others will accept.
    static func load(
        _ configuration: NodeConfiguration, generation: UInt64, replacing replaced: NodeCredentials?,
        atSeconds now: Int64 = Int64(time(nil))
    ) throws(ConfigurationError) -> NodeCredentials {
        let seen = CertificateFileState(watchedFiles(configuration), staleLists: 0)
        try requireFiles(configuration)
        do {
            var (chain, keyPEM) = try ownPair(configuration)
            let trust = trustFiles(configuration)
            let authorities = try AuthorityFiles(trust)
            var revocation = RevocationFiles(
                dataDirectory: configuration.dataDirectory, known: authorities)
            let verifier = try IdentityVerifier(
                entries: try entries(configuration, authorities, &revocation, now),
                nameKinds: configuration.tls.identityFrom,
                generation: generation)
            revocation.warnUnused(in: trust, configuration.tls.certificateFile)
            let anchors = try ownAnchors(configuration, authorities, revocation)
            var check = OwnCertificateCheck(configuration: configuration, leaf: chain[0], now: now)
            var withheldPair: String?
            if let replaced, let obstacle = check.obstacle(anchors: anchors, replacing: replaced) {
                withheldPair =
                    "\(configuration.tls.certificateFile): \(obstacle); the pair in force stays until there is a "
                    + "better one"
                // Only the pair stays: whom a CRL revokes, or an entry lets in no more, does not wait for it.
                (chain, keyPEM) = (replaced.chain, replaced.keyPEM)
                check = OwnCertificateCheck(configuration: configuration, leaf: chain[0], now: now)
            }
            return NodeCredentials(
                chain: chain, keyPEM: keyPEM, verifier: verifier, revocation: revocation,
                outgoing: replaced?.outgoing ?? OutgoingClients(),
                serverTLS: RPCServerTLS(
                    certificateChain: chain, privateKey: keyPEM, trustRoots: anchors.certificates),
                fileState: seen.with(staleLists: revocation.staleCount(atSeconds: now)),
                anchors: anchors, isAnchored: check.isAnchored(anchors), withheldPair: withheldPair,
                warnings: check.warnings(anchors: anchors) + revocation.warnings)
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

    private static func requireFiles(
        _ configuration: NodeConfiguration
    ) throws(ConfigurationError) {
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
        for path in trustFiles(configuration) where !CertificateFiles.exists(path) {
            throw missingAuthority(path, configuration)
        }
        if let exposure = PrivateKey.exposureWords(file: tls.keyFile) {
            throw refused(tls.keyFile, exposure)
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

    private static func ownPair(
        _ configuration: NodeConfiguration
    ) throws -> (chain: [X509Certificate], keyPEM: [UInt8]) {
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
        return (chain, keyPEM)
    }

    static func trustFiles(_ configuration: NodeConfiguration) -> [String] {
        var files: [String] = []
        let all =
            configuration.tls.authorityFiles
            + configuration.peers.flatMap(\.authorityFiles)
            + configuration.tls.clientAuthorityFiles
            + configuration.clients.flatMap(\.authorityFiles)
        for file in all where !files.contains(where: { $0.utf8.elementsEqual(file.utf8) }) {
            files.append(file)
        }
        return files
    }

    /// What others know us by, as far as their CRLs are here: who is refused looks at itself first. The
    /// place for a CA of ours is `tls.ca`: in a peer's file it could vouch for that peer.
    private static func ownAnchors(
        _ configuration: NodeConfiguration, _ authorities: AuthorityFiles, _ revocation: RevocationFiles
    ) throws(CertificateError) -> TrustAnchors {
        var lists = RevocationLists()
        for entry in revocation.entries { lists.take(entry.list, of: entry.authority) }
        return try TrustAnchors(
            certificates: authorities.certificates(trustFiles(configuration)),
            names: configuration.tls.authorityFiles, revocation: lists)
    }

    /// Everything that a change of means other certificates, other trust or other CRLs.
    static func watchedFiles(_ configuration: NodeConfiguration) -> [String] {
        let tls = configuration.tls
        var files = Set([tls.certificateFile, tls.keyFile] + trustFiles(configuration))
        files.formUnion(RevocationFiles.files(tls.authorityFiles, tls.revocation))
        files.formUnion(RevocationFiles.files(tls.clientAuthorityFiles, tls.clientRevocation))
        for peer in configuration.peers {
            files.formUnion(RevocationFiles.files(peer.authorityFiles, peer.revocation))
        }
        for client in configuration.clients {
            files.formUnion(RevocationFiles.files(client.authorityFiles, client.revocation))
        }
        return Array(files)
    }

    private static func entries(
        _ configuration: NodeConfiguration, _ authorities: AuthorityFiles,
        _ revocation: inout RevocationFiles, _ now: Int64
    ) throws(CertificateError) -> [IdentityVerifier.Entry] {
        var anchors: [[[UInt8]]: TrustAnchors] = [:]
        func load(
            _ files: [String], _ lists: RevocationConfiguration
        ) throws(CertificateError) -> TrustAnchors {
            // No file's name holds a zero byte.
            let key = (files + ["\0"] + lists.words).map { Array($0.utf8) }
            if let known = anchors[key] { return known }
            let certificates = authorities.certificates(files)
            let loaded = try TrustAnchors(
                certificates: certificates, names: files,
                revocation: try revocation.lists(
                    authorities: certificates, authorityFiles: files, lists, atSeconds: now))
            anchors[key] = loaded
            return loaded
        }
        // Also while no entry is trusted by them: a CRL that cannot be used is found out when it comes, and
        // not when the first entry does.
        _ = try load(configuration.tls.authorityFiles, configuration.tls.revocation)
        _ = try load(configuration.tls.clientAuthorityFiles, configuration.tls.clientRevocation)
        var entries: [IdentityVerifier.Entry] = []
        for peer in configuration.peers {
            entries.append(
                IdentityVerifier.Entry(
                    kind: .peer(id: peer.id), identity: peer.identity,
                    anchors: try load(peer.authorityFiles, peer.revocation),
                    authorised: peer.authorized))
        }
        for client in configuration.clients {
            entries.append(
                IdentityVerifier.Entry(
                    kind: .client(name: client.identity), identity: client.identity,
                    anchors: try load(client.authorityFiles, client.revocation)))
        }
        return entries
    }
}
