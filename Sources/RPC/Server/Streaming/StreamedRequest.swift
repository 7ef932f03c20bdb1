internal import Facts
internal import NIOCore

/// One streaming request from its admitted head to the last byte of its answer. It holds one window of
/// the body budget for its whole life: bytes that wait for the service on the way in, one piece of the
/// answer on the way out, the last one until the socket has it.
final class StreamedRequest: HTTPRequestSink, @unchecked Sendable {
    // Sendable by hand: confined to its event loop; completions come back to it by `execute`.

    private enum Phase {
        case receiving
        /// The body is whole and the service makes its answer.
        case answering
        case sending
        case finished
    }

    /// What one request may hold, in bytes.
    static let windowBytes = 256 << 10

    private let dispatcher: RequestDispatcher
    private let holder: Admission.Holder
    private let call: any StreamingCall
    private let expectedBytes: UInt64
    private let isHead: Bool
    /// Nil once the request is over.
    private var exchange: (any HTTPExchange)?
    private var phase = Phase.receiving
    /// Came and is not with the service yet.
    private var waiting = ByteBuffer()
    private var receivedBytes: UInt64 = 0
    private var hasEnded = false
    /// A call of the service is under way.
    private var isCalling = false
    private var body: (any StreamingBody)?
    private var remainingBytes: UInt64 = 0
    private var timer: LazyTimer?
    private var bytesAtLastLook: UInt64 = 0
    /// Of the body budget; with the last piece they leave.
    private var steps = StreamedRequest.budgetSteps

    private var core: ServerCore { dispatcher.core }
    private var eventLoop: any EventLoop { dispatcher.mailbox.eventLoop }

    init(
        dispatcher: RequestDispatcher, exchange: any HTTPExchange, holder: Admission.Holder,
        call: any StreamingCall, expectedBytes: UInt64, isHead: Bool
    ) {
        self.dispatcher = dispatcher
        self.exchange = exchange
        self.holder = holder
        self.call = call
        self.expectedBytes = expectedBytes
        self.isHead = isHead
        timer = LazyTimer(dispatcher.mailbox.eventLoop) { [weak self] in self?.look() }
        timer?.arm(milliseconds: dispatcher.core.limits.bodyGraceMilliseconds)
    }

    static var budgetSteps: Int { Admission.steps(bytes: windowBytes) }

    // MARK: The body

    var pacesBody: Bool { phase == .receiving }

    func receive(_ bytes: ByteBuffer) {
        guard phase == .receiving else { return }
        receivedBytes += UInt64(bytes.readableBytes)
        if waiting.readableBytes == 0 {
            waiting = bytes
        } else {
            waiting.writeImmutableBuffer(bytes)
        }
        guard receivedBytes <= expectedBytes else {
            return fail(
                ServiceError(
                    .malformedRequest, "The body is longer than its Content-Length says."))
        }
        pump()
    }

    func end() {
        guard phase == .receiving else { return }
        hasEnded = true
        guard receivedBytes == expectedBytes else {
            return fail(
                ServiceError(
                    .malformedRequest,
                    "The body has \(receivedBytes) bytes and its Content-Length says "
                        + "\(expectedBytes); send it whole."))
        }
        pump()
    }

    private func pump() {
        guard phase == .receiving, !isCalling else { return }
        let count = waiting.readableBytes
        guard count > 0 else {
            if hasEnded { askForAnswer() }
            return
        }
        let bytes = Array(waiting.readableBytesView)
        waiting = ByteBuffer()
        isCalling = true
        call.receive(bytes) { [self] error in
            eventLoop.execute { self.received(count, error) }
        }
    }

    private func received(_ count: Int, _ error: ServiceError?) {
        isCalling = false
        guard phase == .receiving else { return call.abandon() }
        exchange?.consumed(count)
        if let error { return fail(error) }
        pump()
    }

    // MARK: The answer

    private func askForAnswer() {
        phase = .answering
        timer?.disarm()
        isCalling = true
        call.answer { [self] result in
            eventLoop.execute { self.answered(result) }
        }
    }

    private func answered(_ result: Result<StreamingAnswer, ServiceError>) {
        isCalling = false
        guard phase == .answering, let exchange else { return }
        switch result {
        case .failure(let error): fail(error, isCallOver: true)
        case .success(let answer):
            let headers = answer.headers + [("date", dispatcher.mailbox.date.text)]
            let isWhole = isHead || answer.body == nil || answer.contentLength == 0
            body = isWhole ? nil : answer.body
            remainingBytes = answer.contentLength
            phase = .sending
            exchange.begin(
                status: answer.status, headers: headers, contentLength: answer.contentLength,
                isWhole: isWhole)
            if isWhole { finish() } else { readPiece() }
        }
    }

    private func readPiece() {
        guard phase == .sending, let body else { return }
        body.read(Int(min(remainingBytes, UInt64(Self.windowBytes)))) { [self] result in
            eventLoop.execute { self.pieceRead(result) }
        }
    }

    private func pieceRead(_ result: Result<[UInt8], ServiceError>) {
        guard phase == .sending, let exchange else { return }
        guard case .success(let bytes) = result, !bytes.isEmpty,
            UInt64(bytes.count) <= remainingBytes
        else { return abort() }
        remainingBytes -= UInt64(bytes.count)
        let isLast = remainingBytes == 0
        if !isLast { timer?.arm(milliseconds: core.limits.writeStallMilliseconds) }
        if isLast {
            let share = BodyShare(core.admission, holder, steps: steps)
            steps = 0
            exchange.send(ByteBuffer(bytes: bytes), isLast: true, share)
            finish()
        } else {
            exchange.send(ByteBuffer(bytes: bytes), isLast: false, nil)
        }
    }

    func pieceTaken() {
        timer?.disarm()
        readPiece()
    }

    // MARK: Ends

    /// What has begun cannot become an error any more: the other side sees that it is not whole.
    private func abort() {
        let exchange = exchange
        finish()
        exchange?.abort()
    }

    private func fail(_ error: ServiceError, isCallOver: Bool = false) {
        guard let exchange else { return }
        core.counters.failed(error.reason.rawValue)
        exchange.consumed(waiting.readableBytes)
        finish()
        if !isCallOver, !isCalling { call.abandon() }
        exchange.respond(.failure(error), dispatcher.mailbox)
    }

    func abandon() {
        guard phase != .finished else { return }
        let isCallOver = phase == .sending
        finish()
        if !isCallOver, !isCalling { call.abandon() }
    }

    private func finish() {
        guard phase != .finished else { return }
        phase = .finished
        timer?.cancel()
        exchange = nil
        body = nil
        waiting = ByteBuffer()
        core.admission.giveBody(steps: steps, holder)
        steps = 0
        core.admission.endRequest(holder)
        dispatcher.streamedRequestClosed()
    }

    // MARK: Time

    /// A body that keeps to the least rate, or stands still because we do, goes on; an answer that nobody
    /// takes ends.
    private func look() {
        switch phase {
        case .receiving:
            let limits = core.limits
            let least = UInt64(limits.bodyBytesPerSecond * limits.bodyGraceMilliseconds / 1_000)
            guard isCalling || receivedBytes - bytesAtLastLook >= least else {
                return fail(
                    ServiceError(
                        .deadlineExceeded,
                        "The body arrives more slowly than \(limits.bodyBytesPerSecond) bytes a "
                            + "second; call again over a better connection."))
            }
            bytesAtLastLook = receivedBytes
            timer?.arm(milliseconds: limits.bodyGraceMilliseconds)
        case .sending: abort()
        case .answering, .finished: break
        }
    }
}
