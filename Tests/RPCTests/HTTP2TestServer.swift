import Facts
import NIOCore
import NIOPosix
import NIOSSL
import Synchronization

@testable import RPC

/// What the test dispatcher saw.
final class HTTP2TestLog: Sendable {
    struct Counts: Sendable {
        var begun = 0
        var receivedBytes = 0
        var ended = 0
        var abandoned = 0
        var connections = 0
        var lastHeaders: [(name: String, value: String)] = []
    }

    private let state = Mutex(Counts())

    var counts: Counts { state.withLock { $0 } }

    func change(_ body: (inout Counts) -> Void) {
        state.withLock { body(&$0) }
    }

    func waits(_ condition: (Counts) -> Bool) async -> Bool {
        for _ in 0..<6_000 {
            if condition(counts) { return true }
            try? await Task.sleep(for: .milliseconds(10))
        }
        return false
    }
}

/// Answers by path; each a behaviour that a test needs.
final class HTTP2TestDispatcher: HTTPRequestDispatcher {
    private let log: HTTP2TestLog

    init(_ log: HTTP2TestLog) {
        self.log = log
    }

    func begin(
        _ head: HTTPRequestHead, _ exchange: any HTTPExchange
    ) -> any HTTPRequestSink {
        log.change {
            $0.begun += 1
            $0.lastHeaders = head.headers
        }
        if head.target == "/t/RefuseEarly" {
            var error = ServiceError(.identityNotAuthorised, "no")
            error.retryAfterMilliseconds = 1500
            exchange.respond(
                status: 403, headers: [("content-type", "application/json")],
                body: ByteBuffer(bytes: error.connectBody))
        }
        return Sink(head, exchange, log)
    }

    private final class Sink: HTTPRequestSink {
        let head: HTTPRequestHead
        let exchange: any HTTPExchange
        let log: HTTP2TestLog
        var body = ByteBuffer()

        init(_ head: HTTPRequestHead, _ exchange: any HTTPExchange, _ log: HTTP2TestLog) {
            self.head = head
            self.exchange = exchange
            self.log = log
        }

        func receive(_ bytes: ByteBuffer) {
            log.change { $0.receivedBytes += bytes.readableBytes }
            body.writeImmutableBuffer(bytes)
        }

        func end() {
            log.change { $0.ended += 1 }
            let type = head.header("content-type") ?? "text/plain"
            let headers = [("content-type", type)]
            if head.target.hasPrefix("/size/") {
                let count = Int(head.target.dropFirst(6)) ?? 0
                exchange.respond(
                    status: 200, headers: headers,
                    body: ByteBuffer(repeating: 7, count: count))
                return
            }
            switch head.target {
            case "/t/Echo": exchange.respond(status: 200, headers: headers, body: body)
            case "/t/Never": break
            case "/t/Overloaded":
                exchange.respond(status: 429, headers: headers, body: ByteBuffer(string: "no room"))
            case "/t/Refusal":
                exchange.respond(status: 403, headers: [("content-type", "application/json")], body: body)
            case "/t/Unclean":
                exchange.respond(
                    status: 200, headers: headers + [("x-unclean", HTTP2TestServer.uncleanValue)], body: body)
            case "/t/LargeHead":
                // More than nghttp2 sends in a head.
                exchange.respond(
                    status: 200, headers: headers + [("x-large", String(repeating: "v", count: 70_000))], body: body)
            case "/t/UncleanTrailers":
                exchange.respond(
                    GRPCAnswer(
                        headers: headers, body: [0, 0, 0, 0, 0],
                        trailers: [("grpc-status", "0"), ("x-unclean", HTTP2TestServer.uncleanValue)]),
                    date: "Sun, 06 Nov 1994 08:49:37 GMT", nil)
            case "/t/Late":
                exchange.eventLoop.assumeIsolated().scheduleTask(in: .milliseconds(300)) {
                    self.exchange.respond(status: 200, headers: headers, body: self.body)
                }
            case "/t/Gzip":
                exchange.respond(
                    status: 200, headers: headers + [("content-encoding", "gzip")],
                    body: ByteBuffer(bytes: Gzip.deflate(Array(body.readableBytesView))))
            case "/t/LZ4":
                exchange.respond(
                    status: 200, headers: headers + [("content-encoding", "lz4")],
                    body: ByteBuffer(
                        bytes: LZ4Coding.encode(Array(body.readableBytesView)) ?? []))
            case "/health":
                exchange.respond(
                    status: 200,
                    headers: [
                        ("content-type", "application/json"),
                        ("date", "Sun, 06 Nov 1994 08:49:37 GMT"),
                    ],
                    body: ByteBuffer(string: "{}"))
            default:
                exchange.respond(
                    status: 404, headers: [("content-type", "text/plain")],
                    body: ByteBuffer(string: "no such path"))
            }
        }

        func abandon() {
            log.change { $0.abandoned += 1 }
        }
    }
}

/// A TLS listener on loopback with `HTTP2ServerHandler` on every connection.
struct HTTP2TestServer: Sendable {
    /// What no header may bring to the wire, and a tab, which it may.
    static let uncleanValue = "a\r\nx-injected: b\u{0}\u{7F}\tc\u{1F}d"
    static let cleanedValue = "a  x-injected: b  \tc d"

    let channel: any Channel
    let log: HTTP2TestLog
    let connections: Connections
    let port: Int

    /// The accepted channels.
    final class Connections: Sendable {
        private let channels = Mutex<[any Channel]>([])

        func add(_ channel: any Channel) { channels.withLock { $0.append(channel) } }
        var all: [any Channel] { channels.withLock { $0 } }
    }

    static func start(
        limits: HTTP2Limits = HTTP2Limits(), port: Int = 0, protocols: [String] = ["h2"],
        certificate: String = "server"
    ) async throws -> HTTP2TestServer {
        let context = try HTTP2TestCertificates.shared.serverContext(
            protocols: protocols, certificate: certificate)
        let log = HTTP2TestLog()
        let connections = Connections()
        let channel = try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    log.change { $0.connections += 1 }
                    connections.add(channel)
                    try channel.pipeline.syncOperations.addHandlers(
                        NIOSSLServerHandler(context: context),
                        HTTP2ServerHandler(
                            dispatcher: HTTP2TestDispatcher(log), limits: limits))
                }
            }
            .bind(host: "127.0.0.1", port: port).get()
        return HTTP2TestServer(
            channel: channel, log: log, connections: connections, port: channel.localAddress!.port!)
    }

    func configuration() -> RPCClientConfiguration {
        RPCClientConfiguration(host: "127.0.0.1", port: port)
    }

    func client(
        _ change: (inout RPCClientConfiguration) -> Void = { _ in },
        certificate: String? = "client", trusting authority: String = "ca",
        verifier: @escaping @Sendable ([UInt8]) async -> ServiceRefusal? = { _ in nil }
    ) throws -> RPCClient {
        var configuration = configuration()
        change(&configuration)
        return try RPCClient(
            configuration,
            tls: HTTP2TestCertificates.shared.client(certificate, trusting: authority),
            verifier: verifier)
    }

    func stop() async {
        try? await channel.close()
        for connection in connections.all { try? await connection.close() }
    }
}
