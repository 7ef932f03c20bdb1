internal import Glibc
internal import NIOCore
internal import NIOPosix
internal import NIOSSL

/// The client's state: at most one connection that takes calls, at most one that is being made to take them, and
/// the calls that wait. Confined to `loop`, on which every method but `init` is called; that is what makes
/// `@unchecked Sendable` true.
final class ClientCore: @unchecked Sendable {
    typealias Verifier = @Sendable ([UInt8]) async -> ServiceRefusal?

    /// A connection that is being made.
    private struct Attempt {
        let number: Int
        /// Once the socket is open.
        var handler: HTTP2ClientHandler?
    }

    let loop: any EventLoop
    private let configuration: RPCClientConfiguration
    private var tlsContext: NIOSSLContext
    private var serverName: String?
    private var verifier: Verifier
    /// How often the verifier was replaced.
    private var round = 0
    private var hasClosed = false
    /// The connection that takes calls.
    private var current: HTTP2ClientHandler?
    /// Takes the place of `current` once it is ready; made with the certificate and the trust in force.
    private var attempt: Attempt?
    private var attemptCount = 0
    /// Every connection that is open, also while it is made or only finishes its calls.
    private var handlers: [ObjectIdentifier: HTTP2ClientHandler] = [:]
    /// Those whose server the verifier in force has not passed yet: they get no calls.
    private var unchecked: Set<ObjectIdentifier> = []
    private var waiting: [ClientCall] = []
    private var outstanding = 0
    /// What the last handshake showed, for `peer probe`.
    private(set) var leaf: [UInt8]?

    init(
        _ configuration: RPCClientConfiguration, tlsContext: NIOSSLContext, serverName: String?,
        loop: any EventLoop, verifier: @escaping Verifier
    ) {
        self.configuration = configuration
        self.tlsContext = tlsContext
        self.serverName = serverName
        self.loop = loop
        self.verifier = verifier
    }

    // MARK: Calls

    func submit(_ call: ClientCall, _ completion: @escaping ClientCall.Completion) {
        loop.preconditionInEventLoop()
        guard outstanding < configuration.outstandingCalls else {
            let sentence =
                "\(outstanding) calls to \(configuration.authority) are outstanding, which is the "
                + "limit; wait for answers before calling again"
            return completion(.failure(.transport(kind: .overloaded, sentence: sentence)))
        }
        let counted: ClientCall.Completion = { [self] result in
            outstanding -= 1
            completion(result)
        }
        outstanding += 1
        guard call.begin(counted) else { return }
        call.deadline = .now() + .milliseconds(Int64(call.timeoutMilliseconds))
        schedule(call)
        dispatch(call)
    }

    private func schedule(_ call: ClientCall) {
        call.timer = loop.assumeIsolated().scheduleTask(deadline: call.deadline) { [weak self] in
            self?.timeOut(call)
        }
    }

    private func dispatch(_ call: ClientCall) {
        // Cancelled, or timed out, before it was sent again.
        guard !call.isFinished else { return }
        guard !hasClosed else { return call.finish(.failure(HTTP2ClientHandler.closedByUs)) }
        if let taker = current, !unchecked.contains(ObjectIdentifier(taker)) {
            if taker.send(call) { return }
            // It is going away.
            if current === taker { current = nil }
        }
        waiting.append(call)
        connectIfAwaited()
    }

    private func dispatchWaiting() {
        let calls = waiting
        waiting = []
        for call in calls { dispatch(call) }
    }

    private func timeOut(_ call: ClientCall) {
        if let streaming = call.streaming {
            let silence = TimeAmount.milliseconds(Int64(call.timeoutMilliseconds))
            let last = streaming.isBusy ? NIODeadline.now() : streaming.lastProgress
            if last + silence > .now() {
                call.deadline = last + silence
                return schedule(call)
            }
        }
        let isWaiting = remove(call)
        let sentence =
            isWaiting
            ? "no connection to \(configuration.authority) in \(call.timeoutMilliseconds) ms"
            : "no answer from \(configuration.authority) in \(call.timeoutMilliseconds) ms; what "
                + "was asked for may have been done"
        call.finish(.failure(.transport(kind: .timeout, sentence: sentence)))
    }

    func cancel(_ call: ClientCall) {
        _ = remove(call)
        call.finish(.failure(ClientCall.cancellation))
    }

    /// Takes a call off the connection or the queue; true when it was in the queue.
    private func remove(_ call: ClientCall) -> Bool {
        call.handler?.cancel(call)
        guard let index = waiting.firstIndex(where: { $0 === call }) else { return false }
        waiting.remove(at: index)
        return true
    }

    // MARK: Connection

    private func connectIfAwaited() {
        if !hasClosed, !waiting.isEmpty, current == nil, attempt == nil { connect() }
    }

    private func connect() {
        attemptCount += 1
        let number = attemptCount
        attempt = Attempt(number: number)
        if current == nil { leaf = nil }
        let configuration = configuration
        let tlsContext = tlsContext
        let serverName = serverName
        let userTimeout = ChannelOptions.Types.SocketOption(
            level: .tcp, name: .init(rawValue: TCP_USER_TIMEOUT))
        let connected = ClientBootstrap(group: loop)
            .connectTimeout(.milliseconds(Int64(configuration.connectTimeoutMilliseconds)))
            .channelOption(
                userTimeout, value: .init(configuration.userTimeoutMilliseconds)
            )
            .channelInitializer { [self] channel in
                channel.eventLoop.makeCompletedFuture {
                    let tls = try NIOSSLClientHandler(
                        context: tlsContext, serverHostname: serverName)
                    try channel.pipeline.syncOperations.addHandlers(
                        tls, HTTP2ClientHandler(configuration, owner: self))
                }
            }
            .connect(host: configuration.host, port: configuration.port)
        connected.assumeIsolated().whenComplete { [self] result in
            switch result {
            case .success(let channel): isConnected(channel, number)
            case .failure(let error):
                endAttempt(
                    number,
                    TransportFailure.connecting(
                        error, to: configuration.authority,
                        timeoutMilliseconds: configuration.connectTimeoutMilliseconds))
            }
        }
    }

    private func isConnected(_ channel: any Channel, _ number: Int) {
        guard
            let handler = try? channel.pipeline.syncOperations.handler(
                type: HTTP2ClientHandler.self), !handler.hasEnded
        else {
            // It was closed before we heard that it was open.
            return endAttempt(
                number, TransportFailure.closed("\(configuration.authority) closed the connection"))
        }
        handlers[ObjectIdentifier(handler)] = handler
        guard attempt?.number == number else { return handler.fail(HTTP2ClientHandler.closedByUs) }
        attempt?.handler = handler
    }

    private func endAttempt(_ number: Int, _ error: RPCClientError) {
        guard attempt?.number == number else { return }
        attempt = nil
        if current == nil { failWaiting(error) }
    }

    /// Gives up a connection that is being made.
    private func abandonAttempt() {
        let handler = attempt?.handler
        attempt = nil
        handler?.fail(HTTP2ClientHandler.closedByUs)
    }

    private func failWaiting(_ error: RPCClientError) {
        let calls = waiting
        waiting = []
        for call in calls { call.finish(.failure(error)) }
    }

    // MARK: Renewal

    /// Connects with other certificates and another trust from now on. Nothing that was begun with those before
    /// takes a call any more, unless the verifier that is in force now passes its server; calls that wait begin
    /// with a new connection.
    func renew(tlsContext: NIOSSLContext, serverName: String?, verifier: @escaping Verifier) {
        guard !hasClosed else { return }
        self.tlsContext = tlsContext
        self.serverName = serverName
        self.verifier = verifier
        round += 1
        abandonAttempt()
        // Also those that only finish their calls.
        for handler in Array(handlers.values) {
            guard let leaf = handler.leaf else { continue }
            unchecked.insert(ObjectIdentifier(handler))
            check(leaf, handler)
        }
        // Where calls wait, the end of the attempt before has begun the next.
        if attempt == nil, current != nil || !waiting.isEmpty { connect() }
    }

    private func check(_ leaf: [UInt8], _ handler: HTTP2ClientHandler) {
        let (verifier, round, authority) = (verifier, round, configuration.authority)
        let bound = NIOLoopBound(handler, eventLoop: loop)
        Task { [self] in
            let refusal = await verifier(leaf)
            let notAfter = (try? X509Certificate(der: leaf))?.notAfter
            loop.execute { [self] in
                // Another verifier is asked by now.
                guard round == self.round else { return }
                let handler = bound.value
                guard let refusal else {
                    if let notAfter { handler.endAtExpiry(unixSeconds: notAfter) }
                    return passed(handler)
                }
                handler.fail(
                    .transport(
                        kind: .identity,
                        sentence: "\(authority) is not the peer it should be: "
                            + "\(refusal.sentence) (\(refusal.reason))"))
            }
        }
    }

    private func passed(_ handler: HTTP2ClientHandler) {
        unchecked.remove(ObjectIdentifier(handler))
        handler.verified()
        if handler === current { dispatchWaiting() }
    }

    // MARK: Closing

    func close(_ promise: EventLoopPromise<Void>) {
        if hasClosed { return promise.succeed() }
        hasClosed = true
        current = nil
        attempt = nil
        failWaiting(HTTP2ClientHandler.closedByUs)
        for handler in Array(handlers.values) { handler.fail(HTTP2ClientHandler.closedByUs) }
        promise.succeed()
    }
}

extension ClientCore: HTTP2ClientHandlerOwner {
    func verify(leaf: [UInt8], _ handler: HTTP2ClientHandler) {
        self.leaf = leaf
        check(leaf, handler)
    }

    func wasShown(leaf: [UInt8], _ handler: HTTP2ClientHandler) { self.leaf = leaf }

    func isReady(_ handler: HTTP2ClientHandler) {
        guard attempt?.handler === handler else { return handler.fail(HTTP2ClientHandler.closedByUs) }
        attempt = nil
        let before = current
        current = handler
        before?.retire()
        dispatchWaiting()
    }

    func isGoingAway(_ handler: HTTP2ClientHandler) {
        if current === handler { current = nil }
        connectIfAwaited()
    }

    func wasRefused(_ call: ClientCall) {
        // The connection is in the middle of a read; the next turn finds it settled.
        loop.assumeIsolated().execute { self.dispatch(call) }
    }

    func isClosed(_ handler: HTTP2ClientHandler, _ error: RPCClientError) {
        handlers[ObjectIdentifier(handler)] = nil
        unchecked.remove(ObjectIdentifier(handler))
        if current === handler { current = nil }
        if let attempt, attempt.handler === handler { endAttempt(attempt.number, error) }
        connectIfAwaited()
    }
}
