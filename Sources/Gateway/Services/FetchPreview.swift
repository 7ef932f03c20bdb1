internal import Buffers
internal import Facts
internal import RPC
internal import SwiftProtobuf

/// `POST /v1/fetch`, as the bring-up runbook has it: the page that a first fetch with a cursor policy
/// would get, in JSON for people. It opens no cursor and moves nothing.
extension FederationHandler {
    private static let previewDefaultCount: UInt32 = 100

    func previewFetch(_ request: RPCRequest, _ respond: @escaping @Sendable (RPCReply) -> Void) {
        Task {
            do throws(ServiceError) {
                respond(.message(try await previewFetch(request)))
            } catch {
                respond(.failure(error))
            }
        }
    }

    private func previewFetch(_ request: RPCRequest) async throws(ServiceError) -> [UInt8] {
        guard request.codec == .json else {
            throw ServiceError(
                .unsupportedMediaType, "/v1/fetch speaks JSON; send application/json")
        }
        let message: Bsfg_Admin_V1_FetchPreviewRequest
        do {
            message = try Bsfg_Admin_V1_FetchPreviewRequest(jsonUTF8Bytes: request.body)
        } catch {
            throw ServiceError(
                .malformedRequest,
                "the request has stream, origin, cursor_policy and limit: \(error)")
        }
        let stream = message.stream.isEmpty ? StreamConfiguration.defaultName : message.stream
        let origin = message.origin.isEmpty ? configuration.zone : message.origin
        try access.checkRead(request.caller, stream: stream, origin: origin)
        guard let log = logs.log(stream: stream, origin: origin) else {
            throw ServiceError(
                .streamNotGranted, "there is no log of \(stream) from \(origin) here",
                field: "stream")
        }
        let limits = try PageLimits(
            limit: message.limit == 0 ? FederationHandler.previewDefaultCount : message.limit,
            bytes: 0, waitMilliseconds: 0)
        guard !message.cursorPolicy.utf8.elementsEqual("explicit_timestamp".utf8) else {
            throw ServiceError(
                .initOutOfRange,
                "a preview begins by start_now, full_backfill or bounded_backfill_<hours>h; where a "
                    + "time begins is told by bsfg peer start --dry-run", field: "cursor_policy")
        }
        let mode = try CursorStart.mode(message.cursorPolicy, timestampMilliseconds: 0)
        let start = try await resolve(mode, log)
        let page = try await FetchService.page(
            log, from: start.offset, limits, confirmedOffset: nil,
            awaitedFrom: nil, .proto, request.answerMemory, pool)
        try request.answerMemory?.hold(bytes: page.count * FetchService.jsonForms)
        do throws(MalformedRecord) {
            return try EntryPresentation.json(page: page)
        } catch {
            throw ServiceError(.internal, error.sentence)
        }
    }
}
