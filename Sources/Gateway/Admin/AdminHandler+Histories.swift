internal import Buffers
internal import Facts
internal import Logging
internal import Replication
internal import RPC

/// Going on after a log went back: at the receiver the position moves to where the histories part, at the
/// source the peer's cursor moves to the receiver's position. One commit, with a reason.
extension AdminHandler {
    func acceptHistory(_ request: Bsfg_Admin_V1_AcceptHistoryRequest, by caller: String)
        async throws(ServiceError) -> Bsfg_Admin_V1_AcceptHistoryResponse
    {
        try requireReason(request.reason)
        guard let peer = configuration.peer(id: request.peer) else {
            throw ServiceError(
                .unknownZone, "there is no peer \(request.peer) in peers.yaml", field: "peer")
        }
        let stream = request.stream.isEmpty ? StreamConfiguration.defaultName : request.stream
        let origins = request.origin.isEmpty ? [peer.id, configuration.zone] : [request.origin]
        for origin in origins {
            // A node pulls nothing from a peer that it serves to it, so only one side can be meant.
            if let pull = pulls.pull(stream: stream, origin: origin),
                pull.configuration.peer.utf8.elementsEqual(peer.id.utf8)
            {
                return try await acceptAtReceiver(pull, request.reason, caller)
            }
            let name = "\(peer.id)/\(stream)/\(origin)"
            if let log = logs.log(stream: stream, origin: origin),
                let cursor = log.cursors.cursor(owner: peer.identity, name: name)
            {
                return try await acceptAtSource(cursor, log, request.reason, caller)
            }
        }
        throw ServiceError(
            .unknownStream,
            "\(stream) of \(origins.joined(separator: " or ")) is neither pulled from \(peer.id) nor "
                + "has \(peer.id) a cursor there; see bsfg status", field: "stream")
    }

    private func acceptAtReceiver(_ pull: Pulls.Pull, _ reason: String, _ caller: String)
        async throws(ServiceError) -> Bsfg_Admin_V1_AcceptHistoryResponse
    {
        guard let buffer = pull.log.forward, let position = buffer.position else {
            throw ServiceError(
                .malformedRequest,
                "nothing was received as \(pull.configuration.stream) of "
                    + "\(pull.configuration.origin) yet, so there is no history to accept")
        }
        let receiver = SourcePosition(
            logUUID: buffer.identifier, epoch: buffer.epoch, nextOffset: buffer.headOffset)
        var fork: (position: SourcePosition, method: HistoryFork.Method)
        do throws(PullFailure) {
            let history = try await pull.source.history(receiver: receiver)
            fork = try await HistoryFork.find(
                position: position, source: history, buffer: buffer,
                read: { (body) async throws(PullFailure) in
                    do throws(BufferError) { return try await pool.run(body) } catch {
                        throw .refused(.logPoisoned, error.sentence)
                    }
                },
                agrees: { (position) async throws(PullFailure) in
                    try await pull.source.agrees(position, receiver: receiver)
                })
            if fork.position.digest == nil, fork.position.nextOffset > 0 {
                // Not found by a record: the source names it, or asks for a word at its own side.
                fork.position = try await pull.source.stated(fork.position, receiver: receiver)
            }
        } catch {
            throw error.serviceError
        }
        let accepted = fork.position
        try await onDisk { () throws(BufferError) in
            try buffer.accept(accepted, from: position)
        }
        await pull.loop.startAgain()
        var response = Bsfg_Admin_V1_AcceptHistoryResponse()
        response.side = "receiver"
        response.fromOffset = position.nextOffset
        response.toOffset = fork.position.nextOffset
        response.foundBy = fork.method.rawValue
        audit(response, pull.configuration.peer, pull.log, reason, caller)
        return response
    }

    private func acceptAtSource(
        _ cursor: TrackedCursor, _ log: StreamLog, _ reason: String, _ caller: String
    ) async throws(ServiceError) -> Bsfg_Admin_V1_AcceptHistoryResponse {
        guard let refused = custody.refusals.last(cursor) else {
            throw ServiceError(
                .malformedRequest,
                "\(cursor.name) was not refused since this node started; let the peer ask once "
                    + "(bsfg status there), then accept")
        }
        var accepted = cursor
        let buffer = log.buffer
        if let position = refused.position {
            let mismatch = try await onDisk { () throws(BufferError) in
                try HistoryCheck.mismatch(
                    position: position, identifier: buffer.identifier, epoch: buffer.epoch,
                    head: buffer.headOffset, cursor: nil,
                    recordDigest: { (offset) throws(BufferError) in
                        try buffer.recordDigest(at: offset)
                    })
            }
            if let mismatch {
                throw ServiceError(
                    .historyMismatch,
                    "\(mismatch); run bsfg peer accept-history at the receiver first, which moves its "
                        + "position to where the histories part")
            }
            accepted.nextOffset = position.nextOffset
            accepted.digest = position.digest
            accepted.digestOffset = position.digestOffset
        } else {
            accepted.nextOffset = buffer.firstOffset
            accepted.digest = nil
            accepted.digestOffset = nil
        }
        accepted.epoch = buffer.epoch
        accepted.receiverUUID = refused.receiverUUID
        accepted.receiverEpoch = refused.receiverEpoch
        accepted.initMode = "accepted"
        let replacement = accepted
        try await onDisk { () throws(BufferError) in try log.cursors.replace(replacement) }
        custody.refusals.forget(cursor)
        var response = Bsfg_Admin_V1_AcceptHistoryResponse()
        response.side = "source"
        response.fromOffset = cursor.nextOffset
        response.toOffset = accepted.nextOffset
        response.foundBy = refused.position == nil ? "first_retained" : "peer_position"
        audit(response, cursor.name, log, reason, caller)
        return response
    }

    private func audit(
        _ response: Bsfg_Admin_V1_AcceptHistoryResponse, _ peer: String, _ log: StreamLog,
        _ reason: String, _ caller: String
    ) {
        custody.audit(
            "history_accepted", by: caller, reason: reason,
            [
                "side": "\(response.side)", "peer": "\(peer)", "stream": "\(log.stream.name)",
                "origin": "\(log.origin)", "from_offset": "\(response.fromOffset)",
                "to_offset": "\(response.toOffset)", "found_by": "\(response.foundBy)",
            ])
    }
}

extension PullFailure {
    /// As the operator who asked for the call is told.
    var serviceError: ServiceError {
        switch self {
        case .unavailable(let sentence):
            ServiceError(.deadlineExceeded, "the peer cannot be asked now: \(sentence)")
        case .refused(let reason, let sentence): ServiceError(reason, sentence)
        case .blocked(_, let sentence): ServiceError(.malformedRequest, sentence)
        case .full(let sentence, let milliseconds):
            {
                var error = ServiceError(.overloaded, sentence)
                error.retryAfterMilliseconds = UInt32(clamping: milliseconds)
                return error
            }()
        }
    }
}
