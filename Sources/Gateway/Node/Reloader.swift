internal import Buffers
internal import Facts
internal import Logging
internal import RPC

/// Puts a changed configuration in force while the node runs: all of it or nothing.
///
/// Everything that can fail is done on copies first: reading and checking the files, the certificates, the
/// TLS context, opening new logs. Then the parts are replaced, readers before those who serve.
actor Reloader {
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
    /// Told of logs that were opened.
    private let opened: @Sendable ([StreamLog]) -> Void
    private var trust: TrustDigests

    init(
        live: LiveConfiguration, verifier: ReloadableVerifier, trust: TrustDigests,
        logs: StreamLogs, pulls: Pulls, artifacts: NodeArtifacts?, gates: PeerGates, waits: HeadWaits,
        notices: NoticeSender, faults: FaultPoints, pool: BlockingPool,
        logger: Logger, server: @escaping @Sendable () -> RPCServer?,
        opened: @escaping @Sendable ([StreamLog]) -> Void
    ) {
        self.live = live
        self.verifier = verifier
        self.trust = trust
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
        self.opened = opened
    }

    /// What was read and checked and can be put in force.
    private struct Prepared: Sendable {
        var configuration: NodeConfiguration
        var credentials: NodeCredentials
        var trust: TrustDigests
        var changes: ConfigurationChanges
        var opened: [StreamLog]
    }

    /// Reads the files again.
    /// - Returns: what changed.
    /// - Throws: why they are not put in force; the node goes on as before.
    func reload() async throws(ServiceError) -> ConfigurationChanges {
        do throws(ServiceError) {
            let changes = try await apply()
            logger.notice(
                "configuration reloaded",
                metadata: [
                    "event": "configuration_reloaded", "generation": "\(live.generation)",
                    "changes": "\(changes.changes.map(\.key).joined(separator: " "))",
                ])
            return changes
        } catch {
            logger.error(
                "configuration not reloaded, the one in force stays: \(error.message)",
                metadata: ["event": "configuration_refused"])
            throw error
        }
    }

    private func apply() async throws(ServiceError) -> ConfigurationChanges {
        let before = live.current
        let generation = verifier.generation + 1
        let (logs, faults, server) = (logs, faults, server())
        let prepared = try await onDisk { () throws(ServiceError) in
            try Reloader.prepare(before, generation, logs, faults, server)
        }
        let changed = Reloader.changedCallers(
            before, prepared.configuration, trust, prepared.trust)
        var changedPeers = Set(
            changed.compactMap { kind in if case .peer(let id) = kind { id } else { nil } })
        if trust.own != prepared.trust.own {
            // Our own certificate is another one: whom we call is to see it.
            changedPeers.formUnion(prepared.configuration.peers.map(\.id))
        }
        trust = prepared.trust
        live.replace(with: prepared.configuration)
        verifier.replace(with: prepared.credentials.verifier, changed: changed)
        gates.configure(prepared.configuration)
        try await onDisk { () throws(ServiceError) in
            do throws(NodeError) {
                try logs.changeRetention(prepared.configuration)
            } catch {
                throw ServiceError(.internal, error.sentence)
            }
        }
        opened(prepared.opened)
        // Whoever waits for facts that it may not have any more is not to get them.
        waits.interrupt()
        server?.close(callers: changed)
        do throws(NodeError) {
            try await pulls.apply(prepared.configuration, changedPeers: changedPeers) {
                (peer, endpoint) throws(NodeError) in
                try PeerConnection.connect(
                    peer, endpoint, prepared.configuration, prepared.credentials)
            }
            try await artifacts?.apply(
                prepared.configuration, prepared.credentials, changedPeers: changedPeers,
                opened: prepared.opened)
        } catch {
            throw ServiceError(.internal, error.sentence)
        }
        await notices.apply(prepared.configuration) { (peer, endpoint) throws(NodeError) in
            try PeerConnection.connect(
                peer, endpoint, prepared.configuration, prepared.credentials)
        }
        return prepared.changes
    }

    /// Everything that may fail, without changing anything that is in force. Blocks.
    private static func prepare(
        _ before: NodeConfiguration, _ generation: UInt64, _ logs: StreamLogs, _ faults: FaultPoints,
        _ server: RPCServer?
    ) throws(ServiceError) -> Prepared {
        do {
            let configuration = try NodeConfiguration.load(directory: before.directory)
            try faults.check(isStrict: configuration.isStrict)
            let changes = ConfigurationChanges(
                from: ConfigurationListing(before).lines,
                to: ConfigurationListing(configuration).lines)
            if let refusal = changes.refusal { throw NodeError(refusal) }
            let credentials = try NodeCredentials.load(configuration, generation: generation)
            let trust = try TrustDigests(configuration)
            for peer in configuration.peers {
                guard let endpoint = peer.endpoint else { continue }
                // Made and let go: what cannot be made now is found out before anything changes.
                _ = try PeerConnection.connect(peer, endpoint, configuration, credentials)
            }
            let opened = try logs.openMissing(configuration)
            try server?.renewTLS(credentials.serverTLS)
            return Prepared(
                configuration: configuration, credentials: credentials, trust: trust,
                changes: changes, opened: opened)
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

    /// The peers and clients whose entry came, went or became another, or whose CA files did.
    private static func changedCallers(
        _ before: NodeConfiguration, _ after: NodeConfiguration, _ trustBefore: TrustDigests,
        _ trustAfter: TrustDigests
    ) -> Set<Caller.Kind> {
        var changed: Set<Caller.Kind> = []
        for id in Set((before.peers + after.peers).map(\.id)) {
            let (old, new) = (before.peer(id: id), after.peer(id: id))
            let files = (old?.authorityFiles ?? []) + (new?.authorityFiles ?? [])
            if old != new || trustBefore.differs(trustAfter, in: files) {
                changed.insert(.peer(id: id))
            }
        }
        for identity in Set((before.clients + after.clients).map(\.identity)) {
            let (old, new) = (before.client(identity: identity), after.client(identity: identity))
            let files = (old?.authorityFiles ?? []) + (new?.authorityFiles ?? [])
            if old != new || trustBefore.differs(trustAfter, in: files) {
                changed.insert(.client(name: identity))
            }
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

/// What the CA files held when they were read, to tell when one was replaced.
struct TrustDigests: Sendable {
    private var digests: [String: Digest] = [:]
    /// Of our own certificate.
    let own: Digest

    /// Blocks.
    init(_ configuration: NodeConfiguration) throws {
        own = SHA256.hash(
            try SmallFile.read(
                configuration.tls.certificateFile, bytesMaximum: X509Certificate.fileBytesMaximum))
        for file in NodeCredentials.trustFiles(configuration) {
            digests[file] = SHA256.hash(
                try SmallFile.read(file, bytesMaximum: X509Certificate.fileBytesMaximum))
        }
    }

    func differs(_ other: TrustDigests, in files: [String]) -> Bool {
        files.contains { digests[$0] != other.digests[$0] }
    }
}
