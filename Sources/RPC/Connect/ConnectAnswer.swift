internal import Facts
internal import NIOCore

/// The status, headers and body that carry a reply.
struct ConnectAnswer {
    var status: Int
    var headers: [(name: String, value: String)]
    var body: [UInt8]

    static func message(_ bytes: [UInt8], codec: RPCCodec, gzipped: Bool) -> ConnectAnswer {
        var headers = [(name: "content-type", value: codec.mediaType)]
        if gzipped { headers.append(("content-encoding", "gzip")) }
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
    func respond(_ answer: ConnectAnswer) {
        respond(
            status: answer.status, headers: answer.headers, body: ByteBuffer(bytes: answer.body))
    }
}
