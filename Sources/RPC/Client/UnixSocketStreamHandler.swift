internal import NIOCore
internal import NIOHTTP1

/// One call over the administration socket whose bodies flow: reads only when what came was dealt with,
/// writes the next piece when the one before has left.
final class UnixSocketStreamHandler: ChannelInboundHandler, ClientBodyConnection {
    typealias InboundIn = HTTPClientResponsePart
    typealias OutboundOut = HTTPClientRequestPart

    private let call: ClientCall
    private let path: String
    private var context: ChannelHandlerContext?
    /// Came and was not dealt with.
    private var unconsumed = 0
    private var isWhole = false

    init(_ call: ClientCall, path: String) {
        self.call = call
        self.path = path
    }

    func channelActive(context: ChannelHandlerContext) {
        self.context = context
        var headers = HTTPHeaders(call.headers.map { ($0.name, $0.value) })
        headers.add(name: "host", value: "localhost")
        headers.add(name: "connection", value: "close")
        let head = NIOHTTP1.HTTPRequestHead(
            version: .http1_1, method: HTTPMethod(rawValue: call.method), uri: call.path,
            headers: headers)
        context.write(wrapOutboundOut(.head(head)), promise: nil)
        if call.streaming?.hasBody == true {
            context.flush()
        } else {
            context.writeAndFlush(wrapOutboundOut(.end(nil)), promise: nil)
        }
        call.streaming?.begin(on: self)
        watch(context)
        context.read()
        context.fireChannelActive()
    }

    private func watch(_ context: ChannelHandlerContext) {
        call.timer = context.eventLoop.assumeIsolated().scheduleTask(
            in: .milliseconds(Int64(call.timeoutMilliseconds))
        ) { [weak self] in self?.lookForSilence() }
    }

    private func lookForSilence() {
        guard let context, let streaming = call.streaming else { return }
        let limit = TimeAmount.milliseconds(Int64(call.timeoutMilliseconds))
        if streaming.isBusy || NIODeadline.now() - streaming.lastProgress < limit {
            return watch(context)
        }
        call.end(
            .failure(
                .transport(
                    kind: .timeout,
                    sentence: "nothing moved on \(path) for \(call.timeoutMilliseconds) ms")))
    }

    // MARK: Bodies

    func append(_ piece: ByteBuffer, isLast: Bool, of call: ClientCall) {
        guard let context else { return }
        if isLast {
            context.write(wrapOutboundOut(.body(.byteBuffer(piece))), promise: nil)
            return context.writeAndFlush(wrapOutboundOut(.end(nil)), promise: nil)
        }
        let taken = context.eventLoop.makePromise(of: Void.self)
        taken.futureResult.assumeIsolated().whenSuccess { call.streaming?.pieceTaken() }
        context.writeAndFlush(wrapOutboundOut(.body(.byteBuffer(piece))), promise: taken)
    }

    func consumed(_ count: Int, of call: ClientCall?) {
        unconsumed -= count
        if unconsumed <= 0 { context?.read() }
    }

    func cancel(_ call: ClientCall) { context?.close(promise: nil) }

    // MARK: Channel

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        switch unwrapInboundIn(data) {
        case .head(let head):
            call.responseHead = (
                Int(head.status.code),
                head.headers.map { (name: $0.name.lowercased(), value: $0.value) }
            )
        case .body(let bytes): take(bytes)
        case .end:
            isWhole = true
            finish()
        }
    }

    private func take(_ bytes: ByteBuffer) {
        guard let head = call.responseHead, let streaming = call.streaming else { return }
        if streaming.takes(status: head.status) {
            unconsumed += bytes.readableBytes
            return streaming.receive(bytes)
        }
        guard call.response.readableBytes + bytes.readableBytes <= ClientStreaming.pieceBytes else {
            return call.end(
                .failure(
                    .transport(
                        kind: .malformed, sentence: "the answer on \(path) is longer than we take")))
        }
        call.response.writeImmutableBuffer(bytes)
    }

    private func finish() {
        guard let head = call.responseHead, let streaming = call.streaming else { return }
        if streaming.takes(status: head.status) { return streaming.end() }
        call.finish(
            .success(
                RPCResponse(
                    status: head.status, headers: head.headers,
                    body: Array(call.response.readableBytesView))))
        context?.close(promise: nil)
    }

    func channelReadComplete(context: ChannelHandlerContext) {
        if unconsumed <= 0, !isWhole { context.read() }
        context.fireChannelReadComplete()
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        call.finish(
            .failure(
                .transport(
                    kind: .malformed,
                    sentence: "the answer on \(path) cannot be read: "
                        + "\(TransportFailure.text(error)); check that the socket is a node's")))
        context.close(promise: nil)
    }

    func channelInactive(context: ChannelHandlerContext) {
        self.context = nil
        // What is whole is still being taken.
        if !isWhole {
            call.finish(
                .failure(
                    .transport(
                        kind: .closed, sentence: "the node closed \(path) before its answer was whole")))
        }
        context.fireChannelInactive()
    }
}
