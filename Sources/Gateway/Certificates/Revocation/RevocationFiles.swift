internal import Glibc
internal import RPC

/// Finds the CRLs of a trust: in the files that the configuration names or beside the CA files, and among
/// those that this node has had in force before, so that an older file never takes a newer one's place.
struct RevocationFiles: Sendable {
    /// A CRL in force.
    struct Entry: Sendable {
        var list: RevocationList
        var authority: X509Certificate
        /// Where it was read.
        var file: String
    }

    let kept: KeptRevocations
    private(set) var warnings: [String] = []
    private var entriesByAuthority: [[UInt8]: Entry] = [:]
    /// All CA files of the configuration, to say where a CRL in the wrong place belongs.
    private let known: AuthorityFiles?
    private var filesLookedAt: Set<String> = []

    init(dataDirectory: String, known: AuthorityFiles? = nil) {
        kept = KeptRevocations(dataDirectory: dataDirectory)
        self.known = known
    }

    /// In the order of their CAs' fingerprints.
    var entries: [Entry] {
        entriesByAuthority.sorted { $0.key.lexicographicallyPrecedes($1.key) }.map(\.value)
    }

    /// How many of them have had their time.
    func staleCount(atSeconds now: Int64) -> Int {
        entries.count { $0.list.isStale(atSeconds: now) }
    }

    /// The files that are looked at for a trust.
    static func files(_ authorityFiles: [String], _ configured: RevocationConfiguration) -> [String] {
        configured.files.isEmpty
            ? authorityFiles.map(RevocationConfiguration.fileBeside) : configured.files
    }

    /// The CRLs of a trust. A file that cannot be used is an error, so that a reload keeps what is in
    /// force; one that is not there is a warning. Blocks.
    mutating func lists(
        authorities: [X509Certificate], authorityFiles: [String],
        _ configured: RevocationConfiguration, atSeconds now: Int64
    ) throws(CertificateError) -> RevocationLists {
        var lists = RevocationLists(isRequired: configured.isRequired)
        for authority in authorities {
            guard let list = kept.read(authority) else { continue }
            lists.take(list, of: authority)
            remember(list, authority, kept.path(authority))
        }
        for file in Self.files(authorityFiles, configured) {
            filesLookedAt.insert(file)
            guard CertificateFiles.exists(file) else {
                if !configured.files.isEmpty || configured.isRequired { warnMissing(file, configured) }
                continue
            }
            for list in try RevocationList.all(file: file) {
                let signers = authorities.filter { list.isSigned(by: $0) }
                guard !signers.isEmpty else {
                    throw CertificateError(
                        "\(file): the CRL of '\(list.issuer)' is not signed by a CA of "
                            + "\(authorityFiles.joined(separator: ", ")); put the CRL of that CA there"
                            + (place(of: list, but: file).map { ", this one's place is \($0)" } ?? ""))
                }
                for authority in signers {
                    if lists.take(list, of: authority) {
                        remember(list, authority, file)
                    } else {
                        warnOlder(file, list, lists[authority], authority)
                    }
                }
            }
        }
        for authority in authorities {
            if let list = lists[authority] {
                warnStale(list, authority, configured, now)
            }
        }
        return lists
    }

    /// Warns about CRLs that lie beside the certificates and revoke nothing, since no entry looks at them: who
    /// put one there believes that it is in force. Blocks.
    mutating func warnUnused(in authorityFiles: [String], _ certificateFile: String) {
        // One file may be reached by several paths.
        let directories = Set((authorityFiles + [certificateFile]).map { Self.real(ConfigurationPaths.parent($0)) })
        let inForce = Set(filesLookedAt.map(Self.real))
        for directory in directories.sorted() {
            for file in CertificateFiles.names(in: directory).map({ "\(directory)/\($0)" })
            where file.hasSuffix(".crl") && !inForce.contains(Self.real(file)) { warnUnused(file) }
        }
    }

    private static func real(_ path: String) -> String {
        guard let found = realpath(path, nil) else { return path }
        defer { free(found) }
        return String(cString: found)
    }

    private mutating func warnUnused(_ file: String) {
        let lists = (try? RevocationList.all(file: file)) ?? []
        // A copy of what is in force, or of what was before it, leaves nobody in.
        guard lists.isEmpty || !lists.allSatisfy(isSuperseded) else { return }
        let places = lists.compactMap { place(of: $0, but: file) }
        let better = places.first { filesLookedAt.contains($0) }
        warn(
            "the CRL \(file) is not in force, since the configuration looks for none there; "
                + (better.map { "put it at \($0)" } ?? "name it with 'crl' if it is to be, or remove it"))
    }

    private func isSuperseded(_ list: RevocationList) -> Bool {
        entriesByAuthority.values.contains { entry in
            (entry.list.fingerprint == list.fingerprint || !list.replaces(entry.list))
                && list.isSigned(by: entry.authority)
        }
    }

    /// Where a CRL is looked for by default: beside the file of the CA that signed it.
    private func place(of list: RevocationList, but file: String) -> String? {
        known?.files { list.isSigned(by: $0) }.map(RevocationConfiguration.fileBeside)
            .first { !$0.utf8.elementsEqual(file.utf8) }
    }

    private mutating func remember(
        _ list: RevocationList, _ authority: X509Certificate, _ file: String
    ) {
        if let known = entriesByAuthority[authority.fingerprint], !list.replaces(known.list) { return }
        entriesByAuthority[authority.fingerprint] = Entry(
            list: list, authority: authority, file: file)
    }

    private mutating func warn(_ sentence: String) {
        if !warnings.contains(sentence) { warnings.append(sentence) }
    }

    private mutating func warnMissing(_ file: String, _ configured: RevocationConfiguration) {
        warn(
            "the CRL \(file) is missing; "
                + (configured.isRequired
                    ? "without a CRL of it before, every certificate of its CA is refused"
                    : "certificates that its CA has revoked since are let in")
                + " until the CA's current CRL is there")
    }

    private mutating func warnOlder(
        _ file: String, _ list: RevocationList, _ newer: RevocationList?, _ authority: X509Certificate
    ) {
        warn(
            "\(file) holds CRL \(list.number?.description ?? "without a number") of "
                + "'\(authority.subject)', which is older than "
                + "\(newer?.number?.description ?? "the one") in force; the newer one stays, put the "
                + "CA's current CRL there")
    }

    private mutating func warnStale(
        _ list: RevocationList, _ authority: X509Certificate, _ configured: RevocationConfiguration,
        _ now: Int64
    ) {
        if list.isStale(atSeconds: now), let next = list.nextUpdate {
            warn(
                "the CRL of '\(authority.subject)' is stale since \(UTCText.text(next)), this clock says "
                    + "\(UTCText.text(now)); "
                    + (configured.isRequired
                        ? "certificates of that CA are refused"
                        : "what it revokes stays revoked, what was revoked since is let in")
                    + " until its current CRL is here")
        } else if now < list.thisUpdate {
            warn(
                "the CRL of '\(authority.subject)' was made at \(UTCText.text(list.thisUpdate)), this "
                    + "clock says \(UTCText.text(now)); compare the clocks")
        }
    }
}
