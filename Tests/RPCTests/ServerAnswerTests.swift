import Facts
import Foundation
import Logging
import NIOCore
import NIOEmbedded
import Testing

@testable import RPC

/// Answers hold their part of the budget until the socket has them.
@Suite struct ServerAnswerTests {
    private static let step = Admission.bodyStepBytes

    @Test("gateway decision 42: an answer that nobody takes holds its bytes until its stream ends")
    func anAnswerThatNobodyTakes() throws {
        let bench = try HTTP2Bench()
        let first = bench.call("/test.Echo/Page", "\(4 * Self.step)")
        #expect(bench.held == 4 * Self.step)
        // Twice as much is asked for while it is made, and the share of one identity is 11 steps.
        let second = bench.call("/test.Echo/Page", "\(4 * Self.step)")
        #expect(bench.client.status(second) == 429)
        #expect(bench.held == 4 * Self.step)
        #expect(bench.client.status(bench.call("/test.Echo/Page", "\(3 * Self.step)")) == 200)
        #expect(bench.held == 7 * Self.step)
        // A small answer asks for nothing.
        #expect(bench.client.status(bench.call("/test.Echo/Echo", "{}")) == 200)
        bench.client.reset(first)
        bench.run()
        #expect(bench.held == 3 * Self.step)
        try bench.finish()
        #expect(bench.held == 0)
    }

    @Test func aTakenAnswerHoldsNothing() throws {
        let bench = try HTTP2Bench(windowBytes: 1 << 20)
        let call = bench.call("/test.Echo/Page", "\(4 * Self.step)")
        #expect(bench.client.status(call) == 200)
        #expect(bench.client.received(call) == 4 * Self.step)
        #expect(bench.held == 0)
        try bench.finish()
    }

    /// What the socket does not take is held as well as what its stream does not take.
    @Test func anAnswerBeforeTheSocketHoldsItsBytes() throws {
        let bench = try HTTP2Bench(windowBytes: 1 << 20)
        bench.socket.isFull = true
        _ = bench.call("/test.Echo/Page", "\(4 * Self.step)")
        #expect(bench.held == 4 * Self.step)
        try bench.finish()
        #expect(bench.held == 0)
    }

    @Test("gateway decision 42: who takes no answers within the time is closed, over HTTP/2")
    func aStalledReader() throws {
        let bench = try HTTP2Bench { $0.stallMilliseconds = 200 }
        _ = bench.call("/test.Echo/Page", "\(Self.step * 2)")
        #expect(bench.isOpen)
        // The timer looks at the clock, so it has to pass.
        try bench.wait(milliseconds: 300)
        #expect(!bench.isOpen)
        try bench.finish()
        #expect(bench.held == 0)
    }

    @Test func anIdentityThatHoldsLittleIsServedFromWhatIsKept() {
        var limits = RPCServerLimits()
        limits.bodyBudgetBytes = 64 * Self.step
        limits.bodyBudgetBytesPerIdentity = 60 * Self.step
        limits.inFlight = 160
        let admission = Admission(limits)
        let greedy = Admission.Holder(isAdministrator: false)
        let modest = Admission.Holder(isAdministrator: false)
        #expect(admission.takeBody(steps: 56, greedy))
        #expect(!admission.takeBody(steps: 1, greedy))
        #expect(admission.takeBody(steps: 8, modest))
        #expect(!admission.takeBody(steps: 1, modest))
        let taken = (0..<160).filter { _ in admission.beginRequest(greedy) }.count
        #expect(taken == 140)
        #expect((0..<16).allSatisfy { _ in admission.beginRequest(modest) })
    }
}

/// A server's HTTP/2 connection in memory, with a client that reads as its window lets it.
private final class HTTP2Bench {
    let client: RawClient
    let socket = FullSocket()
    private let channel = EmbeddedChannel()
    private let core: ServerCore
    private let dispatcher: RequestDispatcher

    init(
        windowBytes: UInt32 = 0, _ change: (inout HTTP2Limits) -> Void = { _ in }
    ) throws {
        var limits = RPCServerLimits()
        limits.bodyBudgetBytes = 16 * Admission.bodyStepBytes
        limits.bodyBudgetBytesPerIdentity = 11 * Admission.bodyStepBytes
        change(&limits.http2)
        core = ServerCore(
            limits: limits, service: TestService(), verifier: NobodyVerified(),
            logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
        dispatcher = RequestDispatcher(
            core: core, mailbox: EventLoopMailbox(channel.eventLoop),
            party: .known(
                Caller(kind: .client(name: "client"), identity: "client"),
                Admission.Holder(isAdministrator: false), generation: 1),
            address: "",
            closeGracefully: {})
        client = RawClient(windowBytes)
        try channel.pipeline.syncOperations.addHandlers(
            socket, HTTP2ServerHandler(dispatcher: dispatcher, limits: limits.http2))
        try channel.connect(to: .init(ipAddress: "127.0.0.1", port: 1)).wait()
        run()
    }

    var held: Int { core.admission.bodyBytesHeld }
    var isOpen: Bool { channel.isActive }

    func call(_ path: String, _ body: String) -> HTTP2Stream {
        let stream = client.call(path, body)
        run()
        return stream
    }

    /// Everything that the two have to say to each other.
    func run() {
        var isMoving = true
        while isMoving {
            isMoving = false
            while let bytes = client.output() {
                _ = try? channel.writeInbound(bytes)
                isMoving = true
            }
            channel.embeddedEventLoop.run()
            while let bytes = try? channel.readOutbound(as: ByteBuffer.self) {
                client.receive(bytes)
                isMoving = true
            }
        }
    }

    func wait(milliseconds: Int) throws {
        let end = NIODeadline.now() + .milliseconds(Int64(milliseconds))
        while NIODeadline.now() < end {}
        channel.embeddedEventLoop.advanceTime(to: end)
    }

    func finish() throws {
        socket.drop()
        _ = try channel.finish(acceptAlreadyClosed: true)
    }
}

/// A socket that can stop taking bytes.
private final class FullSocket: ChannelOutboundHandler {
    typealias OutboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    var isFull = false
    private var waiting: [EventLoopPromise<Void>] = []

    func write(context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?) {
        guard isFull else { return context.write(data, promise: promise) }
        if let promise { waiting.append(promise) }
    }

    func drop() {
        for promise in waiting { promise.fail(ChannelError.ioOnClosedChannel) }
        waiting = []
    }
}

/// A client that gives its window and never more.
private final class RawClient: HTTP2SessionDelegate {
    private var session: HTTP2Session!
    private var received: [Int32: Int] = [:]

    init(_ windowBytes: UInt32) {
        var limits = HTTP2Limits()
        limits.streamWindowBytes = windowBytes
        session = HTTP2Session(.client, limits: limits, delegate: self)
    }

    func call(_ path: String, _ body: String) -> HTTP2Stream {
        session.request(
            [
                (":method", "POST"), (":scheme", "https"), (":authority", "localhost"),
                (":path", path), ("content-type", "application/json"),
            ], body: ByteBuffer(string: body), attachment: self)!
    }

    func reset(_ stream: HTTP2Stream) { session.reset(stream, .cancel) }
    func status(_ stream: HTTP2Stream) -> Int { stream.status }
    func received(_ stream: HTTP2Stream) -> Int { received[stream.id, default: 0] }
    func output() -> ByteBuffer? { try? session.nextOutput() }
    func receive(_ bytes: ByteBuffer) { try? session.receive(bytes) }

    func headReceived(_ stream: HTTP2Stream) {}
    func dataReceived(_ bytes: ByteBuffer, _ stream: HTTP2Stream) {
        received[stream.id, default: 0] += bytes.readableBytes
    }
    func endReceived(_ stream: HTTP2Stream) {}
    func streamClosed(_ stream: HTTP2Stream, _ code: HTTP2ErrorCode) {}
    func answeredEarly(_ stream: HTTP2Stream) {}
    func settingsReceived() {}
    func goAwayReceived(lastStream: Int32, code: HTTP2ErrorCode) {}
    func pingAcknowledged() {}
}

private struct NobodyVerified: CallerVerifier {
    let generation: UInt64 = 1

    func verify(leafDER: [UInt8], direction: CallDirection) -> Result<Caller, CallerRefusal> {
        .failure(CallerRefusal(ServiceError(.identityNotAuthorised)))
    }
}
