package import RPC

extension NodeEvidence {
    /// Asks a node through its administration socket.
    /// - Parameter withRefusals: also whom it refused last.
    package static func gather(
        _ client: AdminClient, atUnixMilliseconds now: Int64, withRefusals: Bool = false
    ) async throws(RPCClientError) -> NodeEvidence {
        let configuration = try await client.showConfiguration()
        let status = try await client.status()
        let gates = try await client.listGates().gates
        let artifacts =
            status.hasArtifacts
            ? try await ArtifactSummary.gather(client, pulls: status.pulls) : ArtifactSummary()
        let quarantine = try await QuarantineSummary.gather(client)
        let unread: [(List, Bool)] = [
            (.artifacts, artifacts.isWhole), (.quarantined, quarantine.isWhole),
        ]
        let refused = NodeEvidence.refusals(status.server)
        var last: [NodeRefusal]?
        if withRefusals {
            var request = Bsfg_Admin_V1_ListRefusalsRequest()
            request.limit = lastRefusalsMaximum
            last = try await client.listRefusals(request).refusals.map(NodeRefusal.init)
        }
        return NodeEvidence(
            takenAtUnixMs: now, zone: status.zone, identity: status.identity,
            release: status.release,
            configuration: configuration.lines.map { Line(key: $0.key, value: $0.value) },
            logs: status.streams.map(Log.init), pulls: status.pulls.map(Pull.init),
            readers: status.consumers.map(Reader.init), gates: gates.map(Gate.init),
            artifacts: artifacts.kept, quarantined: quarantine.kept,
            refusals: refused, refusedCount: refused.reduce(0) { $0 &+ $1.count },
            lastRefusals: last, storedArtifacts: artifacts.stored,
            unreadLists: unread.filter { !$0.1 }.map(\.0),
            certificate: status.hasCertificate ? OwnCertificate(status.certificate) : nil)
    }

    /// In the order of their reasons. A certificate may be refused for the same in the handshake and after it.
    package static func refusals(_ server: Bsfg_Admin_V1_ServerStatus) -> [Refusals] {
        server.handshakeFailures.merging(server.callersRefused, uniquingKeysWith: &+)
            .map { Refusals(reason: $0.key, count: $0.value) }
            .sorted { $0.reason.utf8.lexicographicallyPrecedes($1.reason.utf8) }
    }

    private static let lastRefusalsMaximum: UInt32 = 256
}

extension NodeEvidence.Log {
    fileprivate init(_ status: Bsfg_Admin_V1_StreamStatus) {
        self.init(
            stream: status.stream, origin: status.origin, role: status.role,
            identifier: status.logUuid, epoch: status.epoch, firstOffset: status.firstOffset,
            headOffset: status.headOffset, gapCount: status.gaps.count, state: status.state,
            isAlarmed: status.alarm)
    }
}

extension NodeEvidence.Pull {
    fileprivate init(_ status: Bsfg_Admin_V1_PullStatus) {
        self.init(
            peer: status.peer, stream: status.stream, origin: status.origin, state: status.state,
            reason: status.reason, sentence: status.sentence,
            nextOffset: status.hasNextOffset ? status.nextOffset : nil,
            confirmedOffset: status.hasConfirmedOffset ? status.confirmedOffset : nil,
            sourceHeadOffset: status.hasSourceHeadOffset ? status.sourceHeadOffset : nil,
            materialisedCount: status.materialised, redeliveredCount: status.redelivered,
            recognisedCount: status.recognised, uncomparedCount: status.uncompared,
            alteredCount: status.altered)
    }
}

extension NodeEvidence.OwnCertificate {
    fileprivate init(_ certificate: Bsfg_Admin_V1_NodeCertificate) {
        self.init(
            serial: certificate.serial, refusedFiles: certificate.refusedFiles, problem: certificate.problem)
    }
}

extension NodeEvidence.Reader {
    fileprivate init(_ consumer: Bsfg_Admin_V1_Consumer) {
        self.init(
            owner: consumer.owner, name: consumer.name, stream: consumer.stream,
            origin: consumer.origin, nextOffset: consumer.nextOffset, detached: consumer.detached)
    }
}

extension NodeEvidence.Gate {
    fileprivate init(_ gate: Bsfg_Admin_V1_Gate) {
        let reasons = [
            gate.hasClosure ? gate.closure.reason : "", gate.hasInbound ? gate.inbound.reason : "",
            gate.hasOutbound ? gate.outbound.reason : "",
        ]
        self.init(
            peer: gate.peer, mode: gate.mode, isClosedByOperator: gate.hasClosure,
            reason: reasons.first { !$0.isEmpty } ?? "",
            inbound: gate.hasInbound ? Direction(gate.inbound) : nil,
            outbound: gate.hasOutbound ? Direction(gate.outbound) : nil)
    }
}

extension NodeEvidence.Gate.Direction {
    fileprivate init(_ direction: Bsfg_Admin_V1_GateDirection) {
        self.init(mode: direction.mode, reason: direction.reason)
    }
}
