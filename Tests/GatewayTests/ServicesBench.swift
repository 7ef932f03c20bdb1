import Buffers
import Facts
import Foundation
import Logging
import RPC
import SwiftProtobuf
import Testing
import WriteAheadLog

@testable import Gateway

/// A node without sockets: its service, driven as the server drives it, over real logs.
final class ServicesBench: Sendable {
    let files: ConfigurationTestFiles
    let configuration: NodeConfiguration
    let logs: StreamLogs
    let pool: BlockingPool
    let waits = HeadWaits()
    let custody: NodeCustody
    let pulls: Pulls
    let live: LiveConfiguration
    let gates: PeerGates
    let partitions: Partitions
    let service: NodeService

    static let main = """
        zone: enterprise
        identity: enterprise-bsfg
        data: data
        listen: 127.0.0.1:0
        tls: {ca: certs/ca.crt, certificate: certs/server.crt, key: certs/server.key}
        zones: [cloud]
        streams:
          - {name: facts.operational, capacity: 16MiB, segment: 1MiB}
          - {name: facts.audit, capacity: 16MiB, segment: 1MiB, idempotency: content}
          - {name: facts.safety, capacity: 16MiB, segment: 1MiB, profile: sil_strict, terminal: true}
        clients:
          - {identity: both, roles: [producer, consumer], streams: [facts.operational]}
          - {identity: writer, roles: [producer], streams: [facts.operational, facts.audit]}
          - {identity: reader, roles: [consumer], streams: [facts.operational], origins: [enterprise, plant-a]}
          - {identity: watcher, roles: [monitor]}

        """

    static let peers = """
        peers:
          - {id: plant-a, identity: plant-a-bsfg, endpoint: "127.0.0.1:1", authorized: true, streams: [facts.operational, facts.safety]}
          - {id: plant-b, identity: plant-b-bsfg, endpoint: "127.0.0.1:1", authorized: true}
          - {id: plant-c, identity: plant-c-bsfg, endpoint: "127.0.0.1:1", authorized: false, streams: [facts.operational]}

        """

    static let silent = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }

    static let noCursors = "cursors: []\n"

    convenience init(
        main: String = main, peers: String = peers, cursors: String = noCursors,
        connect: PeerConnection? = nil, logger: Logger = silent
    ) throws {
        try self.init(
            files: ConfigurationTestFiles(main: main, peers: peers, cursors: cursors),
            connect: connect, logger: logger)
    }

    /// A node over files that are there, after another one was closed.
    init(
        files: ConfigurationTestFiles, connect: PeerConnection? = nil, logger: Logger = silent
    ) throws {
        self.files = files
        configuration = try files.load()
        logs = try StreamLogs(configuration)
        pool = BlockingPool(name: "test-disk", threadCount: 2)
        custody = try NodeCustody(configuration, logger: logger)
        let closures = OperatorClosures(dataDirectory: configuration.dataDirectory)
        let gates = PeerGates(try closures.load())
        gates.configure(configuration)
        let pulls = try Pulls(configuration, logs, pool, custody, gates, logger) {
            (_, _) throws(NodeError) in
            guard let connect else { throw NodeError("this test pulls nothing") }
            return connect
        }
        let waits = waits
        gates.attach(
            GateHooks(
                interrupt: { await pulls.interrupt(peer: $0, $1) },
                resume: { await pulls.resume(peer: $0) }, greet: { await pulls.greet(peer: $0) },
                endPolls: { waits.interrupt() }))
        let partitions = Partitions(gates: gates, file: closures, pool: pool, logger: logger)
        let live = LiveConfiguration(configuration)
        let access = Access(live, gates: gates)
        let now: @Sendable () -> Int64 = { GatewayNode.nowMilliseconds() }
        (self.pulls, self.gates, self.partitions, self.live) = (pulls, gates, partitions, live)
        service = NodeService(
            access: access,
            append: AppendService(access: access, logs: logs, pool: pool),
            fetch: FetchService(
                access: access, logs: logs, pool: pool, waits: waits, custody: custody),
            federation: FederationHandler(
                access: access, logs: logs, pool: pool, custody: custody, now: now),
            admin: AdminHandler(
                live: live, logs: logs, pulls: pulls, pool: pool, waits: waits,
                custody: custody, startedMilliseconds: 1, now: now,
                server: { RPCServerStatistics() }, listeners: { [] }),
            administration: FederationAdministration(
                live: live, gates: gates, partitions: partitions, pulls: pulls, custody: custody, now: now,
                refusals: { RecentRefusals() }
            ) { (_) async throws(ServiceError) in
                throw ServiceError(.notImplemented, "this bench has no server to reload")
            },
            notices: NoticeReceiver(gates: gates) { peer in
                Task { await pulls.resume(peer: peer) }
            })
    }

    func close() async {
        await pulls.stop()
        waits.end()
        pool.stop()
        custody.close()
        logs.close()
    }

    func log(_ stream: String = "facts.operational", origin: String? = nil) -> StreamLog {
        logs.log(stream: stream, origin: origin ?? configuration.zone)!
    }

    // MARK: - Calls

    func reply(
        _ procedure: Procedure, _ body: [UInt8], _ caller: Caller, _ codec: RPCCodec = .json,
        milliseconds: UInt64 = 10_000
    ) async -> RPCReply {
        if let refusal = service.admit(procedure: procedure.rawValue, caller: caller) {
            return .failure(refusal)
        }
        var now = timespec()
        clock_gettime(CLOCK_MONOTONIC, &now)
        let deadline =
            UInt64(now.tv_sec) * 1_000_000_000 + UInt64(now.tv_nsec) + milliseconds * 1_000_000
        let request = RPCRequest(
            procedure: procedure.rawValue, caller: caller, codec: codec, body: body,
            deadlineNanoseconds: deadline, httpVersion: "2")
        return await withCheckedContinuation { continuation in
            service.handle(request) { continuation.resume(returning: $0) }
        }
    }

    /// The answer to a call in JSON.
    func call<Response: SwiftProtobuf.Message>(
        _ type: Response.Type, _ procedure: Procedure, _ json: String, as caller: Caller,
        milliseconds: UInt64 = 10_000
    ) async throws -> Response {
        switch await reply(procedure, Array(json.utf8), caller, milliseconds: milliseconds) {
        case .failure(let error): throw error
        case .message(let bytes):
            if procedure.rawValue.contains(".admin."), ![.peek, .getFact, .queryFacts].contains(procedure) {
                return try Response(jsonUTF8Bytes: bytes)
            }
            return try WireCodec.decodeResponse(type, bytes, .json)
        }
    }

    /// The answer to a call in protobuf.
    func call<Response: SwiftProtobuf.Message>(
        _ type: Response.Type, _ procedure: Procedure, _ request: some SwiftProtobuf.Message,
        as caller: Caller
    ) async throws -> Response {
        switch await reply(procedure, try request.serializedBytes(), caller, .proto) {
        case .failure(let error): throw error
        case .message(let bytes): return try WireCodec.decodeResponse(type, bytes, .proto)
        }
    }

    /// The error of a call in JSON, nil where it has an answer.
    func error(
        _ procedure: Procedure, _ json: String, as caller: Caller, milliseconds: UInt64 = 10_000
    ) async -> ServiceError? {
        switch await reply(procedure, Array(json.utf8), caller, milliseconds: milliseconds) {
        case .failure(let error): error
        case .message: nil
        }
    }

    func error(
        _ procedure: Procedure, _ request: some SwiftProtobuf.Message, as caller: Caller
    ) async throws -> ServiceError? {
        switch await reply(procedure, try request.serializedBytes(), caller, .proto) {
        case .failure(let error): error
        case .message: nil
        }
    }

    func append(_ numbers: Range<Int>, stream: String = "facts.operational") async throws {
        guard !numbers.isEmpty else { return }
        let zone = configuration.zone
        let facts = numbers.map { factJSON($0, from: zone) }.joined(separator: ",")
        let response = try await call(
            Bsfg_V1_AppendFactsResponse.self, .appendFacts,
            #"{"stream":"\#(stream)","facts":[\#(facts)]}"#, as: .operator)
        #expect(response.outcomes.allSatisfy { $0.outcome == .appended })
    }

    /// A consumer of an identity at the start of a stream.
    func consumer(
        _ name: String, of owner: String, stream: String = "facts.operational",
        mode: String = "full_backfill"
    ) async throws {
        _ = try await call(
            Bsfg_Admin_V1_CreateConsumerResponse.self, .createConsumer,
            #"{"owner":"\#(owner)","name":"\#(name)","stream":"\#(stream)","init_mode":"\#(mode)"}"#,
            as: .operator)
    }
}

extension Caller {
    static let `operator` = Caller(kind: .administrator(userID: 0), identity: "uid:0")

    static func peer(_ id: String) -> Caller {
        Caller(kind: .peer(id: id), identity: "\(id)-bsfg")
    }

    static func client(_ identity: String) -> Caller {
        Caller(kind: .client(name: identity), identity: identity)
    }
}

/// A `Message` in JSON.
func factJSON(
    _ number: Int, from: String = "enterprise", to: String = "plant-a", value: Int? = nil,
    subject: String = "asset:site/T1", extra: String = ""
) -> String {
    #"{"envelope":{"message_id":"m-\#(number)","from_zone":"\#(from)","to_zone":"\#(to)","#
        + #""produced_at_unix_ms":"1388534400000"},"fact":{"subject":"\#(subject)","#
        + #""predicate":"reading_recorded","object":{"n":\#(value ?? number)\#(extra)}}}"#
}

/// An `AppendFactRequest` in JSON.
func appendJSON(_ fact: String, stream: String = "") -> String {
    #"{"stream":"\#(stream)","# + fact.dropFirst()
}

/// Looks again until it is so, for at most twenty seconds.
func eventually(
    _ what: Comment, sourceLocation: SourceLocation = #_sourceLocation,
    _ isSo: () async throws -> Bool
) async throws {
    for _ in 0..<6_000 {
        if try await isSo() { return }
        try await Task.sleep(for: .milliseconds(10))
    }
    Issue.record("it never came to be: \(what)", sourceLocation: sourceLocation)
}
