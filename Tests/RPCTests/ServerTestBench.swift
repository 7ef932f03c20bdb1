import Facts
import Foundation
import Logging
import Synchronization
import Testing

@testable import RPC

/// Knows the leaves of the tests by their bytes.
final class TestVerifier: CallerVerifier {
    private let callers: [[UInt8]: Caller]
    private let current = Mutex<UInt64>(1)
    private let count = Mutex<Int>(0)

    init(_ certificates: TestCertificates, expiring: Bool = false) throws {
        let now = Int64(Date().timeIntervalSince1970 * 1_000)
        let kinds: [String: Caller.Kind] = [
            "peer": .peer(id: "peer"), "client": .client(name: "client"),
            "second": .client(name: "second"),
        ]
        var callers: [[UInt8]: Caller] = [:]
        for (name, kind) in kinds {
            callers[try certificates.der(name)] = Caller(
                kind: kind, identity: name,
                certificate: CallerCertificate(
                    names: [name], fingerprint: "00", serial: "00",
                    notBeforeUnixMilliseconds: now - 1_000,
                    notAfterUnixMilliseconds: now + (expiring ? 5_000 : 3_600_000)))
        }
        self.callers = callers
    }

    func verify(leafDER: [UInt8], direction: CallDirection) -> Result<Caller, CallerRefusal> {
        count.withLock { $0 += 1 }
        guard let caller = callers[leafDER] else {
            return .failure(
                CallerRefusal(
                    ServiceError(.identityNotAuthorised, "Nobody knows this certificate.")))
        }
        return .success(caller)
    }

    var generation: UInt64 { current.withLock { $0 } }
    var verifications: Int { count.withLock { $0 } }
    func reconfigure() { current.withLock { $0 += 1 } }
}

/// Answers from threads of its own, as a committer does.
final class TestService: RPCService {
    let procedures: Set<String> = [
        "/test.Echo/Echo", "/test.Echo/Size", "/test.Echo/Later", "/test.Echo/Never",
        "/test.Echo/Fail", "/test.Echo/Refused", "/test.Echo/Large", "/test.Echo/Thread",
        "/test.Echo/Page", "/test.Echo/Small",
    ]
    private let held = Mutex<[@Sendable (RPCReply) -> Void]>([])
    let streams = TestStreaming()
    var streaming: (any StreamingService)? { streams }

    func admit(procedure: String, caller: Caller) -> ServiceError? {
        procedure == "/test.Echo/Refused"
            ? ServiceError(.streamNotGranted, "Not for \(caller.identity).") : nil
    }

    func takesLargeBodies(procedure: String) -> Bool { procedure != "/test.Echo/Small" }

    func handle(_ request: RPCRequest, respond: @escaping @Sendable (RPCReply) -> Void) {
        switch request.procedure {
        case "/test.Echo/Echo": respond(.message(request.body))
        case "/test.Echo/Thread":
            Thread.detachNewThread { respond(.message(request.body)) }
        case "/test.Echo/Size", "/test.Echo/Small":
            respond(.message(Array("{\"bytes\":\(request.body.count)}".utf8)))
        case "/test.Echo/Later":
            Thread.detachNewThread {
                Thread.sleep(forTimeInterval: 0.3)
                respond(.message(Array(#"{"late":true}"#.utf8)))
            }
        case "/test.Echo/Never": held.withLock { $0.append(respond) }
        case "/test.Echo/Large":
            let bytes = Int(String(decoding: request.body, as: UTF8.self)) ?? 0
            respond(.message([UInt8](repeating: UInt8(ascii: "x"), count: bytes)))
        // Asks for twice what the answer turns out to be, as for a page that is not full.
        case "/test.Echo/Page":
            let bytes = Int(String(decoding: request.body, as: UTF8.self)) ?? 0
            do throws(ServiceError) {
                try request.answerMemory?.hold(bytes: 2 * bytes)
                respond(.message([UInt8](repeating: UInt8(ascii: "x"), count: bytes)))
            } catch {
                respond(.failure(error))
            }
        default:
            var error = ServiceError(.backpressure)
            error.retryAfterMilliseconds = 1_500
            respond(.failure(error))
        }
    }

    func timedOut(procedure: String) -> ServiceError { ServiceError(.outcomeUnknown) }

    func allowsLZ4(_ caller: Caller) -> Bool { caller.kind == .peer(id: "peer") }

    func health(caller: Caller) -> [UInt8] {
        Array("{\"status\":\"ok\",\"identity\":\"\(caller.identity)\"}".utf8)
    }

    var heldCalls: Int { held.withLock { $0.count } }

    func answerHeld() {
        let waiting = held.withLock { held in
            defer { held.removeAll() }
            return held
        }
        for respond in waiting { respond(.message(Array("{}".utf8))) }
    }
}

/// A server on loopback and the curl that talks to it.
final class ServerBench: Sendable {
    let certificates: TestCertificates
    let verifier: TestVerifier
    let service = TestService()
    let server: RPCServer
    let port: Int
    let socketPath: String

    init(
        expiring: Bool = false, accept: RPCListener.Acceptance = .all, contextLifetimeSeconds: Int? = nil,
        _ change: (inout RPCServerLimits) -> Void = { _ in }
    ) async throws {
        certificates = try await TestCertificates.shared.value
        verifier = try TestVerifier(certificates, expiring: expiring)
        socketPath = NSTemporaryDirectory() + "bsfg-\(UUID().uuidString.prefix(8)).sock"
        var configuration = RPCServerConfiguration(
            listeners: [
                RPCListener(.tcp(host: "127.0.0.1", port: 0, accept: accept)),
                RPCListener(.unixSocket(path: socketPath)),
            ],
            tls: try certificates.serverTLS())
        // Nothing but the limit that a test is about ends a call on a slow machine.
        configuration.limits.handshakeMilliseconds = 120_000
        configuration.limits.defaultTimeoutMilliseconds = 240_000
        configuration.limits.maximumTimeoutMilliseconds = 240_000
        change(&configuration.limits)
        if let contextLifetimeSeconds { configuration.contextLifetimeSeconds = contextLifetimeSeconds }
        var logger = Logger(label: "test")
        logger.logLevel = .critical
        server = try RPCServer(
            configuration: configuration, service: service, verifier: verifier, logger: logger)
        guard case .tcp(_, let port)? = try await server.start().first else {
            throw TestCertificates.Failed(message: "no port")
        }
        self.port = port
    }

    static func with(
        expiring: Bool = false, accept: RPCListener.Acceptance = .all, contextLifetimeSeconds: Int? = nil,
        _ change: (inout RPCServerLimits) -> Void = { _ in },
        _ body: (ServerBench) async throws -> Void
    ) async throws {
        let bench = try await ServerBench(
            expiring: expiring, accept: accept, contextLifetimeSeconds: contextLifetimeSeconds, change)
        do {
            try await body(bench)
        } catch {
            bench.service.answerHeld()
            await bench.server.stop(graceSeconds: 0)
            throw error
        }
        bench.service.answerHeld()
        await bench.server.stop(graceSeconds: 0)
    }

    func url(_ path: String) -> String { "https://localhost:\(port)\(path)" }

    /// curl as this identity; nil: without a certificate.
    func curl(
        _ identity: String? = "client", _ arguments: [String], path: String = "/test.Echo/Echo",
        input: [UInt8]? = nil
    ) async -> CommandResult {
        var all = [
            "-sS", "--max-time", "240", "--cacert", certificates.file("ca.crt"), "--resolve",
            "localhost:\(port):127.0.0.1",
        ]
        if let identity {
            all += [
                "--cert", certificates.file("\(identity).crt"), "--key",
                certificates.file("\(identity).key"),
            ]
        }
        return await run("curl", all + arguments + [url(path)], input: input)
    }

    /// A call whose output ends with the status.
    func call(
        _ identity: String? = "client", _ arguments: [String] = [], json: String? = "{}",
        path: String = "/test.Echo/Echo", http: String = "--http1.1", input: [UInt8]? = nil
    ) async -> Answer {
        var all = [http, "-i"] + arguments
        if let json { all += ["--json", json] }
        return Answer(await curl(identity, all, path: path, input: input))
    }

    /// What `openssl s_client` got for these bytes, sent with pauses between the pieces.
    ///
    /// It keeps the connection until an answer has begun, and for a while after that, so that a machine may
    /// be slow; it goes at once when the server has closed.
    /// - Parameter released: what follows the first piece is sent once this file is there.
    func raw(
        _ pieces: [String], pauseSeconds: Double = 0, extra: [String] = [],
        identity: String = "client", holdSeconds: Double = 0.5, released: String? = nil
    ) async -> CommandResult {
        let directory = certificates.directory
        let name = "\(directory)/raw-\(UUID().uuidString)"
        for (index, piece) in pieces.enumerated() {
            try? Data(piece.utf8).write(to: URL(fileURLWithPath: "\(name).\(index)"))
        }
        let isClosed = "[ -e \(name).closed ]"
        func wait(until condition: String, seconds: Double) -> String {
            "i=0; until \(condition) || \(isClosed) || [ $i -ge \(Int(seconds * 20)) ]; "
                + "do sleep 0.05; i=$((i+1)); done"
        }
        var feed: [String] = []
        for index in pieces.indices {
            if index > 0, let released { feed.append(wait(until: "[ -e \(released) ]", seconds: 120)) }
            feed.append("\(isClosed) || { cat \(name).\(index); sleep \(pauseSeconds); }")
        }
        feed.append(wait(until: "[ -s \(name).answer ]", seconds: 60))
        feed.append(wait(until: "false", seconds: holdSeconds))
        let client =
            "timeout 240 openssl s_client -quiet -no_ign_eof -connect 127.0.0.1:\(port) "
            + "-CAfile \(directory)/ca.crt -cert \(directory)/\(identity).crt "
            + "-key \(directory)/\(identity).key -alpn http/1.1 \(extra.joined(separator: " "))"
        return await run(
            "sh",
            [
                "-c",
                "(\(feed.joined(separator: "; "))) | (\(client) > \(name).answer; touch \(name).closed); "
                    + "cat \(name).answer",
            ])
    }
}

/// curl's `-i` output, read.
struct Answer {
    var exit: Int32
    var status: Int
    var headers: [String: String] = [:]
    var body: String
    var error: String

    init(_ result: CommandResult) {
        exit = result.exit
        error = result.error
        var text = result.text
        // Informational answers come first.
        while text.hasPrefix("HTTP/1.1 100"), let end = text.range(of: "\r\n\r\n") {
            text = String(text[end.upperBound...])
        }
        let parts = text.components(separatedBy: "\r\n\r\n")
        let lines = (parts.first ?? "").components(separatedBy: "\r\n")
        let words = (lines.first ?? "").split(separator: " ")
        status = words.count > 1 ? Int(words[1]) ?? 0 : 0
        for line in lines.dropFirst() {
            guard let colon = line.firstIndex(of: ":") else { continue }
            headers[line[..<colon].lowercased()] =
                line[line.index(after: colon)...].trimmingCharacters(in: .whitespaces)
        }
        body = parts.dropFirst().joined(separator: "\r\n\r\n")
    }

    /// `ErrorDetail.reason` and the Connect code.
    var reason: String? {
        guard let json = object, let details = json["details"] as? [[String: Any]],
            let debug = details.first?["debug"] as? [String: Any]
        else { return nil }
        return debug["reason"] as? String
    }

    var code: String? { object?["code"] as? String }
    var message: String { object?["message"] as? String ?? "" }

    private var object: [String: Any]? {
        try? JSONSerialization.jsonObject(with: Data(body.utf8)) as? [String: Any]
    }
}
