internal import Facts
internal import NIOCore

/// Serves HTTP/2 on a connection whose TLS is done and whose caller is known: plain bytes on the
/// channel's side, an `HTTPRequestDispatcher` on the other. The answers of one turn of the event
/// loop leave in one write. Who does not read what is written is not read either.
final class HTTP2ServerHandler: ChannelDuplexHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    private enum Shutdown {
        case none
        /// GOAWAY without a last stream is out; requests that crossed it are still taken.
        case announced
        /// GOAWAY with the last stream is out.
        case draining
    }

    private static let shutdownNotice: TimeAmount = .milliseconds(500)
    /// So many answers may wait on a connection whose other side takes none before refusals for want of room
    /// are no longer among them.
    private static let waitingAnswersMaximum = 16
    private static let tooManyRequests = 429

    private let dispatcher: any HTTPRequestDispatcher
    private let limits: HTTP2Limits
    private var session: HTTP2Session?
    private var context: ChannelHandlerContext?
    private var isReading = false
    private var readIsHeld = false
    private var flushIsScheduled = false
    private var shutdown = Shutdown.none
    private var shutdownTimer: Scheduled<Void>?
    /// Runs while answers wait, with how much had been sent when it was armed.
    private var stall: (timer: LazyTimer, sentBodyBytes: UInt64)?

    init(dispatcher: any HTTPRequestDispatcher, limits: HTTP2Limits = HTTP2Limits()) {
        self.dispatcher = dispatcher
        self.limits = limits
    }

    /// Requests not yet answered in full.
    var openRequests: Int { session?.openStreams ?? 0 }

    // MARK: Channel

    func handlerAdded(context: ChannelHandlerContext) {
        self.context = context
        if context.channel.isActive { start(context) }
    }

    func channelActive(context: ChannelHandlerContext) {
        start(context)
        context.fireChannelActive()
    }

    private func start(_ context: ChannelHandlerContext) {
        guard session == nil else { return }
        stall = (LazyTimer(context.eventLoop) { [weak self] in self?.lookForStall() }, 0)
        session = HTTP2Session(
            .server, limits: limits, delegate: self, allocator: context.channel.allocator)
        flush()
    }

    /// What comes makes answers, and while the socket takes none they would only be stored. A window that is used
    /// up leaves the channel writable, so what opens it is always read.
    func read(context: ChannelHandlerContext) {
        if context.channel.isWritable {
            context.read()
        } else {
            readIsHeld = true
        }
    }

    private func resumeReading(_ context: ChannelHandlerContext) {
        guard readIsHeld, context.channel.isWritable else { return }
        readIsHeld = false
        context.read()
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        guard let session else { return }
        isReading = true
        do throws(HTTP2SessionError) {
            try session.receive(unwrapInboundIn(data))
        } catch {
            fail(error)
        }
    }

    func channelReadComplete(context: ChannelHandlerContext) {
        isReading = false
        flush()
        context.fireChannelReadComplete()
    }

    func channelWritabilityChanged(context: ChannelHandlerContext) {
        // Before the flush, which may fill the socket again: a long answer does not keep a client from being heard.
        resumeReading(context)
        if context.channel.isWritable, !isReading { flush() }
        context.fireChannelWritabilityChanged()
    }

    func channelInactive(context: ChannelHandlerContext) {
        end()
        context.fireChannelInactive()
    }

    func handlerRemoved(context: ChannelHandlerContext) {
        end()
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        context.fireErrorCaught(error)
        context.close(promise: nil)
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        switch event {
        case is ConnectionShutdown, is ChannelShouldQuiesceEvent: beginShutdown()
        case ChannelEvent.inputClosed: context.close(promise: nil)
        default: break
        }
        context.fireUserInboundEventTriggered(event)
    }

    private func end() {
        shutdownTimer?.cancel()
        shutdownTimer = nil
        stall?.timer.cancel()
        stall = nil
        context = nil
        guard let session else { return }
        self.session = nil
        for stream in session.abandonStreams() { streamClosed(stream, .cancel) }
    }

    // MARK: Sending

    func send(
        _ stream: HTTP2Stream, _ status: Int, _ headers: [(name: String, value: String)],
        _ body: ByteBuffer
    ) {
        // What takes room because there is none would be the cheapest attack: a reset takes none.
        if status == Self.tooManyRequests, let session, !session.canSendBody(stream),
            session.waitingBodies >= Self.waitingAnswersMaximum
        {
            session.reset(stream, .enhanceYourCalm)
            return scheduleFlush()
        }
        session?.respond(stream, status: status, headers: headers, body: body)
        scheduleFlush()
    }

    /// An answer whose body comes piece by piece.
    func begin(
        _ stream: HTTP2Stream, _ status: Int, _ headers: [(name: String, value: String)]
    ) {
        session?.beginResponse(stream, status: status, headers: headers)
        scheduleFlush()
    }

    func send(_ stream: HTTP2Stream, _ piece: ByteBuffer, isLast: Bool) {
        session?.append(piece, isLast: isLast, to: stream)
        scheduleFlush()
    }

    func abort(_ stream: HTTP2Stream) {
        session?.reset(stream, .internalError)
        scheduleFlush()
    }

    func discard(_ count: Int) {
        guard count > 0 else { return }
        session?.discard(count)
        scheduleFlush()
    }

    func consumed(_ count: Int, _ stream: HTTP2Stream) {
        session?.consume(count, stream)
        scheduleFlush()
    }

    /// One flush for all that is submitted in this turn of the event loop.
    private func scheduleFlush() {
        guard !isReading, !flushIsScheduled, let context else { return }
        flushIsScheduled = true
        context.eventLoop.assumeIsolated().execute {
            self.flushIsScheduled = false
            if !self.isReading { self.flush() }
        }
    }

    private func flush() {
        guard let session, let context else { return }
        do throws(HTTP2SessionError) {
            while context.channel.isWritable, let bytes = try session.nextOutput() {
                context.writeAndFlush(wrapOutboundOut(bytes), promise: kept(session, context))
            }
        } catch {
            return fail(error)
        }
        watchForStall(session)
        if session.isFinished || (shutdown == .draining && session.openStreams == 0) {
            context.close(promise: nil)
        }
    }

    private func watchForStall(_ session: HTTP2Session) {
        guard session.waitingBodies > 0 else {
            stall?.timer.disarm()
            return
        }
        guard let stall, !stall.timer.isArmed else { return }
        self.stall?.sentBodyBytes = session.sentBodyBytes
        stall.timer.arm(milliseconds: limits.stallMilliseconds)
    }

    private func lookForStall() {
        guard let session, let context, let stall, session.waitingBodies > 0 else { return }
        if session.sentBodyBytes - stall.sentBodyBytes < limits.stallBytes {
            return context.close(promise: nil)
        }
        watchForStall(session)
    }

    /// A promise that holds what the bodies in the last output hold until the socket has it.
    private func kept(
        _ session: HTTP2Session, _ context: ChannelHandlerContext
    ) -> EventLoopPromise<Void>? {
        let shares = session.takeShares()
        guard !shares.isEmpty else { return nil }
        let promise = context.eventLoop.makePromise(of: Void.self)
        promise.futureResult.whenComplete { _ in withExtendedLifetime(shares) {} }
        return promise
    }

    /// The other side breaks the limits or the protocol beyond repair: tell it, and close.
    private func fail(_ error: HTTP2SessionError) {
        guard let session, let context else { return }
        session.terminate(error.isFlood ? .enhanceYourCalm : .protocolError)
        if let bytes = try? session.nextOutput() {
            context.writeAndFlush(wrapOutboundOut(bytes), promise: nil)
        }
        context.fireErrorCaught(error)
        context.close(promise: nil)
        end()
    }

    // MARK: Graceful end

    private func beginShutdown() {
        guard shutdown == .none, let session, let context else { return }
        shutdown = .announced
        session.announceShutdown()
        // Its answer tells that the other side has seen the notice.
        session.ping()
        shutdownTimer = context.eventLoop.assumeIsolated().scheduleTask(in: Self.shutdownNotice) {
            self.drain()
        }
        scheduleFlush()
    }

    private func drain() {
        guard shutdown == .announced, let session else { return }
        shutdown = .draining
        shutdownTimer?.cancel()
        session.goAway()
        scheduleFlush()
    }
}

extension HTTP2ServerHandler: HTTP2SessionDelegate {
    func headReceived(_ stream: HTTP2Stream) {
        guard let context else { return }
        let exchange = HTTP2ServerExchange(stream, self, eventLoop: context.eventLoop)
        stream.attachment = exchange
        if stream.headState == .overLimit {
            let sentence =
                "the request's head is over the limit of \(limits.headBytes) bytes, "
                + "\(limits.fieldBytes) bytes a field and \(limits.headFields) fields; "
                + "send fewer and shorter headers"
            exchange.respond(
                status: 431, headers: [("content-type", "application/json")],
                body: ByteBuffer(bytes: ServiceError(.tooLarge, sentence).connectBody))
        } else {
            exchange.begin(dispatcher)
        }
    }

    func dataReceived(_ bytes: ByteBuffer, _ stream: HTTP2Stream) {
        let count = bytes.readableBytes
        guard let exchange = stream.attachment as? HTTP2ServerExchange else {
            session?.discard(count)
            return
        }
        if exchange.pacesBody {
            exchange.unconsumedBytes += count
        } else {
            session?.consume(count, stream)
        }
        if !exchange.receive(bytes) {
            exchange.discardedBytes += count
            if exchange.discardedBytes > limits.discardedBytes { endDiscarding(stream) }
        }
    }

    func answeredEarly(_ stream: HTTP2Stream) {
        guard let context, let exchange = stream.attachment as? HTTP2ServerExchange else { return }
        exchange.discardTimer = context.eventLoop.assumeIsolated().scheduleTask(
            in: .milliseconds(limits.discardMilliseconds)
        ) { [weak self] in self?.endDiscarding(stream) }
    }

    func bodyTaken(_ stream: HTTP2Stream) {
        (stream.attachment as? HTTP2ServerExchange)?.pieceTaken()
    }

    /// The rest of the request is not wanted.
    private func endDiscarding(_ stream: HTTP2Stream) {
        guard stream.localEnded, !stream.remoteEnded else { return }
        session?.reset(stream, .noError)
        scheduleFlush()
    }

    func endReceived(_ stream: HTTP2Stream) {
        (stream.attachment as? HTTP2ServerExchange)?.end()
    }

    func streamClosed(_ stream: HTTP2Stream, _ code: HTTP2ErrorCode) {
        (stream.attachment as? HTTP2ServerExchange)?.streamClosed()
        stream.attachment = nil
    }

    func settingsReceived() {}

    func goAwayReceived(lastStream: Int32, code: HTTP2ErrorCode) {}

    func pingAcknowledged() {
        drain()
    }
}
