internal import Buffers
internal import Facts
internal import Replication
internal import RPC
internal import SwiftProtobuf

/// One stream of one origin at a peer, over RPC.
struct RPCPullSource: PullSource {
    /// Long polls answer at once when something is there; silence longer than this is a failure.
    let waitMilliseconds = 5_000
    private static let callMilliseconds = 15_000
    /// Of a page beside its entries: its position, and a gap before them.
    static let pageFrameBytes = 64 << 10

    let connection: PeerConnection
    let peer: PeerConfiguration
    let pull: CursorConfiguration
    let zone: String
    let profile: String
    /// Of one page.
    let pageBytes: Int
    let gates: PeerGates

    /// Our cursor's name at the peer.
    var consumerName: String { "\(zone)/\(pull.stream)/\(pull.origin)" }
    private var stream: GateStream { GateStream(stream: pull.stream, origin: pull.origin) }

    func open(position: SourcePosition?, receiver: SourcePosition) async throws(PullFailure)
        -> SourcePosition
    {
        var hello = Bsfg_V1_HelloRequest()
        hello.zone = zone
        hello.release = NodeRelease.name
        hello.formatMax = messageFormatMaximum
        let told = try await call(.hello, hello, Bsfg_V1_HelloResponse.self)
        guard told.zone.utf8.elementsEqual(peer.id.utf8) else {
            throw .refused(
                .unknownZone,
                "the node at \(peer.endpoint?.description ?? "?") is of zone \(ShownText.line(told.zone)), "
                    + "peers.yaml says \(peer.id)")
        }
        let opened = try await openCursor(position, receiver, isDryRun: false)
        guard let start = SourcePosition(opened.start), opened.hasHeadOffset,
            start.nextOffset <= opened.headOffset
        else {
            throw .refused(
                .malformedRequest, "the peer's answer has no start position at or below its head")
        }
        gates.opened(
            peer.id, stream, local: position?.nextOffset ?? start.nextOffset,
            head: opened.headOffset)
        return start
    }

    /// A hello of the gate's own, so that silence means something while nothing is pulled.
    func greet() async {
        let began = gates.nowMilliseconds
        do throws(RPCClientError) {
            _ = try await connection.call(
                Procedure.hello.rawValue, PeerConnection.hello(zone: zone),
                RPCPullSource.callMilliseconds)
            gates.answered(peer.id, .greeting)
        } catch {
            guard case .peerFailed = RPCPullSource.meaning(of: error) else {
                return gates.answered(peer.id, .greeting)
            }
            gates.failed(peer.id, ShownText.line(error.description), began: began)
        }
    }

    /// Asks for our cursor at the peer; a dry run makes none.
    func openCursor(
        _ position: SourcePosition?, _ receiver: SourcePosition, isDryRun: Bool
    ) async throws(PullFailure) -> Bsfg_V1_OpenCursorResponse {
        var request = Bsfg_V1_OpenCursorRequest()
        request.consumerName = consumerName
        request.stream = pull.stream
        request.originZone = pull.origin
        request.initMode = pull.initMode.description
        if case .explicitTimestamp(let milliseconds) = pull.initMode {
            request.initTimestampUnixMs = milliseconds
        }
        request.receiver = receiver.wire
        request.profile = profile
        request.dryRun = isDryRun
        if let position { request.position = position.wire }
        return try await call(.openCursor, request, Bsfg_V1_OpenCursorResponse.self)
    }

    func fetch(from offset: UInt64, position: SourcePosition, receiver: SourcePosition)
        async throws(PullFailure) -> [UInt8]
    {
        var request = Bsfg_V1_FetchFactsRequest()
        request.consumerName = consumerName
        request.limit = UInt32(FactLimits.pageFacts)
        request.maxBytes = UInt32(pageBytes)
        request.fromOffset = offset
        request.waitMs = UInt32(waitMilliseconds)
        request.source = position.wire
        request.receiver = receiver.wire
        request.formatMax = messageFormatMaximum
        let page = try await send(.fetchFacts, request)
        // What is kept of pages while the log is full is counted by what was asked for.
        let bytesMaximum = max(pageBytes, FactLimits.recordBytes) + RPCPullSource.pageFrameBytes
        guard page.count <= bytesMaximum else {
            throw .refused(
                .malformedRequest,
                "the peer's page has \(page.count) bytes where \(pageBytes) were asked for; nothing of it was taken")
        }
        return page
    }

    func confirm(position: SourcePosition, receiver: SourcePosition) async throws(PullFailure)
        -> UInt64
    {
        precondition(position.nextOffset > 0, "nothing is confirmed at position 0")
        var request = Bsfg_V1_ConfirmReceiptRequest()
        request.consumerName = consumerName
        request.offset = position.nextOffset - 1
        request.source = position.wire
        request.receiver = receiver.wire
        let response = try await call(
            .confirmReceipt, request, Bsfg_V1_ConfirmReceiptResponse.self)
        guard response.nextOffset <= position.nextOffset else {
            throw .refused(
                .malformedRequest,
                "the peer says that \(response.nextOffset) is confirmed, we have up to "
                    + "\(position.nextOffset)")
        }
        return response.nextOffset
    }

    func call<Response: SwiftProtobuf.Message>(
        _ procedure: Procedure, _ request: some SwiftProtobuf.Message, _ type: Response.Type
    ) async throws(PullFailure) -> Response {
        let bytes = try await send(procedure, request)
        do throws(ServiceError) {
            return try WireCodec.decodeResponse(type, bytes, .proto)
        } catch {
            throw .refused(error.reason, error.message)
        }
    }

    private func send(_ procedure: Procedure, _ request: some SwiftProtobuf.Message)
        async throws(PullFailure) -> [UInt8]
    {
        try await gates.permit(peer.id, stream)
        let began = gates.nowMilliseconds
        do throws(RPCClientError) {
            let bytes = try await connection.call(
                procedure.rawValue, WireCodec.encode(request, .proto),
                RPCPullSource.callMilliseconds)
            let isFact = procedure == .fetchFacts || procedure == .confirmReceipt
            gates.answered(peer.id, isFact ? .fact : .greeting)
            return bytes
        } catch {
            let failure = RPCPullSource.failure(error)
            switch RPCPullSource.meaning(of: error) {
            case .peerFailed:
                if case .unavailable(let sentence) = failure {
                    gates.failed(peer.id, sentence, began: began)
                } else {
                    gates.failed(peer.id, ShownText.line(error.description), began: began)
                }
            case .peerAnswered: gates.answered(peer.id, .fact)
            case .own: gates.abandoned(peer.id, stream)
            }
            throw failure
        }
    }

    /// What an error says about the peer, whatever it says about the stream.
    enum Meaning {
        case peerFailed
        /// It refuses, so it is there.
        case peerAnswered
        /// We gave up ourselves.
        case own
    }

    static func meaning(of error: RPCClientError) -> Meaning {
        switch error {
        case .transport(.cancelled, _), .transport(.overloaded, _): .own
        case .transport: .peerFailed
        case .status(let failure):
            switch ConnectCode(rawValue: failure.code) {
            case .unavailable, .deadlineExceeded, nil: .peerFailed
            default: .peerAnswered
            }
        }
    }

    /// What can pass by itself is waited for; what somebody has to change blocks.
    private static func failure(_ error: RPCClientError) -> PullFailure {
        switch error {
        case .transport(_, let sentence): return .unavailable(sentence)
        case .status(let failure):
            guard let told = failure.serviceError else {
                return .unavailable(
                    "the peer answered \(failure.httpStatus): \(ShownText.line(failure.message))")
            }
            // It stands in the status and in the log, as often as it changes.
            let sentence = ShownText.line(told.message)
            return told.retryable ? .unavailable(sentence) : .refused(told.reason, sentence)
        }
    }
}
