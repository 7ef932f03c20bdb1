internal import ArgumentParser
internal import Gateway
internal import RPC

/// Which two sides a command is about.
struct FederationOptions: ParsableArguments {
    @Option(help: "The peer, as peers.yaml calls it.")
    var peer: String

    @Option(
        help: ArgumentHelp(
            "Our node's configuration. Environment: BSFG_CONFIG.", valueName: "DIR"))
    var config: String?

    @Option(
        help: ArgumentHelp(
            "The peer's administration socket, where both nodes are on one machine or it is forwarded.",
            valueName: "SOCKET"))
    var peerAdmin: String?

    @Option(
        help: ArgumentHelp(
            "What 'bsfg federation evidence' wrote on the peer's machine.", valueName: "FILE"))
    var evidence: String?

    func validate() throws {
        guard peerAdmin == nil || evidence == nil else {
            throw ValidationError("--peer-admin and --evidence exclude each other.")
        }
    }

    /// Our files.
    func load() throws -> NodeConfiguration {
        guard let directory = config ?? NodeConnection.environment("BSFG_CONFIG") else {
            throw CommandFailure(.usage, "say which configuration is ours: --config DIR (or BSFG_CONFIG)")
        }
        let configuration = try CommandFailure.wrap {
            try NodeConfiguration.load(directory: directory)
        }
        guard configuration.peer(id: peer) != nil else {
            throw CommandFailure(
                .usage,
                "the peer '\(peer)' is not in peers.yaml; "
                    + NearestName.hint(for: peer, among: configuration.peers.map(\.id)))
        }
        return configuration
    }

    /// The other side's, where it was given.
    func theirs() async throws -> NodeEvidence? {
        if let evidence {
            return try CommandFailure.wrap { try NodeEvidence.read(file: evidence) }
        }
        guard let side = theirSide else { return nil }
        return try await CommandFailure.calling { () async throws(RPCClientError) in
            try await side.evidence()
        }
    }

    var theirSide: FederationDrill.Side? {
        peerAdmin.map { FederationDrill.Side(socketPath: $0) }
    }

    /// By the files on our side, before they are in force.
    func plan(_ configuration: NodeConfiguration, _ theirs: NodeEvidence?) -> FederationPlan {
        FederationPlan(
            ours: FederationSide(configuration), theirs: theirs.map(FederationSide.init), peer: peer)
    }
}
