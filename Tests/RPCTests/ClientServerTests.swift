import Facts
import Foundation
import Testing

@testable import RPC

/// `RPCClient` against `RPCServer`: both ends as a node runs them.
@Suite(.serialized, .timeLimit(.minutes(15))) struct ClientServerTests {
    private func client(_ bench: ServerBench, _ name: String? = "peer") throws -> RPCClient {
        func pem(_ file: String) throws -> [UInt8] {
            [UInt8](try Data(contentsOf: URL(fileURLWithPath: bench.certificates.file(file))))
        }
        return try RPCClient(
            RPCClientConfiguration(host: "127.0.0.1", port: bench.port),
            tls: RPCClientTLS(
                certificateChain: try name.map { try pem("\($0).crt") } ?? [],
                privateKey: try name.map { try pem("\($0).key") } ?? [],
                trustRoots: try pem("ca.crt")),
            verifier: { _ in nil })
    }

    @Test func callsInBothCodecs() async throws {
        try await ServerBench.with { bench in
            let client = try client(bench)
            let body = Array(#"{"a":1}"#.utf8)
            for codec in [RPCCodec.json, .proto] {
                let answer = try await client.call("/test.Echo/Echo", body, codec: codec)
                #expect(answer == body)
            }
            let health = try await client.get("/health")
            #expect(health.status == 200)
            #expect(String(decoding: health.body, as: UTF8.self).contains("peer"))
            await client.close()
        }
    }

    @Test func errorsComeWithTheirReason() async throws {
        try await ServerBench.with { bench in
            let client = try client(bench)
            let expected: [(String, ErrorReason)] = [
                ("/test.Echo/Fail", .backpressure), ("/test.Echo/Refused", .streamNotGranted),
                ("/test.Echo/Nothing", .unknownMethod),
            ]
            for (procedure, reason) in expected {
                let error = await #expect(throws: RPCClientError.self) {
                    try await client.call(procedure, [])
                }
                #expect(error?.failure?.serviceError?.reason == reason)
                #expect(error?.failure?.code == reason.code.rawValue)
            }
            let error = await #expect(throws: RPCClientError.self) {
                try await client.call("/test.Echo/Fail", [])
            }
            #expect(error?.failure?.retryAfterMilliseconds == 1500)
            await client.close()
        }
    }

    @Test func manyBigAnswersAtOnce() async throws {
        try await ServerBench.with { bench in
            let client = try client(bench)
            try await withThrowingTaskGroup(of: Int.self) { group in
                // Together less than the share of one identity.
                for _ in 0..<4 {
                    group.addTask {
                        try await client.call(
                            "/test.Echo/Large", Array("6000000".utf8), codec: .json
                        ).count
                    }
                }
                for try await count in group { #expect(count == 6_000_000) }
            }
            await client.close()
        }
    }

    @Test func refusedIdentityLearnsTheReason() async throws {
        try await ServerBench.with { bench in
            let client = try client(bench, "stranger")
            let error = await #expect(throws: RPCClientError.self) {
                try await client.call("/test.Echo/Echo", [])
            }
            #expect(error?.failure?.serviceError?.reason == .identityNotAuthorised)
            await client.close()
            let nobody = try self.client(bench, nil)
            let alert = await #expect(throws: RPCClientError.self) {
                try await nobody.call("/test.Echo/Echo", [])
            }
            #expect(alert?.description.contains("116") == true, "\(String(describing: alert))")
            await nobody.close()
        }
    }

    @Test func stoppingAnswersWhatIsInFlight() async throws {
        try await ServerBench.with { bench in
            let client = try client(bench)
            let late = Task { try await client.call("/test.Echo/Never", [], codec: .json) }
            try await eventually { bench.service.heldCalls == 1 }
            async let stopped: Void = bench.server.stop(graceSeconds: 120)
            try await Task.sleep(for: .milliseconds(100))
            bench.service.answerHeld()
            await stopped
            let answer = try await late.value
            #expect(answer == Array("{}".utf8))
            let error = await #expect(throws: RPCClientError.self) {
                try await client.call("/test.Echo/Echo", [])
            }
            // The connection that the server has closed, or the next one that nobody takes.
            #expect(error?.transportKind == .refused || error?.transportKind == .closed)
            await client.close()
        }
    }

    @Test func administrationSocket() async throws {
        try await ServerBench.with { bench in
            let client = RPCClient(unixSocket: bench.socketPath)
            let body = Array(#"{"a":1}"#.utf8)
            let answer = try await client.call("/test.Echo/Echo", body, codec: .json)
            #expect(answer == body)
            let error = await #expect(throws: RPCClientError.self) {
                try await client.call("/test.Echo/Fail", body, codec: .json)
            }
            #expect(error?.failure?.serviceError?.reason == .backpressure)
            await client.close()
        }
    }
}
