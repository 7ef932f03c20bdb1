internal import Buffers
internal import Facts
internal import Logging
internal import Replication
internal import RPC

/// What the operator asks of gates, pulls and the configuration over the administration socket.
struct FederationAdministration: AdminCodec, Sendable {
    private static let reasonBytesMaximum = 256
    private static let partitionMillisecondsMaximum: Int64 = 30 * 86_400_000

    let live: LiveConfiguration
    let gates: PeerGates
    let partitions: Partitions
    let pulls: Pulls
    let custody: NodeCustody
    let now: @Sendable () -> Int64
    let refusals: @Sendable () -> RecentRefusals
    /// Reads the files again and puts them in force, for whom is told.
    let reload: @Sendable (String) async throws(ServiceError) -> Reloader.Applied

    func handle(_ procedure: Procedure, _ request: RPCRequest) async throws(ServiceError) -> [UInt8] {
        let caller = request.caller.identity
        switch procedure {
        case .listGates:
            var response = Bsfg_Admin_V1_ListGatesResponse()
            response.gates = gates.status()
            return try encode(response, request)
        case .partition: return try encode(try await partition(try decode(request), by: caller), request)
        case .reconcile: return try encode(try await reconcile(try decode(request), by: caller), request)
        case .startPeer: return try encode(try await startPeer(try decode(request), by: caller), request)
        case .reload: return try encode(try await reloadConfiguration(by: caller), request)
        case .showConfiguration: return try encode(showConfiguration(), request)
        case .listRefusals: return try encode(listRefusals(try decode(request)), request)
        default: preconditionFailure("\(procedure.rawValue) is not administration of federation")
        }
    }

    // MARK: - Gates

    private func partition(_ request: Bsfg_Admin_V1_PartitionRequest, by caller: String)
        async throws(ServiceError) -> Bsfg_Admin_V1_PartitionResponse
    {
        try requirePeer(request.peer)
        guard !request.reason.isEmpty else {
            throw ServiceError(.missingField, "say why, for those who come after", field: "reason")
        }
        guard request.reason.utf8.count <= Self.reasonBytesMaximum else {
            throw ServiceError(
                .tooLarge, "a reason has at most \(Self.reasonBytesMaximum) bytes", field: "reason")
        }
        guard (0...Self.partitionMillisecondsMaximum).contains(request.forMs) else {
            throw ServiceError(
                .malformedRequest, "a partition ends within 30 days, or with reconcile (0)",
                field: "for_ms")
        }
        var closure = Bsfg_Admin_V1_OperatorClosure()
        closure.peer = request.peer
        closure.reason = request.reason
        closure.sinceUnixMs = now()
        closure.untilUnixMs = request.forMs > 0 ? closure.sinceUnixMs + request.forMs : 0
        try await partitions.close(closure, by: caller, onlyOpen: request.onlyOpen)
        var response = Bsfg_Admin_V1_PartitionResponse()
        response.gate = gates.status(of: request.peer)
        return response
    }

    private func reconcile(_ request: Bsfg_Admin_V1_ReconcileRequest, by caller: String)
        async throws(ServiceError) -> Bsfg_Admin_V1_ReconcileResponse
    {
        // A closure may be left of a peer that is not configured any more.
        if gates.refusal(to: request.peer) == nil { try requirePeer(request.peer) }
        var response = Bsfg_Admin_V1_ReconcileResponse()
        response.wasClosed = try await partitions.open(
            request.peer, by: caller, why: "the operator asked for it"
        ) {
            request.onlyReason.isEmpty || $0.reason.utf8.elementsEqual(request.onlyReason.utf8)
        }
        response.gate = gates.status(of: request.peer)
        return response
    }

    private func requirePeer(_ peer: String) throws(ServiceError) {
        let configuration = live.current
        guard configuration.peer(id: peer) == nil else { return }
        throw ServiceError(
            .unknownZone,
            "the peer '\(peer)' is not in peers.yaml; "
                + NearestName.hint(for: peer, among: configuration.peers.map(\.id)), field: "peer")
    }

    // MARK: - Who was refused

    private func listRefusals(_ request: Bsfg_Admin_V1_ListRefusalsRequest)
        -> Bsfg_Admin_V1_ListRefusalsResponse
    {
        let recent = refusals()
        let chosen = recent.newest(
            request.limit == 0 ? .max : Int(request.limit), after: request.after,
            fingerprint: request.fingerprint.isEmpty ? nil : request.fingerprint)
        var response = Bsfg_Admin_V1_ListRefusalsResponse()
        response.lastNumber = recent.lastNumber
        response.refusals = chosen.map { refusal in
            var told = Bsfg_Admin_V1_Refusal()
            told.number = refusal.number
            told.atUnixMs = refusal.unixMilliseconds
            told.place = refusal.place.rawValue
            told.reason = refusal.reason
            told.sentence = refusal.sentence
            told.identity = refusal.identity
            told.names = refusal.names
            told.fingerprint = refusal.fingerprint
            told.address = refusal.address
            told.path = refusal.path
            return told
        }
        return response
    }

    // MARK: - Pulls that wait for the operator

    private func startPeer(_ request: Bsfg_Admin_V1_StartPeerRequest, by caller: String)
        async throws(ServiceError) -> Bsfg_Admin_V1_StartPeerResponse
    {
        try requirePeer(request.peer)
        let chosen = pulls.pulls(
            peer: request.peer, stream: request.stream, origin: request.origin)
        guard !chosen.isEmpty else {
            throw ServiceError(
                .unknownStream, "cursors.yaml pulls nothing like that from \(request.peer)",
                field: "stream")
        }
        var response = Bsfg_Admin_V1_StartPeerResponse()
        if request.dryRun {
            for pull in chosen { response.pulls.append(await preview(pull)) }
            return response
        }
        let held = chosen.filter(\.isHeld)
        await pulls.startHeld(held)
        for pull in held {
            custody.audit(
                "pull_started", by: caller,
                [
                    "peer": "\(request.peer)", "stream": "\(pull.configuration.stream)",
                    "origin": "\(pull.configuration.origin)",
                ])
        }
        response.pulls = held.map { pull in
            var started = Bsfg_Admin_V1_StartedPull()
            started.stream = pull.configuration.stream
            started.origin = pull.configuration.origin
            started.initMode = pull.configuration.initMode.description
            return started
        }
        return response
    }

    /// Asks the source where a pull would begin; nothing changes on either side.
    private func preview(_ pull: Pulls.Pull) async -> Bsfg_Admin_V1_StartedPull {
        var started = Bsfg_Admin_V1_StartedPull()
        started.stream = pull.configuration.stream
        started.origin = pull.configuration.origin
        started.initMode = pull.configuration.initMode.description
        let buffer = pull.log.buffer
        let receiver = SourcePosition(
            logUUID: buffer.identifier, epoch: buffer.epoch, nextOffset: buffer.headOffset)
        do throws(PullFailure) {
            let opened = try await pull.source.openCursor(
                pull.log.forward?.position, receiver, isDryRun: true)
            started.initMode = opened.initMode
            started.startOffset = opened.start.offset
            started.headOffset = opened.headOffset
            started.shortfallMs = opened.shortfallMs
            started.existing = opened.existing
        } catch {
            switch error {
            case .unavailable(let sentence), .refused(_, let sentence), .blocked(_, let sentence),
                .full(let sentence, _):
                started.problem = sentence
            }
        }
        return started
    }

    // MARK: - Configuration

    private func reloadConfiguration(by caller: String)
        async throws(ServiceError) -> Bsfg_Admin_V1_ReloadResponse
    {
        let applied = try await reload(caller)
        var response = Bsfg_Admin_V1_ReloadResponse()
        response.generation = live.generation
        response.warnings = applied.warnings
        response.changes = applied.changes.changes.map { change in
            var told = Bsfg_Admin_V1_ConfigurationChange()
            told.key = change.key
            told.before = change.before ?? ""
            told.after = change.after ?? ""
            return told
        }
        return response
    }

    private func showConfiguration() -> Bsfg_Admin_V1_ShowConfigurationResponse {
        var response = Bsfg_Admin_V1_ShowConfigurationResponse()
        response.generation = live.generation
        response.lines = ConfigurationListing(live.current).lines.map { line in
            var told = Bsfg_Admin_V1_ConfigurationLine()
            told.key = line.key
            told.value = line.value
            return told
        }
        return response
    }
}
