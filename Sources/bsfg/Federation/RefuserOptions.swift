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

    /// What the peer says of itself, where it was given.
    func theirs() async throws -> NodeEvidence? {
        guard let side else { return try file() }
        return try await CommandFailure.calling { () async throws(RPCClientError) in
            try await side.evidence()
        }
    }

    private var side: FederationDrill.Side? { peerAdmin.map { FederationDrill.Side(socketPath: $0) } }

    private func file() throws -> NodeEvidence? {
        try evidence.map { file in
            try CommandFailure.wrap { try NodeEvidence.read(file: file) }
        }
    }
}
