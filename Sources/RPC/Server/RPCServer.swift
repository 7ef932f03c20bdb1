package import Logging
internal import CPlatform
internal import Glibc
internal import NIOCore
internal import NIOExtras
internal import NIOPosix
internal import NIOSSL
internal import Synchronization

/// Serves an `RPCService` with Connect unary calls: over mutual TLS by HTTP/1.1 and HTTP/2, and
/// without TLS on the administration socket.
package final class RPCServer: Sendable {
    /// Where a listener came to listen.
    package enum BoundAddress: Sendable, Equatable {
        case tcp(host: String, port: Int)
        case unixSocket(path: String)
    }

    private struct Running {
        var quiescers: [ServerQuiescingHelper] = []
        /// Sockets of ours, to be removed at the end.
        var socketPaths: [String] = []
        var renewal: RegularWork?
        var lineBudget: RepeatedTask?
        var stopped = false
    }

    private let configuration: RPCServerConfiguration
    private let core: ServerCore
    private let tls: TLSContextHolder?
    private let group: MultiThreadedEventLoopGroup
    private let mailboxes: [ObjectIdentifier: EventLoopMailbox]
    private let connections = ConnectionRegistry()
    private let running = Mutex(Running())

    /// Makes the first TLS context; blocking.
    package init(
        configuration: RPCServerConfiguration, service: any RPCService,
        verifier: any CallerVerifier, logger: Logger
    ) throws(RPCServerError) {
        self.configuration = configuration
        let needsTLS = configuration.listeners.contains {
            if case .tcp = $0.address { true } else { false }
        }
        if needsTLS {
            guard let shown = configuration.tls else {
                throw RPCServerError("A TCP listener needs a certificate, a key and CA files.")
            }
            tls = try TLSContextHolder(shown)
        } else {
            tls = nil
        }
        core = ServerCore(
            limits: configuration.limits, service: service, verifier: verifier, logger: logger)
        group = MultiThreadedEventLoopGroup(numberOfThreads: configuration.eventLoopThreads)
        var mailboxes: [ObjectIdentifier: EventLoopMailbox] = [:]
        for eventLoop in group.makeIterator() {
            mailboxes[ObjectIdentifier(eventLoop)] = EventLoopMailbox(eventLoop)
        }
        self.mailboxes = mailboxes
    }

    package var statistics: RPCServerStatistics { core.counters.snapshot(core.admission) }

    package var recentRefusals: RecentRefusals { core.recentRefusals.withLock { $0 } }

    /// Binds every listener, in the order of the configuration. A server that could not start is
    /// stopped and of no further use.
    package func start() async throws(RPCServerError) -> [BoundAddress] {
        do {
            return try await bindAll()
        } catch {
            await stop(graceSeconds: 0)
            throw error
        }
    }

    private func bindAll() async throws(RPCServerError) -> [BoundAddress] {
        var bound: [BoundAddress] = []
        for listener in configuration.listeners {
            let quiescer = ServerQuiescingHelper(group: group)
            let channel: any Channel
            do {
                channel = try await bind(listener, quiescer)
            } catch let error as RPCServerError {
                throw error
            } catch {
                throw RPCServerError(BindFailure.sentence(listener.address.text, error))
            }
            running.withLock {
                $0.quiescers.append(quiescer)
                if case .unixSocket(let path) = listener.address { $0.socketPaths.append(path) }
            }
            bound.append(address(listener, channel))
        }
        renewTLSRegularly()
        countLinesByTheMinute()
        return bound
    }

    /// Makes a TLS context of other certificates and other trust, for `adopt`. Blocking.
    /// - Returns: nil without a TCP listener.
    package func prepareTLS(_ next: RPCServerTLS) throws(RPCServerError) -> PreparedServerTLS? {
        tls == nil ? nil : try PreparedServerTLS(next)
    }

    /// New connections get a new context of the same certificates and trust, which ends the session tickets
    /// of the one before: what the server does by itself now and then. Blocking.
    package func renewTLS() throws(RPCServerError) {
        try tls?.renew()
    }

    /// New connections get this context, which ends the session tickets of the one before.
    package func adopt(_ prepared: PreparedServerTLS) {
        tls?.adopt(prepared)
    }

    /// Everybody with an open connection, once each, to be verified again before trust changes.
    package var liveCallers: [LiveCaller] { core.liveCallers.distinct }

    /// Ends the connections of callers that the verifier does not count as current any more. Calls that
    /// are under way on them end without an answer.
    package func closeRefused() {
        core.liveCallers.tell(TrustChanged())
    }

    /// Says why somebody who was let in is one no more.
    package func tell(_ refusal: CallerRefusal) {
        core.tellRefused(refusal, address: "", isOpen: true)
    }

    /// Takes no more connections and requests, waits for those in flight up to the grace, then
    /// closes what is left.
    package func stop(graceSeconds: Double) async {
        let (first, socketPaths) = running.withLock { running in
            defer { running.stopped = true }
            return (!running.stopped, running.socketPaths)
        }
        guard first else { return }
        core.beginStopping()
        let eventLoop = group.next()
        // A quiescing helper uses its event loop once more when it is let go of.
        let quiet = running.withLock { running in
            running.renewal?.cancel()
            running.lineBudget?.cancel()
            defer { running.quiescers = [] }
            return running.quiescers.map { quiescer in
                let promise = eventLoop.makePromise(of: Void.self)
                quiescer.initiateShutdown(promise: promise)
                return promise.futureResult
            }
        }
        let connections = connections
        let patience = eventLoop.scheduleTask(in: .milliseconds(Int64(graceSeconds * 1_000))) {
            connections.closeAll()
        }
        try? await EventLoopFuture.andAllComplete(quiet, on: eventLoop).get()
        patience.cancel()
        await core.verification.stop()
        await core.coding.stop()
        core.tellLeftOut()
        for path in socketPaths { unlink(path) }
        for mailbox in mailboxes.values { mailbox.close() }
        try? await group.shutdownGracefully()
    }

    // MARK: Listeners

    private func bind(
        _ listener: RPCListener, _ quiescer: ServerQuiescingHelper
    ) async throws -> any Channel {
        let bootstrap = ServerBootstrap(group: group)
            .serverChannelOption(.backlog, value: 256)
            .serverChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(
                        quiescer.makeServerChannelHandler(channel: channel))
                }
            }
        switch listener.address {
        case .tcp(let host, let port, let acceptance):
            return try await bootstrap
                .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
                .childChannelOption(.tcpOption(.tcp_nodelay), value: 1)
                // What is read in one go TLS gathers in one buffer, and keeps a buffer of that size and a record's
                // more for as long as the connection lives.
                .childChannelOption(.maxMessagesPerRead, value: 1)
                .childChannelOption(
                    .recvAllocator,
                    value: AdaptiveRecvByteBufferAllocator(
                        minimum: 64, initial: 2 << 10, maximum: Self.readBytesMaximum))
                .childChannelInitializer { [self] channel in accept(channel, acceptance) }
                .bind(host: host, port: port).get()
        case .unixSocket(let path):
            let descriptor = try UnixSocket.bind(path)
            return try await bootstrap
                .childChannelInitializer { [self] channel in acceptLocal(channel) }
                .withBoundSocket(descriptor).get()
        }
    }

    private func address(_ listener: RPCListener, _ channel: any Channel) -> BoundAddress {
        switch listener.address {
        case .tcp(let host, let port, _):
            .tcp(host: host, port: channel.localAddress?.port ?? port)
        case .unixSocket(let path): .unixSocket(path: path)
        }
    }

    // MARK: Connections

    private func accept(
        _ channel: any Channel, _ acceptance: RPCListener.Acceptance
    ) -> EventLoopFuture<Void> {
        core.counters.accepted()
        let address = channel.remoteAddress?.ipAddress ?? ""
        if let refusal = core.admission.openConnection(address: Array(address.utf8)) {
            return refuse(channel, refusal)
        }
        let ticket = register(channel, address)
        return channel.eventLoop.makeCompletedFuture {
            guard let tls else { preconditionFailure("a TCP listener has a TLS context") }
            let context = tls.context
            let socket = SocketGuard(core.limits)
            let gate = ConnectionGate(
                core: core, mailbox: mailbox(channel),
                entrance: .tls(context, socket, acceptance),
                ticket: ticket)
            let pipeline = channel.pipeline.syncOperations
            try pipeline.addHandler(socket)
            // One large answer does not make a connection keep a buffer of its size.
            var buffers = NIOSSLHandler.Configuration()
            buffers.maximumPreservedOutboundBufferCapacity = Self.keptOutboundBytes
            try pipeline.addHandler(
                NIOSSLServerHandler(context: context.context, configuration: buffers))
            try pipeline.addHandler(gate)
        }
    }

    private static let keptOutboundBytes = 16 << 10
    private static let readBytesMaximum = 16 << 10

    private func acceptLocal(_ channel: any Channel) -> EventLoopFuture<Void> {
        core.counters.accepted()
        if let refusal = core.admission.openAdministration() { return refuse(channel, refusal) }
        let ticket = register(channel, nil)
        return channel.eventLoop.makeCompletedFuture {
            let pipeline = channel.pipeline.syncOperations
            let user =
                try pipeline.withUnsafeTransportIfAvailable(of: NIOBSDSocket.Handle.self) {
                    bsfg_peer_user_id($0)
                } ?? -1
            guard user >= 0 else {
                throw RPCServerError("The system does not say who is on the socket.")
            }
            try pipeline.addHandler(
                ConnectionGate(
                    core: core, mailbox: mailbox(channel),
                    entrance: .unixSocket(userID: UInt32(user)), ticket: ticket))
        }
    }

    /// Whatever becomes of the channel, what it holds is given back when it is closed.
    private func register(_ channel: any Channel, _ address: String?) -> ConnectionTicket {
        let ticket = ConnectionTicket(core.admission, address: address)
        channel.closeFuture.whenComplete { _ in ticket.release() }
        connections.add(channel)
        return ticket
    }

    private func refuse(
        _ channel: any Channel, _ refusal: Admission.ConnectionRefusal
    ) -> EventLoopFuture<Void> {
        core.counters.refusedConnection(refusal.rawValue)
        return channel.eventLoop.makeFailedFuture(
            RPCServerError("The limit on \(refusal.rawValue) is reached."))
    }

    private func mailbox(_ channel: any Channel) -> EventLoopMailbox {
        guard let mailbox = mailboxes[ObjectIdentifier(channel.eventLoop)] else {
            preconditionFailure("every event loop of the group has a mailbox")
        }
        return mailbox
    }

    private func countLinesByTheMinute() {
        let core = core
        let task = group.next().scheduleRepeatedTask(initialDelay: .minutes(1), delay: .minutes(1)) {
            _ in core.tellLeftOut()
        }
        running.withLock { $0.lineBudget = task }
    }

    // MARK: The TLS context

    /// Many handshakes at once fill the queue, and must not keep the tickets of the context before good.
    private static let renewalRetry = TimeAmount.seconds(1)

    private func renewTLSRegularly() {
        guard let tls else { return }
        let core = core
        let renewal = RegularWork(
            on: group.next(), every: .seconds(Int64(configuration.contextLifetimeSeconds)),
            retryAfter: Self.renewalRetry
        ) {
            core.verification.submit {
                do throws(RPCServerError) {
                    try tls.renew()
                } catch {
                    core.logger.error(
                        "TLS context not renewed", metadata: ["error": "\(error.sentence)"])
                }
            }
        }
        renewal.start()
        running.withLock { $0.renewal = renewal }
    }
}

/// Every open connection, for the end of the grace.
private final class ConnectionRegistry: Sendable {
    private let channels = Mutex<[ObjectIdentifier: any Channel]>([:])

    func add(_ channel: any Channel) {
        let key = ObjectIdentifier(channel)
        channels.withLock { $0[key] = channel }
        channel.closeFuture.whenComplete { [self] _ in
            channels.withLock { $0[key] = nil }
        }
    }

    func closeAll() {
        for channel in channels.withLock({ Array($0.values) }) { channel.close(promise: nil) }
    }
}
