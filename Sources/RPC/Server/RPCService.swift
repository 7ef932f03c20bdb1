package import Facts
internal import Glibc

/// The two codecs of a Connect unary call.
package enum RPCCodec: String, Sendable {
    case json
    case proto

    var mediaType: String {
        switch self {
        case .json: "application/json"
        case .proto: "application/proto"
        }
    }
}

/// One unary call, authorised for its procedure and with its body whole and inflated.
package struct RPCRequest: Sendable {
    /// As in `/bsfg.v1.BoundaryService/AppendFact`.
    package var procedure: String
    package var caller: Caller
    /// Of the request, and so of the answer.
    package var codec: RPCCodec
    package var body: [UInt8]
    /// On CLOCK_MONOTONIC. Whatever is not answered by then is answered by the server.
    package var deadlineNanoseconds: UInt64
    /// `1.1` or `2`.
    package var httpVersion: String
    /// Asked before a large answer is made; nil where nobody counts.
    package var answerMemory: (any AnswerMemory)?

    package init(
        procedure: String, caller: Caller, codec: RPCCodec, body: [UInt8],
        deadlineNanoseconds: UInt64, httpVersion: String, answerMemory: (any AnswerMemory)? = nil
    ) {
        self.procedure = procedure
        self.caller = caller
        self.codec = codec
        self.body = body
        self.deadlineNanoseconds = deadlineNanoseconds
        self.httpVersion = httpVersion
        self.answerMemory = answerMemory
    }

    /// What is left until the deadline; 0 when it has passed.
    package var remainingMilliseconds: Int {
        var now = timespec()
        clock_gettime(CLOCK_MONOTONIC, &now)
        let nanoseconds = UInt64(now.tv_sec) * 1_000_000_000 + UInt64(now.tv_nsec)
        guard deadlineNanoseconds > nanoseconds else { return 0 }
        return Int((deadlineNanoseconds - nanoseconds) / 1_000_000)
    }
}

/// What a call's answer may hold of the server's memory for bodies.
package protocol AnswerMemory: AnyObject, Sendable {
    /// From here on the answer, or what it is made from, holds so many bytes instead of those before. Asked
    /// with the bound before the bytes exist, and again when their number is known. From any thread, one at
    /// a time, until the call is answered.
    /// - Throws: `overloaded` when there is not as much left; what was held before stays.
    func hold(bytes: Int) throws(ServiceError)
}

/// The answer to a call: the encoded response message in the request's codec, or an error.
package enum RPCReply: Sendable {
    case message([UInt8])
    case failure(ServiceError)
}

/// What a node serves. The server has settled transport, limits and identity before it asks.
package protocol RPCService: Sendable {
    /// Every procedure path that is served; any other is answered `unknown_method`.
    var procedures: Set<String> { get }

    /// Whether this caller may call this procedure now, asked before the body is read: nil means go
    /// on. Called on the connection's event loop, must not block.
    func admit(procedure: String, caller: Caller) -> ServiceError?

    /// Whether a procedure's requests may have as many bytes as the server takes; any other's are a few fields.
    /// Called on the connection's event loop, must not block.
    func takesLargeBodies(procedure: String) -> Bool

    /// Called on the connection's event loop, must not block. `respond` may be called from any
    /// thread and must be called exactly once, also after the deadline.
    func handle(_ request: RPCRequest, respond: @escaping @Sendable (RPCReply) -> Void)

    /// The error for a call that was handed to `handle` and not answered by its deadline: an append
    /// may have been committed, so its outcome is unknown.
    func timedOut(procedure: String) -> ServiceError

    /// Whether this caller, which takes LZ4 answers, gets them. Called on the connection's event loop,
    /// must not block.
    func allowsLZ4(_ caller: Caller) -> Bool

    /// The JSON body of `GET /health`. Called on the connection's event loop, must not block.
    func health(caller: Caller) -> [UInt8]

    /// What is served beside the procedures, with bodies of any size; nil: nothing.
    var streaming: (any StreamingService)? { get }
}

extension RPCService {
    package var streaming: (any StreamingService)? { nil }
    package func takesLargeBodies(procedure: String) -> Bool { true }
}

extension RPCService {
    package func allowsLZ4(_ caller: Caller) -> Bool { false }
}
