import Facts
import Logging
import Synchronization
import Testing

@testable import RPC

/// Keeps the lines that a server writes.
private final class Lines: Sendable {
    private let kept = Mutex<[(message: String, metadata: [String: String])]>([])

    func add(_ message: String, _ metadata: [String: String]) {
        kept.withLock { $0.append((message, metadata)) }
    }

    func of(_ event: String) -> [[String: String]] {
        kept.withLock { $0.map(\.metadata).filter { $0["event"] == event } }
    }

    var logger: Logger { Logger(label: "test") { _ in Handler(lines: self) } }

    private struct Handler: LogHandler {
        let lines: Lines
        var logLevel = Logger.Level.trace
        var metadata: Logger.Metadata = [:]

        init(lines: Lines) { self.lines = lines }

        subscript(metadataKey key: String) -> Logger.Metadata.Value? {
            get { metadata[key] }
            set { metadata[key] = newValue }
        }

        func log(event: LogEvent) {
            lines.add("\(event.message)", (event.metadata ?? [:]).mapValues { "\($0)" })
        }
    }
}

private struct NobodyLetIn: CallerVerifier {
    var generation: UInt64 { 1 }

    func verify(leafDER: [UInt8], direction: CallDirection) -> Result<Caller, CallerRefusal> {
        .failure(CallerRefusal(ServiceError(.identityNotAuthorised)))
    }
}

extension ServerTests {
    @Suite struct Refusals {
        @Test(
            "gateway decision 38: a refused handshake is kept with names, fingerprint and address",
            arguments: [("foreign", "unknown_ca"), ("expired", "expired"), ("usage", "wrong_usage")])
        func handshake(_ identity: String, _ reason: String) async throws {
            try await ServerBench.with { bench in
                let leaf = try X509Certificate(der: try bench.certificates.der(identity))
                _ = await bench.curl(identity, ["--http1.1", "--json", "{}"])
                try await eventually { bench.server.recentRefusals.lastNumber == 1 }
                let refusal = try #require(bench.server.recentRefusals.newest(1).first)
                #expect(refusal.place == .handshake && refusal.reason == reason)
                #expect(refusal.fingerprint == leaf.fingerprintHexadecimal)
                #expect(refusal.names == (try leaf.names().map(\.description)) && !refusal.names.isEmpty)
                #expect(refusal.address == "127.0.0.1")
                #expect(refusal.sentence.contains("certificate"))
            }
        }

        @Test("gateway decision 38: who shows no certificate and who is refused later are kept too")
        func others() async throws {
            try await ServerBench.with { bench in
                _ = await bench.curl(nil, ["--http1.1", "--json", "{}"])
                try await eventually { bench.server.recentRefusals.lastNumber == 1 }
                _ = await bench.call("stranger")
                _ = await bench.call("client", path: "/test.Echo/Refused")
                try await eventually { bench.server.recentRefusals.lastNumber == 3 }
                let kept = bench.server.recentRefusals.newest(.max)
                #expect(kept.map(\.place) == [.handshake, .certificate, .request])
                #expect(
                    kept.map(\.reason)
                        == ["no_certificate", "identity_not_authorised", "stream_not_granted"])
                #expect(kept[0].fingerprint.isEmpty && kept[0].names.isEmpty)
                #expect(kept[1].sentence == "Nobody knows this certificate.")
                #expect(kept[2].identity == "client" && kept[2].path == "/test.Echo/Refused")
                #expect(kept.map(\.address) == ["127.0.0.1", "127.0.0.1", "127.0.0.1"])
            }
        }

        @Test("A caller that refuses us is told by its alert, not by where the TLS library was built")
        func refusedByTheCaller() async throws {
            try await ServerBench.with { bench in
                func bytes(_ name: String) throws -> [UInt8] {
                    try SmallFile.read(bench.certificates.file(name), bytesMaximum: 1 << 16)
                }
                let client = try RPCClient(
                    RPCClientConfiguration(host: "127.0.0.1", port: bench.port),
                    tls: RPCClientTLS(
                        certificateChain: try bytes("client.crt"), privateKey: try bytes("client.key"),
                        trustRoots: try bytes("otherca.crt")), verifier: { _ in nil })
                _ = try? await client.get("/health")
                await client.close()
                try await eventually { bench.server.recentRefusals.lastNumber == 1 }
                let refusal = try #require(bench.server.recentRefusals.newest(1).first)
                #expect(refusal.reason == "refused_by_caller")
                #expect(refusal.sentence == "the caller refused our certificate (alert 48, unknown CA)")
            }
        }

        @Test("A scanner that speaks no TLS is counted, and nobody's refusal")
        func scanner() async throws {
            try await ServerBench.with { bench in
                _ = await run(
                    "curl", ["-sS", "--max-time", "5", "http://127.0.0.1:\(bench.port)/health"])
                try await eventually {
                    bench.server.statistics.handshakeFailures == ["not_tls": 1]
                }
                #expect(bench.server.recentRefusals.lastNumber == 0)
            }
        }

        @Test("gateway decision 38: a flood is counted and kept to the last one, and written ten times")
        func flood() throws {
            let lines = Lines()
            let core = ServerCore(
                limits: RPCServerLimits(), service: TestService(), verifier: NobodyLetIn(),
                logger: lines.logger)
            for _ in 0..<1_000 {
                core.tellHandshakeFailed(.noCertificate, "none", address: "192.0.2.1")
                core.tellHandshakeFailed(.notTLS, "GET / HTTP/1.1", address: "192.0.2.1")
                core.tellStalled(address: "192.0.2.1")
                core.tellRefused(
                    CallerRefusal(ServiceError(.identityNotAuthorised), kind: "revoked"), address: "")
                for name in ["one", "two"] {
                    core.tellDenied(
                        ServiceError(.streamNotGranted), Caller(kind: .client(name: name), identity: name),
                        "/path", address: "192.0.2.1")
                }
            }
            let statistics = core.counters.snapshot(core.admission)
            #expect(statistics.handshakeFailures == ["no_certificate": 1_000, "not_tls": 1_000])
            #expect(statistics.callersRefused == ["revoked": 1_000])
            #expect(core.recentRefusals.withLock { $0.lastNumber } == 4_000)
            func written(_ event: String, _ reason: String? = nil) -> Int {
                lines.of(event).count { reason == nil || $0["reason"] == reason }
            }
            #expect(written("tls_refused", "no_certificate") == 10)
            #expect(written("tls_failed", "not_tls") == 10)
            #expect(written("tls_refused", "revoked") == 10)
            #expect(written("write_stalled") == 10)
            #expect(lines.of("access_denied").count { $0["identity"] == "one" } == 10)
            #expect(written("access_denied") == 20)
            for _ in 0..<30 {
                core.tellRefused(
                    CallerRefusal(ServiceError(.identityNotAuthorised), kind: "revoked"),
                    address: "", isOpen: true)
            }
            // What a change of trust closes is written, every one.
            #expect(written("tls_refused", "revoked") == 40)
            core.tellLeftOut()
            let leftOut = lines.of("lines_left_out")
            #expect(leftOut.count == 6)
            #expect(leftOut.allSatisfy { $0["count"] == "990" })
            #expect(
                Set(leftOut.compactMap { $0["of"] })
                    == ["tls_refused", "tls_failed", "access_denied", "write_stalled"])
        }
    }
}
