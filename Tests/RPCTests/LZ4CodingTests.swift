import Facts
import Foundation
import Testing

@testable import RPC

@Suite struct LZ4CodingTests {
    private let text = Array(String(repeating: "a wind turbine turns; ", count: 2_000).utf8)

    @Test func `what is encoded comes back, and is only made smaller`() throws {
        let coded = try #require(LZ4Coding.encode(text))
        #expect(coded.count < text.count / 10)
        #expect(try LZ4Coding.decode(coded, limitBytes: text.count) == text)
        #expect(LZ4Coding.encode(Array(text.prefix(LZ4Coding.contentBytesMinimum - 1))) == nil)
        var random = SystemRandomNumberGenerator()
        let noise = (0..<10_000).map { _ in UInt8.random(in: 0...255, using: &random) }
        #expect(LZ4Coding.encode(noise) == nil)
    }

    @Test func `the length is looked at before anything is allocated`() throws {
        let coded = try #require(LZ4Coding.encode(text))
        #expect(throws: LZ4Coding.Malformed.self) {
            try LZ4Coding.decode(coded, limitBytes: text.count - 1)
        }
        #expect(throws: LZ4Coding.Malformed.self) {
            try LZ4Coding.decode([0xFF, 0xFF, 0xFF, 0xFF, 0], limitBytes: 13 << 20)
        }
        for count in 0...4 {
            #expect(throws: LZ4Coding.Malformed.self) {
                try LZ4Coding.decode([UInt8](repeating: 0, count: count), limitBytes: 100)
            }
        }
    }

    @Test func `whatever is cut or changed is refused or as long as it says, and never traps`() throws {
        let short = Array(text.prefix(5_000))
        let coded = try #require(LZ4Coding.encode(short))
        for count in 0..<coded.count {
            #expect(throws: LZ4Coding.Malformed.self) {
                try LZ4Coding.decode(Array(coded.prefix(count)), limitBytes: 10_000)
            }
        }
        for bit in 0..<coded.count * 8 {
            var changed = coded
            changed[bit / 8] ^= 1 << UInt8(bit % 8)
            if let content = try? LZ4Coding.decode(changed, limitBytes: 10_000) {
                let length = (0..<4).reduce(0) { $0 | Int(changed[$1]) << (8 * $1) }
                #expect(content.count == length)
            }
        }
    }

    @Test func `a client that did not ask for it does not take it`() async throws {
        let server = try await HTTP2TestServer.start()
        let body = Array(text.prefix(20_000))
        let client = try server.client { $0.acceptsLZ4 = true }
        #expect(try await client.call("/t/LZ4", body) == body)
        await client.close()
        let other = try server.client()
        let error = await #expect(throws: RPCClientError.self) {
            try await other.call("/t/LZ4", body)
        }
        #expect(error?.transportKind == .malformed)
        await other.close()
        let small = try server.client {
            $0.acceptsLZ4 = true
            $0.responseBytes = 19_999
        }
        await #expect(throws: RPCClientError.self) { try await small.call("/t/LZ4", body) }
        await small.close()
        await server.stop()
    }

    @Test func `a server sends it to whom the service says, and to nobody else`() async throws {
        try await ServerBench.with { bench in
            func encoding(_ name: String, _ accepted: String) async -> String? {
                let answer = await bench.call(
                    name, ["-H", "Accept-Encoding: \(accepted)"], json: "50000",
                    path: "/test.Echo/Large")
                #expect(answer.status == 200)
                return answer.headers["content-encoding"]
            }
            #expect(await encoding("peer", "lz4") == "lz4")
            #expect(await encoding("peer", "gzip") == "gzip")
            #expect(await encoding("peer", "identity") == nil)
            #expect(await encoding("client", "lz4") == nil)
            #expect(await encoding("client", "lz4, gzip") == "gzip")
        }
    }
}
