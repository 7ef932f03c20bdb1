import Facts
import Foundation
import Synchronization
import Testing

@testable import RPC

/// Bodies of any size, in both directions, over both HTTP versions.
@Suite(.serialized, .timeLimit(.minutes(15))) struct StreamingTests {
    private static let versions = ["--http1.1", "--http2"]
    private static let window = StreamedRequest.windowBytes

    private func client(_ bench: ServerBench) throws -> RPCClient {
        func pem(_ file: String) throws -> [UInt8] {
            [UInt8](try Data(contentsOf: URL(fileURLWithPath: bench.certificates.file(file))))
        }
        return try RPCClient(
            RPCClientConfiguration(host: "127.0.0.1", port: bench.port),
            tls: RPCClientTLS(
                certificateChain: try pem("client.crt"), privateKey: try pem("client.key"),
                trustRoots: try pem("ca.crt")),
            verifier: { _ in nil })
    }

    private func body(_ count: Int) -> [UInt8] { (0..<count).map { UInt8($0 % 251) } }

    @Test(arguments: versions) func bytesComeAndGoWhole(_ version: String) async throws {
        try await ServerBench.with { bench in
            let sent = body(3_000_001)
            let put = await bench.curl(
                "client", [version, "-T", "-", "-H", "Content-Length: \(sent.count)", "-H",
                    "Transfer-Encoding:"], path: "/stream/x", input: sent)
            #expect(put.output.count == sent.count, "\(put.error)")
            #expect(bench.service.streams.seen.receivedBytes == sent.count)
            let got = await bench.curl("client", [version], path: "/stream/3000001")
            #expect(got.output == sent)
            let head = await bench.curl("client", [version, "-I"], path: "/stream/3000001")
            #expect(head.text.lowercased().contains("content-length: 3000001"))
            try await eventually { bench.server.statistics.bodyBytesHeld == 0 }
            #expect(bench.server.statistics.requestsInFlight == 0)
        }
    }

    @Test(arguments: versions) func aControlByteOfAHeaderIsASpace(_ version: String) async throws {
        try await ServerBench.with { bench in
            let answer = Answer(
                await bench.curl("client", [version, "-i"], path: "/stream/3?unclean"))
            #expect(answer.status == 200, "\(answer.error)")
            #expect(answer.headers["x-unclean"] == HTTP2TestServer.cleanedValue)
            #expect(answer.headers["x-injected"] == nil)
            #expect(answer.body.utf8.count == 3)
        }
    }

    /// What the service does not take is not read from the connection.
    @Test(arguments: versions) func anUploadWaitsForTheService(_ version: String) async throws {
        try await ServerBench.with { bench in
            let sent = body(4 << 20)
            bench.service.streams.hold()
            async let put = bench.curl(
                "client", [version, "-T", "-", "-H", "Content-Length: \(sent.count)", "-H",
                    "Transfer-Encoding:"], path: "/stream/x", input: sent)
            try await eventually {
                bench.service.streams.seen.receivedBytes > 0
                    && bench.server.statistics.bodyBytesHeld == Self.window
            }
            try await Task.sleep(for: .milliseconds(300))
            let taken = bench.service.streams.seen.receivedBytes
            #expect(taken <= Self.window, "\(taken)")
            #expect(bench.server.statistics.bodyBytesHeld == Self.window)
            bench.service.streams.release()
            #expect(await put.output.count == sent.count)
            #expect(bench.service.streams.seen.receivedBytes == sent.count)
        }
    }

    /// What the reader does not take is not read from the disk.
    @Test func aDownloadWaitsForTheReader() async throws {
        try await ServerBench.with { bench in
            let client = try client(bench)
            let count = 64 << 20
            let (gate, open) = AsyncStream<Void>.makeStream()
            let got = Mutex(0)
            async let answer = client.stream("GET", "/stream/\(count)") {
                (_: RPCResponse, bytes: [UInt8]) async throws(RPCClientError) in
                let isFirst = got.withLock { got in
                    defer { got += bytes.count }
                    return got == 0
                }
                if isFirst { for await _ in gate {} }
            }
            try await eventually { got.withLock { $0 } > 0 }
            try await Task.sleep(for: .milliseconds(500))
            let given = bench.service.streams.seen.givenBytes
            #expect(given < 12 << 20, "\(given) of \(count) bytes were read for a reader that waits")
            open.finish()
            #expect(try await answer.status == 200)
            #expect(got.withLock { $0 } == count)
            await client.close()
        }
    }

    /// Whoever called may go on with what the download filled: nothing writes there any more.
    @Test func aLostDownloadEndsWhenItsLastPieceIsTaken() async throws {
        try await ServerBench.with { bench in
            let client = try client(bench)
            let (gate, open) = AsyncStream<Void>.makeStream()
            let isTaking = Mutex(false)
            let isOver = Mutex(false)
            let lost = Task {
                defer { isOver.withLock { $0 = true } }
                _ = try await client.stream("GET", "/stream/\(64 << 20)") {
                    (_: RPCResponse, _: [UInt8]) async throws(RPCClientError) in
                    isTaking.withLock { $0 = true }
                    for await _ in gate {}
                    isTaking.withLock { $0 = false }
                }
            }
            try await eventually { isTaking.withLock { $0 } }
            lost.cancel()
            try await Task.sleep(for: .milliseconds(500))
            #expect(!isOver.withLock { $0 }, "the call was over while its piece was being taken")
            open.finish()
            await #expect(throws: RPCClientError.self) { try await lost.value }
            #expect(!isTaking.withLock { $0 })
            await client.close()
        }
    }

    @Test func theClientSendsPieceByPiece() async throws {
        try await ServerBench.with { bench in
            let count = 5_000_000
            for client in [try client(bench), RPCClient(unixSocket: bench.socketPath)] {
                let position = Mutex(0)
                let upload = RPCUpload(length: UInt64(count)) { most throws(RPCClientError) in
                    let from = position.withLock { position in
                        defer { position += min(most, 100_000) }
                        return position
                    }
                    return (from..<min(count, from + min(most, 100_000))).map { UInt8($0 % 251) }
                }
                let got = Mutex<[UInt8]>([])
                let answer = try await client.stream("PUT", "/stream/x", upload: upload) {
                    (_: RPCResponse, bytes: [UInt8]) async throws(RPCClientError) in
                    got.withLock { $0 += bytes }
                }
                #expect(answer.header("x-received") == String(count))
                #expect(got.withLock { $0 } == body(count))
                await client.close()
            }
        }
    }

    @Test(arguments: versions) func refusalsComeBeforeTheBody(_ version: String) async throws {
        try await ServerBench.with { bench in
            func call(_ path: String, _ arguments: [String], _ input: [UInt8]? = nil) async -> Answer {
                Answer(
                    await bench.curl("client", [version, "-i"] + arguments, path: path, input: input))
            }
            let refused = await call("/stream/refused", ["-T", "-", "-H", "Content-Length: 3", "-H",
                "Transfer-Encoding:"], [1, 2, 3])
            #expect(refused.status == 403 && refused.reason == "bucket_not_granted")
            let chunked = await call("/stream/x", ["-T", "-"], [1, 2, 3])
            #expect(chunked.status == 411 && chunked.reason == "length_required")
            let posted = await call("/stream/x", ["--json", "{}"])
            #expect(posted.status == 405 && posted.headers["allow"] == "GET, HEAD, PUT")
            let withBody = await call("/stream/5", ["-X", "GET", "--data", "abc"])
            #expect(withBody.status == 400)
            let coded = await call(
                "/stream/x",
                ["-T", "-", "-H", "Content-Length: 3", "-H", "Transfer-Encoding:", "-H",
                    "Content-Encoding: gzip"], [1, 2, 3])
            #expect(coded.reason == "unsupported_encoding")
            let full = await call(
                "/stream/full",
                ["-T", "-", "-H", "Content-Length: 600000", "-H", "Transfer-Encoding:"],
                body(600_000))
            #expect(full.status == 429 && full.reason == "artifact_store_full")
            #expect(bench.server.statistics.bodyBytesHeld == 0)
            // Other calls go on.
            #expect(await bench.call(http: version).status == 200)
        }
    }

    /// An answer that breaks off is never taken for whole.
    @Test(arguments: versions) func aBrokenAnswerIsSeen(_ version: String) async throws {
        try await ServerBench.with { bench in
            let got = await bench.curl("client", [version], path: "/stream/2000000?cut")
            #expect(got.exit != 0)
            #expect(got.output.count < 2_000_000)
            try await eventually { bench.server.statistics.bodyBytesHeld == 0 }
        }
    }

    @Test(arguments: versions) func aClientThatGoesAwayIsNoticed(_ version: String) async throws {
        try await ServerBench.with { bench in
            bench.service.streams.hold()
            let sent = body(2 << 20)
            async let put = bench.curl(
                "client", [version, "-T", "-", "--max-time", "1", "-H",
                    "Content-Length: \(sent.count)", "-H", "Transfer-Encoding:"],
                path: "/stream/x", input: sent)
            try await eventually { bench.service.streams.seen.receivedBytes > 0 }
            #expect(await put.exit != 0)
            // The call that is under way ends first, then it is told.
            #expect(bench.service.streams.seen.abandoned == 0)
            bench.service.streams.release()
            try await eventually { bench.service.streams.seen.abandoned == 1 }
            #expect(bench.server.statistics.bodyBytesHeld == 0)
            #expect(bench.service.streams.seen.answered == 0)
        }
    }

    @Test func aBodyThatCrawlsIsRefused() async throws {
        let limits: (inout RPCServerLimits) -> Void = {
            $0.bodyGraceMilliseconds = 300
            $0.bodyBytesPerSecond = 1 << 20
        }
        try await ServerBench.with(limits) { bench in
            let sent = body(1 << 20)
            let put = await bench.curl(
                "client", ["-i", "--http1.1", "--limit-rate", "20k", "-T", "-", "-H",
                    "Content-Length: \(sent.count)", "-H", "Transfer-Encoding:"],
                path: "/stream/x", input: sent)
            #expect(Answer(put).reason == "deadline_exceeded")
            try await eventually { bench.service.streams.seen.abandoned == 1 }
        }
    }

    @Test func streamsDrawTheirWindowOnTheBudget() async throws {
        try await ServerBench.with({ $0.bodyBudgetBytes = Self.window }) { bench in
            bench.service.streams.hold()
            async let first = bench.curl("client", ["--http1.1"], path: "/stream/10")
            try await eventually { bench.server.statistics.bodyBytesHeld == Self.window }
            let second = Answer(
                await bench.curl("client", ["-i", "--http1.1"], path: "/stream/10"))
            #expect(second.status == 429 && second.reason == "overloaded")
            bench.service.streams.release()
            #expect(await first.output == body(10))
        }
    }
}
