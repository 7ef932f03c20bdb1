import Testing

@testable import RPC

@Suite struct HTTP2LoadCodecTests {
    private func codec(bodyBytesMaximum: Int = 1_000) -> HTTP2LoadCodec {
        var codec = HTTP2LoadCodec(
            authority: "localhost:1", procedure: "/a.B/C", bodyBytesMaximum: bodyBytesMaximum)
        _ = codec.takeOutput()
        return codec
    }

    private func frame(_ type: UInt8, _ flags: UInt8, _ stream: UInt8, _ payload: [UInt8]) -> [UInt8] {
        [0, UInt8(payload.count >> 8), UInt8(payload.count & 255), type, flags, 0, 0, 0, stream] + payload
    }

    @Test func `An answer is found wherever its bytes are cut`() throws {
        let bytes = frame(1, 4, 1, [0x20, 0x88]) + frame(0, 0, 1, [1, 2]) + frame(0, 1, 1, [3])
        for cut in 0...bytes.count {
            var codec = codec()
            #expect(codec.send([9]) == 1)
            codec.receive(bytes[..<cut])
            let early = try codec.next()
            codec.receive(bytes[cut...])
            let answer = try early ?? codec.next()
            #expect(answer?.number == 1)
            #expect(answer?.response.status == 200)
            #expect(answer?.response.body == [1, 2, 3])
        }
    }

    @Test func `Padding, priority and trailers are no part of an answer`() throws {
        var codec = codec()
        _ = codec.send([9])
        codec.receive(frame(1, 4 | 8 | 0x20, 1, [2, 0, 0, 0, 0, 0, 0x88, 0, 0]))
        codec.receive(frame(0, 8, 1, [3, 7, 0, 0, 0]))
        codec.receive(frame(1, 4 | 1, 1, [0x8D]))
        let answer = try #require(try codec.next())
        #expect(answer.response.status == 200)
        #expect(answer.response.body == [7])
    }

    @Test func `A reset after the answer is no harm`() throws {
        var codec = codec()
        _ = codec.send([9])
        codec.receive(frame(1, 4 | 1, 1, [0x88]) + frame(3, 0, 1, [0, 0, 0, 0]))
        #expect(try codec.next()?.response.status == 200)
        #expect(try codec.next()?.number == nil)
    }

    @Test func `A status other than 200 comes with its fields`() throws {
        var codec = codec()
        _ = codec.send([9])
        // 404 by its place in the table; content-type by its name's place and its text.
        codec.receive(frame(1, 4 | 1, 1, [0x8D, 0x0F, 0x10, 3] + Array("a/b".utf8)))
        let answer = try #require(try codec.next())
        #expect(answer.response.status == 404)
        #expect(answer.response.header("content-type") == "a/b")
    }

    @Test func `A body beyond the windows waits for them`() throws {
        var codec = codec()
        _ = codec.send([UInt8](repeating: 5, count: 100_000))
        func dataBytes() -> Int {
            var count = 0
            var bytes = codec.takeOutput()[...]
            while bytes.count >= 9 {
                let start = bytes.startIndex
                let length = Int(bytes[start + 1]) << 8 | Int(bytes[start + 2])
                if bytes[start + 3] == 0 { count += length }
                bytes = bytes.dropFirst(9 + length)
            }
            return count
        }
        #expect(dataBytes() == 65_535)
        codec.receive(frame(8, 0, 0, [0, 0, 0x10, 0]))
        #expect(try codec.next()?.number == nil)
        #expect(dataBytes() == 0)
        codec.receive(frame(8, 0, 1, [0, 1, 0, 0]))
        #expect(try codec.next()?.number == nil)
        #expect(dataBytes() == 4_096)
        codec.receive(frame(8, 0, 0, [0, 1, 0, 0]))
        #expect(try codec.next()?.number == nil)
        #expect(dataBytes() == 100_000 - 65_535 - 4_096)
    }

    @Test func `A call that is answered early keeps no other waiting`() throws {
        var codec = codec()
        _ = codec.send([UInt8](repeating: 5, count: 100_000))
        #expect(codec.send([9]) == 3)
        _ = codec.takeOutput()
        // The connection has room again, the first call's stream has none.
        codec.receive(frame(8, 0, 0, [0, 0, 0x10, 0]) + frame(1, 4 | 1, 1, [0x88]))
        #expect(try codec.next()?.number == 1)
        #expect(codec.takeOutput() == frame(3, 0, 1, [0, 0, 0, 8]) + frame(0, 1, 3, [9]))
    }

    @Test func `Settings and pings are acknowledged`() throws {
        var codec = codec()
        codec.receive(frame(4, 0, 0, [0, 4, 0, 4, 0, 0]))
        #expect(try codec.next()?.number == nil)
        #expect(codec.takeOutput() == frame(4, 1, 0, []))
        codec.receive(frame(6, 0, 0, [1, 2, 3, 4, 5, 6, 7, 8]))
        #expect(try codec.next()?.number == nil)
        #expect(codec.takeOutput() == frame(6, 1, 0, [1, 2, 3, 4, 5, 6, 7, 8]))
        codec.receive(frame(4, 1, 0, []))
        #expect(try codec.next()?.number == nil)
        #expect(codec.takeOutput().isEmpty)
    }

    @Test(arguments: [
        [0, 255, 255, 0, 0, 0, 0, 0, 1], [0, 0, 4, 3, 0, 0, 0, 0, 1, 0, 0, 0, 8],
        [0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], [0, 0, 1, 1, 0, 0, 0, 0, 1, 0x88],
        [0, 0, 1, 0, 8, 0, 0, 0, 1, 9], [0, 0, 1, 4, 0, 0, 0, 0, 0, 9],
        [0, 0, 1, 8, 0, 0, 0, 0, 0, 9], [0, 0, 2, 1, 5, 0, 0, 0, 1, 0xFF, 0xFF],
        [0, 0, 1, 1, 0x24, 0, 0, 0, 1, 1],
    ] as [[UInt8]])
    func `What cannot be gone on after is refused`(bytes: [UInt8]) {
        var codec = codec()
        _ = codec.send([9])
        codec.receive(bytes)
        #expect(throws: LoadProblem.self) { try codec.next() }
    }

    @Test func `An answer beyond its limit is refused`() {
        var codec = codec(bodyBytesMaximum: 10)
        _ = codec.send([9])
        codec.receive(frame(1, 4, 1, [0x88]) + frame(0, 0, 1, [UInt8](repeating: 0, count: 11)))
        #expect(throws: LoadProblem.self) { try codec.next() }
    }
}
