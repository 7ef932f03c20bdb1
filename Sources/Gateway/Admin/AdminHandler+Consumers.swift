internal import Buffers
internal import Facts
internal import Logging
internal import RPC
internal import WriteAheadLog

/// Detaching and attaching consumers, and the alarm of full logs: what an operator does with a reason.
extension AdminHandler {
    private static let reasonBytesMaximum = 256

    func detach(_ request: Bsfg_Admin_V1_DetachConsumerRequest, by caller: String)
        async throws(ServiceError) -> Bsfg_Admin_V1_DetachConsumerResponse
    {
        try requireReason(request.reason)
        let (log, _) = try consumer(request.owner, request.name)
        try await onDisk { () throws(BufferError) in
            try log.cursors.detach(
                owner: request.owner, name: request.name, reason: request.reason)
        }
        // The log tells `cursor_detached` itself, also where nobody asked for it.
        custody.audit(
            "consumer_detached", by: caller, reason: request.reason,
            ["owner": "\(request.owner)", "consumer": "\(request.name)"])
        var response = Bsfg_Admin_V1_DetachConsumerResponse()
        let (_, cursor) = try consumer(request.owner, request.name)
        response.consumer = AdminHandler.consumer(cursor, log)
        return response
    }

    /// A peer's cursor goes on where it stood, since the peer knows its own position: what is gone is
    /// a gap for it. An application's may begin anew.
    func attach(_ request: Bsfg_Admin_V1_AttachConsumerRequest, by caller: String)
        async throws(ServiceError) -> Bsfg_Admin_V1_AttachConsumerResponse
    {
        let (log, before) = try consumer(request.owner, request.name)
        let isPeer = before.receiverUUID != nil
        let start: UInt64
        switch request.initMode {
        case "", "resume": start = before.nextOffset
        case "full_backfill" where !isPeer: start = log.log.firstOffset
        case "start_now" where !isPeer: start = log.log.headOffset
        default:
            throw ServiceError(
                .initOutOfRange,
                "init is resume\(isPeer ? " for a peer" : ", full_backfill or start_now"), not "
                    + request.initMode, field: "init_mode")
        }
        try await onDisk { () throws(BufferError) in
            try log.cursors.attach(owner: request.owner, name: request.name, nextOffset: start)
        }
        custody.audit(
            "consumer_attached", by: caller,
            ["owner": "\(request.owner)", "consumer": "\(request.name)", "next_offset": "\(start)"])
        var response = Bsfg_Admin_V1_AttachConsumerResponse()
        let (_, cursor) = try consumer(request.owner, request.name)
        response.consumer = AdminHandler.consumer(cursor, log)
        return response
    }

    func acknowledgeAlarm(
        _ request: Bsfg_Admin_V1_AcknowledgeAlarmRequest, by caller: String
    ) async throws(ServiceError) -> Bsfg_Admin_V1_AcknowledgeAlarmResponse {
        try requireReason(request.reason)
        let log = try log(request.stream, request.origin).log
        let wasRaised = log.statistics().isAlarmRaised
        try await onDisk { () throws(BufferError) in
            do throws(LogError) {
                try log.acknowledgeAlarm(by: caller, reason: request.reason)
            } catch {
                throw BufferError(.stopped, error.sentence)
            }
        }
        var response = Bsfg_Admin_V1_AcknowledgeAlarmResponse()
        response.acknowledged = wasRaised
        return response
    }

    func requireReason(_ reason: String) throws(ServiceError) {
        guard !reason.isEmpty else {
            throw ServiceError(.missingField, "say why, for those who come after", field: "reason")
        }
        guard reason.utf8.count <= AdminHandler.reasonBytesMaximum else {
            throw ServiceError(
                .tooLarge, "a reason has at most \(AdminHandler.reasonBytesMaximum) bytes",
                field: "reason")
        }
    }

    func consumer(_ owner: String, _ name: String) throws(ServiceError)
        -> (StreamLog, TrackedCursor)
    {
        guard let log = logs.log(ofConsumer: name, owner: owner),
            let cursor = log.cursors.cursor(owner: owner, name: name)
        else {
            throw ServiceError(
                .consumerNotFound,
                "there is no consumer \(name) of \(owner); see bsfg consumer list", field: "name")
        }
        return (log, cursor)
    }

    func onDisk<Value: Sendable>(_ body: @escaping @Sendable () throws(BufferError) -> Value)
        async throws(ServiceError) -> Value
    {
        do throws(BufferError) {
            return try await pool.run(body)
        } catch {
            throw ServiceError(error)
        }
    }
}
