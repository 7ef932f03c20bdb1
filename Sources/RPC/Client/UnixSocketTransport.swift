internal import NIOCore
internal import NIOHTTP1
internal import NIOPosix

/// HTTP/1.1 over a unix socket, one connection a call: administration is rare and local.
struct UnixSocketTransport: Sendable {
    var path: String
    var loop: any EventLoop
    var responseBytes: Int

    func send(_ call: ClientCall) async throws(RPCClientError) -> RPCResponse {
        let result: Result<RPCResponse, RPCClientError> = await withCheckedContinuation {
            continuation in
            loop.execute {
                start(call) { continuation.resume(returning: $0) }
            }
        }
        return try result.get()
    }

    private func start(_ call: ClientCall, _ completion: @escaping ClientCall.Completion) {
        guard call.begin(completion) else { return }
        let responseBytes = responseBytes
        let loop = loop
        let path = path
        ClientBootstrap(group: loop)
            .connectTimeout(.milliseconds(Int64(call.timeoutMilliseconds)))
            .channelOption(.autoRead, value: call.streaming == nil)
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    let operations = channel.pipeline.syncOperations
                    try operations.addHTTPClientHandlers()
                    if call.streaming != nil {
                        return try operations.addHandler(UnixSocketStreamHandler(call, path: path))
                    }
                    try operations.addHandlers(
                        NIOHTTPClientResponseAggregator(maxContentLength: responseBytes),
                        UnixSocketCallHandler(call, path: path))
                }
            }
            .connect(unixDomainSocketPath: path)
            .assumeIsolated()
            .whenFailure { error in
                call.finish(.failure(TransportFailure.unixSocket(error, path: path)))
            }
    }
}

/// Sends one call and takes its answer.
private final class UnixSocketCallHandler: ChannelInboundHandler {
    typealias InboundIn = NIOHTTPClientResponseFull
    typealias OutboundOut = HTTPClientRequestPart

    private let call: ClientCall
    private let path: String

    init(_ call: ClientCall, path: String) {
        self.call = call
        self.path = path
    }

    func channelActive(context: ChannelHandlerContext) {
        let channel = context.channel
        call.timer = context.eventLoop.assumeIsolated().scheduleTask(
            in: .milliseconds(Int64(call.timeoutMilliseconds))
        ) { [call] in
            let sentence =
                "no answer on \(self.path) in \(call.timeoutMilliseconds) ms; what was asked for "
                + "may have been done"
            call.finish(.failure(.transport(kind: .timeout, sentence: sentence)))
            channel.close(promise: nil)
        }
        var headers = HTTPHeaders(call.headers.map { ($0.name, $0.value) })
        headers.add(name: "host", value: "localhost")
        headers.add(name: "connection", value: "close")
        if call.method == "POST" {
            headers.add(name: "content-length", value: String(call.body.readableBytes))
            headers.add(name: "connect-timeout-ms", value: String(call.timeoutMilliseconds))
        }
        let head = NIOHTTP1.HTTPRequestHead(
            version: .http1_1, method: HTTPMethod(rawValue: call.method), uri: call.path,
            headers: headers)
        context.write(wrapOutboundOut(.head(head)), promise: nil)
        context.write(wrapOutboundOut(.body(.byteBuffer(call.body))), promise: nil)
        context.writeAndFlush(wrapOutboundOut(.end(nil)), promise: nil)
        context.fireChannelActive()
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        let answer = unwrapInboundIn(data)
        let headers = answer.head.headers.map { header in
            (name: header.name.lowercased(), value: header.value)
        }
        call.finish(
            .success(
                RPCResponse(
                    status: Int(answer.head.status.code), headers: headers,
                    body: answer.body.map { Array($0.readableBytesView) } ?? [])))
        context.close(promise: nil)
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        let sentence =
            "the answer on \(path) cannot be read: \(TransportFailure.text(error)); check that the "
            + "socket is a node's"
        call.finish(.failure(.transport(kind: .malformed, sentence: sentence)))
        context.close(promise: nil)
    }

    func channelInactive(context: ChannelHandlerContext) {
        let sentence =
            "the node closed \(path) before it answered; what was asked for may have been done"
        call.finish(.failure(.transport(kind: .closed, sentence: sentence)))
        context.fireChannelInactive()
    }
}
