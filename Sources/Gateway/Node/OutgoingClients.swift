internal import RPC
internal import Synchronization

/// The clients that this node calls its peers with, so that each gets new certificates and new trust
/// without its calls being lost. Who uses a client owns it; here it is only known.
final class OutgoingClients: Sendable {
    private struct Known: Sendable {
        var peer: String
        weak var client: RPCClient?
    }

    private let known = Mutex<[Known]>([])

    func add(_ client: RPCClient, peer: String) {
        known.withLock { known in
            known.removeAll { $0.client == nil }
            known.append(Known(peer: peer, client: client))
        }
    }

    /// Gives the clients of these peers what they connect with from now on: each verifies its server
    /// again and moves to a new connection before it leaves the old one.
    func renew(_ peers: [PeerConfiguration], _ credentials: NodeCredentials) throws(NodeError) {
        let clients = known.withLock { $0.compactMap { known in known.client.map { (known.peer, $0) } } }
        for (id, client) in clients {
            guard let peer = peers.first(where: { $0.id.utf8.elementsEqual(id.utf8) }) else { continue }
            do throws(RPCClientError) {
                try client.renew(
                    tls: try PeerConnection.tls(peer, credentials),
                    verifier: PeerConnection.verifier(peer, credentials))
            } catch {
                throw NodeError("the connection to \(id) cannot be renewed: \(error)")
            }
        }
    }
}
