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
    private var tlsContext: NIOSSLContext
    private var serverName: String?
    private var verifier: Verifier
    private var state = State.idle
    /// Every connection that is open, also while it is made or only finishes its calls.
    private var handlers: [ObjectIdentifier: HTTP2ClientHandler] = [:]
    /// The connection that calls wait for, once its socket is open.
    private weak var beginning: HTTP2ClientHandler?
    /// The connection that is to take the place of the one that takes calls, while it is made.
    private var replacement: HTTP2ClientHandler?
    /// What the connection that is being made was begun with is not what it should be any more.
    private var isOutdated = false
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
        isOutdated = false
        leaf = nil
        connectSocket(isReplacement: false)
    }

    private func connectSocket(isReplacement: Bool) {
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
                    if isReplacement { replacement = handler }
                    try channel.pipeline.syncOperations.addHandlers(tls, handler)
                }
            }
            .connect(host: configuration.host, port: configuration.port)
        connected.assumeIsolated().whenComplete { [self] result in
            switch result {
            case .success(let channel): isConnected(channel, isReplacement: isReplacement)
            case .failure where isReplacement: replacement = nil
            case .failure(let error):
                failConnecting(
                    TransportFailure.connecting(
                        error, to: configuration.authority,
                        timeoutMilliseconds: configuration.connectTimeoutMilliseconds))
            }
        }
    }

    private func isConnected(_ channel: any Channel, isReplacement: Bool) {
        guard
            let handler = try? channel.pipeline.syncOperations.handler(
                type: HTTP2ClientHandler.self)
        else {
            // It was closed before we heard that it was open.
            if isReplacement {
                replacement = nil
                return
            }
            return failConnecting(
                TransportFailure.closed("\(configuration.authority) closed the connection"))
        }
        handlers[ObjectIdentifier(handler)] = handler
        if !isReplacement { beginning = handler }
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

    // MARK: Renewal

    func renew(tlsContext: NIOSSLContext, serverName: String?, verifier: @escaping Verifier) {
        self.tlsContext = tlsContext
        self.serverName = serverName
        self.verifier = verifier
        switch state {
        case .idle, .closed: break
        case .connecting: isOutdated = true
        case .ready(let handler):
            // Whether the server that we are connected to is still who it should be.
            if let leaf = handler.leaf { check(leaf, handler) {} }
            replace()
        }
    }

    /// Begins the connection that calls are to move to. One that is being made already was begun with
    /// what is outdated now.
    private func replace() {
        replacement?.fail(HTTP2ClientHandler.closedByUs)
        replacement = nil
        connectSocket(isReplacement: true)
    }

    private func check(
        _ leaf: [UInt8], _ handler: HTTP2ClientHandler, then passed: @escaping () -> Void
    ) {
        let (verifier, loop, authority) = (verifier, loop, configuration.authority)
        let bound = NIOLoopBound((handler, passed), eventLoop: loop)
        Task {
            let refusal = await verifier(leaf)
            let notAfter = (try? X509Certificate(der: leaf))?.notAfter
            loop.execute {
                let (handler, passed) = bound.value
                guard let refusal else {
                    if let notAfter { handler.endAtExpiry(unixSeconds: notAfter) }
                    return passed()
                }
                handler.fail(
                    .transport(
                        kind: .identity,
                        sentence: "\(authority) is not the peer it should be: "
                            + "\(refusal.sentence) (\(refusal.reason))"))
            }
        }
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
        check(leaf, handler) { handler.verified() }
    }

    func wasShown(leaf: [UInt8], _ handler: HTTP2ClientHandler) { self.leaf = leaf }

    func isReady(_ handler: HTTP2ClientHandler) {
        let isReplacement = handler === replacement
        if isReplacement { replacement = nil }
        switch state {
        case .ready(let old) where isReplacement: old.retire()
        case .idle where isReplacement: break
        case .connecting: break
        case .ready, .idle, .closed: return handler.fail(HTTP2ClientHandler.closedByUs)
        }
        state = .ready(handler)
        let calls = waiting
        waiting = []
        for call in calls { dispatch(call) }
        if isOutdated {
            isOutdated = false
            replace()
        }
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
        if handler === replacement {
            replacement = nil
            return
        }
        switch state {
        case .ready(let current) where current === handler: state = .idle
        // An older one, which only finished its calls, says nothing of the one that is being made.
        case .connecting where handler === beginning: failConnecting(error)
        default: break
        }
    }
}
