internal import NIOCore

/// The head of a request as both HTTP versions deliver it: the pseudo headers of HTTP/2 are already
/// in `method` and `target`, header names are lower case.
struct HTTPRequestHead: Sendable {
    enum Version: String, Sendable {
        case http1 = "1.1"
        case http2 = "2"
    }

    var version: Version
    var method: String
    /// Path and query as sent.
    var target: String
    var headers: [(name: String, value: String)]

    /// The first value of a header, by lower-case name.
    func header(_ name: String) -> String? {
        headers.first { $0.name.utf8.elementsEqual(name.utf8) }?.value
    }
}

/// One request and its answer on a connection. The connection's handler implements it, the
/// dispatcher uses it; every call is made on the connection's event loop.
protocol HTTPExchange: AnyObject {
    /// Writes a whole answer. `content-length` is added. The answer may come before the request's
    /// body has ended: then the rest is discarded within limits and the connection (HTTP/1.1) or the
    /// stream (HTTP/2, RST_STREAM NO_ERROR) ends.
    /// `share` is let go of when the socket has taken the body, or nobody will.
    func respond(
        status: Int, headers: [(name: String, value: String)], body: ByteBuffer, _ share: BodyShare?)

    /// Writes a whole answer of gRPC, whose outcome stands in trailers; HTTP/2 only.
    func respond(_ answer: GRPCAnswer, date: String, _ share: BodyShare?)

    /// Begins an answer whose body comes by `send`; only once the request is whole. `contentLength` is
    /// added to the headers. An answer that `isWhole` has no body, as for HEAD.
    func begin(
        status: Int, headers: [(name: String, value: String)], contentLength: UInt64, isWhole: Bool)

    /// The next piece of an answer that was begun. The sink hears `pieceTaken` when the connection has
    /// taken it, and only then the next one may be sent.
    /// With the last one goes the share that all of them had.
    func send(_ piece: ByteBuffer, isLast: Bool, _ share: BodyShare?)

    /// The answer that was begun cannot be finished: the other side must not take it for whole.
    func abort()

    /// Bytes of a body that is paced have been dealt with: as many may come again.
    func consumed(_ count: Int)

    /// Sends `100 Continue` where the request asked for it; nothing on HTTP/2.
    func sendContinue()

    var eventLoop: any EventLoop { get }
}

/// Where a request's body goes. Every call is made on the connection's event loop.
protocol HTTPRequestSink: AnyObject {
    func receive(_ bytes: ByteBuffer)
    /// The body is whole.
    func end()
    /// The stream was reset or the connection lost before the body ended or the answer was written. HTTP/2 does not
    /// tell who has given a whole answer already.
    func abandon()
    /// The body is taken only as fast as `HTTPExchange.consumed` says.
    var pacesBody: Bool { get }
    /// The piece that was sent last is on its way.
    func pieceTaken()
}

extension HTTPExchange {
    func respond(status: Int, headers: [(name: String, value: String)], body: ByteBuffer) {
        respond(status: status, headers: headers, body: body, nil)
    }
}

extension HTTPRequestSink {
    var pacesBody: Bool { false }
    func pieceTaken() {}
}

/// Routes, authorises, reads and answers requests of one connection, independent of the version.
/// A connection's handler calls `begin` once per request head, in order, after the caller is known.
protocol HTTPRequestDispatcher: AnyObject {
    func begin(_ head: HTTPRequestHead, _ exchange: any HTTPExchange) -> any HTTPRequestSink
}
