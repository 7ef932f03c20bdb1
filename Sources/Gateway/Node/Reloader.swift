internal import Buffers
internal import Facts
internal import Logging
internal import RPC

/// Puts a changed configuration in force while the node runs: all of it or nothing, but for certificate files that
/// cannot be used (`WithheldFiles`).
///
/// Everything that can fail is done first: on copies reading and checking the files, the certificates and the
/// TLS context, then opening new logs and telling all of them what they keep and for whom. Only then are the
/// parts replaced, readers before those who serve.
actor Reloader {
    /// Makes a connection to a peer, with the configuration and the credentials that it is to follow.
    typealias Connect =
        @Sendable (PeerConfiguration, HostPort, NodeConfiguration, NodeCredentials) throws(NodeError) ->
        PeerConnection

    private let live: LiveConfiguration
    private let verifier: ReloadableVerifier
    private let logs: StreamLogs
    private let pulls: Pulls
    private let artifacts: NodeArtifacts?
    private let gates: PeerGates
    private let waits: HeadWaits
    private let notices: NoticeSender
    private let faults: FaultPoints
    private let pool: BlockingPool
    private let logger: Logger
    private let server: @Sendable () -> RPCServer?
    private let connect: Connect
    /// Told of logs that were opened.
    private let opened: @Sendable ([StreamLog]) -> Void
    /// In force.
    private(set) var credentials: NodeCredentials
    /// Why not all that lies in the certificate files is in force; nil when it is.
    private(set) var refusedFiles: String?
    /// The same by names that stay as they are while it lasts.
    private(set) var refusedCauses: Set<String> = []
    /// Logs that `opened` was told of, or that were there before.
    private var toldLogs: Set<StreamLog.Name>
    /// Peers whose calls are not yet all made as their entries in force say.
    private var unfinishedPeers: Set<String> = []
    /// Peers whose clients do not yet all have the certificates in force.
    private var unrenewedPeers: Set<String> = []
    /// What the warnings that were written last are about.
    private var toldWarnings: Set<String>
    /// Why the CRLs in force are not kept for the next start; nil when they are.
    private var keepingProblem: String?
    private var isApplying = false
    private var waiting: [CheckedContinuation<Void, Never>] = []

    init(
        live: LiveConfiguration, verifier: ReloadableVerifier, credentials: NodeCredentials,
        logs: StreamLogs, pulls: Pulls, artifacts: NodeArtifacts?, gates: PeerGates, waits: HeadWaits,
        notices: NoticeSender, faults: FaultPoints, pool: BlockingPool,
        logger: Logger, connect: @escaping Connect = PeerConnection.connect,
        server: @escaping @Sendable () -> RPCServer?,
        opened: @escaping @Sendable ([StreamLog]) -> Void
    ) {
        self.live = live
        self.verifier = verifier
        self.credentials = credentials
        self.logs = logs
        self.pulls = pulls
        self.artifacts = artifacts
        self.gates = gates
        self.waits = waits
        self.notices = notices
        self.faults = faults
        self.pool = pool
        self.logger = logger
        self.server = server
        self.connect = connect
        self.opened = opened
        toldLogs = Set(logs.all.map(\.name))
        toldWarnings = credentials.warningSubjects
    }

    /// What is read again.
    private enum Scope: Sendable {
        /// The three files of the configuration, and all that they name.
        case configuration
        /// Certificates, keys, CA files and CRLs of the configuration in force.
        case certificates
    }

    /// What was read and checked and can be put in force.
    private struct Prepared: Sendable {
        var configuration: NodeConfiguration
        var credentials: NodeCredentials
        var serverTLS: PreparedServerTLS?
        var reverification: Reverification
        var changes: ConfigurationChanges
    }

    struct Applied {
        var changes: ConfigurationChanges
        /// What is in force and yet needs somebody's attention.
        var warnings: [String]
        /// Whether somebody is trusted by other files than before, or our own certificate is another.
        fileprivate var isTrustChanged: Bool
        /// Why not all of what is in force now is done; nil when it is.
        fileprivate var shortfall: NodeError?
    }

    /// The SHA-256 of the CRLs in force that have had their time.
    var staleLists: Set<[UInt8]> {
        credentials.revocation.staleFingerprints(atSeconds: GatewayNode.nowMilliseconds() / 1_000)
    }

    /// Reads the files again.
    /// - Parameter caller: who asked for it.
    /// - Returns: what changed, and what there is to say of it.
    /// - Throws: why they are not put in force, and the node goes on as before; or what is still to be done
    ///   of what is in force now.
    func reload(by caller: String) async throws(ServiceError) -> Applied {
        let applied: Applied
        do throws(ServiceError) {
            applied = try await apply(.configuration)
        } catch {
            logger.error(
                "configuration not reloaded, the one in force stays: \(error.message)",
                metadata: ["event": "configuration_refused", "by": "\(caller)"])
            throw error
        }
        logger.notice(
            "configuration reloaded",
            metadata: [
                "event": "configuration_reloaded", "by": "\(caller)", "generation": "\(live.generation)",
                "changes": "\(applied.changes.changes.map(\.key).joined(separator: " "))",
            ])
        if let error = tell(applied.shortfall) { throw error }
        if let withheld = credentials.withheld {
            _ = tellRefused(withheld.sentence, withheld.summary, withheld.causes, instead: nil)
            throw ServiceError(
                .malformedRequest, "\(withheld.sentence); the rest of what was read is in force")
        }
        return applied
    }

    /// Once for each sentence: files that stay as they are are looked at again and again.
    /// - Parameter summary: what is not in force, and what of it is.
    private func tellRefused(
        _ sentence: String, _ summary: String, _ causes: Set<String>, instead before: String?
    ) -> ServiceError {
        (refusedFiles, refusedCauses) = (sentence, causes)
        if sentence != before {
            logger.warning("\(summary): \(sentence)", metadata: ["event": "certificates_refused"])
        }
        return ServiceError(.malformedRequest, "\(summary): \(sentence)")
    }

    /// The error for whoever asked for the reload.
    private func tell(_ shortfall: NodeError?) -> ServiceError? {
        guard let shortfall else { return nil }
        let error = ServiceError(
            .internal,
            "what was read is in force, and not all connections follow it yet: \(shortfall.sentence); "
                + "reload again")
        logger.error("\(error.message)", metadata: ["event": "reload_unfinished"])
        return error
    }

    /// Reads certificates, keys, CA files and CRLs again, with the configuration in force.
    /// - Throws: which of them are not put in force, and why; all others are.
    func reloadCertificates() async throws(ServiceError) {
        let before = refusedFiles
        let applied: Applied
        do throws(ServiceError) {
            applied = try await apply(.certificates)
        } catch where error.reason == .overloaded {
            throw error
        } catch {
            throw tellRefused(
                error.message, "changed certificate files are not in force", ["all"], instead: before)
        }
        let (leaf, withheld) = (credentials.leaf, credentials.withheld)
        // What is refused is tried again and again, and what is in force did not change by that.
        if withheld?.sentence != before || withheld == nil || applied.isTrustChanged {
            logger.notice(
                "certificates reloaded",
                metadata: [
                    "event": "certificates_reloaded", "serial": "\(leaf.serial)",
                    "not_after": "\(UTCText.text(leaf.notAfter))",
                ])
        }
        _ = tell(applied.shortfall)
        if let withheld {
            throw tellRefused(withheld.sentence, withheld.summary, withheld.causes, instead: before)
        }
    }

    private func apply(_ scope: Scope) async throws(ServiceError) -> Applied {
        // One at a time: a later one must not be overtaken by what an earlier one read.
        while isApplying { await withCheckedContinuation { waiting.append($0) } }
        isApplying = true
        defer {
            isApplying = false
            if !waiting.isEmpty { waiting.removeFirst().resume() }
        }
        let before = live.current
        let generation = verifier.generation + 1
        let (logs, faults, server, inForce) = (logs, faults, server(), credentials)
        let connect = connect
        let prepared = try await onDisk { () throws(ServiceError) in
            try Reloader.prepare(scope, before, generation, inForce, logs, faults, server, connect)
        }
        // From here on it is in force: what fails now is done by the next reload.
        let (trustBefore, trustNow) = (credentials.digests, prepared.credentials.digests)
        let entriesChanged = Reloader.changedEntries(before, prepared.configuration)
        let trustChanged = Set(
            prepared.credentials.verifier.entries.map(\.kind).filter {
                trustBefore.differs(trustNow, in: $0)
            })
        credentials = prepared.credentials
        (refusedFiles, refusedCauses) = (nil, [])
        verifier.replace(
            with: prepared.credentials.verifier, changed: entriesChanged.union(trustChanged),
            reverified: prepared.reverification.answers
        ) { live.replace(with: prepared.configuration) }
        if let tls = prepared.serverTLS { server?.adopt(tls) }
        for refusal in prepared.reverification.refusals { server?.tell(refusal) }
        server?.closeRefused()
        // Files that cannot be used are read again and again: what there was to say of the others was said.
        prepared.credentials.warn(logger, except: scope == .configuration ? [] : toldWarnings)
        toldWarnings = prepared.credentials.warningSubjects
        for case .peer(let id) in entriesChanged { unfinishedPeers.insert(id) }
        // Our own certificate is another one: whom we call is to see it.
        let isOwnChanged = trustBefore.own != trustNow.own
        for peer in prepared.configuration.peers
        where !entriesChanged.contains(.peer(id: peer.id))
            && (isOwnChanged || trustChanged.contains(.peer(id: peer.id)))
        {
            unrenewedPeers.insert(peer.id)
        }
        let shortfall = await follow(prepared, scope, inForce.outgoing)
        // Last: the disk may take its time, and nobody who is refused now is to have it.
        await keepRevocations()
        return Applied(
            changes: prepared.changes, warnings: prepared.credentials.warnings,
            isTrustChanged: isOwnChanged || !trustChanged.isEmpty, shortfall: shortfall)
    }

    /// Lets everything that calls follow what is in force. What fails is done by the next reload.
    /// - Returns: the first failure.
    private func follow(
        _ prepared: Prepared, _ scope: Scope, _ outgoing: OutgoingClients
    ) async -> NodeError? {
        var failure: NodeError?
        if scope == .configuration || !unfinishedPeers.isEmpty {
            do throws(NodeError) {
                try await put(prepared)
                unfinishedPeers = []
            } catch {
                failure = error
            }
        }
        do throws(NodeError) {
            let unrenewed = unrenewedPeers
            try outgoing.renew(
                prepared.configuration.peers.filter { unrenewed.contains($0.id) },
                prepared.credentials)
            unrenewedPeers = []
        } catch {
            failure = failure ?? error
        }
        return failure
    }

    /// What of a configuration is not about who is who.
    private func put(_ prepared: Prepared) async throws(NodeError) {
        let changedPeers = unfinishedPeers
        gates.configure(prepared.configuration)
        let newLogs = logs.all.filter { toldLogs.insert($0.name).inserted }
        opened(newLogs)
        // Whoever waits for facts that it may not have any more is not to get them.
        waits.interrupt()
        let connectNow: Pulls.Connect = { [connect] (peer, endpoint) throws(NodeError) in
            try connect(peer, endpoint, prepared.configuration, prepared.credentials)
        }
        artifacts?.follow(newLogs)
        try await pulls.apply(
            prepared.configuration, changedPeers: changedPeers, connect: connectNow)
        try await artifacts?.apply(
            prepared.configuration, prepared.credentials, changedPeers: changedPeers)
        await notices.apply(prepared.configuration, changedPeers: changedPeers, connect: connectNow)
    }

    /// Keeps the CRLs in force, so that no older ones take their place after a restart. Where they cannot be
    /// kept they are in force all the same, and this is to be called again.
    func keepRevocations() async {
        let revocation = credentials.revocation
        do throws(ServiceError) {
            try await onDisk { () throws(ServiceError) in
                do throws(CertificateError) {
                    try revocation.kept.write(revocation.entries)
                } catch {
                    throw ServiceError(.internal, error.sentence)
                }
            }
            guard keepingProblem != nil else { return }
            keepingProblem = nil
            logger.notice(
                "the CRLs in force are kept for the next start now", metadata: ["event": "revocations_kept"])
        } catch {
            // It is tried every second.
            if keepingProblem == nil {
                logger.error(
                    "the CRLs in force are not kept for the next start, it is tried again: \(error.message)",
                    metadata: ["event": "revocations_not_kept"])
            }
            keepingProblem = error.message
        }
    }

    /// Tries again what failed.
    func keepUnkeptRevocations() async {
        if keepingProblem != nil { await keepRevocations() }
    }

    /// Everything that may fail; what the logs keep is in force when the rest has not failed. Blocks.
    private static func prepare(
        _ scope: Scope, _ before: NodeConfiguration, _ generation: UInt64,
        _ inForce: NodeCredentials, _ logs: StreamLogs, _ faults: FaultPoints,
        _ server: RPCServer?, _ connect: Connect
    ) throws(ServiceError) -> Prepared {
        do {
            let configuration =
                scope == .configuration
                ? try NodeConfiguration.load(directory: before.directory) : before
            try faults.check(isStrict: configuration.isStrict)
            let changes = ConfigurationChanges(
                from: ConfigurationListing(before).lines,
                to: ConfigurationListing(configuration).lines)
            if let refusal = changes.refusal { throw NodeError(refusal) }
            let credentials = try NodeCredentials.load(
                configuration, generation: generation, replacing: inForce)
            for peer in configuration.peers {
                guard let endpoint = peer.endpoint else { continue }
                // Made and let go: what cannot be made now is found out before anything changes.
                _ = try connect(peer, endpoint, configuration, credentials)
            }
            let serverTLS = try server?.prepareTLS(credentials.serverTLS)
            if scope == .configuration {
                // The last that can fail. New readers are waited for before they are let in.
                _ = try logs.openMissing(configuration)
                try logs.changeRetention(configuration)
            }
            return Prepared(
                configuration: configuration, credentials: credentials, serverTLS: serverTLS,
                reverification: Reverification(server?.liveCallers ?? [], credentials.verifier),
                changes: changes)
        } catch let error as NodeError {
            throw ServiceError(.malformedRequest, error.sentence)
        } catch let error as ConfigurationError {
            throw ServiceError(.malformedRequest, error.description)
        } catch let error as RPCServerError {
            throw ServiceError(.malformedRequest, error.sentence)
        } catch {
            throw ServiceError(.malformedRequest, "\(error)")
        }
    }

    /// The peers and clients whose entry came, went or became another.
    private static func changedEntries(
        _ before: NodeConfiguration, _ after: NodeConfiguration
    ) -> Set<Caller.Kind> {
        var changed: Set<Caller.Kind> = []
        for id in Set((before.peers + after.peers).map(\.id))
        where before.peer(id: id) != after.peer(id: id) {
            changed.insert(.peer(id: id))
        }
        for identity in Set((before.clients + after.clients).map(\.identity))
        where before.client(identity: identity) != after.client(identity: identity) {
            changed.insert(.client(name: identity))
        }
        return changed
    }

    private func onDisk<Value: Sendable>(
        _ body: @escaping @Sendable () throws(ServiceError) -> Value
    ) async throws(ServiceError) -> Value {
        let result: Result<Value, ServiceError>
        do throws(BufferError) {
            result = try await pool.run { () throws(BufferError) in
                Result { () throws(ServiceError) in try body() }
            }
        } catch {
            throw ServiceError(error)
        }
        return try result.get()
    }
}
