internal import Facts
internal import NIOCore
internal import Synchronization

/// One call from its admitted head to its answer. It owns what the call holds (its place in flight
/// and its part of the body budget) until the service has answered, since the service works with
/// the body until then, whether or not anybody still waits. What the answer needs of the budget goes
/// with the answer.
final class ServerRequest: HTTPRequestSink, AnswerMemory, @unchecked Sendable {
    // Sendable by hand: confined to its event loop. Other threads only call `deliver`, which looks
    // at constants, and `hold(bytes:)`, which changes `answerSteps`.

    private enum Phase {
        case readingBody
        /// Inflating away from the event loop.
        case decoding
        case handed
        case finished
    }

    /// The place in the mailbox's list; -1 when not in it.
    var slot = -1

    private let dispatcher: RequestDispatcher
    private let mailbox: EventLoopMailbox
    private var core: ServerCore { dispatcher.core }
    /// Nil once answered or abandoned.
    private var exchange: (any HTTPExchange)?
    private let holder: Admission.Holder
    private let caller: Caller
    private let procedure: String
    private let connect: ConnectHead
    private let version: HTTPRequestHead.Version
    /// The largest body taken, inflated.
    private let bodyBytesMaximum: Int
    private let began = NIODeadline.now()
    private let deadline: NIODeadline
    private var phase = Phase.readingBody
    /// The answer is being made smaller on another thread.
    private var isEncoding = false
    private var body: [UInt8] = []
    /// Of the body budget: the body's, and once the service has answered also the answer's.
    private var steps = 0
    /// Of the body budget, what the service has for the answer that it makes.
    private let answerSteps = Atomic<Int>(0)

    /// An answer up to here is as small as an error, which has to be sent in any case: it holds nothing.
    private static let smallAnswerBytes = 1 << 10
    /// Up to here, before and after, a body is inflated on the event loop.
    private static let inlineInflateBytes = 64 << 10
    /// The largest request that is neither facts nor an object: each element of a list takes many times the two bytes
    /// that it may have.
    static let smallBodyBytes = 64 << 10
    /// What a large body is inflated to before the whole limit is reserved for it.
    private static let firstInflateBytes = 1 << 20
    private static let gzipAboveBytes = 1 << 10

    init(
        dispatcher: RequestDispatcher, exchange: any HTTPExchange, holder: Admission.Holder,
        caller: Caller, procedure: String, connect: ConnectHead, version: HTTPRequestHead.Version
    ) {
        self.dispatcher = dispatcher
        self.mailbox = dispatcher.mailbox
        self.exchange = exchange
        self.holder = holder
        self.caller = caller
        self.procedure = procedure
        self.connect = connect
        self.version = version
        let limits = dispatcher.core.limits
        bodyBytesMaximum =
            dispatcher.core.service.takesLargeBodies(procedure: procedure)
            ? limits.bodyBytes : min(limits.bodyBytes, Self.smallBodyBytes)
        deadline = began + .milliseconds(Int64(connect.timeoutMilliseconds))
    }

    // MARK: The body

    func receive(_ bytes: ByteBuffer) {
        guard phase == .readingBody else { return }
        let count = body.count + bytes.readableBytes
        // The limit is the message's; gRPC's prefix comes on top of it.
        let prefix = connect.framing == .grpc ? GRPCFrame.headerBytes : 0
        guard count <= bodyBytesMaximum + prefix else {
            return finish(.failure(ConnectHead.tooLarge(bytes: bodyBytesMaximum)))
        }
        guard hold(Admission.steps(bytes: count)) else {
            return finish(.failure(core.overloaded("The memory for request bodies is in use")))
        }
        if body.isEmpty, let length = connect.contentLength {
            body.reserveCapacity(min(length, Admission.bodyStepBytes))
        }
        body.append(contentsOf: bytes.readableBytesView)
    }

    func end() {
        guard phase == .readingBody else { return }
        var isCompressed = connect.coding == .gzip
        if connect.framing == .grpc {
            do throws(ServiceError) {
                (body, isCompressed) = try GRPCFrame.unwrap(body, coding: connect.coding)
            } catch {
                return finish(.failure(error))
            }
        }
        if isCompressed { inflate() } else { hand() }
    }

    func abandon() {
        guard exchange != nil else { return }
        exchange = nil
        dispatcher.closed(self)
        mailbox.remove(self)
        // What the service has been given goes on: a fact in a commit is never cancelled.
        if phase == .readingBody { release() }
        if phase == .finished, !isEncoding { giveSteps() }
    }

    private func hold(_ wanted: Int) -> Bool {
        guard wanted > steps else { return true }
        guard core.admission.takeBody(steps: wanted - steps, holder) else { return false }
        steps = wanted
        return true
    }

    private func inflate() {
        guard body.count <= Self.inlineInflateBytes else { return inflateElsewhere() }
        let inline = Result { () throws(GzipError) in
            try Gzip.inflate(body, limitBytes: min(bodyBytesMaximum, Self.inlineInflateBytes))
        }
        switch inline {
        case .success(let content):
            body = content
            hand()
        case .failure(.tooLarge) where bodyBytesMaximum > Self.inlineInflateBytes: inflateElsewhere()
        case .failure(let error): finish(.failure(Self.undecodable(error)))
        }
    }

    private func inflateElsewhere() {
        phase = .decoding
        let compressed = body
        let (core, holder, limit) = (core, holder, bodyBytesMaximum)
        body = []
        let queued = core.coding.submit { [self] in
            let result = Self.inflateLarge(compressed, core, holder, limitBytes: limit)
            mailbox.eventLoop.execute { self.inflated(result) }
        }
        if !queued {
            phase = .readingBody
            finish(.failure(core.overloaded("Too many bodies wait to be inflated")))
        }
    }

    /// The content and the steps of the budget it holds.
    private static func inflateLarge(
        _ compressed: [UInt8], _ core: ServerCore, _ holder: Admission.Holder, limitBytes: Int
    ) -> Result<([UInt8], steps: Int), ServiceError> {
        for limit in [min(firstInflateBytes, limitBytes), limitBytes] {
            let reserved = Admission.steps(bytes: limit)
            guard core.admission.takeBody(steps: reserved, holder) else {
                return .failure(core.overloaded("The memory for request bodies is in use"))
            }
            do throws(GzipError) {
                let content = try Gzip.inflate(compressed, limitBytes: limit)
                let needed = Admission.steps(bytes: content.count)
                core.admission.giveBody(steps: reserved - needed, holder)
                return .success((content, steps: needed))
            } catch {
                core.admission.giveBody(steps: reserved, holder)
                if case .tooLarge = error, limit < limitBytes { continue }
                return .failure(undecodable(error))
            }
        }
        return .failure(ConnectHead.tooLarge(bytes: limitBytes))
    }

    private func inflated(_ result: Result<([UInt8], steps: Int), ServiceError>) {
        core.admission.giveBody(steps: steps, holder)
        steps = 0
        if case .success(let (content, held)) = result {
            body = content
            steps = held
        }
        guard exchange != nil else {
            release()
            return giveSteps()
        }
        switch result {
        case .success: hand()
        case .failure(let error):
            phase = .readingBody
            finish(.failure(error))
        }
    }

    private static func undecodable(_ error: GzipError) -> ServiceError {
        if case .tooLarge = error {
            return ServiceError(.tooLarge, "The body is too large: \(error.sentence).")
        }
        return ServiceError(
            .malformedRequest, "The body cannot be inflated: \(error.sentence).")
    }

    // MARK: The service

    private func hand() {
        // Trust may have changed while the body came, and with it what the caller is granted.
        guard dispatcher.callerIsCurrent else {
            return finish(.failure(RequestDispatcher.changedMeanwhile))
        }
        phase = .handed
        let request = RPCRequest(
            procedure: procedure, caller: caller, codec: connect.codec, body: body,
            deadlineNanoseconds: deadline.uptimeNanoseconds, httpVersion: version.rawValue,
            answerMemory: self)
        body = []
        core.service.handle(request) { [self] reply in deliver(reply) }
    }

    /// From any thread.
    private func deliver(_ reply: RPCReply) {
        if mailbox.eventLoop.inEventLoop {
            complete(reply)
        } else {
            mailbox.post(reply, to: self)
        }
    }

    /// The service's answer, on the event loop.
    func complete(_ reply: RPCReply) {
        guard phase == .handed else {
            return assertionFailure("a request is answered once")
        }
        release()
        steps += answerSteps.exchange(0, ordering: .relaxed)
        guard exchange != nil else { return giveSteps() }
        if case .message(let bytes) = reply, encodeElsewhere(bytes) { return }
        answer(reply, coding: nil)
    }

    /// Makes a large answer smaller where the caller takes that, off the event loop. Without room for both
    /// forms of it the answer goes as it is.
    private func encodeElsewhere(_ bytes: [UInt8]) -> Bool {
        let isForLZ4 =
            connect.acceptsLZ4 && bytes.count >= LZ4Coding.contentBytesMinimum
            && core.service.allowsLZ4(caller)
        guard isForLZ4 || (connect.acceptsGzip && bytes.count > Self.gzipAboveBytes),
            hold(2 * Admission.steps(bytes: bytes.count))
        else { return false }
        isEncoding = core.coding.submit { [self] in
            let coded = isForLZ4 ? LZ4Coding.encode(bytes) : Gzip.deflate(bytes)
            mailbox.eventLoop.execute {
                self.isEncoding = false
                self.answer(
                    .message(coded ?? bytes),
                    coding: coded == nil ? nil : isForLZ4 ? LZ4Coding.name : "gzip")
            }
        }
        return isEncoding
    }

    // MARK: The answer

    /// An answer of the server's own, before the service was asked.
    private func finish(_ reply: RPCReply) {
        release()
        answer(reply, coding: nil)
    }

    private func answer(_ reply: RPCReply, coding: String?) {
        guard let exchange else { return giveSteps() }
        self.exchange = nil
        dispatcher.closed(self)
        mailbox.remove(self)
        if case .failure(let error) = reply {
            core.counters.failed(error.reason.rawValue)
            core.tellDenied(error, caller, procedure, address: dispatcher.address)
        }
        switch connect.framing {
        case .connect:
            let answer: ConnectAnswer =
                switch reply {
                case .message(let bytes): .message(bytes, codec: connect.codec, coding: coding)
                case .failure(let error): .failure(error)
                }
            exchange.respond(answer, mailbox, share(bytes: answer.body.count))
        case .grpc:
            let answer: GRPCAnswer =
                switch reply {
                case .message(let bytes): .message(bytes, coding: coding)
                case .failure(let error): .failure(error)
                }
            exchange.respond(
                answer, date: mailbox.date.text, share(bytes: answer.body?.count ?? 0))
        }
    }

    private func release() {
        guard phase != .finished else { return }
        phase = .finished
        body = []
        core.admission.endRequest(holder)
    }

    // MARK: The budget

    func hold(bytes: Int) throws(ServiceError) {
        let held = answerSteps.load(ordering: .relaxed)
        // Alone, a call gets its answer however small the budget is set.
        let wanted = min(Admission.steps(bytes: bytes), core.admission.bodyStepsMaximum - 1)
        if wanted > held {
            guard core.admission.takeBody(steps: wanted - held, holder) else {
                throw core.overloaded("The memory for answers is in use")
            }
        } else {
            core.admission.giveBody(steps: held - wanted, holder)
        }
        answerSteps.store(wanted, ordering: .relaxed)
    }

    /// What an answer of so many bytes holds until it is written; the rest goes back. What the service did not
    /// hold in advance is little, such as the outcomes of a batch, and is not refused any more.
    private func share(bytes: Int) -> BodyShare? {
        let needed = bytes > Self.smallAnswerBytes ? Admission.steps(bytes: bytes) : 0
        // Before the service has answered, it is at work with what is held.
        if phase == .finished, !isEncoding {
            core.admission.giveBody(steps: steps - needed, holder)
            core.admission.takeBodyRegardless(steps: needed - steps, holder)
            steps = 0
        } else {
            core.admission.takeBodyRegardless(steps: needed, holder)
        }
        return needed > 0 ? BodyShare(core.admission, holder, steps: needed) : nil
    }

    private func giveSteps() {
        core.admission.giveBody(steps: steps, holder)
        steps = 0
    }

    // MARK: Time

    /// When somebody has to look at this request again.
    var attention: NIODeadline {
        phase == .readingBody ? min(deadline, slowest) : deadline
    }

    /// When a body that keeps to its least rate would have brought more than it has.
    private var slowest: NIODeadline {
        let limits = core.limits
        let allowed =
            limits.bodyGraceMilliseconds + body.count * 1_000 / limits.bodyBytesPerSecond
        return began + .milliseconds(Int64(allowed))
    }

    /// Its time has come: the deadline, or a body that is too slow.
    func expire() {
        switch phase {
        case .readingBody where NIODeadline.now() < deadline:
            finish(
                .failure(
                    ServiceError(
                        .deadlineExceeded,
                        "The body arrives more slowly than \(core.limits.bodyBytesPerSecond) bytes "
                            + "a second; call again over a better connection.")))
        case .readingBody: finish(.failure(ServiceError(.deadlineExceeded)))
        case .decoding: answer(.failure(ServiceError(.deadlineExceeded)), coding: nil)
        case .handed:
            answer(.failure(core.service.timedOut(procedure: procedure)), coding: nil)
        case .finished:
            // Answered by the service and still being made smaller.
            mailbox.remove(self)
        }
    }
}
