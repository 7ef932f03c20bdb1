package import RPC

extension NodeEvidence {
    /// Asks a node through its administration socket.
    package static func gather(
        _ client: AdminClient, atUnixMilliseconds now: Int64
    ) async throws(RPCClientError) -> NodeEvidence {
        let configuration = try await client.showConfiguration()
        let status = try await client.status()
        let gates = try await client.listGates().gates
        var artifacts: [Artifact] = []
        if status.hasArtifacts {
            artifacts = try await client.listArtifacts(Bsfg_Admin_V1_ListArtifactsRequest())
                .artifacts.map {
                    Artifact(zone: $0.zone, name: "\($0.bucket)/\($0.key)", state: $0.state)
                }
        }
        let refused =
            Array(status.server.handshakeFailures.values)
            + Array(status.server.callersRefused.values)
        return NodeEvidence(
            takenAtUnixMs: now, zone: status.zone, identity: status.identity,
            release: status.release,
            configuration: configuration.lines.map { Line(key: $0.key, value: $0.value) },
            logs: status.streams.map(Log.init), pulls: status.pulls.map(Pull.init),
            readers: status.consumers.map(Reader.init), gates: gates.map(Gate.init),
            artifacts: artifacts, refusedCount: refused.reduce(0, &+))
    }
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
            materialisedCount: status.materialised, redeliveredCount: status.redelivered)
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
            reason: reasons.first { !$0.isEmpty } ?? "")
    }
}
