internal import NIOCore

/// One request on an HTTP/2 connection: takes its body to the sink and its answer to the session.
final class HTTP2ServerExchange: HTTPExchange {
    let eventLoop: any EventLoop
    private let stream: HTTP2Stream
    /// Nil once the stream is gone; an answer that comes later goes nowhere.
    private var handler: HTTP2ServerHandler?
    /// Nil once there is a whole answer: it may wait for its reader for long, what it came from does not.
    private var sink: (any HTTPRequestSink)?
    private var sinkEnded = false
    private(set) var hasAnswered = false
    /// Of a paced body: came, and has not been dealt with.
    var unconsumedBytes = 0
    /// What came after an early answer, and when the stream is reset for it.
    var discardedBytes = 0
    var discardTimer: Scheduled<Void>?

    init(_ stream: HTTP2Stream, _ handler: HTTP2ServerHandler, eventLoop: any EventLoop) {
        self.stream = stream
        self.handler = handler
        self.eventLoop = eventLoop
    }

    func respond(
        status: Int, headers: [(name: String, value: String)], body: ByteBuffer, _ share: BodyShare?
    ) {
        eventLoop.preconditionInEventLoop()
        assert(!hasAnswered, "a request is answered once")
        guard let handler, !hasAnswered else { return }
        hasAnswered = true
        sink = nil
        var headers = headers
        // An answer without content has no length either; HEAD gets the length and no content.
        if status != 204, status != 304 {
            headers.append(("content-length", String(body.readableBytes)))
        }
        let isHead = stream.method == "HEAD"
        stream.share = isHead ? nil : share
        handler.send(stream, status, headers, isHead ? ByteBuffer() : body)
    }

    func respond(_ answer: GRPCAnswer, date: String, _ share: BodyShare?) {
        eventLoop.preconditionInEventLoop()
        assert(!hasAnswered, "a request is answered once")
        guard let handler, !hasAnswered else { return }
        hasAnswered = true
        sink = nil
        let headers = answer.headers + [("date", date)]
        guard let body = answer.body else {
            return handler.send(stream, 200, headers + answer.trailers, ByteBuffer())
        }
        stream.trailers = answer.trailers
        stream.share = share
        handler.send(stream, 200, headers, ByteBuffer(bytes: body))
    }

    func begin(
        status: Int, headers: [(name: String, value: String)], contentLength: UInt64, isWhole: Bool
    ) {
        eventLoop.preconditionInEventLoop()
        assert(!hasAnswered, "a request is answered once")
        guard let handler, !hasAnswered else { return }
        hasAnswered = true
        var headers = headers
        if status != 304 { headers.append(("content-length", String(contentLength))) }
        if isWhole {
            handler.send(stream, status, headers, ByteBuffer())
        } else {
            handler.begin(stream, status, headers)
        }
    }

    func send(_ piece: ByteBuffer, isLast: Bool, _ share: BodyShare?) {
        stream.share = share
        handler?.send(stream, piece, isLast: isLast)
    }

    func abort() { handler?.abort(stream) }

    func consumed(_ count: Int) {
        unconsumedBytes -= count
        handler?.consumed(count, stream)
    }

    func sendContinue() {}

    // MARK: From the handler

    func begin(_ dispatcher: any HTTPRequestDispatcher) {
        let head = HTTPRequestHead(
            version: .http2, method: stream.method, target: stream.path, headers: headers())
        let sink = dispatcher.begin(head, self)
        if !hasAnswered { self.sink = sink }
        // An answer may wait for its reader for long; the head of its request does not.
        stream.forgetHead()
    }

    private func headers() -> [(name: String, value: String)] {
        guard !stream.authority.isEmpty else { return stream.headers }
        return [("host", stream.authority)] + stream.headers.filter { $0.name != "host" }
    }

    /// Whether the sink says when bytes have been dealt with.
    var pacesBody: Bool { !hasAnswered && sink?.pacesBody ?? false }

    func pieceTaken() { sink?.pieceTaken() }

    /// False when the bytes are not wanted any more.
    func receive(_ bytes: ByteBuffer) -> Bool {
        guard let sink, !hasAnswered else { return false }
        sink.receive(bytes)
        return true
    }

    func end() {
        guard let sink, !hasAnswered else { return }
        sinkEnded = true
        sink.end()
    }

    func streamClosed() {
        discardTimer?.cancel()
        discardTimer = nil
        // What nobody deals with any more counts against the connection no longer.
        handler?.discard(unconsumedBytes)
        handler = nil
        let sink = sink
        self.sink = nil
        if !sinkEnded || !stream.localEnded { sink?.abandon() }
    }
}
