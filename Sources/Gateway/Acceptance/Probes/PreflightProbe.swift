internal import CPlatform
internal import Glibc
internal import RPC
internal import WriteAheadLog

/// Looks at everything on this side that a federation presumes. Reads files and asks the node and, where
/// wanted, the peer; changes nothing.
package struct PreflightProbe: Sendable {
    let configuration: NodeConfiguration
    let peer: String
    /// What the other side says of itself, where it was given.
    let theirs: NodeEvidence?
    let approval: String?
    /// Writes 16 MiB beside the logs and removes them again.
    let measuresDisk: Bool
    let callsPeer: Bool
    /// Asked why the peer refused us, where it did.
    let refuser: Refuser?

    package init(
        configuration: NodeConfiguration, peer: String, theirs: NodeEvidence?, approval: String?,
        measuresDisk: Bool, callsPeer: Bool, refuser: Refuser? = nil
    ) {
        self.configuration = configuration
        self.peer = peer
        self.theirs = theirs
        self.approval = approval
        self.measuresDisk = measuresDisk
        self.callsPeer = callsPeer
        self.refuser = refuser
    }

    package func run() async -> PreflightEvidence {
        let files = FederationSide(configuration)
        var evidence = PreflightEvidence(
            peer: peer, now: Int64(time(nil)), plan: FederationPlan(ours: files, theirs: nil, peer: peer))
        evidence.approval = approval
        evidence.certificateCommand = NodeCredentials.certificateCommand(configuration)
        evidence.renewalCommand = NodeCredentials.renewalCommand(configuration)
        evidence.serveCommand = "bsfg serve --config \(shellQuoted(configuration.directory))"
        lookAtCertificates(&evidence)
        evidence.isClockSynchronised = bsfg_clock_synchronised() == 1
        let admin = AdminClient(socketPath: configuration.adminSocketPath)
        do throws(RPCClientError) {
            let node = try await NodeEvidence.gather(
                admin, atUnixMilliseconds: PeerLink.nowMilliseconds(), withRefusals: true)
            evidence.node = node
            evidence.plan = FederationPlan(ours: node, theirs: theirs, peer: peer)
            evidence.noteChanges(files: ConfigurationListing(configuration), running: node.configuration)
            evidence.neededBytes = try await growth(admin)
        } catch {
            evidence.nodeProblem = error.description
            let now = PeerLink.nowMilliseconds()
            let current = theirs.flatMap { $0.isOfNow(atMilliseconds: now) ? FederationSide($0) : nil }
            evidence.plan = FederationPlan(ours: files, theirs: current, peer: peer)
            evidence.neededBytes = capacity
        }
        lookAtDisk(&evidence)
        if callsPeer { await call(&evidence) }
        return evidence
    }

    /// What the running node says of itself; nil where it does not answer.
    package func node() async -> NodeEvidence? {
        try? await NodeEvidence.gather(
            AdminClient(socketPath: configuration.adminSocketPath),
            atUnixMilliseconds: PeerLink.nowMilliseconds(), withRefusals: true)
    }

    private func lookAtCertificates(_ evidence: inout PreflightEvidence) {
        let report = CertificateReport.make(configuration)
        let file = configuration.tls.certificateFile
        evidence.keyExposure = PrivateKey.exposure(file: configuration.tls.keyFile)
        for status in report.certificates where status.role == "crl" {
            evidence.revocations.append(
                PreflightEvidence.RevocationFile(file: status.file, nextUpdate: status.notAfter))
        }
        if let own = report.certificates.first(where: { $0.role == "node" }) {
            evidence.certificate = PreflightEvidence.Certificate(
                file: file, notBefore: own.notBefore, notAfter: own.notAfter, usages: own.usages,
                chainProblem: chainProblem(), revocation: revocation(atSeconds: evidence.now), serial: own.serial)
        }
        do {
            _ = try NodeCredentials.load(configuration)
        } catch {
            evidence.credentialsProblem = error.problems.first.map { "\($0.file): \($0.sentence)" }
            evidence.credentialsCommand = error.command
        }
        let entry = configuration.peer(id: peer)
        let files = entry?.authorityFiles ?? configuration.tls.authorityFiles
        if let anchors = try? TrustAnchors(files: files) {
            evidence.anchors = anchors.certificates.map { "'\($0.subject)'" }
        }
    }

    /// Against the anchors that a peer would have of us: our own. Dates are judged apart.
    private func chainProblem() -> String? {
        do {
            let leaf = try X509Certificate.all(file: configuration.tls.certificateFile).first
            guard let leaf else { return "\(configuration.tls.certificateFile) holds no certificate" }
            let anchors = try TrustAnchors(files: configuration.tls.authorityFiles)
            for direction in [CallDirection.incoming, .outgoing] {
                try anchors.verify(leaf, direction: direction)
            }
            return nil
        } catch let refusal as CertificateRefusal {
            switch refusal.kind {
            case .expired, .notYetValid, .wrongUsage: return nil
            default: return refusal.sentence
            }
        } catch let error as CertificateError {
            return error.sentence
        } catch {
            return "\(error)"
        }
    }

    /// By the CRLs that a node of these files has in force, as who is called would judge.
    private func revocation(atSeconds now: Int64) -> PreflightEvidence.Revocation {
        let tls = configuration.tls
        do {
            guard let leaf = try X509Certificate.all(file: tls.certificateFile).first else {
                return .unknown("\(tls.certificateFile) holds no certificate")
            }
            var authorities: [X509Certificate] = []
            for file in tls.authorityFiles { authorities += try X509Certificate.all(file: file) }
            // As if a CRL were required: what none says anything of is not known to be good.
            var lists = RevocationLists(isRequired: true)
            for entry in try NodeCredentials.load(configuration, atSeconds: now).revocation.entries {
                lists.take(entry.list, of: entry.authority)
            }
            let anchors = try TrustAnchors(
                certificates: authorities, names: tls.authorityFiles, revocation: lists)
            // Its dates are judged apart: what has expired may be revoked as well.
            let then = min(max(now, leaf.notBefore), leaf.notAfter - 1)
            for direction in [CallDirection.incoming, .outgoing] {
                try anchors.verify(leaf, direction: direction, atSeconds: then)
            }
            return .good
        } catch let refusal as CertificateRefusal {
            switch refusal.kind {
            case .revoked: return .revoked(refusal.sentence)
            case .revocationUnknown: return .unknown("no current CRL of every CA above it is here")
            default: return .unknown("it does not chain to our own anchors")
            }
        } catch let error as CertificateError {
            return .unknown(error.sentence)
        } catch let error as ConfigurationError {
            return .unknown(error.problems[0].sentence)
        } catch {
            return .unknown("certificate, key and CA files cannot be used together")
        }
    }

    // MARK: - Disk

    /// Every log filled to the brim.
    private var capacity: UInt64 {
        var bytes = configuration.streams.reduce(UInt64(0)) { $0 + UInt64($1.store.capacityBytes) }
        for cursor in configuration.cursors {
            bytes += UInt64(configuration.stream(cursor.stream)?.forward.capacityBytes ?? 0)
        }
        return bytes
    }

    private func growth(_ admin: AdminClient) async throws(RPCClientError) -> UInt64 {
        try await admin.status().streams.reduce(UInt64(0)) { sum, log in
            sum + log.capacityBytes - min(log.capacityBytes, log.fillBytes)
        }
    }

    private func lookAtDisk(_ evidence: inout PreflightEvidence) {
        let directory = configuration.dataDirectory
        evidence.dataDirectory = directory
        evidence.freeBytes = try? LinuxDisk().freeBytes(directory)
        guard measuresDisk else { return }
        do throws(DiskError) {
            let report = try DiskTest(
                disk: LinuxDisk(), directory: directory, writeCount: 200
            ).run()
            evidence.diskSuspicions = report.suspicions.map(\.sentence)
        } catch {
            evidence.diskSuspicions = ["\(error)"]
        }
    }

    private func call(_ evidence: inout PreflightEvidence) async {
        guard let entry = configuration.peer(id: peer) else {
            evidence.reachProblem = "\(peer) is not in peers.yaml"
            return
        }
        do {
            let credentials = try NodeCredentials.load(configuration)
            let link = try PeerLink(peer: entry, credentials: credentials)
            evidence.reach = await link.visit(refuser).reach
        } catch let error as CertificateError {
            evidence.reachProblem = error.sentence
        } catch {
            evidence.reachProblem = "our own certificate cannot be used"
        }
    }
}
