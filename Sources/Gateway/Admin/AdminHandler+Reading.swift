internal import Buffers
internal import Facts
internal import Logging
internal import RPC
internal import WriteAheadLog

/// Looking facts up, and ending consumers.
extension AdminHandler {
    func getFact(_ message: Bsfg_Admin_V1_GetFactRequest, _ request: RPCRequest)
        async throws(ServiceError) -> [UInt8]
    {
        let log = try log(message.stream, message.origin)
        guard message.hasOffset != !message.messageID.isEmpty else {
            throw ServiceError(
                .malformedRequest, "name the fact by its offset or by its message id", field: "offset")
        }
        let offset =
            message.hasOffset ? message.offset : try await offset(ofMessage: message.messageID, log)
        guard offset < log.log.headOffset else {
            var error = ServiceError(
                .beyondHead, "offset \(offset) is not in the log, which ends before "
                    + "\(log.log.headOffset)", field: "offset")
            error.headOffset = log.log.headOffset
            throw error
        }
        return try await FetchService.page(
            log, from: offset, try PageLimits(limit: 1, bytes: 0, waitMilliseconds: 0),
            confirmedOffset: nil, awaitedFrom: nil, request.encoding, request.answerMemory, pool)
    }

    private func offset(ofMessage identifier: String, _ log: StreamLog) async throws(ServiceError)
        -> UInt64
    {
        guard log.stream.idempotency == .messageID else {
            throw ServiceError(
                .malformedRequest,
                "\(log.stream.name) tells facts apart by their content; look this one up by its "
                    + "offset or with bsfg fact query", field: "message_id")
        }
        let buffer = log.store ?? log.forward as LogBuffer?
        let key = FactKey.compute(fromZone: log.origin, messageID: identifier)
        guard let found = try await onDisk({ () throws(BufferError) in try buffer?.find(key) }) else {
            throw ServiceError(
                .malformedRequest,
                "there is no fact \(identifier) of \(log.origin) in \(log.stream.name) here",
                field: "message_id")
        }
        return found.offset
    }

    func queryFacts(_ message: Bsfg_Admin_V1_QueryFactsRequest, _ request: RPCRequest)
        async throws(ServiceError) -> [UInt8]
    {
        let log = try log(message.stream, message.origin)
        guard message.fromUnixMs <= message.toUnixMs else {
            throw ServiceError(
                .malformedRequest, "from is after to", field: "from_unix_ms")
        }
        let limits = try PageLimits(limit: message.limit, bytes: 0, waitMilliseconds: 0)
        let (buffer, since) = (log.buffer, message.fromUnixMs)
        let first = try await onDisk { () throws(BufferError) in
            try buffer.offset(atOrAfterMilliseconds: since)
        }
        let from = max(first, message.hasFromOffset ? message.fromOffset : 0)
        guard from <= log.log.headOffset else {
            throw ServiceError(
                .beyondHead, "from_offset \(from) is beyond the head \(log.log.headOffset)",
                field: "from_offset")
        }
        return try await FetchService.page(
            log, from: from, limits, confirmedOffset: nil, awaitedFrom: nil,
            untilMilliseconds: message.toUnixMs, request.encoding, request.answerMemory, pool)
    }

    func deleteConsumer(_ request: Bsfg_Admin_V1_DeleteConsumerRequest, by caller: String)
        async throws(ServiceError) -> Bsfg_Admin_V1_DeleteConsumerResponse
    {
        try requireReason(request.reason)
        let (log, cursor) = try consumer(request.owner, request.name)
        try await onDisk { () throws(BufferError) in
            try log.cursors.delete(owner: request.owner, name: request.name)
        }
        custody.refusals.forget(cursor)
        custody.audit(
            "consumer_deleted", by: caller, reason: request.reason,
            [
                "owner": "\(request.owner)", "consumer": "\(request.name)",
                "next_offset": "\(cursor.nextOffset)",
            ])
        var response = Bsfg_Admin_V1_DeleteConsumerResponse()
        response.nextOffset = cursor.nextOffset
        return response
    }
}
