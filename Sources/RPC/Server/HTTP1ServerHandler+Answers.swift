internal import Facts
internal import NIOCore
internal import NIOHTTP1

// MARK: Answers

extension HTTP1ServerHandler: HTTPExchange, BurstFlushing {
    var eventLoop: any EventLoop { mailbox.eventLoop }

    func respond(
        status: Int, headers: [(name: String, value: String)], body: ByteBuffer, _ share: BodyShare?
    ) {
        guard let context else { return }
        let early: Bool
        switch phase {
        case .waiting, .ending: early = false
        case .receiving: early = bodyFollows
        case .closing: return
        case .idle, .discarding: preconditionFailure("a request is answered once")
        }
        if early || draining { keepsAlive = false }
        write(context, status, headers, body, share)
        switch phase {
        case .waiting: answered()
        case .receiving where early:
            phase = .discarding
            timer?.arm(milliseconds: limits.discardMilliseconds)
            unconsumed = 0
            resumeReading()
        case .receiving: phase = .ending
        case .ending, .idle, .discarding, .closing: break
        }
    }

    func respond(_ answer: GRPCAnswer, date: String, _ share: BodyShare?) {
        preconditionFailure("the dispatcher takes gRPC over HTTP/2 only")
    }

    func sendContinue() {
        guard wantsContinue, bodyFollows, let context else { return }
        wantsContinue = false
        context.write(
            wrapOutboundOut(ByteBuffer(staticString: "HTTP/1.1 100 Continue\r\n\r\n")),
            promise: nil)
        flushSoon()
    }

    /// Above this a body is not copied behind its head.
    private static let copiedBodyBytes = 16 << 10

    private func write(
        _ context: ChannelHandlerContext, _ status: Int,
        _ headers: [(name: String, value: String)], _ body: ByteBuffer, _ share: BodyShare?
    ) {
        let length = body.readableBytes
        let copied = !isHead && length <= Self.copiedBodyBytes
        var output = head(context, status, headers, String(length), copied ? length : 0)
        if copied { output.writeImmutableBuffer(body) }
        let keptUntilWritten = isHead ? nil : share.map { Self.kept($0, context) }
        context.write(wrapOutboundOut(output), promise: copied ? keptUntilWritten : nil)
        if !copied, !isHead { context.write(wrapOutboundOut(body), promise: keptUntilWritten) }
        flushSoon()
    }

    /// A promise that holds the share until the socket has the bytes, or will not have them.
    private static func kept(
        _ share: BodyShare, _ context: ChannelHandlerContext
    ) -> EventLoopPromise<Void> {
        let promise = context.eventLoop.makePromise(of: Void.self)
        promise.futureResult.whenComplete { _ in withExtendedLifetime(share) {} }
        return promise
    }

    /// The head of an answer, with room for `following` bytes behind it.
    private func head(
        _ context: ChannelHandlerContext, _ status: Int,
        _ headers: [(name: String, value: String)], _ length: String?, _ following: Int
    ) -> ByteBuffer {
        var output = context.channel.allocator.buffer(capacity: 256 + following)
        output.writeStaticString("HTTP/1.1 ")
        output.writeString(String(status))
        output.writeStaticString(" ")
        output.writeString(HTTPResponseStatus(statusCode: status).reasonPhrase)
        for (name, value) in headers {
            output.writeStaticString("\r\n")
            output.writeString(name)
            output.writeStaticString(": ")
            output.writeString(HTTPFieldValue.clean(value))
        }
        if let length {
            output.writeStaticString("\r\ncontent-length: ")
            output.writeString(length)
        }
        if !keepsAlive { output.writeStaticString("\r\nconnection: close") }
        output.writeStaticString("\r\n\r\n")
        return output
    }

    func begin(
        status: Int, headers: [(name: String, value: String)], contentLength: UInt64, isWhole: Bool
    ) {
        guard let context, case .waiting = phase else { return }
        if draining { keepsAlive = false }
        let length = status == 304 ? nil : String(contentLength)
        context.write(wrapOutboundOut(head(context, status, headers, length, 0)), promise: nil)
        flushSoon()
        if isWhole { answered() }
    }

    func send(_ piece: ByteBuffer, isLast: Bool, _ share: BodyShare?) {
        guard let context, case .waiting(let sink) = phase else { return }
        if isLast {
            let keptUntilWritten = share.map { Self.kept($0, context) }
            context.write(wrapOutboundOut(piece), promise: keptUntilWritten)
            flushSoon()
            return answered()
        }
        // The promise is kept when the socket has the bytes: a reader that stalls stalls us here.
        let taken = context.eventLoop.makePromise(of: Void.self)
        taken.futureResult.assumeIsolated().whenSuccess { sink.pieceTaken() }
        context.write(wrapOutboundOut(piece), promise: taken)
        flushSoon()
    }

    func abort() { close() }

    func consumed(_ count: Int) {
        unconsumed = max(0, unconsumed - count)
        resumeReading()
    }

    private func flushSoon() {
        unflushed = true
        if !isReading { mailbox.flush(self) }
    }

    func flushBurst() {
        guard unflushed else { return }
        unflushed = false
        context?.flush()
    }
}
