internal import Glibc
internal import RPC

/// Finds the CRLs of all trusts: in the files that the configuration names or beside the CA files, and among
/// those that this node has had in force before, so that an older file never takes a newer one's place. All are
/// read before any counts: whichever trust's file it was in, a CA's newest CRL is that of every trust of the CA.
struct RevocationFiles: Sendable {
    /// A CRL in force.
    struct Entry: Sendable {
        var list: RevocationList
        var authority: X509Certificate
        /// Where it was read.
        var file: String
    }

    let kept: KeptRevocations
    /// What is wrong with CRLs that are in force, or not.
    private(set) var warnings: [String] = []
    /// Those of the warnings that are about a CRL in force which has had its time.
    private(set) var staleWarnings: [String] = []
    /// The newest of each CA that was looked at.
    private var newest: [[UInt8]: Entry] = [:]
    /// What the files of the configuration hold, the newest of each CA in each.
    private var found: [Entry] = []
    /// The CAs whose CRLs are in force.
    private var authoritiesInForce: Set<[UInt8]> = []
    /// All CA files of the configuration, to say where a CRL in the wrong place belongs.
    private let known: AuthorityFiles?
    private var filesLookedAt: Set<String> = []

    /// - Parameter inForce: the CRLs that a running node has; they need not all have been kept.
    init(dataDirectory: String, known: AuthorityFiles? = nil, inForce: RevocationFiles? = nil) {
        kept = KeptRevocations(dataDirectory: dataDirectory)
        self.known = known
        for entry in inForce?.entries ?? [] { newest[entry.authority.fingerprint] = entry }
    }

    /// In the order of their CAs' fingerprints.
    var entries: [Entry] {
        newest.filter { authoritiesInForce.contains($0.key) }
            .sorted { $0.key.lexicographicallyPrecedes($1.key) }.map(\.value)
    }

    /// Those of them that have had their time.
    func stale(atSeconds now: Int64) -> [Entry] { entries.filter { $0.list.isStale(atSeconds: now) } }

    func staleFingerprints(atSeconds now: Int64) -> Set<[UInt8]> {
        Set(stale(atSeconds: now).map { Array($0.list.fingerprint) })
    }

    /// The files that are looked at for a trust.
    static func files(_ authorityFiles: [String], _ configured: RevocationConfiguration) -> [String] {
        configured.files.isEmpty
            ? authorityFiles.map(RevocationConfiguration.fileBeside) : configured.files
    }

    /// Reads what there is for a trust; a file that is not there is a warning. Blocks.
    /// - Returns: why files cannot be used. What can be used of the others is taken all the same.
    mutating func read(
        authorities: [X509Certificate], authorityFiles: [String], _ configured: RevocationConfiguration
    ) -> [CertificateError] {
        for authority in authorities {
            guard let list = kept.read(authority) else { continue }
            take(Entry(list: list, authority: authority, file: kept.path(authority)))
        }
        var problems: [CertificateError] = []
        for file in Self.files(authorityFiles, configured) {
            filesLookedAt.insert(file)
            guard CertificateFiles.exists(file) else {
                if !configured.files.isEmpty || configured.isRequired { warnMissing(file, configured) }
                continue
            }
            do throws(CertificateError) {
                try read(file, authorities: authorities, authorityFiles: authorityFiles)
            } catch {
                problems.append(error)
            }
        }
        return problems
    }

    private mutating func read(
        _ file: String, authorities: [X509Certificate], authorityFiles: [String]
    ) throws(CertificateError) {
        var problem: CertificateError?
        var newestHere: [[UInt8]: Entry] = [:]
        for list in try RevocationList.all(file: file) {
            let signers = authorities.filter { list.isSigned(by: $0) }
            if signers.isEmpty {
                problem = CertificateError(
                    "\(file): the CRL of '\(list.issuer)' is not signed by a CA of "
                        + "\(authorityFiles.joined(separator: ", ")); put the CRL of that CA there"
                        + (place(of: list, but: file).map { ", this one's place is \($0)" } ?? ""))
            }
            for authority in signers {
                let entry = Entry(list: list, authority: authority, file: file)
                take(entry)
                Self.take(entry, into: &newestHere)
            }
        }
        found += newestHere.values
        if let problem { throw problem }
    }

    private mutating func take(_ entry: Entry) { Self.take(entry, into: &newest) }

    private static func take(_ entry: Entry, into entries: inout [[UInt8]: Entry]) {
        let key = entry.authority.fingerprint
        if let known = entries[key], !entry.list.replaces(known.list) { return }
        entries[key] = entry
    }

    /// The CRLs that are in force for a trust, when those of all trusts have been read.
    mutating func lists(
        authorities: [X509Certificate], _ configured: RevocationConfiguration, atSeconds now: Int64
    ) -> RevocationLists {
        var lists = RevocationLists(isRequired: configured.isRequired)
        for authority in authorities {
            let key = authority.fingerprint
            guard let entry = newest[key] else { continue }
            authoritiesInForce.insert(key)
            lists.take(entry.list, of: authority)
            for other in found
            where other.authority.fingerprint == key && !other.list.replaces(entry.list) {
                warnOlder(other, than: entry)
            }
            warnStale(entry.list, authority, configured, now)
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
        entries.contains { entry in
            (entry.list.fingerprint == list.fingerprint || !list.replaces(entry.list))
                && list.isSigned(by: entry.authority)
        }
    }

    /// Where a CRL is looked for by default: beside the file of the CA that signed it.
    private func place(of list: RevocationList, but file: String) -> String? {
        known?.files { list.isSigned(by: $0) }.map(RevocationConfiguration.fileBeside)
            .first { !$0.utf8.elementsEqual(file.utf8) }
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

    private mutating func warnOlder(_ older: Entry, than newer: Entry) {
        warn(
            "\(older.file) holds CRL \(older.list.number?.description ?? "without a number") of "
                + "'\(older.authority.subject)', which is older than "
                + "\(newer.list.number?.description ?? "the one") in force; the newer one stays, put the "
                + "CA's current CRL there")
    }

    private mutating func warnStale(
        _ list: RevocationList, _ authority: X509Certificate, _ configured: RevocationConfiguration,
        _ now: Int64
    ) {
        if list.isStale(atSeconds: now), let next = list.nextUpdate {
            let sentence =
                "the CRL of '\(authority.subject)' is stale since \(UTCText.text(next)), this clock says "
                + "\(UTCText.text(now)); "
                + (configured.isRequired
                    ? "certificates of that CA are refused"
                    : "what it revokes stays revoked, what was revoked since is let in")
                + " until its current CRL is here"
            warn(sentence)
            if !staleWarnings.contains(sentence) { staleWarnings.append(sentence) }
        } else if now < list.thisUpdate {
            warn(
                "the CRL of '\(authority.subject)' was made at \(UTCText.text(list.thisUpdate)), this "
                    + "clock says \(UTCText.text(now)); compare the clocks")
        }
    }
}
