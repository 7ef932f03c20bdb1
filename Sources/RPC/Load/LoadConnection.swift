internal import NIOCore
internal import NIOSSL

/// One connection of a load client. Confined to the client's event loop.
protocol LoadConnection: AnyObject {
    /// False when no call can be sent on it any more.
    var isUsable: Bool { get }

    /// Sends a call; its completion runs on the event loop, once.
    func send(_ body: [UInt8], _ completion: @escaping ClientCall.Completion)

    /// Ends what has waited for its answer too long.
    func look()

    func close()
}

/// Over HTTP/2 by the client that nodes and commands use: what it gathers in one read leaves in one write.
final class HTTP2LoadConnection: LoadConnection {
    private let core: ClientCore
    private let procedure: String
    private let headers: [(name: String, value: String)]
    private let timeoutMilliseconds: Int

    init(_ core: ClientCore, procedure: String, timeoutMilliseconds: Int) {
        self.core = core
        self.procedure = procedure
        self.timeoutMilliseconds = timeoutMilliseconds
        headers = [
            ("content-type", RPCCodec.proto.mediaType), ("connect-protocol-version", "1"),
            ("user-agent", "bsfg"),
        ]
    }

    /// The next call connects again after a loss.
    var isUsable: Bool { true }

    func send(_ body: [UInt8], _ completion: @escaping ClientCall.Completion) {
        submit("POST", procedure, headers, body, completion)
    }

    /// Makes the connection by asking for the health page; any answer will do.
    func connect(_ completion: @escaping ClientCall.Completion) {
        submit("GET", "/health", [("user-agent", "bsfg")], [], completion)
    }

    private func submit(
        _ method: String, _ path: String, _ headers: [(name: String, value: String)],
        _ body: [UInt8], _ completion: @escaping ClientCall.Completion
    ) {
        let call = ClientCall(
            method: method, path: path, headers: headers, body: ByteBuffer(bytes: body),
            timeoutMilliseconds: timeoutMilliseconds)
        core.submit(call, completion)
    }

    /// Each call has a timer of its own.
    func look() {}

    func close() { core.close(core.loop.makePromise()) }
}
