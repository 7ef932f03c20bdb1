import Foundation
import Logging
import Testing

@testable import RPC

extension ServerTests {
    /// Each limit at its value and one above.
    @Suite struct Limits {
        @Test("gateway decision 42: requests in flight of one identity")
        func requestsInFlightOfOneIdentity() async throws {
            try await ServerBench.with({ $0.inFlightPerIdentity = 2 }) { bench in
                async let first = bench.call(path: "/test.Echo/Never")
                async let second = bench.call(path: "/test.Echo/Never", http: "--http2")
                try await eventually { bench.service.heldCalls == 2 }
                let third = await bench.call()
                #expect(third.status == 429)
                #expect(third.reason == "overloaded")
                #expect(third.headers["retry-after"] == "1")
                // Another identity has its own.
                #expect(await bench.call("second").status == 200)
                bench.service.answerHeld()
                #expect(await [first.status, second.status] == [200, 200])
                #expect(await bench.call().status == 200)
            }
        }

        @Test("gateway decision 42: a head has the configured limits over both versions",
            arguments: ["--http1.1", "--http2"])
        func headsHaveTheConfiguredLimits(_ http: String) async throws {
            func fields(_ count: Int, bytes: Int) -> [String] {
                (0..<count).flatMap { ["-H", "x-\($0): \(String(repeating: "y", count: bytes))"] }
            }
            // A name counts with its value: the second's has 3 bytes.
            let heads = [fields(40, bytes: 1), fields(1, bytes: 1_998), fields(6, bytes: 1_000)]
            let limits: [@Sendable (inout RPCServerLimits) -> Void] = [
                { $0.fields = 20 }, { $0.fieldBytes = 2_000 }, { $0.headBytes = 4_000 },
            ]
            for (head, limit) in zip(heads, limits) {
                try await ServerBench.with(limit) { bench in
                    #expect(await bench.call("client", head, http: http).status == 431)
                    #expect(await bench.call(http: http).status == 200)
                }
                try await ServerBench.with { bench in
                    #expect(await bench.call("client", head, http: http).status == 200)
                }
            }
        }

        @Test("gateway decision 42: requests in flight of all")
        func requestsInFlightOfAll() async throws {
            try await ServerBench.with({ $0.inFlight = 1 }) { bench in
                async let first = bench.call(path: "/test.Echo/Never")
                try await eventually { bench.service.heldCalls == 1 }
                #expect(await bench.call("second").reason == "overloaded")
                bench.service.answerHeld()
                #expect(await first.status == 200)
                #expect(await bench.call("second").status == 200)
            }
        }

        @Test("gateway decision 42: the budget of bodies refuses the request that asks")
        func theBodyBudgetRefusesTheRequestThatAsks() async throws {
            try await ServerBench.with({ $0.bodyBudgetBytes = 3 * 65_536 }) { bench in
                let large = [UInt8](repeating: UInt8(ascii: "1"), count: 2 * 65_536)
                let arguments = ["-H", "Content-Type: application/json", "--data-binary", "@-"]
                async let first = bench.call(
                    "client", arguments, json: nil, path: "/test.Echo/Never", input: large)
                try await eventually { bench.service.heldCalls == 1 }
                #expect(bench.server.statistics.bodyBytesHeld == 2 * 65_536)
                let second = await bench.call(
                    "client", arguments, json: nil, path: "/test.Echo/Size", input: large)
                #expect(second.status == 429)
                #expect(second.reason == "overloaded")
                #expect(await bench.call().status == 200)
                bench.service.answerHeld()
                #expect(await first.status == 200)
                try await eventually { bench.server.statistics.bodyBytesHeld == 0 }
                let again = await bench.call(
                    "client", arguments, json: nil, path: "/test.Echo/Size", input: large)
                #expect(again.status == 200)
            }
        }

        /// Much gzip may hold nothing at all: elsewhere it takes room for what it may become, on the event loop none.
        @Test("gateway decision 42: gzip of more than 64 KiB is inflated off the event loop")
        func longGzipIsInflatedOffTheEventLoop() async throws {
            try await ServerBench.with({ $0.bodyBudgetBytes = 8 * 65_536 }) { bench in
                let member = Gzip.deflate([])
                func size(members: Int) async -> Answer {
                    await bench.call(
                        "client",
                        [
                            "-H", "Content-Type: application/json", "-H", "Content-Encoding: gzip",
                            "--data-binary", "@-",
                        ], json: nil, path: "/test.Echo/Size",
                        input: [[UInt8]](repeating: member, count: members).flatMap { $0 })
                }
                let most = 65_536 / member.count
                #expect(await size(members: most).body == #"{"bytes":0}"#)
                #expect(await size(members: most + 1).reason == "overloaded")
            }
        }

        /// Killed, a client ends its connection without a TLS close: what its half body held is
        /// free at once.
        @Test("gateway decision 42: what is neither facts nor an object has 64 KiB at most",
            arguments: ["--http1.1", "--http2"])
        func smallBodies(_ http: String) async throws {
            try await ServerBench.with { bench in
                let limit = ServerRequest.smallBodyBytes
                let body = [UInt8](repeating: UInt8(ascii: " "), count: limit)
                let binary = ["-H", "Content-Type: application/json", "--data-binary", "@-"]
                for (content, coding) in [
                    (body, []), (Gzip.deflate(body), ["-H", "Content-Encoding: gzip"]),
                ] {
                    let at = await bench.call(
                        "client", coding + binary, json: nil, path: "/test.Echo/Small", http: http, input: content)
                    #expect(at.status == 200 && at.body.contains("\(limit)"), "\(at)")
                }
                for (content, coding) in [
                    (body + [32], []), (Gzip.deflate(body + [32]), ["-H", "Content-Encoding: gzip"]),
                    // Larger than the inflater's first attempt, too.
                    (Gzip.deflate([UInt8](repeating: 32, count: 3 << 20)), ["-H", "Content-Encoding: gzip"]),
                ] {
                    let above = await bench.call(
                        "client", coding + binary, json: nil, path: "/test.Echo/Small", http: http, input: content)
                    #expect(above.status == 429 && above.reason == "too_large", "\(above)")
                }
                let large = await bench.call(
                    "client", binary, json: nil, path: "/test.Echo/Size", http: http, input: body + [32])
                #expect(large.status == 200)
                try await eventually { bench.server.statistics.bodyBytesHeld == 0 }
            }
        }

        @Test func aConnectionCutInMidBodyHoldsNothing() async throws {
            try await ServerBench.with { bench in
                let directory = bench.certificates.directory
                let body = String(repeating: "1", count: 3 * 65_536)
                let request =
                    "POST /test.Echo/Size HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                    + "Content-Length: \(4 * 65_536)\r\n\r\n" + body
                try Data(request.utf8).write(to: URL(fileURLWithPath: directory + "/cut.request"))
                let client =
                    "openssl s_client -quiet -connect 127.0.0.1:\(bench.port) "
                    + "-CAfile \(directory)/ca.crt -cert \(directory)/client.crt "
                    + "-key \(directory)/client.key -alpn http/1.1"
                let cut = directory + "/cut-\(UUID().uuidString)"
                let isCut = "i=0; until [ -e \(cut) ] || [ $i -ge 2400 ]; do sleep 0.05; i=$((i+1)); done"
                async let ended = run(
                    "sh",
                    [
                        "-c",
                        "(cat \(directory)/cut.request; \(isCut)) | "
                            + "(exec 3<&0; \(client) <&3 & pid=$!; \(isCut); kill -9 $pid; wait)",
                    ])
                try await eventually { bench.server.statistics.bodyBytesHeld > 0 }
                try Data().write(to: URL(fileURLWithPath: cut))
                _ = await ended
                try await eventually { bench.server.statistics.bodyBytesHeld == 0 }
                #expect(bench.server.statistics.requestsInFlight == 0)
            }
        }

        @Test func oneIdentityHasAShareOfTheBudget() async throws {
            try await ServerBench.with({
                $0.bodyBudgetBytes = 8 * 65_536
                $0.bodyBudgetBytesPerIdentity = 3 * 65_536
            }) { bench in
                let large = [UInt8](repeating: UInt8(ascii: "1"), count: 2 * 65_536)
                let arguments = ["-H", "Content-Type: application/json", "--data-binary", "@-"]
                async let first = bench.call(
                    "client", arguments, json: nil, path: "/test.Echo/Never", input: large)
                try await eventually { bench.service.heldCalls == 1 }
                let own = await bench.call(
                    "client", arguments, json: nil, path: "/test.Echo/Size", input: large)
                #expect(own.reason == "overloaded")
                let others = await bench.call(
                    "second", arguments, json: nil, path: "/test.Echo/Size", input: large)
                #expect(others.status == 200)
                bench.service.answerHeld()
                #expect(await first.status == 200)
            }
        }

        @Test("gateway decision 42: connections of one identity")
        func connectionsOfOneIdentity() async throws {
            try await ServerBench.with({ $0.connectionsPerIdentity = 1 }) { bench in
                async let held = bench.call(path: "/test.Echo/Never")
                try await eventually { bench.service.heldCalls == 1 }
                let refused = await bench.call()
                #expect(refused.reason == "overloaded")
                #expect(refused.message.contains("client has 1 connections"))
                #expect(await bench.call("second").status == 200)
                bench.service.answerHeld()
                #expect(await held.status == 200)
                try await eventually { bench.server.statistics.openConnections == 0 }
                #expect(await bench.call().status == 200)
            }
        }

        @Test("gateway decision 42: connections of all")
        func connectionsOfAll() async throws {
            try await ServerBench.with({ $0.connections = 1 }) { bench in
                async let held = bench.call(path: "/test.Echo/Never")
                try await eventually { bench.service.heldCalls == 1 }
                #expect(await bench.call("second").exit != 0)
                #expect(bench.server.statistics.connectionsRefused == ["connections": 1])
                bench.service.answerHeld()
                #expect(await held.status == 200)
                try await eventually { bench.server.statistics.openConnections == 0 }
                #expect(await bench.call("second").status == 200)
            }
        }

        @Test("gateway decision 42: connections not yet authenticated, of all and of one address")
        func unauthenticatedConnections() async throws {
            for (change, reason) in [
                (
                    { @Sendable (limits: inout RPCServerLimits) in
                        limits.unauthenticatedConnections = 1
                    }, "unauthenticated"
                ),
                (
                    { @Sendable (limits: inout RPCServerLimits) in
                        limits.unauthenticatedConnectionsPerAddress = 1
                    }, "unauthenticated_per_address"
                ),
            ] {
                try await ServerBench.with(change) { bench in
                    async let held = bench.call(path: "/test.Echo/Never")
                    try await eventually { bench.service.heldCalls == 1 }
                    // One that is authenticated takes no place among those that are not.
                    #expect(await bench.call("second").status == 200)
                    let end = bench.certificates.file("silent-\(UUID().uuidString)")
                    async let silent = run(
                        "bash",
                        [
                            "-c",
                            "exec 3<>/dev/tcp/127.0.0.1/\(bench.port); i=0; "
                                + "until [ -e \(end) ] || [ $i -ge 2400 ]; do sleep 0.05; i=$((i+1)); done",
                        ])
                    try await eventually { bench.server.statistics.openConnections == 2 }
                    #expect(await bench.call("second").exit != 0)
                    #expect(bench.server.statistics.connectionsRefused == [reason: 1])
                    try Data().write(to: URL(fileURLWithPath: end))
                    _ = await silent
                    try await eventually { bench.server.statistics.openConnections == 1 }
                    #expect(await bench.call("second").status == 200)
                    bench.service.answerHeld()
                    #expect(await held.status == 200)
                }
            }
        }

        @Test("gateway decision 42: a client that takes no answers is closed")
        func aClientThatTakesNoAnswersIsClosed() async throws {
            try await ServerBench.with({ $0.writeStallMilliseconds = 400 }) { bench in
                let request =
                    "POST /test.Echo/Large HTTP/1.1\r\nHost: x\r\n"
                    + "Content-Type: application/json\r\nContent-Length: 8\r\n\r\n40000000"
                let name = bench.certificates.file("stall-\(UUID().uuidString)")
                try Data(request.utf8).write(to: URL(fileURLWithPath: name))
                // s_client stops reading when nobody takes its output, and does not go before it is told to.
                let hold = "i=0; until [ -e \(name).end ] || [ $i -ge 2400 ]; do sleep 0.05; i=$((i+1)); done"
                let client =
                    "(cat \(name); \(hold)) | timeout 240 openssl s_client -quiet -connect "
                    + "127.0.0.1:\(bench.port) -cert \(bench.certificates.file("client.crt")) -key "
                    + "\(bench.certificates.file("client.key")) 2>/dev/null | (\(hold))"
                async let stalled = run("sh", ["-c", client])
                try await eventually {
                    bench.server.statistics.requests == 1 && bench.server.statistics.openConnections == 0
                }
                try Data().write(to: URL(fileURLWithPath: name + ".end"))
                _ = await stalled
            }
        }
    }

    @Suite struct Stopping {
        @Test(arguments: ["--http1.1", "--http2"])
        func whatIsInFlightIsAnswered(_ http: String) async throws {
            let bench = try await ServerBench()
            async let late = bench.call(path: "/test.Echo/Never", http: http)
            try await eventually { bench.service.heldCalls == 1 }
            let began = Date()
            async let stopped: Void = bench.server.stop(graceSeconds: 120)
            try await Task.sleep(for: .milliseconds(300))
            #expect(bench.server.statistics.requestsInFlight == 1, "nobody waited for it")
            bench.service.answerHeld()
            await stopped
            #expect(await late.status == 200)
            #expect(Date().timeIntervalSince(began) < 110)
            #expect(await bench.call().exit == 7)
        }

        @Test func theGraceEnds() async throws {
            let bench = try await ServerBench()
            async let never = bench.call(path: "/test.Echo/Never")
            try await eventually { bench.service.heldCalls == 1 }
            let began = Date()
            await bench.server.stop(graceSeconds: 0.3)
            #expect(await never.exit != 0)
            #expect(Date().timeIntervalSince(began) < 200)
            // Nobody waits any more, and nothing breaks.
            bench.service.answerHeld()
            #expect(!FileManager.default.fileExists(atPath: bench.socketPath))
        }

        @Test func aServerThatCannotStartSaysSo() async throws {
            try await ServerBench.with { bench in
                var configuration = RPCServerConfiguration(
                    listeners: [
                        RPCListener(.tcp(host: "127.0.0.1", port: bench.port, accept: .all))
                    ],
                    tls: try bench.certificates.serverTLS())
                let second = try RPCServer(
                    configuration: configuration, service: bench.service,
                    verifier: bench.verifier, logger: Logger(label: "test"))
                await #expect(throws: RPCServerError.self) { try await second.start() }
                // A key that belongs to another certificate, and a text that is no key.
                configuration.tls = try bench.certificates.serverTLS(key: "peer")
                #expect(throws: RPCServerError.self) {
                    try RPCServer(
                        configuration: configuration, service: bench.service,
                        verifier: bench.verifier, logger: Logger(label: "test"))
                }
                let shown = try bench.certificates.serverTLS()
                configuration.tls = RPCServerTLS(
                    certificateChain: shown.certificateChain, privateKey: shown.certificateChain[0].pem,
                    trustRoots: shown.trustRoots)
                #expect(throws: RPCServerError.self) {
                    try RPCServer(
                        configuration: configuration, service: bench.service,
                        verifier: bench.verifier, logger: Logger(label: "test"))
                }
            }
        }

        @Test func anIdleConnectionDoesNotHoldTheStop() async throws {
            let bench = try await ServerBench()
            async let idle = bench.raw(
                ["GET /health HTTP/1.1\r\nHost: x\r\n\r\n"], holdSeconds: 200)
            try await eventually {
                bench.server.statistics.requests == 1 && bench.server.statistics.requestsInFlight == 0
            }
            let began = Date()
            await bench.server.stop(graceSeconds: 150)
            #expect(Date().timeIntervalSince(began) < 140)
            #expect(await idle.text.contains("200 OK"))
        }
    }
}
