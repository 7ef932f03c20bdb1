internal import Glibc

/// A node whose logs were restored starts with its gates closed (gateway decision 7): nothing is pulled or
/// served by history that its peers have not seen yet, until the operator opens them one by one.
package struct RestoredGates: Sendable {
    /// Stands for every peer in `gates.json`, until the node starts and knows them. No zone is called so.
    static let everyPeer = "*"

    private let file: OperatorClosures

    /// The node that keeps a log in its data directory; nil for a log of nobody's.
    package init?(logDirectory: String) {
        // data/store/<stream> and data/forward/<stream>/<origin>
        let found = ["../..", "../../.."].map { "\(logDirectory)/\($0)" }.first {
            access("\($0)/\(StreamLogs.markerName)", F_OK) == 0
        }
        guard let found else { return nil }
        file = OperatorClosures(dataDirectory: found)
    }

    /// Closes them from the next start on, durably. Blocks.
    package func close(reason: String) throws(NodeError) {
        var closure = Bsfg_Admin_V1_OperatorClosure()
        closure.peer = RestoredGates.everyPeer
        closure.reason = "restored: \(reason)"
        closure.sinceUnixMs = GatewayNode.nowMilliseconds()
        let others = try file.load().filter { $0.peer != closure.peer }
        try file.store(others + [closure])
    }
}

extension OperatorClosures {
    /// What the file says, with a closure for each peer where it names all; durable as such when it returns.
    /// A gate that was closed for a reason of its own keeps it. Blocks.
    func load(peers: [String]) throws(NodeError) -> [Bsfg_Admin_V1_OperatorClosure] {
        let all = try load()
        guard let general = all.first(where: { $0.peer == RestoredGates.everyPeer }) else { return all }
        var closures = all.filter { $0.peer != general.peer }
        for peer in peers where !closures.contains(where: { $0.peer.utf8.elementsEqual(peer.utf8) }) {
            var closure = general
            closure.peer = peer
            closures.append(closure)
        }
        try store(closures)
        return closures
    }
}
