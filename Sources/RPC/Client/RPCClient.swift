internal import Facts
internal import NIOCore
internal import NIOPosix

/// Calls a node: Connect unary over HTTP/2 with mutual TLS, every call of a client multiplexed on
/// one connection that is made by the first call and made again by the next one after a loss; or
/// JSON calls over HTTP/1.1 on the administration socket.
///
/// Nothing is retried except what the server says it did not look at: the caller knows what may be
/// repeated.
package final class RPCClient: Sendable {
    private enum Transport: Sendable {
        case http2(ClientCore)
        case unixSocket(UnixSocketTransport)
    }

    private let transport: Transport
    private let configuration: RPCClientConfiguration

    /// A client of one endpoint. `verifier` gets the server's leaf certificate (DER) after every
    /// handshake, off the event loop, and says nil when the server is who it should be; before that
    /// nothing is sent.
    package init(
        _ configuration: RPCClientConfiguration, tls: RPCClientTLS,
        verifier: @escaping @Sendable ([UInt8]) async -> ServiceRefusal?
    ) throws(RPCClientError) {
        self.configuration = configuration
        self.transport = .http2(
            ClientCore(
                configuration, tlsContext: try tls.makeContext(), serverName: tls.serverName,
                loop: MultiThreadedEventLoopGroup.singleton.next(), verifier: verifier))
    }

    /// A client of the administration socket of the node on this machine.
    package init(unixSocket path: String) {
        self.configuration = RPCClientConfiguration(host: "localhost", port: 0)
        self.transport = .unixSocket(
            UnixSocketTransport(
                path: path, loop: MultiThreadedEventLoopGroup.singleton.next(),
                responseBytes: configuration.responseBytes))
    }

    deinit {
        guard case .http2(let core) = transport else { return }
        let promise = core.loop.makePromise(of: Void.self)
        core.loop.execute { core.close(promise) }
    }

    /// What nobody needs more than for an answer that is neither a page nor an object. An answer takes many times its
    /// bytes when it is decoded, so whoever calls a stranger takes no more than what the call can be answered with.
    package static let smallAnswerBytes = 256 << 10

    /// Calls `/package.Service/Method` and returns the answer's message.
    /// - Parameter answerBytesMaximum: of the message, as it comes and inflated; nil: the client's limit.
    package func call(
        _ procedure: String, _ body: [UInt8], codec: RPCCodec = .proto,
        timeoutMilliseconds: Int? = nil, answerBytesMaximum: Int? = nil
    ) async throws(RPCClientError) -> [UInt8] {
        let mediaType = codec.mediaType
        let headers = [
            ("content-type", mediaType), ("connect-protocol-version", "1"),
            ("user-agent", "bsfg"), ("accept-encoding", encodings),
        ]
        let response = try await send("POST", procedure, headers, body, timeoutMilliseconds, answerBytesMaximum)
        guard response.status == 200 else {
            throw .status(ConnectErrorBody.failure(response))
        }
        guard response.header("content-type")?.hasPrefix(mediaType) == true else {
            throw .transport(
                kind: .malformed,
                sentence: "the answer to \(procedure) is not \(mediaType); check that the endpoint "
                    + "is a bsfg node")
        }
        return response.body
    }

    /// GET, for `/health`: whatever the status.
    package func get(
        _ path: String, timeoutMilliseconds: Int? = nil
    ) async throws(RPCClientError) -> RPCResponse {
        let headers = [("user-agent", "bsfg"), ("accept-encoding", encodings)]
        return try await send("GET", path, headers, [], timeoutMilliseconds, nil)
    }

    /// A request whose bodies flow piece by piece, in constant memory: for `/v1/artifacts`.
    ///
    /// - Parameters:
    ///   - download: takes the body of a successful answer; that of an error is in the result.
    ///   - silenceMilliseconds: how long nothing may move before the call is given up.
    /// - Returns: the answer, without what `download` took. Like an error, it comes when `download` has ended.
    package func stream(
        _ method: String, _ path: String, headers: [(name: String, value: String)] = [],
        upload: RPCUpload? = nil, download: RPCDownload? = nil, silenceMilliseconds: Int? = nil
    ) async throws(RPCClientError) -> RPCResponse {
        var all: [(name: String, value: String)] = [("user-agent", "bsfg")]
        all += headers
        if let upload { all.append(("content-length", String(upload.length))) }
        let milliseconds = max(1, silenceMilliseconds ?? configuration.callTimeoutMilliseconds)
        let loop =
            switch transport {
            case .http2(let core): core.loop
            case .unixSocket(let socket): socket.loop
            }
        let streaming = ClientStreaming(upload: upload, download: download, loop: loop)
        let call = ClientCall(
            method: method, path: path, headers: all, body: ByteBuffer(),
            timeoutMilliseconds: milliseconds, answerBytesMaximum: Self.smallAnswerBytes,
            streaming: streaming)
        let result: Result<RPCResponse, RPCClientError>
        do throws(RPCClientError) {
            switch transport {
            case .http2(let core): result = .success(try await Self.send(call, core))
            case .unixSocket(let socket): result = .success(try await socket.send(call))
            }
        } catch {
            result = .failure(error)
        }
        await streaming.settled()
        return try result.get()
    }

    /// An answer of `get` that is not what was hoped for, as the error that it is.
    package func failure(of response: RPCResponse) -> RPCFailure { Self.failure(of: response) }

    package static func failure(of response: RPCResponse) -> RPCFailure {
        ConnectErrorBody.failure(response)
    }

    /// The certificate (DER) that the server showed last, also when it was refused.
    package func serverCertificate() async -> [UInt8]? {
        guard case .http2(let core) = transport else { return nil }
        return try? await core.loop.submit { core.leaf }.get()
    }

    /// What every connection is made with from now on. The server of the open one is verified again and
    /// the connection ends if it is refused; else a new one is made, calls move to it, and the old one
    /// ends when its calls are answered. Where no new one comes about, the old one goes on.
    package func renew(
        tls: RPCClientTLS, verifier: @escaping @Sendable ([UInt8]) async -> ServiceRefusal?
    ) throws(RPCClientError) {
        guard case .http2(let core) = transport else { return }
        let context = try tls.makeContext()
        let serverName = tls.serverName
        core.loop.execute {
            core.renew(tlsContext: context, serverName: serverName, verifier: verifier)
        }
    }

    /// Fails what is outstanding and closes. Calls made later fail.
    package func close() async {
        guard case .http2(let core) = transport else { return }
        let promise = core.loop.makePromise(of: Void.self)
        core.loop.execute { core.close(promise) }
        try? await promise.futureResult.get()
    }

    private var encodings: String {
        if configuration.acceptsLZ4 { return LZ4Coding.name }
        return configuration.acceptsGzip ? "gzip" : "identity"
    }

    // MARK: Sending

    private func send(
        _ method: String, _ path: String, _ headers: [(String, String)], _ body: [UInt8],
        _ timeoutMilliseconds: Int?, _ answerBytesMaximum: Int?
    ) async throws(RPCClientError) -> RPCResponse {
        let milliseconds = timeoutMilliseconds ?? configuration.callTimeoutMilliseconds
        let call = ClientCall(
            method: method, path: path, headers: headers, body: ByteBuffer(bytes: body),
            timeoutMilliseconds: max(1, milliseconds),
            answerBytesMaximum: min(answerBytesMaximum ?? .max, configuration.responseBytes))
        let response =
            switch transport {
            case .http2(let core): try await Self.send(call, core)
            case .unixSocket(let socket): try await socket.send(call)
            }
        return try inflated(response, limitBytes: call.bodyBytesMaximum(status: response.status))
    }

    private static func send(
        _ call: ClientCall, _ core: ClientCore
    ) async throws(RPCClientError) -> RPCResponse {
        let result: Result<RPCResponse, RPCClientError> = await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                core.loop.execute {
                    core.submit(call) { continuation.resume(returning: $0) }
                }
            }
        } onCancel: {
            core.loop.execute { core.cancel(call) }
        }
        return try result.get()
    }

    /// Undoes the answer's coding, on the caller's thread.
    private func inflated(_ response: RPCResponse, limitBytes: Int) throws(RPCClientError) -> RPCResponse {
        guard let coding = response.header("content-encoding"), coding != "identity" else {
            return response
        }
        guard coding == encodings else {
            throw .transport(
                kind: .malformed,
                sentence: "the answer is encoded with \(ShownText.line(coding)), which we did not ask for")
        }
        if coding == LZ4Coding.name {
            var plain = response
            do throws(LZ4Coding.Malformed) {
                plain.body = try LZ4Coding.decode(response.body, limitBytes: limitBytes)
            } catch {
                throw .transport(kind: .malformed, sentence: "the answer: \(error.sentence)")
            }
            return plain
        }
        var plain = response
        do {
            plain.body = try Gzip.inflate(response.body, limitBytes: limitBytes)
        } catch {
            throw .transport(kind: .malformed, sentence: "the answer: \(error.sentence)")
        }
        return plain
    }
}
