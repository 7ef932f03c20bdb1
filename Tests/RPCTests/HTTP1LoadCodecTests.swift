import Testing

@testable import RPC

@Suite struct HTTP1LoadCodecTests {
    private func codec() -> HTTP1LoadCodec {
        HTTP1LoadCodec(authority: "localhost:1", procedure: "/a.B/C", bodyBytesMaximum: 1_000)
    }

    @Test func `A request says what it calls and how long its body is`() throws {
        var codec = codec()
        #expect(codec.send([0x68, 0x69]) == 1)
        let text = String(decoding: codec.takeOutput(), as: UTF8.self)
        #expect(text.hasPrefix("POST /a.B/C HTTP/1.1\r\nhost: localhost:1\r\n"))
        #expect(text.hasSuffix("content-length: 2\r\n\r\nhi"))
        #expect(codec.takeOutput().isEmpty)
    }

    @Test func `An answer is found wherever its bytes are cut`() throws {
        let bytes = Array("HTTP/1.1 200 OK\r\nContent-Type: a/b\r\nContent-Length: 5\r\n\r\nhello".utf8)
        for cut in 0...bytes.count {
            var codec = codec()
            _ = codec.send([])
            codec.receive(bytes[..<cut])
            let early = try codec.next()
            #expect((early != nil) == (cut == bytes.count))
            codec.receive(bytes[cut...])
            let answer = try early ?? codec.next()
            #expect(answer?.response.status == 200)
            #expect(answer?.response.header("content-type") == "a/b")
            #expect(answer?.response.body == Array("hello".utf8))
        }
    }

    @Test(arguments: [
        "HTTP/1.0 200 OK\r\ncontent-length: 1\r\n\r\nx", "nonsense\r\n\r\n", "\r\n\r\n",
        "HTTP/1.1 200 OK\r\n\r\n", "HTTP/1.1 200 OK\r\ncontent-length: 1001\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n", "HTTP/1.1 999 OK\r\ncontent-length: 1\r\n\r\n",
        "HTTP/1.1 200 OK\r\nnocolon\r\ncontent-length: 1\r\n\r\n",
    ])
    func `What is not an answer is refused`(text: String) {
        var codec = codec()
        codec.receive(Array(text.utf8))
        #expect(throws: LoadProblem.self) { try codec.next() }
    }

    @Test func `A head without an end is refused at its limit`() {
        var codec = codec()
        codec.receive([UInt8](repeating: 0x61, count: HTTP1LoadCodec.headBytesMaximum + 1))
        #expect(throws: LoadProblem.self) { try codec.next() }
    }
}
