import Foundation
import Testing

@testable import RPC

/// curl speaks HTTP/2 through the same library and its own client code.
@Suite(.serialized, .enabled(if: FileManager.default.isExecutableFile(atPath: "/usr/bin/curl")))
struct HTTP2CurlTests {
    private func curl(
        _ server: HTTP2TestServer, _ path: String, _ arguments: [String]
    ) async -> (status: Int32, output: String, error: String) {
        let certificates = HTTP2TestCertificates.shared
        let all =
            ["-sS", "--http2", "--max-time", "240", "--cacert", "ca.crt", "--cert", "client.crt"]
            + ["--key", "client.key", "-w", "|%{http_version}|%{http_code}"] + arguments
            + ["https://127.0.0.1:\(server.port)\(path)"]
        return await Task.detached { certificates.run("/usr/bin/curl", all) }.value
    }

    @Test func postAndGet() async throws {
        let server = try await HTTP2TestServer.start()
        let post = await curl(
            server, "/t/Echo", ["--json", #"{"a":1}"#])
        #expect(post.status == 0, "\(post.error)")
        #expect(post.output == #"{"a":1}|2|200"#)
        let get = await curl(server, "/health", [])
        #expect(get.output == "{}|2|200")
        let head = await curl(server, "/health", ["--head", "-o", "/dev/null"])
        #expect(head.output == "|2|200")
        await server.stop()
    }

    @Test func refusalBeforeABigBody() async throws {
        let server = try await HTTP2TestServer.start()
        let path = HTTP2TestCertificates.shared.directory + "/big"
        #expect(FileManager.default.createFile(atPath: path, contents: Data(count: 8 << 20)))
        let refused = await curl(
            server, "/t/RefuseEarly",
            ["-H", "content-type: application/proto", "--data-binary", "@big"])
        #expect(refused.output.hasSuffix("|2|403"), "\(refused)")
        #expect(refused.output.contains("permission_denied"))
        let echoed = await curl(
            server, "/t/Echo",
            ["-H", "content-type: a/b", "--data-binary", "@big", "-o", "/dev/null"])
        #expect(echoed.output == "|2|200")
        #expect(server.log.counts.receivedBytes == 8 << 20)
        await server.stop()
    }
}
