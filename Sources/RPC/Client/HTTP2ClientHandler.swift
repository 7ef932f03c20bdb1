internal import Glibc
internal import NIOCore
internal import NIOSSL
internal import NIOTLS

/// What a connection tells the client that owns it, on the event loop.
protocol HTTP2ClientHandlerOwner: AnyObject {
    /// TLS is done; the answer comes by `verified` or `fail`.
    func verify(leaf: [UInt8], _ handler: HTTP2ClientHandler)
    /// The handshake failed after the server had shown this.
    func wasShown(leaf: [UInt8], _ handler: HTTP2ClientHandler)
    func isReady(_ handler: HTTP2ClientHandler)
    /// No new calls here; those under way go on.
    func isGoingAway(_ handler: HTTP2ClientHandler)
    func wasRefused(_ call: ClientCall)
    /// The connection is gone and every call on it failed.
    func isClosed(_ handler: HTTP2ClientHandler, _ error: RPCClientError)
}

/// The client's end of one HTTP/2 connection, above TLS.
final class HTTP2ClientHandler: ChannelInboundHandler, ClientBodyConnection {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    private enum State {
        case handshake
        case verifying
        /// Verified; the server's first frame shows that it took our certificate, too.
        case awaitingServer
        case ready
        case goingAway
        case closed
    }

    /// A server may wait for our preface before it speaks: then we go first after this time.
    private static let serverPreface: TimeAmount = .milliseconds(500)

    private let configuration: RPCClientConfiguration
    private weak var owner: (any HTTP2ClientHandlerOwner)?
    private var state = State.handshake
    private var session: HTTP2Session?
    private var context: ChannelHandlerContext?
    private var isReading = false
    private var flushIsScheduled = false
    private var serverHasSpoken = false
    private var lastReadAt = NIODeadline.now()
    private var pingIsOutstanding = false
    private var timers: [Scheduled<Void>] = []
    private var pingTimer: Scheduled<Void>?
    private var expiryTimer: Scheduled<Void>?
    private var failure: RPCClientError?
    /// What the server showed.
    private(set) var leaf: [UInt8]?

    init(_ configuration: RPCClientConfiguration, owner: any HTTP2ClientHandlerOwner) {
        self.configuration = configuration
        self.owner = owner
    }

    private var endpoint: String { configuration.authority }

    var hasEnded: Bool { state == .closed }

    // MARK: Establishing

    func handlerAdded(context: ChannelHandlerContext) {
        self.context = context
        after(.milliseconds(Int64(configuration.handshakeTimeoutMilliseconds))) { handler in
            guard handler.state != .ready, handler.state != .goingAway else { return }
            handler.fail(handler.establishingTimeout)
        }
    }

    private var establishingTimeout: RPCClientError {
        let milliseconds = configuration.handshakeTimeoutMilliseconds
        let step =
            switch state {
            case .verifying: "the check of its certificate took longer than \(milliseconds) ms"
            default:
                "it did not finish the TLS handshake in \(milliseconds) ms; check that the port "
                    + "is a node's and that nothing between inspects TLS"
            }
        return .transport(kind: .tls, sentence: "\(endpoint): \(step)")
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        if case TLSUserEvent.handshakeCompleted(let negotiated) = event {
            handshakeCompleted(context, negotiated)
        }
        context.fireUserInboundEventTriggered(event)
    }

    private func handshakeCompleted(_ context: ChannelHandlerContext, _ negotiated: String?) {
        guard negotiated == "h2" else {
            let sentence =
                "\(endpoint) speaks TLS but not HTTP/2; check that the port is a node's"
            return fail(.transport(kind: .tls, sentence: sentence))
        }
        let operations = context.pipeline.syncOperations
        guard let leaf = try? operations.nioSSL_peerCertificate()?.toDERBytes() else {
            return fail(.transport(kind: .tls, sentence: "\(endpoint) showed no certificate"))
        }
        self.leaf = leaf
        state = .verifying
        session = HTTP2Session(
            .client, limits: configuration.http2, delegate: self,
            allocator: context.channel.allocator)
        owner?.verify(leaf: leaf, self)
    }

    /// The server is who it should be.
    func verified() {
        guard state == .verifying else { return }
        state = .awaitingServer
        if serverHasSpoken { return becomeReady() }
        after(Self.serverPreface) { $0.becomeReady() }
    }

    private func becomeReady() {
        guard state == .awaitingServer else { return }
        state = .ready
        lastReadAt = .now()
        schedulePing()
        scheduleFlush()
        owner?.isReady(self)
    }

    // MARK: Calls

    /// Sends a call. False when this connection takes no more.
    func send(_ call: ClientCall) -> Bool {
        guard state == .ready, let session else { return false }
        var head: [(name: String, value: String)] = [
            (":method", call.method), (":scheme", "https"), (":authority", endpoint),
            (":path", call.path),
        ]
        head += call.headers
        if call.method == "POST" {
            head.append(("content-length", String(call.body.readableBytes)))
            head.append(("connect-timeout-ms", String(call.remainingMilliseconds)))
        }
        let submitted =
            call.streaming?.hasBody == true
            ? session.beginRequest(head, attachment: call)
            : session.request(head, body: call.body, attachment: call)
        guard let stream = submitted else {
            state = .goingAway  // Stream numbers are used up.
            owner?.isGoingAway(self)
            closeIfDrained()
            return false
        }
        call.stream = stream
        call.handler = self
        call.streaming?.begin(on: self)
        scheduleFlush()
        return true
    }

    func append(_ piece: ByteBuffer, isLast: Bool, of call: ClientCall) {
        guard let stream = call.stream else { return }
        session?.append(piece, isLast: isLast, to: stream)
        scheduleFlush()
    }

    func consumed(_ count: Int, of call: ClientCall?) {
        guard count > 0 else { return }
        if let stream = call?.stream {
            session?.consume(count, stream)
        } else {
            session?.discard(count)
        }
        scheduleFlush()
    }

    /// Ends a call that is not wanted any more.
    func cancel(_ call: ClientCall) {
        guard let session, let stream = call.stream else { return }
        session.forget(stream, .cancel)
        scheduleFlush()
        closeIfDrained()
    }

    // MARK: Channel

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        guard let session else { return }
        isReading = true
        lastReadAt = .now()
        do throws(HTTP2SessionError) {
            try session.receive(unwrapInboundIn(data))
        } catch {
            fail(TransportFailure.connected(error, to: endpoint, handshakeDone: true))
        }
    }

    func channelReadComplete(context: ChannelHandlerContext) {
        isReading = false
        flush()
        context.fireChannelReadComplete()
    }

    func channelWritabilityChanged(context: ChannelHandlerContext) {
        if context.channel.isWritable, !isReading { flush() }
        context.fireChannelWritabilityChanged()
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        let failure = TransportFailure.connected(
            error, to: endpoint, handshakeDone: state != .handshake)
        // Not with an alert: who sends one has not proved that what it showed is its own.
        if state == .handshake, failure.transportKind == .tls,
            let leaf = try? context.pipeline.syncOperations.nioSSL_peerCertificate()?.toDERBytes()
        {
            owner?.wasShown(leaf: leaf, self)
        }
        fail(failure)
    }

    func channelInactive(context: ChannelHandlerContext) {
        end()
        context.fireChannelInactive()
    }

    func handlerRemoved(context: ChannelHandlerContext) {
        end()
    }

    private func scheduleFlush() {
        guard !isReading, !flushIsScheduled, let context else { return }
        flushIsScheduled = true
        context.eventLoop.assumeIsolated().execute {
            self.flushIsScheduled = false
            if !self.isReading { self.flush() }
        }
    }

    private func flush() {
        guard let session, let context, state == .ready || state == .goingAway else { return }
        do throws(HTTP2SessionError) {
            while context.channel.isWritable, let bytes = try session.nextOutput() {
                context.writeAndFlush(wrapOutboundOut(bytes), promise: nil)
            }
        } catch {
            return fail(TransportFailure.connected(error, to: endpoint, handshakeDone: true))
        }
        if session.isFinished { context.close(promise: nil) }
        closeIfDrained()
    }

    private func closeIfDrained() {
        if state == .goingAway, session?.openStreams == 0, !isReading {
            context?.close(promise: nil)
        }
    }

    // MARK: Ending

    /// Closes the connection; `error` is what its calls are told, at once: TLS waits some seconds
    /// for the other side's goodbye.
    func fail(_ error: RPCClientError) {
        if failure == nil { failure = error }
        let context = context
        end()
        context?.close(promise: nil)
    }

    /// Takes no more calls and closes when those under way are answered.
    func retire() {
        guard state == .ready else { return }
        state = .goingAway
        closeIfDrained()
    }

    /// Ends the connection when the server's certificate does.
    func endAtExpiry(unixSeconds: Int64) {
        guard let context else { return }
        expiryTimer?.cancel()
        var now = timespec()
        clock_gettime(CLOCK_REALTIME, &now)
        let left = unixSeconds - Int64(now.tv_sec)
        let sentence = "the certificate of \(endpoint) has expired; it has to show a new one"
        guard left > 0 else { return fail(.transport(kind: .identity, sentence: sentence)) }
        // The clock is asked again now and then, since clocks are set.
        expiryTimer = context.eventLoop.assumeIsolated().scheduleTask(
            in: .seconds(min(left, Self.expiryLookSeconds))
        ) { [weak self] in self?.endAtExpiry(unixSeconds: unixSeconds) }
    }

    private static let expiryLookSeconds: Int64 = 60

    static let closedByUs = TransportFailure.closed("this client was closed")

    private func end() {
        guard state != .closed else { return }
        let handshakeDone = state != .handshake
        state = .closed
        context = nil
        for timer in timers { timer.cancel() }
        timers = []
        pingTimer?.cancel()
        expiryTimer?.cancel()
        let error =
            failure
            ?? TransportFailure.connected(
                NIOSSLError.uncleanShutdown, to: endpoint, handshakeDone: handshakeDone)
        let calls = session?.abandonStreams().compactMap { $0.attachment as? ClientCall } ?? []
        session = nil
        owner?.isClosed(self, error)
        for call in calls { call.finish(.failure(error)) }
    }

    // MARK: Liveness

    private func after(_ time: TimeAmount, _ body: @escaping (HTTP2ClientHandler) -> Void) {
        guard let context else { return }
        timers.append(
            context.eventLoop.assumeIsolated().scheduleTask(in: time) { [weak self] in
                if let self { body(self) }
            })
    }

    private func schedulePing() {
        guard let context else { return }
        let interval = TimeAmount.milliseconds(Int64(configuration.pingIntervalMilliseconds))
        pingTimer = context.eventLoop.assumeIsolated().scheduleTask(in: interval) {
            [weak self] in self?.checkLiveness(interval)
        }
    }

    private func checkLiveness(_ interval: TimeAmount) {
        guard state == .ready || state == .goingAway, let session else { return }
        let isSilent = NIODeadline.now() - lastReadAt >= interval
        if isSilent, pingIsOutstanding {
            let milliseconds = interval.nanoseconds / 1_000_000
            return fail(
                TransportFailure.closed(
                    "\(endpoint) fell silent: nothing came for \(milliseconds) ms after a PING; "
                        + "the connection is given up"))
        }
        pingIsOutstanding = isSilent
        if isSilent {
            session.ping()
            flush()
        }
        schedulePing()
    }
}

extension HTTP2ClientHandler: HTTP2SessionDelegate {
    func answeredEarly(_ stream: HTTP2Stream) {}

    func bodyTaken(_ stream: HTTP2Stream) {
        (stream.attachment as? ClientCall)?.streaming?.pieceTaken()
    }

    func settingsReceived() {
        serverHasSpoken = true
        becomeReady()
    }

    func pingAcknowledged() {
        pingIsOutstanding = false
    }

    func goAwayReceived(lastStream: Int32, code: HTTP2ErrorCode) {
        guard state == .ready else { return }
        state = .goingAway
        if code != .noError, failure == nil {
            failure = TransportFailure.closed(
                "\(endpoint) ended the connection with \(code); see the server's log")
        }
        owner?.isGoingAway(self)
    }

    func headReceived(_ stream: HTTP2Stream) {
        guard let call = stream.attachment as? ClientCall else { return }
        if stream.headState == .overLimit {
            return refuse(call, stream, "a head larger than we take")
        }
        call.responseHead = (stream.status, stream.headers)
        if call.streaming?.takes(status: stream.status) == true { return }
        let length = stream.headers.first { $0.name == "content-length" }.flatMap { Int($0.value) }
        if let length, length > call.bodyBytesMaximum(status: stream.status) { return tooLarge(call, stream) }
        if let length { call.response.reserveCapacity(length) }
    }

    func dataReceived(_ bytes: ByteBuffer, _ stream: HTTP2Stream) {
        guard let call = stream.attachment as? ClientCall else {
            session?.discard(bytes.readableBytes)
            return
        }
        if let streaming = call.streaming, streaming.takes(status: stream.status) {
            return streaming.receive(bytes)
        }
        if call.response.readableBytes + bytes.readableBytes > call.bodyBytesMaximum(status: stream.status) {
            session?.discard(bytes.readableBytes)
            return tooLarge(call, stream)
        }
        session?.consume(bytes.readableBytes, stream)
        call.response.writeImmutableBuffer(bytes)
    }

    private func tooLarge(_ call: ClientCall, _ stream: HTTP2Stream) {
        refuse(call, stream, "an answer larger than \(call.bodyBytesMaximum(status: stream.status)) bytes")
    }

    private func refuse(_ call: ClientCall, _ stream: HTTP2Stream, _ what: String) {
        session?.forget(stream, .cancel)
        call.finish(
            .failure(.transport(kind: .malformed, sentence: "\(endpoint) sends \(what)")))
    }

    func endReceived(_ stream: HTTP2Stream) {
        guard let call = stream.attachment as? ClientCall, let head = call.responseHead else {
            return
        }
        stream.attachment = nil
        // Answered before our body was out: the rest is not wanted.
        if !stream.localEnded { session?.reset(stream, .cancel) }
        if let streaming = call.streaming, streaming.takes(status: head.status) {
            return streaming.end()
        }
        let body = call.response
        call.finish(
            .success(
                RPCResponse(
                    status: head.status, headers: head.headers,
                    body: Array(body.readableBytesView))))
    }

    func streamClosed(_ stream: HTTP2Stream, _ code: HTTP2ErrorCode) {
        guard let call = stream.attachment as? ClientCall else { return }
        stream.attachment = nil
        if code == .refusedStream, !call.wasRefused {
            call.rewind()
            call.wasRefused = true
            owner?.wasRefused(call)
            return
        }
        call.finish(
            .failure(
                TransportFailure.closed(
                    "\(endpoint) ended the call with \(code) before its answer was whole")))
    }
}
