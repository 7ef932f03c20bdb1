internal import ArgumentParser
internal import Gateway
internal import RPC

/// Where it can be read why the peer refused.
struct RefuserOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "The peer's administration socket, where both nodes are on one machine or it is forwarded: "
                + "what the peer noted is read there.",
            valueName: "SOCKET"))
    var peerAdmin: String?

    @Option(
        help: ArgumentHelp(
            "What 'bsfg federation evidence' wrote on the peer's machine: what it noted before.",
            valueName: "FILE"))
    var evidence: String?

    func validate() throws {
        guard peerAdmin == nil || evidence == nil else {
            throw ValidationError("--peer-admin and --evidence exclude each other.")
        }
    }

    func refuser() throws -> Refuser? { Refuser(side, or: try file()) }

    /// What the peer says of itself, where it was given: of now, and not another one's.
    func theirs(of peer: String) async throws -> NodeEvidence? {
        let told: NodeEvidence?
        if let side {
            told = try await CommandFailure.calling { () async throws(RPCClientError) in
                try await side.evidence()
            }
        } else {
            told = try file()
        }
        guard let told else { return nil }
        guard told.zone.utf8.elementsEqual(peer.utf8) else {
            throw CommandFailure(.usage, "the evidence is of zone \(told.zone), not of \(peer); give that of \(peer)")
        }
        guard told.isOfNow() else {
            throw CommandFailure(
                .usage,
                "the evidence of \(peer) was not taken within the last 24 hours, and what it grants may be another "
                    + "thing now; take it again with: bsfg federation evidence")
        }
        return told
    }

    /// What the peer says of itself, where it was given and answers: nobody is diagnosed less for want of it.
    func seen() async throws -> NodeEvidence? {
        guard let side else { return try file() }
        return try? await side.evidence()
    }

    var isLive: Bool { peerAdmin != nil }

    private var side: FederationDrill.Side? { peerAdmin.map { FederationDrill.Side(socketPath: $0) } }

    private func file() throws -> NodeEvidence? {
        try evidence.map { file in
            try CommandFailure.wrap { try NodeEvidence.read(file: file) }
        }
    }
}
