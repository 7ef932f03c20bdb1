internal import Buffers
internal import Facts
internal import Replication
internal import RPC
internal import SwiftProtobuf

/// A connection to a peer, as pulls use it: calls in binary protobuf, several at a time.
struct PeerConnection: Sendable {
    /// Procedure, body, milliseconds.
    var call: @Sendable (String, [UInt8], Int) async throws(RPCClientError) -> [UInt8]
    var close: @Sendable () async -> Void
}

/// One stream of one origin at a peer, over RPC.
struct RPCPullSource: PullSource {
    /// Long polls answer at once when something is there; silence longer than this is a failure.
    private static let waitMilliseconds: UInt32 = 5_000
    private static let callMilliseconds = 15_000

    let connection: PeerConnection
    let peer: PeerConfiguration
    let pull: CursorConfiguration
    let zone: String
    let profile: String

    /// Our cursor's name at the peer.
    var consumerName: String { "\(zone)/\(pull.stream)/\(pull.origin)" }

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
                "the node at \(peer.endpoint?.description ?? "?") is of zone \(told.zone), "
                    + "peers.yaml says \(peer.id)")
        }
        var request = Bsfg_V1_OpenCursorRequest()
        request.consumerName = consumerName
        request.stream = pull.stream
        request.originZone = pull.origin
        request.initMode = pull.initMode.description
        request.receiver = receiver.wire
        request.profile = profile
        if let position { request.position = position.wire }
        let opened = try await call(.openCursor, request, Bsfg_V1_OpenCursorResponse.self)
        guard let start = SourcePosition(opened.start), opened.hasHeadOffset,
            start.nextOffset <= opened.headOffset
        else {
            throw .refused(
                .malformedRequest, "the peer's answer has no start position at or below its head")
        }
        return start
    }

    func fetch(from offset: UInt64, position: SourcePosition, receiver: SourcePosition)
        async throws(PullFailure) -> [UInt8]
    {
        var request = Bsfg_V1_FetchFactsRequest()
        request.consumerName = consumerName
        request.limit = UInt32(FactLimits.pageFacts)
        request.fromOffset = offset
        request.waitMs = RPCPullSource.waitMilliseconds
        request.source = position.wire
        request.receiver = receiver.wire
        request.formatMax = messageFormatMaximum
        return try await send(.fetchFacts, request)
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
        do throws(RPCClientError) {
            return try await connection.call(
                procedure.rawValue, WireCodec.encode(request, .proto),
                RPCPullSource.callMilliseconds)
        } catch {
            throw RPCPullSource.failure(error)
        }
    }

    /// What can pass by itself is waited for; what somebody has to change blocks.
    private static func failure(_ error: RPCClientError) -> PullFailure {
        switch error {
        case .transport(_, let sentence): return .unavailable(sentence)
        case .status(let failure):
            guard let told = failure.serviceError else {
                return .unavailable("the peer answered \(failure.httpStatus): \(failure.message)")
            }
            return told.retryable
                ? .unavailable(told.message) : .refused(told.reason, told.message)
        }
    }
}
