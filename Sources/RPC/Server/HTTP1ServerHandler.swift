internal import Facts
internal import NIOCore
internal import NIOHTTP1

/// Serves HTTP/1.1 on decoded request parts: one request at a time, in order, each answer in one
/// write. Requests that were sent ahead wait, and a client that sends too far ahead is not read.
final class HTTP1ServerHandler: ChannelDuplexHandler {
    typealias InboundIn = HTTPServerRequestPart
    typealias OutboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    enum Phase {
        /// Between requests.
        case idle
        case receiving(any HTTPRequestSink)
        /// The request is whole, its answer is not there yet.
        case waiting(any HTTPRequestSink)
        /// Answered, and no body comes before the request's end.
        case ending
        /// Answered before the body ended: the rest is thrown away, then the connection closes.
        case discarding
        case closing
    }

    private let dispatcher: any HTTPRequestDispatcher
    let mailbox: EventLoopMailbox
    let limits: RPCServerLimits
    var context: ChannelHandlerContext?
    var phase = Phase.idle
    private var waitingParts = CircularBuffer<HTTPServerRequestPart>()

    var keepsAlive = true
    var bodyFollows = false
    var wantsContinue = false
    var isHead = false

    var draining = false
    private var processing = false
    var isReading = false
    var unflushed = false
    private var readIsHeld = false
    private var bytesCame = false
    private var partsCame = false
    private var discarded = 0
    /// Bytes of a paced body that its sink has not dealt with.
    var unconsumed = 0
    var timer: LazyTimer?

    init(
        dispatcher: any HTTPRequestDispatcher, mailbox: EventLoopMailbox, limits: RPCServerLimits
    ) {
        self.dispatcher = dispatcher
        self.mailbox = mailbox
        self.limits = limits
    }

    static func decoder(
        _ limits: RPCServerLimits
    ) -> ByteToMessageHandler<HTTPRequestDecoder> {
        var configuration = NIOHTTPDecoderLimitConfiguration()
        configuration.maxHeaderFieldSize = limits.fieldBytes
        configuration.maxHeaderListSize = limits.headBytes
        configuration.maxHeaderFieldCount = limits.fields
        // The decoder does not count white space and line ends, the buffer does.
        return ByteToMessageHandler(
            HTTPRequestDecoder(limitConfiguration: configuration),
            maximumBufferSize: 4 * limits.headBytes)
    }

    // MARK: Channel

    func handlerAdded(context: ChannelHandlerContext) {
        self.context = context
        timer = LazyTimer(context.eventLoop) { [weak self] in self?.close() }
    }

    func handlerRemoved(context: ChannelHandlerContext) {
        end()
    }

    func channelInactive(context: ChannelHandlerContext) {
        end()
        context.fireChannelInactive()
    }

    private func end() {
        timer?.cancel()
        context = nil
        waitingParts.removeAll()
        switch phase {
        case .receiving(let sink), .waiting(let sink): sink.abandon()
        case .idle, .ending, .discarding, .closing: break
        }
        phase = .closing
    }

    func read(context: ChannelHandlerContext) {
        if takesMore(context) {
            context.read()
        } else {
            readIsHeld = true
        }
    }

    private func takesMore(_ context: ChannelHandlerContext) -> Bool {
        waitingParts.isEmpty && context.channel.isWritable
            && unconsumed < Int(limits.http2.streamWindowBytes)
    }

    func resumeReading() {
        guard readIsHeld, let context, takesMore(context) else { return }
        readIsHeld = false
        context.read()
    }

    /// Said by the handler before the decoder, for every read.
    func bytesArrived() {
        bytesCame = true
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        isReading = true
        partsCame = true
        waitingParts.append(unwrapInboundIn(data))
        process()
    }

    func channelReadComplete(context: ChannelHandlerContext) {
        isReading = false
        if unflushed { flushBurst() }
        // Bytes came and made no whole head: from here on it has to arrive in time.
        if case .idle = phase, bytesCame, !partsCame, let timer, !timer.isArmed {
            timer.arm(milliseconds: limits.headMilliseconds)
        }
        bytesCame = false
        partsCame = false
        context.fireChannelReadComplete()
    }

    func channelWritabilityChanged(context: ChannelHandlerContext) {
        resumeReading()
        context.fireChannelWritabilityChanged()
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        switch event {
        case is ChannelShouldQuiesceEvent:
            draining = true
            if case .idle = phase, waitingParts.isEmpty { close() }
        default: context.fireUserInboundEventTriggered(event)
        }
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        // More behind bytes that could not be read. It costs no answer that is owed, and the time
        // limits that hold by now end the connection.
        if case .dataReceivedInErrorState? = error as? ByteToMessageDecoderError { return }
        guard error is HTTPParserError || error is ByteToMessageDecoderError.PayloadTooLargeError
        else { return close() }
        switch phase {
        case .idle: refuse(error)
        // The answers owed come first, and what follows them cannot be read.
        case .waiting: draining = true
        case .receiving(let sink):
            sink.abandon()
            refuse(error)
        case .ending, .discarding: close()
        case .closing: break
        }
    }

    private func refuse(_ error: any Error) {
        let isTooLarge: Bool =
            error is ByteToMessageDecoderError.PayloadTooLargeError
            || (error as? HTTPParserError) == .headerOverflow
        phase = .ending
        keepsAlive = false
        respond(
            isTooLarge
                ? headIsTooLarge
                : .failure(
                    ServiceError(
                        .malformedRequest, "The request is not HTTP/1.1 as RFC 9112 has it (\(error)); "
                            + "send it correctly over a new connection.")), mailbox)
        phase = .discarding
        timer?.arm(milliseconds: limits.discardMilliseconds)
    }

    private var headIsTooLarge: ConnectAnswer {
        var answer = ConnectAnswer.failure(
            ServiceError(
                .tooLarge,
                "The request's head is above its limit of \(limits.headBytes) bytes, "
                    + "\(limits.fieldBytes) in a field, \(limits.fields) fields; send fewer or "
                    + "shorter headers."))
        answer.status = 431
        return answer
    }

    // MARK: Requests

    private func process() {
        guard !processing else { return }
        processing = true
        defer { processing = false }
        while !waitingParts.isEmpty {
            if case .waiting = phase { break }
            take(waitingParts.removeFirst())
        }
        resumeReading()
    }

    private func take(_ part: HTTPServerRequestPart) {
        switch (part, phase) {
        case (.head(let head), .idle): begin(head)
        case (.body(let bytes), .receiving(let sink)):
            if sink.pacesBody { unconsumed += bytes.readableBytes }
            sink.receive(bytes)
        case (.end, .receiving(let sink)):
            phase = .waiting(sink)
            sink.end()
        case (.body(let bytes), .discarding):
            discarded += bytes.readableBytes
            if discarded > limits.discardBytes { close() }
        case (.end, .discarding): close()
        case (.end, .ending): answered()
        default: break
        }
    }

    private func begin(_ head: NIOHTTP1.HTTPRequestHead) {
        timer?.disarm()
        unconsumed = 0
        let request = request(head)
        keepsAlive =
            head.isKeepAlive && request.header("upgrade") == nil && head.method != .CONNECT
        bodyFollows =
            request.header("transfer-encoding") != nil
            || request.header("content-length").map { $0 != "0" } ?? false
        wantsContinue =
            head.version == .http1_1
            && request.header("expect")?.lowercased() == "100-continue"
        isHead = head.method == .HEAD
        // The decoder holds a name and a value to the limit, each for itself.
        if request.headers.contains(where: { $0.name.utf8.count + $0.value.utf8.count > limits.fieldBytes }) {
            phase = .receiving(EmptySink())
            return respond(headIsTooLarge, mailbox)
        }
        if head.version == .http1_1, request.header("host") == nil {
            phase = .receiving(EmptySink())
            return respond(
                .failure(
                    ServiceError(
                        .malformedRequest,
                        "The request has no Host header; HTTP/1.1 requires one.")),
                mailbox)
        }
        phase = .receiving(EmptySink())
        let sink = dispatcher.begin(request, self)
        // The dispatcher may have answered already.
        if case .receiving = phase { phase = .receiving(sink) }
    }

    private func request(_ head: NIOHTTP1.HTTPRequestHead) -> HTTPRequestHead {
        var headers: [(name: String, value: String)] = []
        headers.reserveCapacity(head.headers.count)
        for (name, value) in head.headers { headers.append((Self.lowerCase(name), value)) }
        return HTTPRequestHead(
            version: .http1, method: head.method.rawValue, target: head.uri, headers: headers)
    }

    private static func lowerCase(_ name: String) -> String {
        let hasUpperCase = name.utf8.contains { $0 >= 0x41 && $0 <= 0x5A }
        return hasUpperCase ? name.lowercased() : name
    }

    /// The request and its answer are done.
    func answered() {
        if keepsAlive && !draining {
            phase = .idle
            if !processing { process() }
        } else {
            closeOnceWritten()
        }
    }

    /// A close drops what the socket has not taken yet, and a long answer is more than it takes at
    /// once. Who does not read is closed by the gate, as always.
    private func closeOnceWritten() {
        phase = .closing
        timer?.cancel()
        waitingParts.removeAll()
        guard let context else { return }
        unflushed = false
        let written = context.eventLoop.makePromise(of: Void.self)
        let channel = context.channel
        written.futureResult.whenComplete { _ in channel.close(promise: nil) }
        let nothing = context.channel.allocator.buffer(capacity: 0)
        context.writeAndFlush(wrapOutboundOut(nothing), promise: written)
    }

    func close() {
        if case .closing = phase { return }
        let open = phase
        phase = .closing
        timer?.cancel()
        waitingParts.removeAll()
        // A connection that is cut without a TLS close ends here, not in `end`: what its request
        // holds is given back at once.
        switch open {
        case .receiving(let sink), .waiting(let sink): sink.abandon()
        case .idle, .ending, .discarding, .closing: break
        }
        guard let context else { return }
        if unflushed { flushBurst() }
        context.close(promise: nil)
    }
}

/// Holds the place while the dispatcher makes the request's own sink.
private final class EmptySink: HTTPRequestSink {
    func receive(_ bytes: ByteBuffer) {}
    func end() {}
    func abandon() {}
}
