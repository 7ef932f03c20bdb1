internal import NIOCore

/// One request under way. Confined to the client's event loop from the moment it is submitted,
/// which is what makes `@unchecked Sendable` true: before that only its creator knows it.
final class ClientCall: @unchecked Sendable {
    typealias Completion = @Sendable (Result<RPCResponse, RPCClientError>) -> Void

    let method: String
    let path: String
    let headers: [(name: String, value: String)]
    let body: ByteBuffer
    let timeoutMilliseconds: Int
    /// The largest answer taken, as it comes and inflated.
    private let answerBytesMaximum: Int
    /// Set where bodies flow piece by piece; then the time limit is one of silence.
    let streaming: ClientStreaming?
    /// Set when the call is submitted, nil once it is answered.
    private var completion: Completion?
    private(set) var isFinished = false

    var deadline = NIODeadline.distantFuture
    var timer: Scheduled<Void>?
    /// Set while the call is on a connection.
    weak var handler: HTTP2ClientHandler?
    var stream: HTTP2Stream?
    var response = ByteBuffer()
    var responseHead: (status: Int, headers: [(name: String, value: String)])?
    /// Sent again once when the server says that it did not look at it.
    var wasRefused = false

    init(
        method: String, path: String, headers: [(name: String, value: String)], body: ByteBuffer,
        timeoutMilliseconds: Int, answerBytesMaximum: Int, streaming: ClientStreaming? = nil
    ) {
        self.method = method
        self.path = path
        self.headers = headers
        self.body = body
        self.timeoutMilliseconds = timeoutMilliseconds
        self.answerBytesMaximum = answerBytesMaximum
        self.streaming = streaming
        // What was sent already is not there to be sent again.
        wasRefused = streaming?.hasBody ?? false
        streaming?.begin(self)
    }

    /// The largest body taken with a status: an error is short, whatever was asked for.
    func bodyBytesMaximum(status: Int) -> Int {
        (200..<300).contains(status)
            ? answerBytesMaximum : min(answerBytesMaximum, ConnectErrorBody.bytesMaximum)
    }

    /// False when the call was cancelled before it began.
    func begin(_ completion: @escaping Completion) -> Bool {
        guard !isFinished else {
            completion(.failure(Self.cancellation))
            return false
        }
        self.completion = completion
        return true
    }

    func finish(_ result: Result<RPCResponse, RPCClientError>) {
        timer?.cancel()
        timer = nil
        stream = nil
        handler = nil
        isFinished = true
        streaming?.drop()
        response = ByteBuffer()
        let completion = completion
        self.completion = nil
        completion?(result)
    }

    /// Ends a call whose other half goes on: the server hears that it is not wanted.
    func end(_ result: Result<RPCResponse, RPCClientError>) {
        streaming?.cancel(self)
        finish(result)
    }

    /// As before the first attempt.
    func rewind() {
        stream = nil
        handler = nil
        responseHead = nil
        response = ByteBuffer()
    }

    var remainingMilliseconds: Int {
        max(1, Int((deadline - .now()).nanoseconds / 1_000_000))
    }

    static let cancellation = RPCClientError.transport(
        kind: .cancelled, sentence: "the call was cancelled before its answer came")
}
