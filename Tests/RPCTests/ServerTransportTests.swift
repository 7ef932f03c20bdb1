import Facts
import Foundation
import Glibc
import Testing

@testable import RPC

extension ServerTests {
    @Suite struct Transport {
        @Test func callsOverBothVersions() async throws {
            try await ServerBench.with { bench in
                for (http, line) in [("--http1.1", "1.1"), ("--http2", "2")] {
                    let result = await bench.curl(
                        "client",
                        [http, "--json", #"{"a":1}"#, "-w", "|%{http_version}|%{http_code}"])
                    #expect(result.exit == 0, "\(result.error)")
                    #expect(result.text == "{\"a\":1}|\(line)|200")
                    let health = await bench.curl("peer", [http], path: "/health")
                    #expect(health.text == #"{"status":"ok","identity":"peer"}"#)
                }
                // One certificate is verified once a context.
                #expect(bench.verifier.verifications == 2)
            }
        }

        /// The exit codes and alerts that the issue names, the counter of each reason, and the next
        /// good call.
        @Test(arguments: [
            (nil, [], 56, "116", "no_certificate"),
            ("foreign", [], 56, "48", "unknown_ca"),
            ("client", ["--tls-max", "1.2"], 35, "70", "protocol_version"),
            ("expired", [], 56, "45", "expired"),
            ("usage", [], 56, "43", "wrong_usage"),
        ] as [(String?, [String], Int, String, String)])
        func refusedHandshake(
            _ identity: String?, _ arguments: [String], _ exit: Int, _ alert: String,
            _ reason: String
        ) async throws {
            try await ServerBench.with { bench in
                let result = await bench.curl(
                    identity, ["--http1.1", "--json", "{}"] + arguments)
                #expect(result.exit == Int32(exit), "\(result.error)")
                #expect(result.error.contains("alert"), "\(result.error)")
                if ["116", "48", "70", "45"].contains(alert) {
                    let words = [
                        "116": "certificate required", "48": "unknown ca",
                        "70": "protocol version", "45": "expired",
                    ]
                    #expect(result.error.contains(words[alert]!), "\(result.error)")
                }
                try await eventually {
                    bench.server.statistics.handshakeFailures == [reason: 1]
                }
                #expect(await bench.call().status == 200)
            }
        }

        @Test func refusalIsRepeatable() async throws {
            // The alert must not be lost to a reset, however the bytes fall.
            try await ServerBench.with { bench in
                for _ in 0..<10 {
                    let result = await bench.curl(nil, ["--http1.1", "--json", "{}"])
                    #expect(result.exit == 56)
                    #expect(result.error.contains("certificate required"), "\(result.error)")
                }
                try await eventually {
                    bench.server.statistics.handshakeFailures == ["no_certificate": 10]
                }
            }
        }

        @Test("gateway decision 38: a caller refused after the handshake hears why")
        func callerRefusedAfterTheHandshakeHearsWhy() async throws {
            try await ServerBench.with { bench in
                for http in ["--http1.1", "--http2"] {
                    let answer = await bench.call("stranger", http: http)
                    #expect(answer.status == 403, "\(http): \(answer.exit) \(answer.error)")
                    #expect(answer.code == "permission_denied")
                    #expect(answer.reason == "identity_not_authorised")
                    #expect(answer.message == "Nobody knows this certificate.")
                }
                #expect(
                    bench.server.statistics.callersRefused == ["identity_not_authorised": 2])
                try await eventually { bench.server.statistics.openConnections == 0 }
            }
        }

        @Test("gateway decision 34: a listener for peers takes peers only")
        func listenerForPeersTakesPeersOnly() async throws {
            try await ServerBench.with(accept: .peers) { bench in
                #expect(await bench.call("peer").status == 200)
                let answer = await bench.call("client")
                #expect(answer.reason == "identity_not_authorised")
                #expect(answer.message.contains("peers"))
            }
        }

        @Test("gateway decision 38: ends before a ClientHello are counted apart")
        func endsBeforeAClientHelloAreCountedApart() async throws {
            try await ServerBench.with { bench in
                let probe = await run(
                    "bash", ["-c", "exec 3<>/dev/tcp/127.0.0.1/\(bench.port); exec 3>&-"])
                #expect(probe.exit == 0)
                try await eventually { bench.server.statistics.endedBeforeClientHello == 1 }
                #expect(bench.server.statistics.handshakeFailures.isEmpty)
                let plain = await run(
                    "curl", ["-sS", "--max-time", "240", "http://127.0.0.1:\(bench.port)/health"])
                #expect(plain.exit != 0)
                try await eventually {
                    bench.server.statistics.handshakeFailures == ["not_tls": 1]
                }
                #expect(await bench.call().status == 200)
            }
        }

        @Test func aSilentHandshakeIsClosed() async throws {
            try await ServerBench.with({ $0.handshakeMilliseconds = 300 }) { bench in
                let probe = await run(
                    "bash",
                    [
                        "-c",
                        "exec 3<>/dev/tcp/127.0.0.1/\(bench.port); printf '\\x16' >&3; cat <&3; echo $SECONDS",
                    ])
                #expect(probe.exit == 0)
                // Without the limit of this test it were two minutes.
                let seconds = Int(probe.text.trimmingCharacters(in: .newlines))
                #expect(seconds.map { $0 < 60 } == true, "\(probe.text)")
                try await eventually {
                    bench.server.statistics.handshakeFailures == ["timeout": 1]
                }
            }
        }

        @Test("gateway decision 36: a resumed session still needs an admitted caller")
        func aResumedSessionStillNeedsAnAdmittedCaller() async throws {
            try await ServerBench.with { bench in
                let session = bench.certificates.file("session-\(UUID().uuidString)")
                let request = "GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
                let first = await bench.raw([request], extra: ["-sess_out", session])
                #expect(first.text.contains("\"identity\":\"client\""), "\(first.error)")
                let resume =
                    "(cat \(session).request; sleep 1) | timeout 240 openssl s_client -quiet "
                    + "-connect 127.0.0.1:\(bench.port) -sess_in \(session)"
                try Data(request.utf8).write(to: URL(fileURLWithPath: session + ".request"))
                // The ticket resumes, and the leaf in it is still one that is admitted.
                let second = await run("sh", ["-c", resume])
                #expect(second.text.contains("\"identity\":\"client\""), "\(second.error)")
                // A new context ends the tickets of the old one: without a certificate, nothing.
                try bench.server.renewTLS()
                let third = await run("sh", ["-c", resume])
                #expect(!third.text.contains("identity"), "\(third.text)")
            }
        }

        /// What openssl hears with the ticket in a file, and neither certificate nor key.
        private func resume(_ session: String, _ bench: ServerBench) async -> String {
            let request = "GET /health HTTP/1.1\\r\\nHost: x\\r\\nConnection: close\\r\\n\\r\\n"
            return await run(
                "sh",
                [
                    "-c",
                    "(printf '\(request)'; sleep 1) | timeout 240 openssl s_client -quiet "
                        + "-connect 127.0.0.1:\(bench.port) -sess_in \(session)",
                ]
            ).text
        }

        @Test("gateway decision 36: a context ends by itself after its time, and its tickets with it")
        func aContextEndsByItself() async throws {
            let request = "GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
            // The other server's context lasts: that a ticket is not taken any more is about its time.
            try await ServerBench.with { lasting in
                try await ServerBench.with(contextLifetimeSeconds: 1) { ending in
                    var sessions: [String] = []
                    for bench in [lasting, ending] {
                        let session = bench.certificates.file("session-\(UUID().uuidString)")
                        let first = await bench.raw([request], extra: ["-sess_out", session])
                        #expect(first.text.contains("\"identity\":\"client\""), "\(first.error)")
                        sessions.append(session)
                    }
                    var text = ""
                    for _ in 0..<60 {
                        text = await resume(sessions[1], ending)
                        if !text.contains("identity") { break }
                    }
                    #expect(!text.contains("identity"), "\(text)")
                    #expect(await resume(sessions[0], lasting).contains("\"identity\":\"client\""))
                    // Who has his certificate with him notices nothing.
                    #expect(await ending.call().status == 200)
                }
            }
        }

        @Test func aReconfigurationIsCheckedWithTheNextRequest() async throws {
            try await ServerBench.with { bench in
                let released = bench.certificates.file("released-\(UUID().uuidString)")
                async let answers = bench.raw(
                    [
                        "GET /health HTTP/1.1\r\nHost: x\r\n\r\n",
                        "GET /health HTTP/1.1\r\nHost: x\r\n\r\n",
                    ], holdSeconds: 2, released: released)
                try await eventually {
                    bench.server.statistics.requests == 1
                        && bench.server.statistics.requestsInFlight == 0
                }
                bench.verifier.reconfigure()
                try Data().write(to: URL(fileURLWithPath: released))
                let text = await answers.text
                #expect(text.contains("HTTP/1.1 200 OK"))
                #expect(text.contains("HTTP/1.1 503"), "\(text)")
                #expect(await bench.call().status == 200)
            }
        }

        @Test("gateway decision 40: a call whose body ends after a change of trust is not handed on")
        func aBodyOverAChangeOfTrust() async throws {
            try await ServerBench.with { bench in
                let released = bench.certificates.file("released-\(UUID().uuidString)")
                async let answers = bench.raw(
                    [
                        "POST /test.Echo/Echo HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                            + "Content-Length: 9\r\n\r\n{\"a\":",
                        "\"b\"}",
                    ], holdSeconds: 2, released: released)
                try await eventually { bench.server.statistics.requestsInFlight == 1 }
                bench.verifier.reconfigure()
                try Data().write(to: URL(fileURLWithPath: released))
                let text = await answers.text
                #expect(text.contains("HTTP/1.1 503") && text.contains("draining"), "\(text)")
                #expect(bench.server.statistics.requestsInFlight == 0)
            }
        }

        @Test("gateway decision 40: a connection ends with the certificate that opened it")
        func anExpiredCertificateEndsItsConnection() async throws {
            try await ServerBench.with(expiring: true) { bench in
                // The second request were sent later than that, if the server did not close.
                let result = await bench.raw(
                    [
                        "GET /health HTTP/1.1\r\nHost: x\r\n\r\n",
                        "GET /health HTTP/1.1\r\nHost: x\r\n\r\n",
                    ], holdSeconds: 10, released: bench.certificates.file("never"))
                // Closed before the second request, which nobody answers.
                #expect(result.text.split(separator: "HTTP/1.1 ").count == 1, "\(result.text)")
                #expect(result.text.contains("HTTP/1.1 200 OK"))
                #expect(bench.server.statistics.callersRefused == ["expired": 1])
            }
        }

        @Test func theUnixSocketNeedsNoCertificateAndNamesTheUser() async throws {
            try await ServerBench.with { bench in
                let result = await run(
                    "curl",
                    [
                        "-sS", "--max-time", "240", "--unix-socket", bench.socketPath,
                        "http://localhost/health",
                    ])
                #expect(result.text == "{\"status\":\"ok\",\"identity\":\"uid:\(geteuid())\"}")
                let attributes = try FileManager.default.attributesOfItem(
                    atPath: bench.socketPath)
                #expect(attributes[.posixPermissions] as? Int == 0o600)
                // A second server must not take the path of a living one.
                #expect(throws: RPCServerError.self) { try UnixSocket.bind(bench.socketPath) }
            }
        }

        @Test func aStaleSocketIsReplaced() async throws {
            let path = NSTemporaryDirectory() + "bsfg-\(UUID().uuidString.prefix(8)).sock"
            close(try UnixSocket.bind(path))
            let again = try UnixSocket.bind(path)
            close(again)
            unlink(path)
            try Data().write(to: URL(fileURLWithPath: path))
            #expect(throws: RPCServerError.self) { try UnixSocket.bind(path) }
            unlink(path)
        }

        @Test func aSocketThatOnlyRefusesToBeTriedIsNotStale() throws {
            // Another kind of socket, and one whose listener does not come to accepting.
            for kind in [SOCK_DGRAM, SOCK_STREAM] {
                let path = NSTemporaryDirectory() + "bsfg-\(UUID().uuidString.prefix(8)).sock"
                let taken: CInt
                var waiting: [CInt] = []
                if kind == SOCK_STREAM {
                    taken = try UnixSocket.bind(path)
                    #expect(listen(taken, 0) == 0)
                    // Linux queues one more than it was asked for.
                    for _ in 0..<4 { waiting.append(Self.connected(path)) }
                } else {
                    taken = Self.datagramSocket(path)
                }
                defer {
                    for descriptor in waiting + [taken] { close(descriptor) }
                    unlink(path)
                }
                let error = #expect(throws: RPCServerError.self) { try UnixSocket.bind(path) }
                #expect(error?.sentence.contains("Another process listens") == true)
                #expect(access(path, F_OK) == 0)
            }
        }

        private static func datagramSocket(_ path: String) -> CInt {
            let descriptor = socket(AF_UNIX, CInt(SOCK_DGRAM.rawValue), 0)
            #expect(withAddress(path) { bind(descriptor, $0, $1) } == 0)
            return descriptor
        }

        /// Or not, where the queue is full.
        private static func connected(_ path: String) -> CInt {
            let descriptor = socket(
                AF_UNIX, CInt(SOCK_STREAM.rawValue) | CInt(SOCK_NONBLOCK.rawValue), 0)
            _ = withAddress(path) { connect(descriptor, $0, $1) }
            return descriptor
        }

        private static func withAddress(
            _ path: String, _ body: (UnsafePointer<sockaddr>, socklen_t) -> CInt
        ) -> CInt {
            var address = sockaddr_un()
            address.sun_family = sa_family_t(AF_UNIX)
            withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: Array(path.utf8)) }
            return withUnsafePointer(to: address) { pointer in
                pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                    body($0, socklen_t(MemoryLayout<sockaddr_un>.size))
                }
            }
        }
    }
}

/// Waits for what happens on another thread a moment later.
func eventually(
    _ condition: @Sendable () -> Bool, sourceLocation: SourceLocation = #_sourceLocation
) async throws {
    for _ in 0..<1_200 {
        if condition() { return }
        try await Task.sleep(for: .milliseconds(50))
    }
    #expect(condition(), sourceLocation: sourceLocation)
}
