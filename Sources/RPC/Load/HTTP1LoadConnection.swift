internal import NIOCore
internal import NIOPosix
internal import NIOSSL
internal import NIOTLS

/// The client's end of one HTTP/1.1 connection above TLS, with one call at a time. Nothing is sent before
/// the server has been verified.
final class HTTP1LoadConnection: ChannelInboundHandler, LoadConnection, @unchecked Sendable {
    // Sendable by hand: confined to its event loop.

    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    private enum State {
        case establishing
        case ready
        case closed
    }

    private let configuration: RPCClientConfiguration
    private let verifier: ClientCore.Verifier
    /// Everything of a request before the number of its body's bytes.
    private let head: String
    private var state = State.establishing
    private var context: ChannelHandlerContext?
    private var established: EventLoopPromise<Void>?
    private var reader: HTTP1AnswerReader
    private var completion: ClientCall.Completion?
    private var deadline = NIODeadline.distantFuture

    init(
        _ configuration: RPCClientConfiguration, procedure: String,
        verifier: @escaping ClientCore.Verifier
    ) {
        self.configuration = configuration
        self.verifier = verifier
        reader = HTTP1AnswerReader(bodyBytesMaximum: configuration.responseBytes)
        head =
            "POST \(procedure) HTTP/1.1\r\nhost: \(configuration.authority)\r\n"
            + "content-type: \(RPCCodec.proto.mediaType)\r\nconnect-protocol-version: 1\r\n"
            + "user-agent: bsfg\r\ncontent-length: "
    }

    /// Connects and verifies the server.
    func connect(_ tls: NIOSSLContext, serverName: String?, loop: any EventLoop) -> EventLoopFuture<Void> {
        let promise = loop.makePromise(of: Void.self)
        established = promise
        deadline = .now() + .milliseconds(Int64(configuration.handshakeTimeoutMilliseconds))
        let configuration = configuration
        let connected = ClientBootstrap(group: loop)
            .connectTimeout(.milliseconds(Int64(configuration.connectTimeoutMilliseconds)))
            .channelInitializer { [self] channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandlers(
                        NIOSSLClientHandler(context: tls, serverHostname: serverName), self)
                }
            }
            .connect(host: configuration.host, port: configuration.port)
        connected.whenFailure { [self] error in
            end(
                TransportFailure.connecting(
                    error, to: configuration.authority,
                    timeoutMilliseconds: configuration.connectTimeoutMilliseconds))
        }
        return promise.futureResult
    }

    // MARK: LoadConnection

    var isUsable: Bool { state == .ready }

    func send(_ body: [UInt8], _ completion: @escaping ClientCall.Completion) {
        guard state == .ready, let context else {
            return completion(
                .failure(TransportFailure.closed("\(configuration.authority) closed the connection")))
        }
        precondition(self.completion == nil, "HTTP/1.1 has one call at a time on a connection")
        self.completion = completion
        deadline = .now() + .milliseconds(Int64(configuration.callTimeoutMilliseconds))
        var buffer = context.channel.allocator.buffer(capacity: head.utf8.count + body.count + 16)
        buffer.writeString(head)
        buffer.writeString(String(body.count))
        buffer.writeString("\r\n\r\n")
        buffer.writeBytes(body)
        context.writeAndFlush(wrapOutboundOut(buffer), promise: nil)
    }

    func look() {
        guard completion != nil || established != nil, NIODeadline.now() > deadline else { return }
        end(
            .transport(
                kind: .timeout, sentence: "no answer from \(configuration.authority) in time"))
    }

    func close() { end(HTTP2ClientHandler.closedByUs) }

    // MARK: Channel

    func handlerAdded(context: ChannelHandlerContext) { self.context = context }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        guard case TLSUserEvent.handshakeCompleted = event else { return }
        guard
            let leaf = try? context.pipeline.syncOperations.nioSSL_peerCertificate()?.toDERBytes()
        else {
            return end(
                .transport(
                    kind: .tls, sentence: "\(configuration.authority) showed no certificate"))
        }
        let verifier = verifier
        let loop = context.eventLoop
        Task { [self] in
            let refusal = await verifier(leaf)
            loop.execute { [self] in verified(refusal) }
        }
    }

    private func verified(_ refusal: ServiceRefusal?) {
        guard state == .establishing else { return }
        if let refusal {
            return end(
                .transport(
                    kind: .identity,
                    sentence: "\(configuration.authority) is not the peer it should be: "
                        + "\(refusal.sentence) (\(refusal.reason))"))
        }
        state = .ready
        established?.succeed()
        established = nil
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        reader.receive(unwrapInboundIn(data).readableBytesView)
        do throws(HTTP1AnswerReader.Malformed) {
            while let response = try reader.next() {
                guard let completion else {
                    throw HTTP1AnswerReader.Malformed(sentence: "an answer that nobody asked for")
                }
                self.completion = nil
                completion(.success(response))
            }
        } catch {
            end(
                .transport(
                    kind: .malformed, sentence: "\(configuration.authority) sends \(error.sentence)"))
        }
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        end(
            TransportFailure.connected(
                error, to: configuration.authority, handshakeDone: state == .ready))
    }

    func channelInactive(context: ChannelHandlerContext) {
        end(TransportFailure.closed("\(configuration.authority) closed the connection"))
    }

    private func end(_ error: RPCClientError) {
        guard state != .closed else { return }
        state = .closed
        context?.close(promise: nil)
        context = nil
        established?.fail(error)
        established = nil
        let completion = completion
        self.completion = nil
        completion?(.failure(error))
    }
}
