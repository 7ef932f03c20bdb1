internal import NIOCore

/// The body of a request that is sent piece by piece.
package struct RPCUpload: Sendable {
    /// Bytes of the whole body.
    package var length: UInt64
    /// The next bytes, at most the given number and at least one.
    package var next: @Sendable (Int) async throws(RPCClientError) -> [UInt8]

    package init(
        length: UInt64, next: @escaping @Sendable (Int) async throws(RPCClientError) -> [UInt8]
    ) {
        self.length = length
        self.next = next
    }
}

/// Takes the body of a successful answer piece by piece; the answer that it is given has the head
/// only.
package typealias RPCDownload =
    @Sendable (RPCResponse, [UInt8]) async throws(RPCClientError) -> Void

/// What carries bodies piece by piece; every call is made on the client's event loop.
protocol ClientBodyConnection: AnyObject {
    /// The next piece of a request's body; the call's `ClientStreaming` hears `pieceTaken` when it is on
    /// its way.
    func append(_ piece: ByteBuffer, isLast: Bool, of call: ClientCall)
    /// Bytes of an answer have been dealt with; the call is nil or over when nobody waits for more.
    func consumed(_ count: Int, of call: ClientCall?)
    /// Ends a call whose other half goes on.
    func cancel(_ call: ClientCall)
}

/// What a call has beside its head when its bodies flow: one piece up and one piece down at a time.
/// Confined to the client's event loop.
final class ClientStreaming: @unchecked Sendable {
    static let pieceBytes = 256 << 10

    private let upload: RPCUpload?
    private let download: RPCDownload?
    private let loop: any EventLoop
    private weak var call: ClientCall?
    /// Of the connection that the call is on, also once the call is over.
    private weak var connection: (any ClientBodyConnection)?
    private var isSourcing = false
    private var sentBytes: UInt64 = 0
    private var incoming = ByteBuffer()
    private var isSinking = false
    /// Gives `download` the piece that it was given last.
    private var sink: Task<Void, Never>?
    private var hasEnded = false
    /// When bytes moved last, in either direction.
    private(set) var lastProgress = NIODeadline.now()

    init(upload: RPCUpload?, download: RPCDownload?, loop: any EventLoop) {
        self.upload = upload
        self.download = download
        self.loop = loop
    }

    func begin(_ call: ClientCall) { self.call = call }

    var hasBody: Bool { upload.map { $0.length > 0 } ?? false }
    /// Waiting for our own side is not the server's silence.
    var isBusy: Bool { isSourcing || isSinking }

    /// The call is on a connection: its body begins to flow.
    func begin(on connection: any ClientBodyConnection) {
        self.connection = connection
        pieceTaken()
    }

    // MARK: Up

    /// Everything that was given to the connection is on its way.
    func pieceTaken() {
        lastProgress = .now()
        guard let upload, !isSourcing, sentBytes < upload.length else { return }
        isSourcing = true
        let count = Int(min(UInt64(Self.pieceBytes), upload.length - sentBytes))
        Task { [self] in
            let result: Result<[UInt8], RPCClientError>
            do throws(RPCClientError) {
                result = .success(try await upload.next(count))
            } catch {
                result = .failure(error)
            }
            loop.execute { self.sourced(result, count) }
        }
    }

    private func sourced(_ result: Result<[UInt8], RPCClientError>, _ limit: Int) {
        isSourcing = false
        lastProgress = .now()
        guard let call, let upload else { return }
        switch result {
        case .failure(let error): call.end(.failure(error))
        case .success(let bytes):
            guard !bytes.isEmpty, bytes.count <= limit else {
                return call.end(
                    .failure(
                        .transport(
                            kind: .malformed,
                            sentence: "what is sent ended before its \(upload.length) bytes")))
            }
            sentBytes += UInt64(bytes.count)
            connection?.append(
                ByteBuffer(bytes: bytes), isLast: sentBytes == upload.length, of: call)
        }
    }

    // MARK: Down

    /// False where the answer is to be collected: an error is short and is read whole.
    func takes(status: Int) -> Bool { download != nil && (200..<300).contains(status) }

    func receive(_ bytes: ByteBuffer) {
        lastProgress = .now()
        incoming.writeImmutableBuffer(bytes)
        pump()
    }

    /// The answer is whole; the call ends when the last piece has been taken.
    func end() {
        hasEnded = true
        pump()
    }

    private func pump() {
        guard let call, !call.isFinished, let head = call.responseHead, !isSinking else { return }
        let response = RPCResponse(status: head.status, headers: head.headers, body: [])
        guard incoming.readableBytes > 0 else {
            if hasEnded { call.finish(.success(response)) }
            return
        }
        guard let download else { return }
        let bytes = Array(incoming.readableBytesView)
        incoming = ByteBuffer()
        isSinking = true
        sink = Task { [self] in
            let error: RPCClientError?
            do throws(RPCClientError) {
                try await download(response, bytes)
                error = nil
            } catch let caught {
                error = caught
            }
            loop.execute { self.taken(bytes.count, error) }
        }
    }

    private func taken(_ count: Int, _ error: RPCClientError?) {
        isSinking = false
        lastProgress = .now()
        connection?.consumed(count, of: call)
        guard let call, call.responseHead != nil else { return }
        if let error { return call.end(.failure(error)) }
        pump()
    }

    /// Waits, once the call is over, until `download` is done with what it was given: a call that was lost ends while
    /// its last piece is on its way to the disk.
    func settled() async {
        let sink = try? await loop.submit { self.sink }.get()
        await sink?.value
    }

    func cancel(_ call: ClientCall) { connection?.cancel(call) }

    /// What came and nobody will take, when a call ends early.
    func drop() {
        connection?.consumed(incoming.readableBytes, of: nil)
        incoming = ByteBuffer()
    }
}
