internal import Glibc
internal import NIOCore
internal import NIOPosix
internal import NIOSSL

/// The client's state: at most one connection that takes calls, and the calls that wait for it.
/// Confined to `loop`, on which every method but `init` is called; that is what makes
/// `@unchecked Sendable` true.
final class ClientCore: @unchecked Sendable {
    typealias Verifier = @Sendable ([UInt8]) async -> ServiceRefusal?

    private enum State {
        case idle
        case connecting
        case ready(HTTP2ClientHandler)
        case closed
    }

    let loop: any EventLoop
    private let configuration: RPCClientConfiguration
    private let tlsContext: NIOSSLContext
    private let serverName: String?
    private let verifier: Verifier
    private var state = State.idle
    /// Every connection that is open, also while it is made or only finishes its calls.
    private var handlers: [ObjectIdentifier: HTTP2ClientHandler] = [:]
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
        switch state {
        case .closed: call.finish(.failure(HTTP2ClientHandler.closedByUs))
        case .connecting: waiting.append(call)
        case .idle:
            waiting.append(call)
            connect()
        case .ready(let handler):
            if !handler.send(call) { dispatchAfterLoss(call) }
        }
    }

    /// The connection did not take the call: it is going away and `state` says so by now.
    private func dispatchAfterLoss(_ call: ClientCall) {
        if case .ready = state { state = .idle }
        dispatch(call)
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

    private func connect() {
        state = .connecting
        leaf = nil
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
                    let handler = HTTP2ClientHandler(configuration, owner: self)
                    try channel.pipeline.syncOperations.addHandlers(tls, handler)
                }
            }
            .connect(host: configuration.host, port: configuration.port)
        connected.assumeIsolated().whenComplete { [self] result in
            switch result {
            case .success(let channel): isConnected(channel)
            case .failure(let error):
                failConnecting(
                    TransportFailure.connecting(
                        error, to: configuration.authority,
                        timeoutMilliseconds: configuration.connectTimeoutMilliseconds))
            }
        }
    }

    private func isConnected(_ channel: any Channel) {
        guard
            let handler = try? channel.pipeline.syncOperations.handler(
                type: HTTP2ClientHandler.self)
        else {
            // It was closed before we heard that it was open.
            return failConnecting(
                TransportFailure.closed("\(configuration.authority) closed the connection"))
        }
        handlers[ObjectIdentifier(handler)] = handler
        if case .closed = state { handler.fail(HTTP2ClientHandler.closedByUs) }
    }

    private func failConnecting(_ error: RPCClientError) {
        guard case .connecting = state else { return }
        state = .idle
        failWaiting(error)
    }

    private func failWaiting(_ error: RPCClientError) {
        let calls = waiting
        waiting = []
        for call in calls { call.finish(.failure(error)) }
    }

    // MARK: Closing

    func close(_ promise: EventLoopPromise<Void>) {
        if case .closed = state { return promise.succeed() }
        state = .closed
        failWaiting(HTTP2ClientHandler.closedByUs)
        for handler in Array(handlers.values) { handler.fail(HTTP2ClientHandler.closedByUs) }
        promise.succeed()
    }
}

extension ClientCore: HTTP2ClientHandlerOwner {
    func verify(leaf: [UInt8], _ handler: HTTP2ClientHandler) {
        self.leaf = leaf
        let verifier = verifier
        let loop = loop
        let bound = NIOLoopBound(handler, eventLoop: loop)
        let authority = configuration.authority
        Task {
            let refusal = await verifier(leaf)
            loop.execute {
                guard let refusal else { return bound.value.verified() }
                bound.value.fail(
                    .transport(
                        kind: .identity,
                        sentence: "\(authority) is not the peer it should be: "
                            + "\(refusal.sentence) (\(refusal.reason))"))
            }
        }
    }

    func isReady(_ handler: HTTP2ClientHandler) {
        guard case .connecting = state else {
            return handler.fail(HTTP2ClientHandler.closedByUs)
        }
        state = .ready(handler)
        let calls = waiting
        waiting = []
        for call in calls { dispatch(call) }
    }

    func isGoingAway(_ handler: HTTP2ClientHandler) {
        if case .ready(let current) = state, current === handler { state = .idle }
    }

    func wasRefused(_ call: ClientCall) {
        // The connection is in the middle of a read; the next turn finds it settled.
        loop.assumeIsolated().execute { self.dispatch(call) }
    }

    func isClosed(_ handler: HTTP2ClientHandler, _ error: RPCClientError) {
        handlers[ObjectIdentifier(handler)] = nil
        switch state {
        case .ready(let current) where current === handler: state = .idle
        case .connecting: failConnecting(error)
        default: break
        }
    }
}
