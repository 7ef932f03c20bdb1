/// HTTP/2 for a load: the same head for every call, laid out once, and answers told apart by their streams.
///
/// The client that nodes use costs as much as the server that is measured; this one does what a load
/// needs. Our settings forbid a table of fields, so that each head is read by itself.
struct HTTP2LoadCodec: LoadCodec {
    static let protocolName = "h2"
    static let concurrentCalls = 100

    private struct Answer {
        var head: [UInt8] = []
        var body: [UInt8] = []
    }

    private struct WaitingBody {
        let stream: UInt32
        let bytes: [UInt8]
        var sent = 0
        var window: Int
    }

    private enum Frame {
        static let data: UInt8 = 0
        static let head: UInt8 = 1
        static let reset: UInt8 = 3
        static let settings: UInt8 = 4
        static let ping: UInt8 = 6
        static let goAway: UInt8 = 7
        static let windowUpdate: UInt8 = 8
        static let continuation: UInt8 = 9
        static let headerBytes = 9
        static let bytesMaximum = 16_384
    }

    private enum Flag {
        static let endStream: UInt8 = 1
        static let acknowledgement: UInt8 = 1
        static let endHead: UInt8 = 4
        static let padded: UInt8 = 8
        static let priority: UInt8 = 0x20
    }

    /// As many body bytes as may come before we say that we dealt with them.
    private static let connectionWindow = 1 << 30
    private static let streamWindow = 16 << 20
    private static let initialWindow = 65_535
    /// The code of a reset of what is not wanted any more.
    private static let cancel: UInt32 = 8

    private let fields: [UInt8]
    private let bodyBytesMaximum: Int
    private var output: [UInt8]
    private var input: [UInt8] = []
    /// Of the input, what was read.
    private var position = 0
    private var nextStream: UInt32 = 1
    private var answers: [UInt32: Answer] = [:]
    private var untoldBytes = 0
    private var connectionWindow = Self.initialWindow
    private var streamWindow = Self.initialWindow
    /// Bodies that the server's windows did not let out as a whole, in order.
    private var waiting: [WaitingBody] = []

    init(authority: String, procedure: String, bodyBytesMaximum: Int) {
        self.bodyBytesMaximum = min(bodyBytesMaximum, Self.streamWindow)
        fields = HPACKText.request(
            authority: authority, path: procedure,
            fields: [
                ("content-type", RPCCodec.proto.mediaType), ("connect-protocol-version", "1"),
                ("user-agent", "bsfg"),
            ])
        output = Array("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".utf8)
        var settings: [UInt8] = []
        for (id, value) in [(1, 0), (2, 0), (4, Self.streamWindow)] {
            settings += [0, UInt8(id)] + Self.bytes(UInt32(value))
        }
        append(Frame.settings, 0, 0, settings)
        append(
            Frame.windowUpdate, 0, 0, Self.bytes(UInt32(Self.connectionWindow - Self.initialWindow)))
    }

    // MARK: Sending

    mutating func send(_ body: [UInt8]) -> UInt32 {
        let stream = nextStream
        nextStream += 2
        answers[stream] = Answer()
        let isEmpty = body.isEmpty
        append(
            Frame.head, Flag.endHead | (isEmpty ? Flag.endStream : 0), stream,
            fields + HPACKText.contentLength(body.count))
        guard !isEmpty else { return stream }
        waiting.append(WaitingBody(stream: stream, bytes: body, window: streamWindow))
        if waiting.count == 1 { sendBodies() }
        return stream
    }

    /// As much of the bodies as the windows let out.
    private mutating func sendBodies() {
        while !waiting.isEmpty {
            let body = waiting[0]
            let rest = body.bytes.count - body.sent
            let count = min(rest, body.window, connectionWindow, Frame.bytesMaximum)
            guard count > 0 else { return }
            let isLast = count == rest
            append(
                Frame.data, isLast ? Flag.endStream : 0, body.stream,
                body.bytes[body.sent..<(body.sent + count)])
            connectionWindow -= count
            if isLast {
                waiting.removeFirst()
            } else {
                waiting[0].sent += count
                waiting[0].window -= count
            }
        }
    }

    mutating func takeOutput() -> [UInt8] {
        defer { output = [] }
        return output
    }

    private mutating func append(
        _ type: UInt8, _ flags: UInt8, _ stream: UInt32, _ payload: some Collection<UInt8>
    ) {
        let length = Self.bytes(UInt32(payload.count))
        output += [length[1], length[2], length[3], type, flags]
        output += Self.bytes(stream)
        output.append(contentsOf: payload)
    }

    private static func bytes(_ value: UInt32) -> [UInt8] {
        [
            UInt8(truncatingIfNeeded: value >> 24), UInt8(truncatingIfNeeded: value >> 16),
            UInt8(truncatingIfNeeded: value >> 8), UInt8(truncatingIfNeeded: value),
        ]
    }

    // MARK: Receiving

    mutating func receive(_ bytes: some Collection<UInt8>) {
        if position == input.count {
            input.removeAll(keepingCapacity: true)
            position = 0
        }
        input.append(contentsOf: bytes)
    }

    mutating func next() throws(LoadProblem) -> (number: UInt32, response: RPCResponse)? {
        while let frame = try nextFrame() {
            if let stream = try take(frame), let answer = answers.removeValue(forKey: stream) {
                dropBody(of: stream)
                return (stream, try response(answer))
            }
        }
        if position > 0 {
            input.removeFirst(position)
            position = 0
        }
        return nil
    }

    /// Answered before its body was out: nobody opens a window for the rest.
    private mutating func dropBody(of stream: UInt32) {
        guard let index = waiting.firstIndex(where: { $0.stream == stream }) else { return }
        waiting.remove(at: index)
        append(Frame.reset, 0, stream, Self.bytes(Self.cancel))
        sendBodies()
    }

    private func response(_ answer: Answer) throws(LoadProblem) -> RPCResponse {
        let head = try HPACKText.answer(answer.head)
        return RPCResponse(status: head.status, headers: head.headers, body: answer.body)
    }

    private struct ReceivedFrame {
        let type: UInt8
        let flags: UInt8
        let stream: UInt32
        let content: Range<Int>
    }

    private mutating func nextFrame() throws(LoadProblem) -> ReceivedFrame? {
        guard input.count - position >= Frame.headerBytes else { return nil }
        let length =
            Int(input[position]) << 16 | Int(input[position + 1]) << 8 | Int(input[position + 2])
        guard length <= Frame.bytesMaximum else {
            throw LoadProblem(sentence: "a frame of \(length) bytes")
        }
        let start = position + Frame.headerBytes
        guard input.count - start >= length else { return nil }
        let frame = ReceivedFrame(
            type: input[position + 3], flags: input[position + 4],
            stream: integer(at: position + 5) & 0x7FFF_FFFF, content: start..<(start + length))
        position = start + length
        return frame
    }

    private func integer(at place: Int) -> UInt32 {
        input[place..<(place + 4)].reduce(0) { $0 << 8 | UInt32($1) }
    }

    /// The stream whose answer is whole with this frame.
    private mutating func take(_ frame: ReceivedFrame) throws(LoadProblem) -> UInt32? {
        let endsStream = frame.flags & Flag.endStream != 0
        switch frame.type {
        case Frame.data:
            let content = try withoutPadding(frame)
            count(frame.content.count)
            guard let known = answers[frame.stream]?.body.count else { return nil }
            guard known + content.count <= bodyBytesMaximum else {
                throw LoadProblem(sentence: "an answer larger than \(bodyBytesMaximum) bytes")
            }
            answers[frame.stream]?.body.append(contentsOf: input[content])
            return endsStream ? frame.stream : nil
        case Frame.head:
            guard frame.flags & Flag.endHead != 0 else {
                throw LoadProblem(sentence: "a head in several frames")
            }
            var content = try withoutPadding(frame)
            if frame.flags & Flag.priority != 0 {
                guard content.count >= 5 else { throw LoadProblem(sentence: "a short head") }
                content = content.dropFirst(5)
            }
            // A second head is trailers.
            if answers[frame.stream]?.head.isEmpty == true {
                answers[frame.stream]?.head = Array(input[content])
            }
            return endsStream ? frame.stream : nil
        case Frame.settings: try takeSettings(frame)
        case Frame.windowUpdate: try takeWindowUpdate(frame)
        case Frame.ping:
            if frame.flags & Flag.acknowledgement == 0 {
                append(Frame.ping, Flag.acknowledgement, 0, Array(input[frame.content]))
            }
        case Frame.reset:
            // After an early answer the rest of the request is not wanted.
            if answers[frame.stream] != nil { throw LoadProblem(sentence: "a reset of a call") }
        case Frame.goAway: throw LoadProblem(sentence: "that it ends the connection")
        case Frame.continuation: throw LoadProblem(sentence: "a head in several frames")
        default: break
        }
        return nil
    }

    private func withoutPadding(_ frame: ReceivedFrame) throws(LoadProblem) -> Range<Int> {
        guard frame.flags & Flag.padded != 0 else { return frame.content }
        guard let padding = frame.content.first.map({ Int(input[$0]) }),
            padding < frame.content.count
        else { throw LoadProblem(sentence: "padding longer than its frame") }
        return (frame.content.lowerBound + 1)..<(frame.content.upperBound - padding)
    }

    /// Gives the connection's window back now and then; a stream's is larger than any answer.
    private mutating func count(_ bytes: Int) {
        untoldBytes += bytes
        guard untoldBytes >= Self.connectionWindow / 2 else { return }
        append(Frame.windowUpdate, 0, 0, Self.bytes(UInt32(untoldBytes)))
        untoldBytes = 0
    }

    private mutating func takeSettings(_ frame: ReceivedFrame) throws(LoadProblem) {
        guard frame.flags & Flag.acknowledgement == 0 else { return }
        guard frame.content.count % 6 == 0 else { throw LoadProblem(sentence: "cut settings") }
        for place in stride(from: frame.content.lowerBound, to: frame.content.upperBound, by: 6)
        where input[place] == 0 && input[place + 1] == 4 {
            let window = Int(integer(at: place + 2))
            guard window <= Int(Int32.max) else { throw LoadProblem(sentence: "an endless window") }
            for index in waiting.indices { waiting[index].window += window - streamWindow }
            streamWindow = window
        }
        append(Frame.settings, Flag.acknowledgement, 0, [])
        sendBodies()
    }

    private mutating func takeWindowUpdate(_ frame: ReceivedFrame) throws(LoadProblem) {
        guard frame.content.count == 4 else { throw LoadProblem(sentence: "a cut window update") }
        let more = Int(integer(at: frame.content.lowerBound) & 0x7FFF_FFFF)
        if frame.stream == 0 {
            connectionWindow += more
        } else if let index = waiting.firstIndex(where: { $0.stream == frame.stream }) {
            waiting[index].window += more
        }
        sendBodies()
    }
}
