import Foundation
import Testing

@testable import RPC

extension ServerTests {
    /// What only HTTP/1.1 has: heads, pipelining, 100 Continue.
    @Suite struct HTTP1 {
        @Test func continueComesWithoutAPause() async throws {
            let bench = try await Connect.shared.value
            let body = [UInt8](repeating: UInt8(ascii: "1"), count: 2 << 20)
            let result = await bench.curl(
                "client",
                [
                    "--http1.1", "--expect100-timeout", "200", "-v", "-X", "POST", "-H",
                    "Content-Type: application/json", "-T", "-",
                ], path: "/test.Echo/Size", input: body)
            #expect(result.text == "{\"bytes\":\(2 << 20)}")
            #expect(result.error.contains("Expect: 100-continue"))
            #expect(result.error.contains("HTTP/1.1 100 Continue"))
            // Nothing else than the answer ended the wait.
            #expect(!result.error.contains("Done waiting for 100-continue"))
        }

        @Test func continueIsNotSentToWhoIsRefused() async throws {
            let bench = try await Connect.shared.value
            let result = await bench.raw([
                "POST /test.Echo/Refused HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                    + "Content-Length: 1000\r\nExpect: 100-continue\r\n\r\n"
            ])
            #expect(result.text.hasPrefix("HTTP/1.1 403"))
            #expect(!result.text.contains("100 Continue"))
            #expect(result.text.contains("connection: close"))
        }

        @Test func requestsSentAheadAreAnsweredInOrder() async throws {
            let bench = try await Connect.shared.value
            var text = ""
            for index in 0..<50 {
                let path = index % 3 == 0 ? "Thread" : "Echo"
                let body = "{\"n\":\(index)}"
                text +=
                    "POST /test.Echo/\(path) HTTP/1.1\r\nHost: x\r\n"
                    + (index == 49 ? "Connection: close\r\n" : "")
                    + "Content-Type: application/json\r\nContent-Length: \(body.utf8.count)\r\n\r\n"
                    + body
            }
            let result = await bench.raw([text], holdSeconds: 60)
            let answers = result.text.components(separatedBy: "{\"n\":").dropFirst()
                .compactMap { Int($0.prefix { $0 != "}" }) }
            #expect(answers == Array(0..<50))
        }

        @Test func anEarlyRefusalDoesNotDisturbARequestWithoutBody() async throws {
            let bench = try await Connect.shared.value
            let result = await bench.raw([
                "GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n"
                    + "GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
            ], holdSeconds: 60)
            #expect(result.text.contains("HTTP/1.1 404"))
            #expect(result.text.contains("HTTP/1.1 200 OK"))
        }

        @Test func aRefusedBodyIsDiscardedAndTheConnectionCloses() async throws {
            let bench = try await Connect.shared.value
            let body = [UInt8](repeating: UInt8(ascii: "1"), count: 900_000)
            let answer = await bench.call(
                "client", ["-d", "@-"], json: nil, path: "/test.Echo/Echo", input: body)
            #expect(answer.status == 415)
            #expect(answer.headers["connection"] == "close")
        }

        /// 32 KiB of head, 16 KiB in a field, 64 fields: taken; one more: refused.
        @Test("gateway decision 42: the limits of a head over HTTP/1.1")
        func headLimits() async throws {
            let bench = try await Connect.shared.value
            func status(_ headers: [String]) async -> String {
                let head = (["GET /health HTTP/1.1", "Host: x"] + headers).joined(
                    separator: "\r\n")
                let result = await bench.raw([head + "\r\n\r\n"], holdSeconds: 0.5)
                return String(result.text.prefix(12))
            }
            // Name and value, as over HTTP/2.
            let long = String(repeating: "v", count: (16 << 10) - "a".utf8.count)
            #expect(await status(["a: \(long)"]) == "HTTP/1.1 200")
            #expect(await status(["a: \(long)v"]) == "HTTP/1.1 431")
            let fields = (0..<63).map { "f\($0): v" }
            #expect(await status(fields) == "HTTP/1.1 200")
            #expect(await status(fields + ["g: v"]) == "HTTP/1.1 431")
            // "/health", "Host" and "x" are 12 bytes of the head.
            let rest = (32 << 10) - 12
            let halves = [rest / 2 - 1, rest - rest / 2 - 1].map {
                String(repeating: "v", count: $0)
            }
            #expect(await status(["a: \(halves[0])", "b: \(halves[1])"]) == "HTTP/1.1 200")
            #expect(await status(["a: \(halves[0])", "b: \(halves[1])v"]) == "HTTP/1.1 431")
        }

        @Test(arguments: [
            "GET /health HTTP/1.1\r\n\r\n", "GET /health HTTP/1.1\r\nHost : x\r\n\r\n",
            "nonsense\r\n\r\n",
            "POST /test.Echo/Echo HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n"
                + "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            "POST /test.Echo/Echo HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        ])
        func malformedRequests(_ text: String) async throws {
            let bench = try await Connect.shared.value
            let result = await bench.raw([text], holdSeconds: 0.5)
            #expect(result.text.hasPrefix("HTTP/1.1 400"), "\(result.text)")
            #expect(result.text.contains("malformed_request"))
        }

        @Test("gateway decision 42: a slow head is closed")
        func aSlowHeadIsClosed() async throws {
            try await ServerBench.with({ $0.headMilliseconds = 400 }) { bench in
                // It would go on for a quarter of a minute, and then be answered.
                let head =
                    ["GET /health HTTP/1.1\r\n", "Host: x\r\n"]
                    + (0..<50).map { "A\($0): b\r\n" } + ["\r\n"]
                let result = await bench.raw(head, pauseSeconds: 0.3)
                #expect(!result.text.contains("200 OK"))
                // The limit is on the head alone.
                #expect(await bench.call(path: "/test.Echo/Later").status == 200)
            }
        }

        @Test func aSlowBodyIsRefused() async throws {
            try await ServerBench.with({
                $0.bodyGraceMilliseconds = 300
                $0.bodyBytesPerSecond = 1_000
            }) { bench in
                let head =
                    "POST /test.Echo/Size HTTP/1.1\r\nHost: x\r\n"
                    + "Content-Type: application/json\r\nContent-Length: 400\r\n\r\n"
                let slow = await bench.raw([head + "1", "1", "1", "1"], pauseSeconds: 0.4)
                #expect(slow.text.hasPrefix("HTTP/1.1 504"), "\(slow.text)")
                #expect(slow.text.contains("more slowly"))
            }
            try await ServerBench.with({
                $0.bodyGraceMilliseconds = 20_000
                $0.bodyBytesPerSecond = 1_000
            }) { bench in
                let head =
                    "POST /test.Echo/Size HTTP/1.1\r\nHost: x\r\n"
                    + "Content-Type: application/json\r\nContent-Length: 400\r\n\r\n"
                let hundred = String(repeating: "1", count: 100)
                let fast = await bench.raw(
                    [head + hundred, hundred, hundred, hundred], pauseSeconds: 0.05)
                #expect(fast.text.hasPrefix("HTTP/1.1 200"), "\(fast.text)")
            }
        }

        @Test func anIdleConnectionIsClosed() async throws {
            try await ServerBench.with({ $0.idleMilliseconds = 2000 }) { bench in
                let end = bench.certificates.file("idle-\(UUID().uuidString)")
                async let idle = bench.raw(
                    ["GET /health HTTP/1.1\r\nHost: x\r\n\r\n", ""], holdSeconds: 0, released: end)
                // Until it is told to the client does not go.
                try await eventually {
                    bench.server.statistics.requests == 1 && bench.server.statistics.openConnections == 0
                }
                try Data().write(to: URL(fileURLWithPath: end))
                #expect(await idle.text.contains("200 OK"))
            }
        }
    }
}
