import Foundation
import Testing

@testable import RPC

extension ServerTests {
    /// What the dispatcher refuses and why, over real connections.
    @Suite struct Connect {
        struct Refusal: Sendable, CustomTestStringConvertible {
            var name: String
            var arguments: [String]
            var path = "/test.Echo/Echo"
            var status: Int
            var reason: String
            var says: String
            var testDescription: String { name }
        }

        static let json = ["-H", "Content-Type: application/json", "--data-binary", "{}"]
        static let refusals = [
            Refusal(
                name: "unknown path", arguments: json, path: "/test.Echo/Nothing", status: 404,
                reason: "unknown_method", says: "/test.Echo/Nothing"),
            Refusal(
                name: "canonically equivalent path", arguments: json,
                path: "/test.Echo/%E2%84%AA", status: 404, reason: "unknown_method",
                says: "nothing at"),
            Refusal(
                name: "GET on a procedure", arguments: [], status: 405,
                reason: "method_not_allowed", says: "POST"),
            Refusal(
                name: "POST on health", arguments: json, path: "/health", status: 405,
                reason: "method_not_allowed", says: "GET"),
            Refusal(
                name: "curl's form", arguments: ["-d", "{}"], status: 415,
                reason: "unsupported_media_type", says: "--json"),
            Refusal(
                name: "other codec", arguments: ["-H", "Content-Type: text/csv", "-d", "{}"],
                status: 415, reason: "unsupported_media_type", says: "text/csv"),
            Refusal(
                name: "no codec", arguments: ["-H", "Content-Type:", "-d", "{}"], status: 415,
                reason: "unsupported_media_type", says: "no Content-Type"),
            Refusal(
                name: "protocol version", arguments: json + ["-H", "Connect-Protocol-Version: 2"],
                status: 400, reason: "malformed_request", says: "Connect-Protocol-Version"),
            Refusal(
                name: "timeout of 11 digits",
                arguments: json + ["-H", "Connect-Timeout-Ms: 12345678901"], status: 400,
                reason: "malformed_request", says: "Connect-Timeout-Ms"),
            Refusal(
                name: "negative timeout", arguments: json + ["-H", "Connect-Timeout-Ms: -1"],
                status: 400, reason: "malformed_request", says: "Connect-Timeout-Ms"),
            Refusal(
                name: "coding", arguments: json + ["-H", "Content-Encoding: br"], status: 501,
                reason: "unsupported_encoding", says: "gzip"),
            Refusal(
                name: "two codings", arguments: json + ["-H", "Content-Encoding: gzip, gzip"],
                status: 501, reason: "unsupported_encoding", says: "gzip"),
            Refusal(
                name: "not gzip", arguments: json + ["-H", "Content-Encoding: gzip"], status: 400,
                reason: "malformed_request", says: "inflated"),
            Refusal(
                name: "not admitted", arguments: json, path: "/test.Echo/Refused", status: 403,
                reason: "stream_not_granted", says: "Not for client"),
            Refusal(
                name: "the service's own", arguments: json, path: "/test.Echo/Fail", status: 429,
                reason: "backpressure", says: "watermark"),
        ]

        @Test("gateway decision 30: what is refused, and in which words", arguments: refusals, ["--http1.1", "--http2"])
        func refused(_ refusal: Refusal, _ http: String) async throws {
            let bench = try await Self.shared.value
            let answer = await bench.call(
                "client", refusal.arguments, json: nil, path: refusal.path, http: http)
            #expect(answer.status == refusal.status, "\(answer.error)")
            #expect(answer.reason == refusal.reason)
            #expect(answer.message.contains(refusal.says), "\(answer.message)")
            #expect(answer.headers["content-type"] == "application/json")
            if refusal.status == 405 {
                #expect(answer.headers["allow"] == refusal.says)
            }
            if refusal.reason == "backpressure" {
                #expect(answer.headers["retry-after"] == "2")
            }
        }

        @Test func answersSayWhenTheyWereMade() async throws {
            #expect(HTTPDate.format(784_111_777) == "Sun, 06 Nov 1994 08:49:37 GMT")
            let bench = try await Self.shared.value
            for http in ["--http1.1", "--http2"] {
                #expect(await bench.call(http: http).headers["date"]?.hasSuffix(" GMT") == true)
            }
        }

        /// One server for the calls that leave nothing behind.
        static let shared = Task { try await ServerBench() }

        @Test(arguments: ["--http1.1", "--http2"])
        func taken(_ http: String) async throws {
            let bench = try await Self.shared.value
            for arguments in [
                ["-H", "Content-Type: application/json; charset=utf-8"],
                ["-H", "Content-Type: Application/JSON"],
                ["-H", "Content-Type: application/proto"],
                ["-H", "Content-Type: application/json", "-H", "Connect-Protocol-Version: 1"],
                ["-H", "Content-Type: application/json", "-H", "Connect-Timeout-Ms: 1234567890"],
                ["-H", "Content-Type: application/json", "-H", "Content-Encoding: identity"],
                ["-H", "Content-Type: application/json", "-H", "Transfer-Encoding: chunked"],
            ] {
                if http == "--http2", arguments.last == "Transfer-Encoding: chunked" { continue }
                let answer = await bench.call(
                    "client", arguments + ["--data-binary", "{\"a\":[1]}"], json: nil, http: http)
                #expect(answer.status == 200, "\(arguments) \(answer.error)")
                #expect(answer.body == "{\"a\":[1]}")
                let proto = arguments.contains { $0.hasSuffix("proto") }
                #expect(
                    answer.headers["content-type"]
                        == (proto ? "application/proto" : "application/json"))
            }
            // A query is no part of the procedure's name.
            let query = await bench.call(path: "/test.Echo/Echo?x=1", http: http)
            #expect(query.status == 200)
            let empty = await bench.call(
                "client", ["-H", "Content-Type: application/proto", "-X", "POST"], json: nil,
                http: http)
            #expect(empty.status == 200 && empty.body.isEmpty)
        }

        @Test(arguments: ["--http1.1", "--http2"])
        func answersFromOtherThreads(_ http: String) async throws {
            let bench = try await Self.shared.value
            for path in ["/test.Echo/Thread", "/test.Echo/Later"] {
                #expect(await bench.call(path: path, http: http).status == 200)
            }
        }

        @Test("gateway decision 30: gzip is taken, and given to who asks for it", arguments: ["--http1.1", "--http2"])
        func gzipBothWays(_ http: String) async throws {
            let bench = try await Self.shared.value
            let content = Array(String(repeating: "0123456789", count: 300_000).utf8)
            // Above and below what is inflated on the event loop.
            for count in [100, 65_536, 65_537, 3_000_000] {
                let gzipped = Gzip.deflate(Array(content.prefix(count)))
                let answer = await bench.call(
                    "client",
                    [
                        "-H", "Content-Type: application/json", "-H", "Content-Encoding: gzip",
                        "--data-binary", "@-",
                    ], json: nil, path: "/test.Echo/Size", http: http, input: gzipped)
                #expect(answer.body == "{\"bytes\":\(count)}", "\(answer.status) \(answer.error)")
            }
            // A small answer stays as it is, a large one is deflated, and only for who asks.
            for (bytes, coding) in [(1_024, nil), (1_025, "gzip"), (3_000_000, "gzip")]
                as [(Int, String?)]
            {
                let answer = await bench.call(
                    "client", ["--compressed"], json: "\(bytes)", path: "/test.Echo/Large",
                    http: http)
                #expect(answer.headers["content-encoding"] == coding)
                #expect(answer.body.utf8.count == bytes)
            }
            let plain = await bench.call(json: "5000", path: "/test.Echo/Large", http: http)
            #expect(plain.headers["content-encoding"] == nil && plain.body.utf8.count == 5_000)
            let declined = await bench.call(
                "client", ["-H", "Accept-Encoding: gzip;q=0, identity"], json: "5000",
                path: "/test.Echo/Large", http: http)
            #expect(declined.headers["content-encoding"] == nil)
        }

        @Test(arguments: ["--http1.1", "--http2"])
        func bodiesAtTheLimitAndOneAbove(_ http: String) async throws {
            try await ServerBench.with({ $0.bodyBytes = 200_000 }) { bench in
                let header = ["-H", "Content-Type: application/json"]
                for (count, status) in [(200_000, 200), (200_001, 429)] {
                    let body = [UInt8](repeating: UInt8(ascii: "1"), count: count)
                    for arguments in [[], ["-H", "Transfer-Encoding: chunked"]] {
                        if http == "--http2", !arguments.isEmpty { continue }
                        let answer = await bench.call(
                            "client", header + arguments + ["--data-binary", "@-"], json: nil,
                            path: "/test.Echo/Size", http: http, input: body)
                        #expect(answer.status == status, "\(count) \(arguments) \(answer.error)")
                        #expect(answer.reason == (status == 200 ? nil : "too_large"))
                    }
                    // What is small on the wire and large inside is refused while inflating.
                    let gzipped = await bench.call(
                        "client",
                        header + ["-H", "Content-Encoding: gzip", "--data-binary", "@-"],
                        json: nil, path: "/test.Echo/Size", http: http,
                        input: Gzip.deflate(body))
                    #expect(gzipped.status == status)
                    #expect(gzipped.reason == (status == 200 ? nil : "too_large"))
                }
                try await eventually { bench.server.statistics.bodyBytesHeld == 0 }
                #expect(bench.server.statistics.requestsInFlight == 0)
            }
        }

        @Test("gateway decision 32: a deadline does not cancel what was handed over; its outcome is unknown",
            arguments: ["--http1.1", "--http2"])
        func whatTheServiceDoesNotAnswerInTimeHasAnUnknownOutcome(_ http: String) async throws {
            try await ServerBench.with { bench in
                let began = Date()
                let answer = await bench.call(
                    "client", ["-H", "Connect-Timeout-Ms: 300"], path: "/test.Echo/Never",
                    http: http)
                #expect(answer.status == 503)
                #expect(answer.reason == "outcome_unknown")
                let seconds = Date().timeIntervalSince(began)
                #expect(seconds > 0.29 && seconds < 200)
                // It is still in flight, since the service still works on it; its late answer goes
                // nowhere and gives the place back.
                #expect(bench.server.statistics.requestsInFlight == 1)
                bench.service.answerHeld()
                try await eventually { bench.server.statistics.requestsInFlight == 0 }
                #expect(await bench.call(http: http).status == 200)
            }
        }

        @Test("gateway decision 30: a timeout above the greatest counts as that")
        func timeoutsAreClamped() async throws {
            try await ServerBench.with({ $0.maximumTimeoutMilliseconds = 200 }) { bench in
                let answer = await bench.call(
                    "client", ["-H", "Connect-Timeout-Ms: 9999999999"], path: "/test.Echo/Never")
                #expect(answer.reason == "outcome_unknown")
            }
        }
    }
}
