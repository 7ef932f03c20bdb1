package import Facts

/// A request whose body, or whose answer's body, is too large to be held: the service gets it and
/// gives it piece by piece, and memory stays at one piece a request whatever its size.
package struct StreamingRequest: Sendable {
    package var caller: Caller
    /// As in `PUT`.
    package var method: String
    /// As sent, percent encoding included, without the query.
    package var path: String
    /// What follows the first `?`; nil without one.
    package var query: String?
    /// Names in lower case.
    package var headers: [(name: String, value: String)]
    /// What the request says that its body has; 0 where it has none.
    package var contentLength: UInt64

    package init(
        caller: Caller, method: String, path: String, query: String? = nil,
        headers: [(name: String, value: String)] = [], contentLength: UInt64 = 0
    ) {
        self.caller = caller
        self.method = method
        self.path = path
        self.query = query
        self.headers = headers
        self.contentLength = contentLength
    }

    /// The first value of a header, by lower-case name.
    package func header(_ name: String) -> String? {
        headers.first { $0.name.utf8.elementsEqual(name.utf8) }?.value
    }
}

/// What a node serves beside its procedures, under one prefix of paths.
package protocol StreamingService: Sendable {
    /// Whether a path (without query) belongs to this service.
    func serves(path: String) -> Bool

    /// Authorises a request before a byte of its body is read. Called on the connection's event loop,
    /// must not block.
    func begin(_ request: StreamingRequest) throws(ServiceError) -> any StreamingCall
}

/// One request under way. The server makes one call at a time and waits for its completion, which may
/// come from any thread. None may block the thread that it is called on.
package protocol StreamingCall: AnyObject, Sendable {
    /// The next bytes of the body, in order. An error is the answer, and nothing more is received.
    func receive(_ bytes: [UInt8], _ completion: @escaping @Sendable (ServiceError?) -> Void)

    /// The body is whole, with as many bytes as were announced.
    func answer(_ completion: @escaping @Sendable (Result<StreamingAnswer, ServiceError>) -> Void)

    /// The request ends without an answer of the call. Not called while another call is under way.
    func abandon()
}

/// The head of an answer, and where its body comes from.
package struct StreamingAnswer: Sendable {
    package var status: Int
    package var headers: [(name: String, value: String)]
    /// Of the body; for HEAD of the body that GET would give.
    package var contentLength: UInt64
    /// Nil where no body follows.
    package var body: (any StreamingBody)?

    package init(
        status: Int, headers: [(name: String, value: String)] = [], contentLength: UInt64 = 0,
        body: (any StreamingBody)? = nil
    ) {
        self.status = status
        self.headers = headers
        self.contentLength = contentLength
        self.body = body
    }
}

/// The bytes of an answer's body, in order. What it holds is given back when it is let go of.
package protocol StreamingBody: AnyObject, Sendable {
    /// The next bytes, at most `count` and at least one; one call at a time. Must not block the thread
    /// that it is called on; the completion may come from any thread.
    func read(
        _ count: Int,
        _ completion: @escaping @Sendable (Result<[UInt8], ServiceError>) -> Void)
}
