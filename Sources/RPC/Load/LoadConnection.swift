internal import NIOCore
internal import NIOPosix
internal import NIOSSL
internal import NIOTLS

/// One connection of a load client. Confined to the client's event loop.
protocol LoadConnection: AnyObject {
    /// False when no call can be sent on it any more.
    var isUsable: Bool { get }

    /// Connects and verifies the server; nothing is sent before.
    func connect(
        _ tls: NIOSSLContext, serverName: String?, loop: any EventLoop
    ) -> EventLoopFuture<Void>

    /// Sends a call; its completion runs on the event loop, once.
    func send(_ body: [UInt8], _ completion: @escaping ClientCall.Completion)

    /// Ends the connection when a call has waited for its answer too long.
    func look()

    func close()
}

/// A connection over TLS: what is sent while answers are read leaves in one write after them.
final class TLSLoadConnection<Codec: LoadCodec>: ChannelInboundHandler, LoadConnection,
    @unchecked Sendable
{
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
    private var codec: Codec
    private var state = State.establishing
    private var context: ChannelHandlerContext?
    private var established: EventLoopPromise<Void>?
    private var outstanding: [UInt32: (completion: ClientCall.Completion, sentAt: NIODeadline)] = [:]
    private var isReading = false
    private var flushIsScheduled = false
    private let begunAt = NIODeadline.now()

    init(
        _ configuration: RPCClientConfiguration, _ codec: Codec,
        verifier: @escaping ClientCore.Verifier
    ) {
        self.configuration = configuration
        self.codec = codec
        self.verifier = verifier
    }

    func connect(
        _ tls: NIOSSLContext, serverName: String?, loop: any EventLoop
    ) -> EventLoopFuture<Void> {
        let promise = loop.makePromise(of: Void.self)
        established = promise
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

    // MARK: Calls

    var isUsable: Bool { state == .ready }

    func send(_ body: [UInt8], _ completion: @escaping ClientCall.Completion) {
        guard state == .ready else {
            return completion(
                .failure(TransportFailure.closed("\(configuration.authority) closed the connection")))
        }
        precondition(outstanding.count < Codec.concurrentCalls, "a connection has a limit of calls")
        outstanding[codec.send(body)] = (completion, .now())
        guard !isReading, !flushIsScheduled, let context else { return }
        flushIsScheduled = true
        context.eventLoop.assumeIsolated().execute { [self] in
            flushIsScheduled = false
            flush()
        }
    }

    private func flush() {
        guard state == .ready, let context else { return }
        let bytes = codec.takeOutput()
        guard !bytes.isEmpty else { return }
        context.writeAndFlush(
            wrapOutboundOut(context.channel.allocator.buffer(bytes: bytes)), promise: nil)
    }

    func look() {
        let oldest = outstanding.values.map(\.sentAt).min()
        let (since, milliseconds) =
            state == .establishing
            ? (begunAt, configuration.handshakeTimeoutMilliseconds)
            : (oldest ?? .now(), configuration.callTimeoutMilliseconds)
        guard state != .closed, since + .milliseconds(Int64(milliseconds)) < .now() else { return }
        end(
            .transport(
                kind: .timeout,
                sentence: "no answer from \(configuration.authority) in \(milliseconds) ms"))
    }

    func close() { end(HTTP2ClientHandler.closedByUs) }

    // MARK: Channel

    func handlerAdded(context: ChannelHandlerContext) { self.context = context }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        guard case TLSUserEvent.handshakeCompleted(let negotiated) = event else { return }
        // A server of HTTP/1.1 alone may leave ALPN out.
        guard negotiated == Codec.protocolName || negotiated == nil && Codec.concurrentCalls == 1 else {
            return end(
                .transport(
                    kind: .tls,
                    sentence: "\(configuration.authority) does not speak \(Codec.protocolName)"))
        }
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
        flush()
        established?.succeed()
        established = nil
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        isReading = true
        codec.receive(unwrapInboundIn(data).readableBytesView)
        do throws(LoadProblem) {
            while let answer = try codec.next() {
                guard let call = outstanding.removeValue(forKey: answer.number) else {
                    throw LoadProblem(sentence: "an answer that nobody asked for")
                }
                call.completion(.success(answer.response))
            }
        } catch {
            end(
                .transport(
                    kind: .malformed, sentence: "\(configuration.authority) sends \(error.sentence)"))
        }
    }

    func channelReadComplete(context: ChannelHandlerContext) {
        isReading = false
        flush()
        context.fireChannelReadComplete()
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
        let calls = outstanding.values
        outstanding = [:]
        for call in calls { call.completion(.failure(error)) }
    }
}
