import NIOCore
import NIOEmbedded
import Testing

@testable import RPC

/// Another side that never acknowledges our settings, so that their limits are not in force, and reads nothing.
@Suite struct HTTP2FloodTests {
    private static let endStream: UInt8 = 1
    private static let endHeaders: UInt8 = 4
    private static let acknowledgement: UInt8 = 1
    /// GET https://a/
    private static let head: [UInt8] = [0x82, 0x87, 0x84, 0x01, 1, UInt8(ascii: "a")]

    private enum Kind: UInt8 {
        case head = 1
        case reset = 3
        case settings = 4
        case promise = 5
    }

    private struct Frame {
        var kind: UInt8
        var payload: [UInt8]
    }

    private static func frame(
        _ kind: Kind, flags: UInt8 = 0, stream: Int = 0, _ payload: [UInt8] = []
    ) -> ByteBuffer {
        var buffer = ByteBuffer()
        buffer.writeInteger(UInt32(payload.count) << 8 | UInt32(kind.rawValue))
        buffer.writeInteger(flags)
        buffer.writeInteger(UInt32(stream))
        buffer.writeBytes(payload)
        return buffer
    }

    private static var greeting: ByteBuffer {
        var bytes = ByteBuffer(string: "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        bytes.writeImmutableBuffer(frame(.settings))
        return bytes
    }

    private static func stream(_ index: Int) -> Int { 2 * index + 1 }

    /// Each bound ends it where the other does not hold.
    @Test("gateway decision 42: refused streams end the connection", arguments: [true, false])
    func refusedStreamsEndTheConnection(isQueueBound: Bool) throws {
        var limits = HTTP2Limits()
        if isQueueBound {
            limits.controlFrameBurst = 1_000_000
        } else {
            limits.outboundAcknowledgements = 1_000_000
        }
        let owner = SilentOwner()
        let session = HTTP2Session(.server, limits: limits, delegate: owner, now: { 0 })
        try session.receive(Self.greeting)
        let opened = Int(limits.concurrentStreams)
        for index in 0..<opened {
            try session.receive(
                Self.frame(.head, flags: Self.endHeaders, stream: Self.stream(index), Self.head))
        }
        #expect(session.openStreams == opened)
        // A head of nothing, as cheap as a frame can be.
        let refused = Self.flood(session) { index in
            Self.frame(.head, flags: Self.endHeaders, stream: Self.stream(opened + index))
        }
        let most = isQueueBound ? limits.queuedFrames : limits.controlFrameBurst
        #expect(refused.map { 500...most ~= $0 } == true, "\(refused ?? -1)")
    }

    @Test("gateway decision 42: promises end a client's connection")
    func promisesEndAClientsConnection() throws {
        let limits = HTTP2Limits()
        let owner = SilentOwner()
        let session = HTTP2Session(.client, limits: limits, delegate: owner, now: { 0 })
        let head = [
            (name: ":method", value: "GET"), (":scheme", "https"), (":authority", "a"), (":path", "/"),
        ]
        let asked = session.request(head, body: ByteBuffer(), attachment: owner)
        while try session.nextOutput() != nil {}
        try session.receive(Self.frame(.settings))
        // Each is cancelled, since nobody may promise us anything.
        let promised = Self.flood(session) { index in
            let id = ByteBuffer(integer: UInt32(2 * index + 2))
            return Self.frame(
                .promise, flags: Self.endHeaders, stream: 1, Array(id.readableBytesView))
        }
        #expect(promised.map { 500...limits.controlFrameBurst ~= $0 } == true, "\(promised ?? -1)")
        withExtendedLifetime(asked) {}
    }

    /// How many frames were taken until it was a flood; nil when it never was.
    private static func flood(_ session: HTTP2Session, _ frame: (Int) -> ByteBuffer) -> Int? {
        for count in 0..<20_000 {
            do throws(HTTP2SessionError) {
                try session.receive(frame(count))
            } catch {
                return error.isFlood ? count : nil
            }
        }
        return nil
    }

    @Test("gateway decision 42: streams a little beyond the limit are refused and no more")
    func someStreamsTooManyAreRefused() throws {
        let channel = EmbeddedChannel()
        try channel.pipeline.syncOperations.addHandler(
            HTTP2ServerHandler(dispatcher: HTTP2TestDispatcher(HTTP2TestLog())))
        try channel.connect(to: .init(ipAddress: "127.0.0.1", port: 1)).wait()
        var bytes = Self.greeting
        for index in 0..<200 {
            bytes.writeImmutableBuffer(
                Self.frame(
                    .head, flags: Self.endHeaders | Self.endStream, stream: Self.stream(index),
                    Self.head))
        }
        try channel.writeInbound(bytes)
        let answers = try Self.frames(channel)
        #expect(answers.filter { $0.kind == Kind.head.rawValue }.count == 128)
        let refusals = answers.filter { $0.kind == Kind.reset.rawValue }
        #expect(refusals.count == 72)
        #expect(refusals.allSatisfy { $0.payload == [0, 0, 0, 7] })
        // It goes on as if nothing had been.
        var next = Self.frame(.settings, flags: Self.acknowledgement)
        next.writeImmutableBuffer(
            Self.frame(
                .head, flags: Self.endHeaders | Self.endStream, stream: Self.stream(200), Self.head))
        try channel.writeInbound(next)
        #expect(try Self.frames(channel).filter { $0.kind == Kind.head.rawValue }.count == 1)
        #expect(channel.isActive)
    }

    private static func frames(_ channel: EmbeddedChannel) throws -> [Frame] {
        channel.embeddedEventLoop.run()
        var bytes = ByteBuffer()
        while let next = try channel.readOutbound(as: ByteBuffer.self) {
            bytes.writeImmutableBuffer(next)
        }
        var frames: [Frame] = []
        while let head = bytes.readInteger(as: UInt32.self) {
            _ = bytes.readBytes(length: 5)
            let payload = bytes.readBytes(length: Int(head >> 8))
            frames.append(Frame(kind: UInt8(head & 0xFF), payload: try #require(payload)))
        }
        return frames
    }

    @Test("gateway decision 42: who does not read is not read, over HTTP/2")
    func readsAreHeldWhileTheSocketIsFull() throws {
        let channel = EmbeddedChannel()
        let socket = CountedReads()
        try channel.pipeline.syncOperations.addHandlers(
            socket, HTTP2ServerHandler(dispatcher: HTTP2TestDispatcher(HTTP2TestLog())))
        try channel.connect(to: .init(ipAddress: "127.0.0.1", port: 1)).wait()
        try channel.writeInbound(Self.greeting)
        channel.read()
        #expect(socket.reads == 1)
        channel.isWritable = false
        channel.read()
        #expect(socket.reads == 1)
        // An answer that waits fills the socket again at once; the client is heard all the same.
        try channel.writeInbound(
            Self.frame(
                .head, flags: Self.endHeaders | Self.endStream, stream: Self.stream(0), Self.head))
        socket.isFilledByWrite = true
        channel.isWritable = true
        channel.pipeline.fireChannelWritabilityChanged()
        #expect(!channel.isWritable)
        #expect(socket.reads == 2)
        // Nothing more is held, so nothing more is resumed.
        channel.isWritable = true
        channel.pipeline.fireChannelWritabilityChanged()
        #expect(socket.reads == 2)
    }
}

private final class SilentOwner: HTTP2SessionDelegate {
    func headReceived(_ stream: HTTP2Stream) {}
    func dataReceived(_ bytes: ByteBuffer, _ stream: HTTP2Stream) {}
    func endReceived(_ stream: HTTP2Stream) {}
    func streamClosed(_ stream: HTTP2Stream, _ code: HTTP2ErrorCode) {}
    func answeredEarly(_ stream: HTTP2Stream) {}
    func settingsReceived() {}
    func goAwayReceived(lastStream: Int32, code: HTTP2ErrorCode) {}
    func pingAcknowledged() {}
}

/// The socket's side of a channel in memory.
private final class CountedReads: ChannelOutboundHandler {
    typealias OutboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    private(set) var reads = 0
    var isFilledByWrite = false

    func read(context: ChannelHandlerContext) {
        reads += 1
        context.read()
    }

    func write(context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?) {
        if isFilledByWrite { (context.channel as? EmbeddedChannel)?.isWritable = false }
        context.write(data, promise: promise)
    }
}
