internal import ArgumentParser
internal import Gateway
internal import RPC

/// Peers as the running node has them.
enum PeerOutput {
    static func evidence(_ node: NodeConnection) async throws -> NodeEvidence {
        guard case .socket(let path) = try node.route(.administration) else {
            preconditionFailure("administration has a socket")
        }
        return try await CommandFailure.calling { () async throws(RPCClientError) in
            try await FederationDrill.Side(socketPath: path).evidence()
        }
    }

    static func json(_ peer: FederationSide.Peer, _ node: NodeEvidence) -> JSONOutput {
        func texts(_ names: [String]) -> JSONOutput { .list(names.map { .text($0) }) }
        let gate = node.gate(to: peer.id)
        return .object([
            ("id", .text(peer.id)), ("identity", .text(peer.identity)),
            ("endpoint", peer.endpoint.map { .text($0) } ?? .null),
            ("authorized", .flag(peer.isAuthorised)), ("streams", texts(peer.streams)),
            ("origins", texts(peer.origins)), ("artifacts", texts(peer.artifacts)),
            ("gate", gate.map { .text($0.mode) } ?? .null),
            ("reason", gate.map { .text($0.reason) } ?? .null),
            ("pulls", .list(node.pulls(from: peer.id).map { CursorQuery.json($0, node) })),
        ])
    }
}

struct PeerList: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "list", abstract: "Lists the peers, what they may take and how they stand.")

    @OptionGroup var node: NodeConnection
    @OptionGroup var output: OutputOptions

    func run() async throws {
        let evidence = try await PeerOutput.evidence(node)
        let peers = FederationSide(evidence).peers
        switch output.format {
        case .table:
            var table = Table("PEER", "IDENTITY", "ENDPOINT", "AUTHORIZED", "MAY TAKE", "WE PULL#", "GATE")
            for peer in peers {
                table.row([
                    peer.id, peer.identity, peer.endpoint ?? "-", peer.isAuthorised ? "yes" : "no",
                    peer.streams.isEmpty ? "-" : peer.streams.joined(separator: ", "),
                    String(evidence.pulls(from: peer.id).count), evidence.gate(to: peer.id)?.mode ?? "-",
                ])
            }
            StandardOutput.line(table.text)
        case .json: StandardOutput.json(.list(peers.map { PeerOutput.json($0, evidence) }))
        }
    }
}

struct PeerShow: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "show", abstract: "Shows one peer: its grants, its gate and what we pull from it.")

    @Argument(help: "The peer, as peers.yaml calls it.")
    var peer: String

    @OptionGroup var node: NodeConnection
    @OptionGroup var output: OutputOptions

    func run() async throws {
        let evidence = try await PeerOutput.evidence(node)
        let side = FederationSide(evidence)
        guard let found = side.peer(peer) else {
            throw CommandFailure(
                .usage,
                "the node has no peer '\(peer)'; "
                    + NearestName.hint(for: peer, among: side.peers.map(\.id)))
        }
        guard output.format == .table else {
            return StandardOutput.json(PeerOutput.json(found, evidence))
        }
        func list(_ names: [String]) -> String {
            names.isEmpty ? "nothing" : names.joined(separator: ", ")
        }
        var table = Table("PEER", found.id)
        table.row(["identity", found.identity])
        table.row(["endpoint", found.endpoint ?? "none"])
        table.row(["authorized", found.isAuthorised ? "yes" : "no"])
        table.row(["may take streams", list(found.streams)])
        table.row(["of origins", list(found.origins)])
        table.row(["and artifacts", list(found.artifacts)])
        if let gate = evidence.gate(to: found.id) {
            table.row(["gate", gate.reason.isEmpty ? gate.mode : "\(gate.mode): \(gate.reason)"])
        }
        StandardOutput.line(table.text)
        let pulls = evidence.pulls(from: found.id)
        if !pulls.isEmpty { StandardOutput.line("\nWe pull\n\(CursorQuery.table(pulls, evidence))") }
    }
}
