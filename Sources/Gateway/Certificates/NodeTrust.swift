internal import RPC

/// What the entries of a configuration are trusted by: the CA files and CRLs that it names.
///
/// On a running node a trust with a file that cannot be used stays as it is, but for the newer CRLs that were
/// found of its CAs, and every other goes in: what one zone sends holds up nobody else's revocation.
struct NodeTrust: Sendable {
    /// What a trust is read from.
    struct Source: Sendable {
        let authorityFiles: [String]
        let revocation: RevocationConfiguration

        init(_ authorityFiles: [String], _ revocation: RevocationConfiguration) {
            self.authorityFiles = authorityFiles
            self.revocation = revocation
        }

        /// No file's name holds a zero byte.
        fileprivate var key: [[UInt8]] { (authorityFiles + ["\0"] + revocation.words).map { Array($0.utf8) } }

        var revocationFiles: [String] { RevocationFiles.files(authorityFiles, revocation) }
    }

    private var anchorsByKey: [[[UInt8]]: TrustAnchors] = [:]
    /// The CRLs in force.
    private(set) var revocation: RevocationFiles
    /// Why trusts are not what their files are, by file.
    private(set) var withheld: [String] = []

    /// - Parameter inForce: what stays where a file cannot be used; nil at a start, which takes all or nothing.
    init(
        _ configuration: NodeConfiguration, replacing inForce: NodeTrust?, atSeconds now: Int64
    ) throws(CertificateError) {
        let sources = Self.sources(configuration)
        let authorities = AuthorityFiles(Self.authorityFiles(configuration))
        revocation = RevocationFiles(
            dataDirectory: configuration.dataDirectory, known: authorities, inForce: inForce?.revocation)
        var read: [(source: Source, anchors: TrustAnchors)] = []
        for source in sources {
            read.append((source, try anchors(source, authorities, inForce?.anchorsByKey[source.key])))
        }
        for (source, anchors) in read {
            anchorsByKey[source.key] = anchors.with(
                revocation.lists(authorities: anchors.certificates, source.revocation, atSeconds: now))
        }
        revocation.warnUnused(in: Self.authorityFiles(configuration), configuration.tls.certificateFile)
    }

    private mutating func anchors(
        _ source: Source, _ authorities: AuthorityFiles, _ inForce: TrustAnchors?
    ) throws(CertificateError) -> TrustAnchors {
        let problems: [CertificateError]
        do throws(CertificateError) {
            let anchors = try TrustAnchors(
                certificates: try authorities.certificates(source.authorityFiles), names: source.authorityFiles)
            problems = readLists(source, anchors)
            if problems.isEmpty { return anchors }
        } catch {
            problems = [error]
        }
        guard let inForce else { throw problems[0] }
        for problem in problems where !withheld.contains(problem.sentence) { withheld.append(problem.sentence) }
        // The CAs in force may have signed what those in the files did not.
        _ = readLists(source, inForce)
        return inForce
    }

    private mutating func readLists(_ source: Source, _ anchors: TrustAnchors) -> [CertificateError] {
        revocation.read(
            authorities: anchors.certificates, authorityFiles: source.authorityFiles, source.revocation)
    }

    /// - Parameter source: one of the configuration's.
    func anchors(_ source: Source) -> TrustAnchors {
        guard let found = anchorsByKey[source.key] else {
            preconditionFailure("every trust of the configuration was read")
        }
        return found
    }

    func has(_ source: Source) -> Bool { anchorsByKey[source.key] != nil }

    /// Every CA that is trusted by anybody.
    func union(_ configuration: NodeConfiguration) throws(CertificateError) -> TrustAnchors {
        var lists = RevocationLists()
        for entry in revocation.entries { lists.take(entry.list, of: entry.authority) }
        return try TrustAnchors(
            union: Self.sources(configuration).map(anchors), names: configuration.tls.authorityFiles,
            revocation: lists)
    }

    /// Our own first, also while no entry is trusted by them: a CRL that cannot be used is found out when it
    /// comes, and not when the first entry does. Each once.
    static func sources(_ configuration: NodeConfiguration) -> [Source] {
        let tls = configuration.tls
        var seen: Set<[[UInt8]]> = []
        let all =
            [Source(tls.authorityFiles, tls.revocation), Source(tls.clientAuthorityFiles, tls.clientRevocation)]
            + configuration.peers.map { Source($0.authorityFiles, $0.revocation) }
            + configuration.clients.map { Source($0.authorityFiles, $0.revocation) }
        return all.filter { seen.insert($0.key).inserted }
    }

    /// Each once, in the order of the configuration.
    static func authorityFiles(_ configuration: NodeConfiguration) -> [String] {
        var seen: Set<[UInt8]> = []
        return sources(configuration).flatMap(\.authorityFiles).filter { seen.insert(Array($0.utf8)).inserted }
    }
}
