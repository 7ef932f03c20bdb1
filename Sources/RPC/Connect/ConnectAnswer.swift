internal import Facts
internal import NIOCore

/// The status, headers and body that carry a reply.
struct ConnectAnswer {
    var status: Int
    var headers: [(name: String, value: String)]
    var body: [UInt8]

    static func message(_ bytes: [UInt8], codec: RPCCodec, coding: String?) -> ConnectAnswer {
        var headers = [(name: "content-type", value: codec.mediaType)]
        if let coding { headers.append(("content-encoding", coding)) }
        return ConnectAnswer(status: 200, headers: headers, body: bytes)
    }

    /// Errors are JSON whatever codec the call used.
    static func failure(_ error: ServiceError) -> ConnectAnswer {
        var headers = [(name: "content-type", value: RPCCodec.json.mediaType)]
        if let seconds = error.retryAfterSeconds {
            headers.append(("retry-after", String(seconds)))
        }
        return ConnectAnswer(status: error.httpStatus, headers: headers, body: error.connectBody)
    }
}

extension HTTPExchange {
    /// Every answer says when it was made (RFC 9110, section 6.6.1).
    func respond(
        _ answer: ConnectAnswer, _ mailbox: EventLoopMailbox, _ share: BodyShare? = nil
    ) {
        respond(
            status: answer.status, headers: answer.headers + [("date", mailbox.date.text)],
            body: ByteBuffer(bytes: answer.body), share)
    }
}
