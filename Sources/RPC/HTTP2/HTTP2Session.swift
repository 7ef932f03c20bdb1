internal import CNGHTTP2
internal import NIOCore

/// What a session tells its owner. Every call is made while `receive` or `nextOutput` runs; the
/// owner may submit frames from it, and must not call those two again.
protocol HTTP2SessionDelegate: AnyObject {
    func headReceived(_ stream: HTTP2Stream)
    func dataReceived(_ bytes: ByteBuffer, _ stream: HTTP2Stream)
    /// The other side's half of the stream is whole.
    func endReceived(_ stream: HTTP2Stream)
    /// The stream is gone: both halves ended, or it was reset, or (client) never sent.
    func streamClosed(_ stream: HTTP2Stream, _ code: HTTP2ErrorCode)
    /// Server: the whole answer is on its way although the request has not ended.
    func answeredEarly(_ stream: HTTP2Stream)
    /// Everything that `append` was given has been taken, and more is to come.
    func bodyTaken(_ stream: HTTP2Stream)
    func settingsReceived()
    func goAwayReceived(lastStream: Int32, code: HTTP2ErrorCode)
    func pingAcknowledged()
}

extension HTTP2SessionDelegate {
    func bodyTaken(_ stream: HTTP2Stream) {}
}

/// Owns one nghttp2 session, without I/O: received bytes go into `receive`, `nextOutput` gives the
/// bytes to send. Confined to its connection's event loop.
final class HTTP2Session {
    enum Role {
        case server
        case client
    }

    let limits: HTTP2Limits
    private let role: Role
    private var session: OpaquePointer!
    private weak var delegate: (any HTTP2SessionDelegate)?
    private var streams: [Int32: HTTP2Stream] = [:]
    /// Consecutive callbacks are about one stream nearly always.
    private var recentStream: HTTP2Stream?
    private var fieldBlock = HTTP2FieldBlock()
    /// The bytes `receive` works on, so that bodies are slices of them.
    private var input = ByteBuffer()
    private var output = ByteBuffer()
    private var outputLimitBytes = 0
    /// Streams that have bytes to send and are not asked for them: the window or the socket is full.
    private(set) var waitingBodies = 0
    /// Of all bodies, since the beginning.
    private(set) var sentBodyBytes: UInt64 = 0
    /// Of bodies whose last bytes are in the output that was given last.
    private var sharesInOutput: [BodyShare] = []
    private let allocator: ByteBufferAllocator
    private let now: () -> UInt64
    private var flood: HTTP2FloodGuard

    /// `now` is a monotonic clock in nanoseconds.
    init(
        _ role: Role, limits: HTTP2Limits, delegate: any HTTP2SessionDelegate,
        allocator: ByteBufferAllocator = ByteBufferAllocator(),
        now: @escaping () -> UInt64 = { NIODeadline.now().uptimeNanoseconds }
    ) {
        self.role = role
        self.limits = limits
        self.delegate = delegate
        self.allocator = allocator
        self.now = now
        self.flood = HTTP2FloodGuard(limits, nowNanoseconds: now())
        self.session = HTTP2Callbacks.makeSession(
            role, limits: limits, owner: Unmanaged.passUnretained(self).toOpaque())
        submitPreface()
    }

    deinit {
        nghttp2_session_del(session)
    }

    private func submitPreface() {
        var settings: [nghttp2_settings_entry] = [
            entry(NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, limits.streamWindowBytes),
            entry(NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, UInt32(limits.headBytes)),
        ]
        switch role {
        case .server:
            settings.append(
                entry(NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, limits.concurrentStreams))
            // Without the old priority tree nghttp2 keeps no closed streams.
            settings.append(entry(NGHTTP2_SETTINGS_NO_RFC7540_PRIORITIES, 1))
        case .client:
            settings.append(entry(NGHTTP2_SETTINGS_ENABLE_PUSH, 0))
        }
        let flags = UInt8(NGHTTP2_FLAG_NONE.rawValue)
        must(nghttp2_submit_settings(session, flags, settings, settings.count))
        must(
            nghttp2_session_set_local_window_size(
                session, flags, 0, limits.connectionWindowBytes))
    }

    private func entry(_ id: nghttp2_settings_id, _ value: UInt32) -> nghttp2_settings_entry {
        nghttp2_settings_entry(settings_id: Int32(id.rawValue), value: value)
    }

    /// For calls that fail only without memory or against nghttp2's contract.
    private func must(_ result: Int32) {
        precondition(result == 0, "nghttp2: \(String(cString: nghttp2_strerror(result)))")
    }

    // MARK: Bytes

    func receive(_ bytes: ByteBuffer) throws(HTTP2SessionError) {
        input = bytes
        defer { input = ByteBuffer() }
        let taken = bytes.withUnsafeReadableBytes { buffer in
            withExtendedLifetime(self) {
                nghttp2_session_mem_recv(
                    session, buffer.assumingMemoryBound(to: UInt8.self).baseAddress, buffer.count)
            }
        }
        recentStream = nil
        if taken < 0 { throw failure(taken) }
        precondition(taken == bytes.readableBytes, "no callback pauses the session")
    }

    /// The next bytes to send, about `limits.writeBytes` at most, or nil when there are none now.
    func nextOutput() throws(HTTP2SessionError) -> ByteBuffer? {
        output = allocator.buffer(capacity: 1024)
        outputLimitBytes = limits.writeBytes
        defer { output = ByteBuffer() }
        var failure = 0
        withExtendedLifetime(self) {
            while output.readableBytes < outputLimitBytes {
                var bytes: UnsafePointer<UInt8>?
                let count = nghttp2_session_mem_send(session, &bytes)
                if count > 0 {
                    output.writeBytes(UnsafeRawBufferPointer(start: bytes, count: count))
                } else {
                    failure = count
                    break
                }
            }
        }
        recentStream = nil
        if failure < 0 { throw self.failure(failure) }
        return output.readableBytes > 0 ? output : nil
    }

    /// To be kept until the socket has the output that was given last.
    func takeShares() -> [BodyShare] {
        guard !sharesInOutput.isEmpty else { return [] }
        defer { sharesInOutput = [] }
        return sharesInOutput
    }

    private func failure(_ code: Int) -> HTTP2SessionError {
        HTTP2SessionError(flood.isFlooded ? Int(NGHTTP2_ERR_FLOODED.rawValue) : code)
    }

    /// Nothing more will be read or written: the connection can be closed.
    var isFinished: Bool {
        nghttp2_session_want_read(session) == 0 && nghttp2_session_want_write(session) == 0
    }

    // MARK: Streams

    var openStreams: Int { streams.count }

    /// Forgets the streams, because the connection is gone, and returns them.
    func abandonStreams() -> [HTTP2Stream] {
        let open = streams.values.sorted { $0.id < $1.id }
        streams.removeAll()
        waitingBodies = 0
        recentStream = nil
        return open
    }

    /// The bytes have been dealt with: the other side may send as many again.
    func consume(_ count: Int, _ stream: HTTP2Stream) {
        _ = nghttp2_session_consume(session, stream.id, count)
    }

    /// As `consume`, for a body that is thrown away: only the connection's window grows again.
    func discard(_ count: Int) {
        _ = nghttp2_session_consume_connection(session, count)
    }

    /// Whether the other side's windows have room for a body's first byte.
    func canSendBody(_ stream: HTTP2Stream) -> Bool {
        nghttp2_session_get_stream_remote_window_size(session, stream.id) > 0
            && nghttp2_session_get_remote_window_size(session) > 0
    }

    /// Server: submits a whole answer.
    func respond(
        _ stream: HTTP2Stream, status: Int, headers: [(name: String, value: String)],
        body: ByteBuffer
    ) {
        layOut(headers, status: status)
        stream.outgoing = body
        if body.readableBytes > 0 { waitingBodies += 1 }
        var provider = HTTP2Callbacks.dataProvider
        _ = fieldBlock.withFields { fields, count in
            body.readableBytes == 0
                ? nghttp2_submit_response(session, stream.id, fields, count, nil)
                : nghttp2_submit_response(session, stream.id, fields, count, &provider)
        }
    }

    /// Server: submits an answer whose body comes by `append`.
    func beginResponse(
        _ stream: HTTP2Stream, status: Int, headers: [(name: String, value: String)]
    ) {
        layOut(headers, status: status)
        stream.outgoingIsWhole = false
        var provider = HTTP2Callbacks.dataProvider
        _ = fieldBlock.withFields { fields, count in
            nghttp2_submit_response(session, stream.id, fields, count, &provider)
        }
    }

    /// The fields of an answer's head, or of its trailers, which have no status.
    private func layOut(_ headers: [(name: String, value: String)], status: Int? = nil) {
        fieldBlock.removeAll()
        if let status { fieldBlock.append(":status", String(status)) }
        for (name, value) in headers { fieldBlock.append(name, HTTPFieldValue.clean(value)) }
    }

    /// The next piece of a body that was begun without it.
    func append(_ bytes: ByteBuffer, isLast: Bool, to stream: HTTP2Stream) {
        precondition(!stream.outgoingIsWhole, "nothing comes after the last piece")
        if stream.outgoing.readableBytes == 0 {
            if bytes.readableBytes > 0 { waitingBodies += 1 }
            stream.outgoing = bytes
        } else {
            stream.outgoing.writeImmutableBuffer(bytes)
        }
        stream.outgoingIsWhole = isLast
        _ = nghttp2_session_resume_data(session, stream.id)
    }

    /// Client: submits a request whose body comes by `append`. Nil when the connection takes no more.
    func beginRequest(
        _ head: [(name: String, value: String)], attachment: AnyObject
    ) -> HTTP2Stream? {
        fieldBlock.removeAll()
        for header in head { fieldBlock.append(header.name, header.value) }
        var provider = HTTP2Callbacks.dataProvider
        let id = fieldBlock.withFields { fields, count in
            nghttp2_submit_request(session, nil, fields, count, &provider, nil)
        }
        guard id > 0 else { return nil }
        let stream = HTTP2Stream(id: id)
        stream.outgoingIsWhole = false
        stream.attachment = attachment
        streams[id] = stream
        return stream
    }

    /// Client: submits a whole request. Nil when the connection takes no more.
    func request(
        _ head: [(name: String, value: String)], body: ByteBuffer, attachment: AnyObject
    ) -> HTTP2Stream? {
        fieldBlock.removeAll()
        for header in head { fieldBlock.append(header.name, header.value) }
        var provider = HTTP2Callbacks.dataProvider
        let id = fieldBlock.withFields { fields, count in
            body.readableBytes == 0
                ? nghttp2_submit_request(session, nil, fields, count, nil, nil)
                : nghttp2_submit_request(session, nil, fields, count, &provider, nil)
        }
        guard id > 0 else { return nil }
        let stream = HTTP2Stream(id: id)
        stream.outgoing = body
        if body.readableBytes > 0 { waitingBodies += 1 }
        stream.attachment = attachment
        streams[id] = stream
        return stream
    }

    func reset(_ stream: HTTP2Stream, _ code: HTTP2ErrorCode) {
        _ = nghttp2_submit_rst_stream(
            session, UInt8(NGHTTP2_FLAG_NONE.rawValue), stream.id, code.rawValue)
    }

    /// As `reset`, and the stream is forgotten at once: no more is told about it.
    func forget(_ stream: HTTP2Stream, _ code: HTTP2ErrorCode) {
        reset(stream, code)
        streams[stream.id] = nil
        if stream.outgoing.readableBytes > 0 { waitingBodies -= 1 }
        if recentStream === stream { recentStream = nil }
    }

    // MARK: Connection

    func ping() {
        _ = nghttp2_submit_ping(session, UInt8(NGHTTP2_FLAG_NONE.rawValue), nil)
    }

    /// First half of a graceful end: the other side is told to open no more streams.
    func announceShutdown() {
        _ = nghttp2_submit_shutdown_notice(session)
    }

    /// Second half: streams opened later than now are ignored, those open go on.
    func goAway(_ code: HTTP2ErrorCode = .noError) {
        let last = nghttp2_session_get_last_proc_stream_id(session)
        _ = nghttp2_submit_goaway(
            session, UInt8(NGHTTP2_FLAG_NONE.rawValue), last, code.rawValue, nil, 0)
    }

    /// GOAWAY and no more: what is open is reset.
    func terminate(_ code: HTTP2ErrorCode) {
        _ = nghttp2_session_terminate_session(session, code.rawValue)
    }
}

// MARK: What the callbacks do

extension HTTP2Session {
    private func stream(_ id: Int32) -> HTTP2Stream? {
        if let recentStream, recentStream.id == id { return recentStream }
        let stream = streams[id]
        if let stream { recentStream = stream }
        return stream
    }

    /// False ends the connection.
    func frameBegins(_ header: nghttp2_frame_hd) -> Bool {
        // A client queues what it wants to ask, a server only what it was made to.
        if role == .server, nghttp2_session_get_outbound_queue_size(session) > limits.queuedFrames {
            return flood.isTooMuch()
        }
        return flood.frameBegins(header, now)
    }

    /// False ends the connection. A reset is queued already, or the end of the connection is.
    func frameWasInvalid() -> Bool {
        flood.resetProvoked(now)
    }

    func headBegins(_ frame: nghttp2_frame) {
        guard role == .server, frame.headers.cat == NGHTTP2_HCAT_REQUEST else { return }
        let stream = HTTP2Stream(id: frame.hd.stream_id)
        streams[stream.id] = stream
        recentStream = stream
    }

    /// False ends the connection.
    func headerReceived(
        _ id: Int32, _ name: UnsafeBufferPointer<UInt8>, _ value: UnsafeBufferPointer<UInt8>
    ) -> Bool {
        guard let stream = stream(id) else { return true }
        stream.headFields += 1
        stream.headBytes += name.count + value.count + 32
        // What is over the limit gets an answer that says so. What is far over it is a few bytes on the wire that
        // refer to the table of fields again and again: nobody needs that, and a reset would let him go on.
        guard stream.headBytes <= 4 * limits.headBytes else { return flood.isTooMuch() }
        guard stream.headState == .collecting else { return true }
        if stream.headFields > limits.headFields || stream.headBytes > limits.headBytes
            || name.count + value.count > limits.fieldBytes
        {
            stream.headState = .overLimit
            stream.headers = []
            return true
        }
        let text = String(decoding: value, as: UTF8.self)
        if name.first == UInt8(ascii: ":") {
            switch HeaderNames.text(name) {
            case ":method": stream.method = text
            case ":path": stream.path = text
            case ":authority": stream.authority = text
            case ":status": stream.status = Int(text) ?? 0
            default: break
            }
        } else {
            stream.headers.append((HeaderNames.text(name), text))
        }
        return true
    }

    func frameReceived(_ frame: nghttp2_frame) {
        let header = frame.hd
        let endsStream = header.flags & UInt8(NGHTTP2_FLAG_END_STREAM.rawValue) != 0
        let acknowledges = header.flags & UInt8(NGHTTP2_FLAG_ACK.rawValue) != 0
        switch UInt32(header.type) {
        case NGHTTP2_HEADERS.rawValue:
            guard let stream = stream(header.stream_id) else { return }
            headEnds(stream)
            if endsStream { streamEnds(stream) }
        case NGHTTP2_DATA.rawValue:
            guard endsStream, let stream = stream(header.stream_id) else { return }
            streamEnds(stream)
        case NGHTTP2_SETTINGS.rawValue:
            if !acknowledges { delegate?.settingsReceived() }
        case NGHTTP2_PING.rawValue:
            if acknowledges { delegate?.pingAcknowledged() }
        case NGHTTP2_GOAWAY.rawValue:
            delegate?.goAwayReceived(
                lastStream: frame.goaway.last_stream_id,
                code: HTTP2ErrorCode(rawValue: frame.goaway.error_code))
        default: break
        }
    }

    private func headEnds(_ stream: HTTP2Stream) {
        switch stream.headState {
        case .complete: break  // Trailers say nothing to us.
        case .overLimit:
            // Told once: a second head block is the trailers of a request that is refused already.
            guard !stream.isHeadTold else { return }
            stream.isHeadTold = true
            delegate?.headReceived(stream)
        case .collecting:
            if role == .client, (100..<200).contains(stream.status) {
                stream.headers = []  // An interim answer; the real one follows.
                return
            }
            stream.headState = .complete
            delegate?.headReceived(stream)
        }
    }

    private func streamEnds(_ stream: HTTP2Stream) {
        stream.remoteEnded = true
        delegate?.endReceived(stream)
    }

    func dataReceived(_ id: Int32, _ bytes: UnsafeBufferPointer<UInt8>) {
        guard let stream = stream(id), let delegate else { return discard(bytes.count) }
        delegate.dataReceived(buffer(bytes), stream)
    }

    /// A slice of the input where that does not keep much more alive than it holds.
    private func buffer(_ bytes: UnsafeBufferPointer<UInt8>) -> ByteBuffer {
        if bytes.count >= input.readableBytes / 4 {
            let offset = input.withUnsafeReadableBytes { whole in
                UnsafeRawPointer(bytes.baseAddress!) - whole.baseAddress!
            }
            if let slice = input.getSlice(
                at: input.readerIndex + offset, length: bytes.count)
            {
                return slice
            }
        }
        return allocator.buffer(bytes: bytes)
    }

    func streamCloses(_ id: Int32, _ code: UInt32) {
        guard let stream = streams.removeValue(forKey: id) else { return }
        if stream.outgoing.readableBytes > 0 { waitingBodies -= 1 }
        if recentStream === stream { recentStream = nil }
        delegate?.streamClosed(stream, HTTP2ErrorCode(rawValue: code))
    }

    /// False ends the connection.
    func frameSent(_ frame: nghttp2_frame) -> Bool {
        let header = frame.hd
        switch UInt32(header.type) {
        case NGHTTP2_DATA.rawValue, NGHTTP2_HEADERS.rawValue:
            guard header.flags & UInt8(NGHTTP2_FLAG_END_STREAM.rawValue) != 0,
                let stream = stream(header.stream_id)
            else { return true }
            stream.localEnded = true
            if role == .server, !stream.remoteEnded { delegate?.answeredEarly(stream) }
        case NGHTTP2_RST_STREAM.rawValue:
            return flood.resetSent(HTTP2ErrorCode(rawValue: frame.rst_stream.error_code), now)
        default: break
        }
        return true
    }

    /// A request that never left, for example because the other side is going away; or an answer whose head is more
    /// than nghttp2 sends, whose stream would stay open and silent.
    func frameNotSent(_ frame: nghttp2_frame) {
        guard UInt32(frame.hd.type) == NGHTTP2_HEADERS.rawValue else { return }
        switch role {
        case .client: streamCloses(frame.hd.stream_id, HTTP2ErrorCode.refusedStream.rawValue)
        case .server:
            if let stream = stream(frame.hd.stream_id) { reset(stream, .internalError) }
        }
    }

    enum DataToSend {
        case bytes(count: Int, isLast: Bool)
        /// More is to come and is not here yet.
        case later
        case streamIsGone
    }

    /// How much of a stream's body goes into the next frame.
    func dataToSend(_ id: Int32, atMost: Int) -> DataToSend {
        guard let stream = stream(id) else { return .streamIsGone }
        let available = stream.outgoing.readableBytes
        if available == 0, !stream.outgoingIsWhole { return .later }
        let count = min(available, atMost)
        return .bytes(count: count, isLast: count == available && stream.outgoingIsWhole)
    }

    /// Queues what goes behind the last byte of a stream's body.
    /// - Returns: false when there is nothing, and the body ends the stream.
    func submitTrailers(_ id: Int32) -> Bool {
        guard let stream = stream(id), !stream.trailers.isEmpty else { return false }
        layOut(stream.trailers)
        return fieldBlock.withFields { fields, count in
            nghttp2_submit_trailer(session, id, fields, count) == 0
        }
    }

    enum SendResult {
        case sent
        /// This write is full; the frame is asked for again with the next.
        case full
        case streamIsGone
    }

    func sendData(
        _ id: Int32, frameHeader: UnsafeBufferPointer<UInt8>, count: Int
    ) -> SendResult {
        guard let stream = stream(id) else { return .streamIsGone }
        if output.readableBytes >= outputLimitBytes { return .full }
        output.reserveCapacity(
            minimumWritableBytes: min(stream.outgoing.readableBytes, outputLimitBytes) + 64)
        output.writeBytes(frameHeader)
        if var body = stream.outgoing.readSlice(length: count) { output.writeBuffer(&body) }
        sentBodyBytes += UInt64(count)
        guard stream.outgoing.readableBytes == 0 else { return .sent }
        if count > 0 { waitingBodies -= 1 }
        stream.outgoing = ByteBuffer()
        if let share = stream.share {
            sharesInOutput.append(share)
            stream.share = nil
        }
        if !stream.outgoingIsWhole { delegate?.bodyTaken(stream) }
        return .sent
    }
}
