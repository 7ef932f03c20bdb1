internal import Facts
internal import Glibc
internal import NIOCore

/// Routes the requests of one connection, independent of the HTTP version. Confined to the
/// connection's event loop.
final class RequestDispatcher: HTTPRequestDispatcher {
    /// Who the connection turned out to belong to.
    enum Party {
        case known(Caller, Admission.Holder, generation: UInt64)
        /// Passed the handshake and was refused after it: the first request hears why.
        case refused(ServiceError)
    }

    let core: ServerCore
    let mailbox: EventLoopMailbox
    private let party: Party
    /// The other side's.
    let address: String
    /// Answers what is open, takes nothing new, closes.
    private let closeGracefully: () -> Void
    private(set) var openRequests = 0

    /// False when who was let in would not be now.
    var callerIsCurrent: Bool {
        guard case .known(let caller, _, let generation) = party, caller.certificate != nil else {
            return true
        }
        return core.verifier.isCurrent(caller, since: generation)
    }

    init(
        core: ServerCore, mailbox: EventLoopMailbox, party: Party, address: String,
        closeGracefully: @escaping () -> Void
    ) {
        self.core = core
        self.mailbox = mailbox
        self.party = party
        self.address = address
        self.closeGracefully = closeGracefully
    }

    func begin(_ head: HTTPRequestHead, _ exchange: any HTTPExchange) -> any HTTPRequestSink {
        core.counters.request()
        do throws(ServiceError) {
            let (caller, holder) = try callerNow()
            if isCall(head) { return try call(head.target, head, exchange, caller, holder) }
            if let streaming = streaming(head) {
                return try stream(streaming, head, exchange, caller, holder)
            }
            if let procedure = try route(head) {
                return try call(procedure, head, exchange, caller, holder)
            }
            exchange.respond(
                ConnectAnswer(
                    status: 200, headers: [("content-type", "application/json")],
                    body: core.service.health(caller: caller)), mailbox)
        } catch {
            refuse(error, head, exchange)
        }
        return DiscardingSink()
    }

    /// The caller, as far as it still is one.
    private func callerNow() throws(ServiceError) -> (Caller, Admission.Holder) {
        switch party {
        case .refused(let error):
            closeGracefully()
            throw error
        case .known(let caller, let holder, let generation):
            if core.isStopping {
                closeGracefully()
                throw ServiceError(.draining)
            }
            guard let certificate = caller.certificate else { return (caller, holder) }
            if certificate.notAfterUnixMilliseconds < Self.unixMilliseconds() {
                closeGracefully()
                throw Self.expired(caller)
            }
            if !core.verifier.isCurrent(caller, since: generation) {
                closeGracefully()
                throw Self.changedMeanwhile
            }
            return (caller, holder)
        }
    }

    /// A call as nearly all come: what follows takes it apart only where it is not.
    private func isCall(_ head: HTTPRequestHead) -> Bool {
        head.method == "POST" && core.procedures.contains(head.target)
            && head.target.utf8.allSatisfy { $0 < 0x80 }
    }

    /// The procedure; nil for the health page.
    private func route(_ head: HTTPRequestHead) throws(ServiceError) -> String? {
        let path = head.target.utf8.prefix { $0 != UInt8(ascii: "?") }
        // Swift compares strings by canonical equivalence, and some letters beyond ASCII are
        // equivalent to one within.
        guard path.allSatisfy({ $0 < 0x80 }) else { throw ServiceError(.unknownMethod) }
        let name = String(decoding: path, as: UTF8.self)
        if name == "/health" {
            if head.method == "GET" { return nil }
            throw ServiceError(.methodNotAllowed, "/health answers GET only.", field: "GET")
        }
        guard core.procedures.contains(name) else {
            throw ServiceError(
                .unknownMethod,
                "There is nothing at \(ConnectHead.shown(name)); procedures are "
                    + "/bsfg.v1.<Service>/<Method>, and GET /health.")
        }
        guard head.method == "POST" else {
            throw ServiceError(
                .methodNotAllowed, "Procedures are called with POST, not with "
                    + "\(ConnectHead.shown(head.method)).", field: "POST")
        }
        return name
    }

    private func call(
        _ procedure: String, _ head: HTTPRequestHead, _ exchange: any HTTPExchange,
        _ caller: Caller, _ holder: Admission.Holder
    ) throws(ServiceError) -> any HTTPRequestSink {
        let connect =
            GRPCHead.isGRPC(head)
            ? try GRPCHead.read(head, limits: core.limits)
            : try ConnectHead(head, limits: core.limits)
        if let refusal = core.service.admit(procedure: procedure, caller: caller) { throw refusal }
        guard core.admission.beginRequest(holder) else {
            throw core.overloaded("Too many requests are in flight")
        }
        let request = ServerRequest(
            dispatcher: self, exchange: exchange, holder: holder, caller: caller,
            procedure: procedure, connect: connect, version: head.version)
        openRequests += 1
        mailbox.add(request)
        exchange.sendContinue()
        return request
    }

    /// The service that a path belongs to when it is no procedure.
    private func streaming(_ head: HTTPRequestHead) -> (any StreamingService)? {
        guard let streaming = core.streaming else { return nil }
        let path = head.target.utf8.prefix { $0 != UInt8(ascii: "?") }
        return streaming.serves(path: String(decoding: path, as: UTF8.self)) ? streaming : nil
    }

    private func stream(
        _ service: any StreamingService, _ head: HTTPRequestHead, _ exchange: any HTTPExchange,
        _ caller: Caller, _ holder: Admission.Holder
    ) throws(ServiceError) -> any HTTPRequestSink {
        let checked = try StreamingHead(head)
        let call = try service.begin(
            StreamingRequest(
                caller: caller, method: head.method, path: checked.path, query: checked.query,
                headers: head.headers, contentLength: checked.contentLength))
        guard core.admission.beginRequest(holder) else {
            call.abandon()
            throw core.overloaded("Too many requests are in flight")
        }
        guard core.admission.takeBody(steps: StreamedRequest.budgetSteps, holder) else {
            core.admission.endRequest(holder)
            call.abandon()
            throw core.overloaded("The memory for request bodies is in use")
        }
        openRequests += 1
        exchange.sendContinue()
        return StreamedRequest(
            dispatcher: self, exchange: exchange, holder: holder, call: call,
            expectedBytes: checked.contentLength, isHead: head.method.utf8.elementsEqual("HEAD".utf8))
    }

    func streamedRequestClosed() { openRequests -= 1 }

    func closed(_ request: ServerRequest) {
        openRequests -= 1
    }

    private func refuse(
        _ error: ServiceError, _ head: HTTPRequestHead, _ exchange: any HTTPExchange
    ) {
        core.counters.failed(error.reason.rawValue)
        if case .known(let caller, _, _) = party {
            core.tellDenied(error, caller, head.target, address: address)
        }
        if GRPCHead.isGRPC(head) {
            return exchange.respond(GRPCAnswer.failure(error), date: mailbox.date.text, nil)
        }
        var answer = ConnectAnswer.failure(error)
        if error.reason == .methodNotAllowed {
            answer.headers.append(("allow", error.field))
        }
        exchange.respond(answer, mailbox)
    }

    static let changedMeanwhile = ServiceError(
        .draining, "The node's configuration has changed; connect and call again.")

    static func expired(_ caller: Caller) -> ServiceError {
        ServiceError(
            .identityNotAuthorised,
            "The certificate of \(caller.identity) has expired while the connection was open; "
                + "connect with a new one.")
    }

    static func unixMilliseconds() -> Int64 {
        var now = timespec()
        clock_gettime(CLOCK_REALTIME_COARSE, &now)
        return Int64(now.tv_sec) * 1_000 + Int64(now.tv_nsec) / 1_000_000
    }
}

/// Takes the body of a request that is answered already.
private final class DiscardingSink: HTTPRequestSink {
    func receive(_ bytes: ByteBuffer) {}
    func end() {}
    func abandon() {}
}
