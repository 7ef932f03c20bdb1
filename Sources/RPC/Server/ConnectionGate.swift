internal import Facts
internal import Logging
internal import NIOCore
internal import NIOSSL
internal import NIOTLS

/// Stands between TLS and HTTP on every connection. It lets no byte of a request through before the
/// caller is known, then builds the pipeline of the HTTP version that ALPN chose, and afterwards
/// watches for a connection that is idle or does not take its answers.
final class ConnectionGate: ChannelDuplexHandler {
    typealias InboundIn = ByteBuffer
    typealias InboundOut = ByteBuffer
    typealias OutboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    /// How the connection says who it is.
    enum Entrance {
        case tls(TLSContext, SocketGuard, RPCListener.Acceptance)
        case unixSocket(userID: UInt32)
    }

    private enum Phase {
        case handshaking
        /// Reads are held; what TLS had decrypted by then waits.
        case verifying(held: [ByteBuffer])
        case open
        case closed
    }

    private let core: ServerCore
    private let mailbox: EventLoopMailbox
    private let entrance: Entrance
    private let ticket: ConnectionTicket
    private var address: String { ticket.address }
    private var phase = Phase.handshaking
    private var readIsHeld = false
    private var closesSoon = false
    private var dispatcher: RequestDispatcher?
    private weak var http1: HTTP1ServerHandler?
    private var handshakeTimer: LazyTimer?
    private var idleTimer: LazyTimer?
    private var stallTimer: LazyTimer?
    private var expiry: CertificateExpiry?
    private var lastActivity = NIODeadline.now()
    private var stalled: (pendingBytes: Int, since: NIODeadline)?

    init(
        core: ServerCore, mailbox: EventLoopMailbox, entrance: Entrance, ticket: ConnectionTicket
    ) {
        self.core = core
        self.mailbox = mailbox
        self.entrance = entrance
        self.ticket = ticket
    }

    // MARK: Channel

    func handlerAdded(context: ChannelHandlerContext) {
        let timer = LazyTimer(context.eventLoop) { [unowned self] in handshakeTookTooLong(context) }
        timer.arm(milliseconds: core.limits.handshakeMilliseconds)
        handshakeTimer = timer
    }

    func channelActive(context: ChannelHandlerContext) {
        context.fireChannelActive()
        if case .unixSocket(let userID) = entrance {
            let caller = Caller(
                kind: .administrator(userID: userID), identity: "uid:\(userID)")
            phase = .verifying(held: [])
            verified(
                .success(caller), leaf: nil, generation: core.verifier.generation, alpn: nil, context)
        }
    }

    func channelInactive(context: ChannelHandlerContext) {
        // Their actions hold the context, which holds this handler.
        for timer in [handshakeTimer, idleTimer, stallTimer] { timer?.cancel() }
        (handshakeTimer, idleTimer, stallTimer) = (nil, nil, nil)
        expiry?.cancel()
        expiry = nil
        dispatcher = nil
        if case .tls(_, let socket, _) = entrance, case .handshaking = phase,
            !socket.receivedAnything
        {
            core.counters.endedBeforeClientHello()
        }
        phase = .closed
        context.fireChannelInactive()
    }

    func read(context: ChannelHandlerContext) {
        if case .verifying = phase { readIsHeld = true } else { context.read() }
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        switch phase {
        case .open:
            lastActivity = .now()
            http1?.bytesArrived()
            context.fireChannelRead(data)
        case .verifying(var held):
            // TLS hands over what came behind the handshake; no more is read meanwhile.
            held.append(unwrapInboundIn(data))
            phase = .verifying(held: held)
        case .handshaking, .closed: break
        }
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        switch event {
        case TLSUserEvent.handshakeCompleted(let alpn): handshakeCompleted(alpn, context)
        case is TrustChanged:
            if let dispatcher, !dispatcher.callerIsCurrent { context.close(promise: nil) }
        case is ChannelShouldQuiesceEvent:
            if case .open = phase {
                context.fireUserInboundEventTriggered(event)
            } else {
                context.close(promise: nil)
            }
        default: context.fireUserInboundEventTriggered(event)
        }
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        switch phase {
        case .handshaking: handshakeFailed(error, context)
        case .open: context.fireErrorCaught(error)
        case .verifying, .closed: context.close(promise: nil)
        }
    }

    // MARK: The handshake

    private func handshakeTookTooLong(_ context: ChannelHandlerContext) {
        if case .tls(_, let socket, _) = entrance {
            if case .handshaking = phase, socket.receivedAnything {
                failed(.timeout, "the handshake took too long")
            }
        }
        context.close(promise: nil)
    }

    private func handshakeFailed(_ error: any Error, _ context: ChannelHandlerContext) {
        guard case .tls(let tls, let socket, _) = entrance else { return }
        guard socket.receivedAnything else { return }
        guard case .handshakeFailed(let cause)? = error as? NIOSSLError else {
            return context.close(promise: nil)
        }
        phase = .closed
        socket.lingersOnClose = true
        let failure = HandshakeFailure.classify(cause)
        guard failure == .badCertificate,
            let leaf = try? context.pipeline.syncOperations.nioSSL_peerCertificate(),
            let bytes = try? leaf.toDERBytes()
        else { return failed(failure, HandshakeFailure.explanation(cause)) }
        let (core, address) = (core, address)
        let fingerprint = SHA256.hash(bytes).hexadecimal
        let queued = core.verification.submit {
            let finding = LeafDiagnosis(trustRoots: tls.trustRoots).examine(bytes)
            core.tellHandshakeFailed(
                finding.failure, finding.explanation, leafDER: bytes, fingerprint: fingerprint,
                address: address)
        }
        if !queued {
            core.tellHandshakeFailed(
                failure, HandshakeFailure.explanation(cause), fingerprint: fingerprint, address: address)
        }
    }

    private func failed(_ failure: HandshakeFailure, _ explanation: String) {
        core.tellHandshakeFailed(failure, explanation, address: address)
    }

    private func handshakeCompleted(_ alpn: String?, _ context: ChannelHandlerContext) {
        guard case .tls(let tls, _, _) = entrance else { return }
        phase = .verifying(held: [])
        guard let leaf = try? context.pipeline.syncOperations.nioSSL_peerCertificate(),
            let bytes = try? leaf.toDERBytes()
        else {
            // A session without a certificate proves nothing about its owner.
            failed(.noCertificate, "the session holds no certificate")
            return context.close(promise: nil)
        }
        verify(bytes, tls, alpn, context)
    }

    private func verify(
        _ bytes: [UInt8], _ tls: TLSContext, _ alpn: String?, _ context: ChannelHandlerContext
    ) {
        let digest = SHA256.hash(bytes)
        let generation = core.verifier.generation
        // A resumed session was never verified in this handshake. Its leaf either was before, in
        // the same trust, or is verified now like any other: nothing passes by the ticket alone.
        if let known = tls.verdict(digest, generation: generation) {
            return verified(known, leaf: bytes, generation: generation, alpn: alpn, context)
        }
        let bound = NIOLoopBound((self, context), eventLoop: context.eventLoop)
        let (core, eventLoop) = (core, context.eventLoop)
        let queued = core.verification.submit {
            let result = core.verifier.verify(leafDER: bytes, direction: .incoming)
            tls.remember(digest, TLSContext.Verdict(result: result, generation: generation))
            eventLoop.execute {
                let (gate, context) = bound.value
                guard case .verifying = gate.phase else { return }
                // Trust changed meanwhile: what was found out belongs to the one before.
                if core.verifier.generation != generation {
                    return gate.verify(bytes, tls, alpn, context)
                }
                gate.verified(result, leaf: bytes, generation: generation, alpn: alpn, context)
            }
        }
        if !queued {
            let error = core.overloaded("Too many certificates wait for their verification")
            verified(
                .failure(CallerRefusal(error)), leaf: nil, generation: generation, alpn: alpn, context)
        }
    }

    // MARK: The caller

    private func verified(
        _ result: Result<Caller, CallerRefusal>, leaf: [UInt8]?, generation: UInt64, alpn: String?,
        _ context: ChannelHandlerContext
    ) {
        guard case .verifying(let held) = phase else { return }
        switch admitted(result) {
        case .success(let (caller, holder)):
            handshakeTimer?.cancel()
            ticket.authenticated(as: caller.identity, holder)
            if let leaf {
                core.liveCallers.add(LiveCaller(caller: caller, leafDER: leaf), context.channel)
            }
            endAtExpiry(of: caller, context)
            build(.known(caller, holder, generation: generation), alpn, held, context)
        case .failure(let refusal):
            // It keeps its place among the unauthenticated and the handshake's time limit.
            core.tellRefused(refusal, address: address)
            build(.refused(refusal.error), alpn, held, context)
        }
    }

    private func admitted(
        _ result: Result<Caller, CallerRefusal>
    ) -> Result<(Caller, Admission.Holder), CallerRefusal> {
        result.flatMap { caller in
            func refusal(_ error: ServiceError) -> CallerRefusal {
                CallerRefusal(
                    error, names: caller.certificate?.names ?? [],
                    fingerprint: caller.certificate?.fingerprint ?? "")
            }
            if let error = listenerRefusal(caller) { return .failure(refusal(error)) }
            let limit =
                caller.certificate == nil
                ? core.limits.administrationConnections : core.limits.connectionsPerIdentity
            let isAdministrator = if case .administrator = caller.kind { true } else { false }
            let held = core.admission.hold(
                identity: caller.identity, limit: limit, isAdministrator: isAdministrator)
            guard let holder = held else {
                return .failure(
                    refusal(
                        core.overloaded("\(caller.identity) has \(limit) connections open already")))
            }
            return .success((caller, holder))
        }
    }

    private func listenerRefusal(_ caller: Caller) -> ServiceError? {
        guard case .tls(_, _, let acceptance) = entrance else { return nil }
        switch (acceptance, caller.kind) {
        case (.all, _), (.peers, .peer), (.clients, .client): return nil
        default:
            return ServiceError(
                .identityNotAuthorised,
                "This address takes \(acceptance.rawValue) only, and \(caller.identity) is none of "
                    + "them; use the node's other address.")
        }
    }

    // MARK: HTTP

    private func build(
        _ party: RequestDispatcher.Party, _ alpn: String?, _ held: [ByteBuffer],
        _ context: ChannelHandlerContext
    ) {
        let dispatcher = RequestDispatcher(
            core: core, mailbox: mailbox, party: party, address: address,
            closeGracefully: { [weak self] in self?.closeGracefully(context) })
        self.dispatcher = dispatcher
        do {
            try addHandlers(alpn, dispatcher, context)
        } catch {
            core.logger.error("pipeline not built", metadata: ["error": "\(error)"])
            return context.close(promise: nil)
        }
        phase = .open
        watch(context)
        for bytes in held { channelRead(context: context, data: wrapInboundOut(bytes)) }
        if !held.isEmpty { context.fireChannelReadComplete() }
        if readIsHeld {
            readIsHeld = false
            context.read()
        }
    }

    /// How long an answer of HTTP/2 goes ahead of the notice that the connection ends: curl 7.88
    /// takes an answer that comes with a GOAWAY for a partial file.
    private static let goAwayDelay = TimeAmount.milliseconds(250)

    private func closeGracefully(_ context: ChannelHandlerContext) {
        guard !closesSoon else { return }
        closesSoon = true
        if http1 != nil {
            return context.fireUserInboundEventTriggered(ChannelShouldQuiesceEvent())
        }
        context.eventLoop.assumeIsolated().scheduleTask(in: Self.goAwayDelay) {
            if case .open = self.phase {
                context.fireUserInboundEventTriggered(ChannelShouldQuiesceEvent())
            }
        }
    }

    private func addHandlers(
        _ alpn: String?, _ dispatcher: RequestDispatcher, _ context: ChannelHandlerContext
    ) throws {
        let pipeline = context.pipeline.syncOperations
        if alpn == "h2" {
            var limits = core.limits.http2
            // A head has the same limits over both versions.
            limits.headBytes = core.limits.headBytes
            limits.fieldBytes = core.limits.fieldBytes
            limits.headFields = core.limits.fields
            limits.stallMilliseconds = core.limits.writeStallMilliseconds
            limits.stallBytes = UInt64(
                core.limits.bodyBytesPerSecond * limits.stallMilliseconds / 1_000)
            try pipeline.addHandler(
                HTTP2ServerHandler(dispatcher: dispatcher, limits: limits), position: .after(self))
            return
        }
        let handler = HTTP1ServerHandler(
            dispatcher: dispatcher, mailbox: mailbox, limits: core.limits)
        http1 = handler
        // The one added last comes first.
        try pipeline.addHandler(handler, position: .after(self))
        try pipeline.addHandler(HTTP1ServerHandler.decoder(core.limits), position: .after(self))
    }

    // MARK: Time

    /// Nobody stays on a connection longer than the certificate that opened it lasts.
    private func endAtExpiry(of caller: Caller, _ context: ChannelHandlerContext) {
        guard let certificate = caller.certificate else { return }
        expiry = CertificateExpiry(certificate, context.eventLoop) { [unowned self] in
            core.tellRefused(
                CallerRefusal(
                    RequestDispatcher.expired(caller), kind: "expired", names: certificate.names,
                    fingerprint: certificate.fingerprint), address: address, isOpen: true)
            context.close(promise: nil)
        }
    }

    private func watch(_ context: ChannelHandlerContext) {
        lastActivity = .now()
        let idle = LazyTimer(context.eventLoop) { [unowned self] in lookForIdleness(context) }
        idle.arm(milliseconds: core.limits.idleMilliseconds)
        idleTimer = idle
        stallTimer = LazyTimer(context.eventLoop) { [unowned self] in lookForStall(context) }
    }

    private func lookForIdleness(_ context: ChannelHandlerContext) {
        let limit = Int64(core.limits.idleMilliseconds)
        if dispatcher?.openRequests ?? 0 > 0 { lastActivity = .now() }
        let idle = (NIODeadline.now() - lastActivity).nanoseconds / 1_000_000
        if idle >= limit { return context.close(promise: nil) }
        idleTimer?.arm(milliseconds: Int(limit - idle))
    }

    func channelWritabilityChanged(context: ChannelHandlerContext) {
        if context.channel.isWritable {
            stalled = nil
            stallTimer?.disarm()
        } else if stalled == nil {
            lookForStall(context)
        }
        context.fireChannelWritabilityChanged()
    }

    /// The channel says only whether it takes more, so while it does not, what is pending is looked
    /// at now and then: it has to change within the limit.
    private func lookForStall(_ context: ChannelHandlerContext) {
        guard !context.channel.isWritable else { return }
        let limit = core.limits.writeStallMilliseconds
        let pending =
            (try? context.channel.syncOptions?.getOption(ChannelOptions.bufferedWritableBytes)) ?? 0
        let now = NIODeadline.now()
        if let stalled, stalled.pendingBytes == pending {
            if now - stalled.since >= .milliseconds(Int64(limit)) {
                core.tellStalled(address: address)
                return context.close(mode: .all, promise: nil)
            }
        } else {
            stalled = (pending, now)
        }
        stallTimer?.arm(milliseconds: max(1, limit / 8))
    }
}
