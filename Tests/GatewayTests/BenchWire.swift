import Facts
import RPC
import Synchronization

@testable import Gateway

/// A connection between two nodes in one process: it can be cut, pointed at another node, and what it
/// carries back can be changed.
final class BenchWire: Sendable {
    private let source = Mutex<ServicesBench?>(nil)
    private let change = Mutex<(@Sendable (Procedure, inout [UInt8]) -> Void)?>(nil)
    private let question = Mutex<(@Sendable (Procedure, [UInt8]) -> [UInt8])?>(nil)
    private let caller: Caller

    /// - Parameter peer: the zone of the node that calls.
    init(from peer: String) { caller = .peer(peer) }

    func connect(_ bench: ServicesBench?) { source.withLock { $0 = bench } }

    /// What is asked becomes another question on its way.
    func changeQuestions(_ body: (@Sendable (Procedure, [UInt8]) -> [UInt8])?) {
        question.withLock { $0 = body }
    }

    func change(_ body: (@Sendable (Procedure, inout [UInt8]) -> Void)?) {
        change.withLock { $0 = body }
    }

    var connection: PeerConnection {
        PeerConnection(
            call: { [self] (procedure, body, milliseconds) async throws(RPCClientError) in
                guard let source = source.withLock({ $0 }),
                    let procedure = Procedure(rawValue: procedure)
                else { throw .transport(kind: .closed, sentence: "the wire is cut") }
                let asked = question.withLock { $0?(procedure, body) } ?? body
                let reply = await source.reply(
                    procedure, asked, caller, .proto, milliseconds: UInt64(milliseconds))
                switch reply {
                case .message(var bytes):
                    change.withLock { $0?(procedure, &bytes) }
                    return bytes
                case .failure(let error):
                    throw .status(
                        RPCFailure(
                            httpStatus: error.httpStatus, code: error.code.rawValue,
                            message: error.message, detail: error.detail))
                }
            }, close: {})
    }
}

/// The files of a zone's node with one stream, what its peers may take and what it pulls.
func zoneFiles(
    _ zone: String, others: String = "enterprise", peers: String, cursors: String = "",
    profile: String = "standard"
) throws -> ConfigurationTestFiles
{
    let strict = profile == "sil_strict" ? ", profile: sil_strict, terminal: true" : ""
    return try ConfigurationTestFiles(
        main: """
            zone: \(zone)
            identity: \(zone)-bsfg
            data: data
            listen: 127.0.0.1:0
            tls: {ca: certs/ca.crt, certificate: certs/server.crt, key: certs/server.key}
            zones: [\(others)]
            streams:
              - {name: facts.operational, capacity: 16MiB, segment: 1MiB\(strict)}

            """,
        peers: "peers:\n\(peers)\n",
        cursors: cursors.isEmpty ? "cursors: []\n" : "cursors:\n\(cursors)\n")
}
