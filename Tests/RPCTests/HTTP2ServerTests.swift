import Foundation
import NIOCore
import NIOEmbedded
import Testing

@testable import RPC

/// `HTTP2ServerHandler` against a client that nghttp2's other half plays, byte for byte, in memory.
@Suite struct HTTP2ServerTests {
    private final class Peer: HTTP2SessionDelegate {
        var statuses: [Int: Int] = [:]
        var closed: [Int32: HTTP2ErrorCode] = [:]
        var goAway: HTTP2ErrorCode?
        func headReceived(_ stream: HTTP2Stream) { statuses[Int(stream.id)] = stream.status }
        func dataReceived(_ bytes: ByteBuffer, _ stream: HTTP2Stream) {}
        func endReceived(_ stream: HTTP2Stream) {}
        func streamClosed(_ stream: HTTP2Stream, _ code: HTTP2ErrorCode) {
            closed[stream.id] = code
        }
        func answeredEarly(_ stream: HTTP2Stream) {}
        func settingsReceived() {}
        func goAwayReceived(lastStream: Int32, code: HTTP2ErrorCode) { goAway = code }
        func pingAcknowledged() {}
    }

    private final class Fixture {
        let channel = EmbeddedChannel()
        let log = HTTP2TestLog()
        let peer = Peer()
        let session: HTTP2Session

        init(_ limits: HTTP2Limits = HTTP2Limits(), clientLimits: HTTP2Limits = HTTP2Limits()) throws {
            session = HTTP2Session(.client, limits: clientLimits, delegate: peer)
            try channel.pipeline.syncOperations.addHandler(
                HTTP2ServerHandler(dispatcher: HTTP2TestDispatcher(log), limits: limits))
            try channel.connect(to: .init(ipAddress: "127.0.0.1", port: 1)).wait()
            try exchange()
        }

        /// Client to server and back until both are quiet.
        func exchange() throws {
            for _ in 0..<10 {
                while let bytes = try session.nextOutput() { try write(bytes) }
                channel.embeddedEventLoop.run()
                while let bytes = try channel.readOutbound(as: ByteBuffer.self) {
                    try session.receive(bytes)
                }
            }
        }

        func write(_ bytes: ByteBuffer) throws {
            do { try channel.writeInbound(bytes) } catch is HTTP2SessionError {}
        }

        func frame(
            _ type: UInt8, flags: UInt8 = 0, stream: UInt32 = 0, _ payload: [UInt8] = []
        ) -> ByteBuffer {
            var buffer = ByteBuffer()
            buffer.writeInteger(UInt32(payload.count) << 8 | UInt32(type))
            buffer.writeInteger(flags)
            buffer.writeInteger(stream)
            buffer.writeBytes(payload)
            return buffer
        }

        /// The types of the frames sent on a stream since the last look.
        func outboundFrameTypes(stream: UInt32) throws -> [UInt8] {
            var types: [UInt8] = []
            while var bytes = try channel.readOutbound(as: ByteBuffer.self) {
                while let head = bytes.readInteger(as: UInt32.self) {
                    _ = bytes.readInteger(as: UInt8.self)
                    let id = bytes.readInteger(as: UInt32.self)
                    _ = bytes.readSlice(length: Int(head >> 8))
                    if id == stream { types.append(UInt8(head & 0xFF)) }
                }
            }
            return types
        }

        func request(
            _ path: String = "/t/Echo", _ headers: [(name: String, value: String)] = []
        ) -> HTTP2Stream {
            session.request(
                [
                    (":method", "POST"), (":scheme", "https"), (":authority", "a"),
                    (":path", path),
                ] + headers, body: ByteBuffer(), attachment: peer)!
        }
    }

    /// Sends `count` frames in one read; says with what the connection was ended, if it was.
    private func flood(
        _ count: Int, _ limits: HTTP2Limits = HTTP2Limits(), _ frame: (Fixture) -> ByteBuffer
    ) throws -> HTTP2ErrorCode? {
        let fixture = try Fixture(limits)
        var bytes = ByteBuffer()
        for _ in 0..<count { bytes.writeImmutableBuffer(frame(fixture)) }
        try fixture.write(bytes)
        fixture.channel.embeddedEventLoop.run()
        // Read by hand: a client session does not like acknowledgements it did not ask for.
        var goAway: HTTP2ErrorCode?
        var answer = ByteBuffer()
        while let next = try fixture.channel.readOutbound(as: ByteBuffer.self) {
            answer.writeImmutableBuffer(next)
        }
        while let head = answer.readInteger(as: UInt32.self) {
            _ = answer.readSlice(length: 5)
            let slice = answer.readSlice(length: Int(head >> 8))
            var payload = try #require(slice)
            guard head & 0xFF == 7 else { continue }
            _ = payload.readInteger(as: UInt32.self)
            goAway = payload.readInteger(as: UInt32.self).map(HTTP2ErrorCode.init(rawValue:))
        }
        #expect(fixture.channel.isActive == (goAway == nil))
        return goAway
    }

    @Test("gateway decision 44: a flood of settings ends the connection")
    func settingsFloodEndsTheConnection() throws {
        #expect(try flood(200) { $0.frame(4) } == nil)
        #expect(try flood(2000) { $0.frame(4) } == .enhanceYourCalm)
    }

    @Test func pingFloodEndsTheConnection() throws {
        let ping = [UInt8](repeating: 0, count: 8)
        #expect(try flood(200) { $0.frame(6, ping) } == nil)
        #expect(try flood(2000) { $0.frame(6, ping) } == .enhanceYourCalm)
    }

    @Test func priorityAndEmptyDataFloodsEndTheConnection() throws {
        let priority: [UInt8] = [0, 0, 0, 0, 1]
        #expect(try flood(900) { $0.frame(2, stream: 3, priority) } == nil)
        #expect(try flood(1100) { $0.frame(2, stream: 3, priority) } == .enhanceYourCalm)
    }

    @Test func tooManySettingsEntriesEndTheConnection() throws {
        let entry: [UInt8] = [0, 4, 0, 1, 0, 0]
        let good = (0..<32).flatMap { _ in entry }
        #expect(try flood(1) { $0.frame(4, good) } == nil)
        #expect(try flood(1) { $0.frame(4, good + entry) } != nil)
    }

    @Test("gateway decision 44: rapid reset ends the connection")
    func rapidResetEndsTheConnection() throws {
        let fixture = try Fixture()
        var streams = 0
        while fixture.channel.isActive, streams < 2000 {
            let stream = fixture.request("/t/Never")
            try fixture.exchange()
            fixture.session.reset(stream, .cancel)
            try? fixture.exchange()
            streams += 1
        }
        #expect((500...700).contains(streams))
        #expect(fixture.log.counts.abandoned == fixture.log.counts.begun)
    }

    @Test("gateway decision 44: a flood of continuations ends the connection")
    func continuationFloodEndsTheConnection() throws {
        let fixture = try Fixture()
        // HEADERS without END_HEADERS, then CONTINUATION after CONTINUATION.
        var bytes = fixture.frame(1, stream: 1, [0x82])
        for _ in 0..<100 { bytes.writeImmutableBuffer(fixture.frame(9, stream: 1, [0x82])) }
        try fixture.write(bytes)
        try? fixture.exchange()
        #expect(!fixture.channel.isActive)
        #expect(fixture.log.counts.begun == 0)
    }

    @Test func noClientPrefaceEndsTheConnection() throws {
        let channel = EmbeddedChannel()
        try channel.pipeline.syncOperations.addHandler(
            HTTP2ServerHandler(dispatcher: HTTP2TestDispatcher(HTTP2TestLog())))
        try channel.connect(to: .init(ipAddress: "127.0.0.1", port: 1)).wait()
        #expect(throws: HTTP2SessionError.self) {
            try channel.writeInbound(ByteBuffer(string: "GET / HTTP/1.1\r\nHost: a\r\n\r\n"))
        }
        #expect(!channel.isActive)
    }

    @Test("gateway decision 42: the limits of a head over HTTP/2 are exact")
    func headLimitsAreExact() throws {
        func status(_ headers: [(name: String, value: String)]) throws -> Int? {
            let fixture = try Fixture()
            let stream = fixture.request("/t/Echo", headers)
            try fixture.exchange()
            #expect(fixture.channel.isActive)
            return fixture.peer.statuses[Int(stream.id)]
        }
        func field(_ bytes: Int) -> (name: String, value: String) {
            ("x-field", String(repeating: "v", count: bytes - 7))
        }
        // Four pseudo headers come with every request.
        let fields = (0..<60).map { (name: "x-\($0)", value: "v") }
        #expect(try status(fields) == 200)
        #expect(try status(fields + [("x-last", "v")]) == 431)
        #expect(try status([field(16 << 10)]) == 200)
        #expect(try status([field(16 << 10 + 1)]) == 431)
        let pseudo = [":method", "POST", ":scheme", "https", ":authority", "a", ":path", "/t/Echo"]
            .reduce(4 * 32) { $0 + $1.utf8.count }
        let rest = 32 << 10 - pseudo - 3 * 32
        #expect(try status([field(12_000), field(12_000), field(rest - 24_000)]) == 200)
        #expect(try status([field(12_000), field(12_000), field(rest - 24_000 + 1)]) == 431)
    }

    @Test(arguments: [
        [("connection", "close")], [("transfer-encoding", "chunked")], [(":path", "/other")],
        [(":method", "GET")], [("x", "a\u{0}b")], [(":unknown", "1")],
    ]) func malformedHeadIsReset(extra: [(String, String)]) throws {
        let fixture = try Fixture()
        let bad = fixture.request("/t/Echo", extra.map { (name: $0.0, value: $0.1) })
        let good = fixture.request()
        try fixture.exchange()
        #expect(fixture.log.counts.begun == 1)
        #expect(fixture.peer.statuses[Int(bad.id)] == nil)
        #expect(fixture.peer.statuses[Int(good.id)] == 200)
    }

    @Test("gateway decision 42: a head that is a bomb ends the connection, one over the limit does not")
    func bombInAHeadEndsTheConnection() throws {
        // One field, 3,036 bytes as HTTP/2 counts it, enters the table; each byte after it is that field again.
        let begin: [UInt8] = [0x83, 0x87, 0x84, 0x41, 1, UInt8(ascii: "a")]
        let field: [UInt8] = [0x40, 1, UInt8(ascii: "x"), 0x7F, 0xBC, 0x16] + Array(repeating: 0x61, count: 3_003)
        func head(repeated count: Int) -> [UInt8] { begin + field + Array(repeating: 0xBE, count: count) }
        #expect(try flood(1) { $0.frame(1, flags: 5, stream: 1, head(repeated: 40)) } == nil)
        #expect(try flood(1) { $0.frame(1, flags: 5, stream: 1, head(repeated: 44)) } == .enhanceYourCalm)
    }

    @Test("gateway decision 42: a stream beyond the limit is refused")
    func streamBeyondTheLimitIsRefused() throws {
        var limits = HTTP2Limits()
        limits.concurrentStreams = 2
        let fixture = try Fixture(limits)
        let streams = (0..<3).map { _ in fixture.request("/t/Never") }
        try fixture.exchange()
        // The client knows the limit: the third waits.
        #expect(fixture.log.counts.begun == 2)
        fixture.session.reset(streams[0], .cancel)
        try fixture.exchange()
        #expect(fixture.log.counts.begun == 3)
    }

    @Test("gateway decision 42: refusals for want of room do not pile up where no window is given")
    func refusalsDoNotPileUp() throws {
        // SETTINGS_INITIAL_WINDOW_SIZE of the client's side, which is what the server may send.
        var limits = HTTP2Limits()
        limits.streamWindowBytes = 0
        let fixture = try Fixture(clientLimits: limits)
        let refused = (0..<40).map { _ in fixture.request("/t/Overloaded") }
        let small = fixture.request("/size/100")
        try fixture.exchange()
        let reset = refused.filter { fixture.peer.closed[$0.id] == .enhanceYourCalm }
        #expect(reset.count == 40 - 16)
        #expect(refused.filter { fixture.peer.statuses[Int($0.id)] == 429 }.count == 16)
        // Another answer waits as before.
        #expect(fixture.peer.statuses[Int(small.id)] == 200)
        #expect(fixture.peer.closed[small.id] == nil)

        // With a window every refusal is an answer.
        let open = try Fixture()
        let answered = (0..<40).map { _ in open.request("/t/Overloaded") }
        try open.exchange()
        #expect(answered.allSatisfy { open.peer.statuses[Int($0.id)] == 429 })
    }

    @Test func aControlByteOfAnAnswersHeadIsASpace() throws {
        let fixture = try Fixture()
        let head = fixture.request("/t/Unclean")
        let trailers = fixture.request("/t/UncleanTrailers")
        try fixture.exchange()
        #expect(head.headers.first { $0.name == "x-unclean" }?.value == HTTP2TestServer.cleanedValue)
        #expect(head.headers.allSatisfy { $0.name != "x-injected" })
        // A client resets a stream whose trailers it must not take.
        #expect(fixture.peer.closed == [head.id: .noError, trailers.id: .noError])
    }

    @Test func anAnswerWhoseHeadCannotBeSentIsAReset() throws {
        let fixture = try Fixture()
        let stream = fixture.request("/t/LargeHead")
        try fixture.exchange()
        #expect(fixture.peer.closed[stream.id] == .internalError)
        #expect(fixture.channel.isActive)
    }

    @Test func answersOfOneTurnLeaveInOneWrite() throws {
        let fixture = try Fixture()
        for _ in 0..<50 { _ = fixture.request() }
        var bytes = ByteBuffer()
        while let next = try fixture.session.nextOutput() { bytes.writeImmutableBuffer(next) }
        try fixture.write(bytes)
        fixture.channel.embeddedEventLoop.run()
        var writes = 0
        while let answer = try fixture.channel.readOutbound(as: ByteBuffer.self) {
            writes += 1
            try fixture.session.receive(answer)
        }
        #expect(writes == 1)
        #expect(fixture.peer.statuses.values.filter { $0 == 200 }.count == 50)
    }

    /// A request that is answered before it ends is read on for a while, then reset without blame.
    @Test func earlyAnswerIsFollowedByAReset() throws {
        let fixture = try Fixture()
        let body = ByteBuffer(repeating: 1, count: 4 << 20)
        let head = [
            (name: ":method", value: "POST"), (":scheme", "https"), (":authority", "a"),
            (":path", "/t/RefuseEarly"),
        ]
        let big = fixture.session.request(head, body: body, attachment: fixture.peer)!
        for _ in 0..<100 where fixture.peer.closed[big.id] == nil { try fixture.exchange() }
        #expect(fixture.peer.statuses[Int(big.id)] == 403)
        #expect(fixture.peer.closed[big.id] == .noError)
        let sent = body.readableBytes - big.outgoing.readableBytes
        #expect((1 << 20..<3 << 20).contains(sent))

        // One that sends nothing more is reset by the clock. POST, https, a path not in the table.
        let path = Array("/t/RefuseEarly".utf8)
        let block: [UInt8] =
            [0x83, 0x87, 0x04, UInt8(path.count)] + path
            + [0x01, 1, UInt8(ascii: "a")]
        try fixture.write(fixture.frame(1, flags: 4, stream: 101, block))
        fixture.channel.embeddedEventLoop.run()
        #expect(try fixture.outboundFrameTypes(stream: 101) == [1, 0])
        fixture.channel.embeddedEventLoop.advanceTime(by: .seconds(3))
        fixture.channel.embeddedEventLoop.run()
        #expect(try fixture.outboundFrameTypes(stream: 101) == [3])
        // Who has answered whole is let go of, and hears nothing more.
        #expect(fixture.log.counts.abandoned == 0)
        #expect(fixture.log.counts.receivedBytes == 0)
        #expect(fixture.channel.isActive)
    }

    @Test func gracefulShutdownClosesAnIdleConnection() throws {
        let fixture = try Fixture()
        fixture.channel.pipeline.fireUserInboundEventTriggered(ConnectionShutdown())
        try? fixture.exchange()
        #expect(fixture.peer.goAway == .noError)
        #expect(!fixture.channel.isActive)
    }
}
