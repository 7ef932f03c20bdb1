internal import Buffers
internal import Facts
internal import Replication
internal import RPC

/// What a receiver asks its source when an operator accepts the source's history. Nothing is opened and
/// nothing moves.
extension RPCPullSource {
    func history(receiver: SourcePosition) async throws(PullFailure) -> SourceHistory {
        let streams = try await call(
            .listStreams, Bsfg_V1_ListStreamsRequest(), Bsfg_V1_ListStreamsResponse.self)
        let info = streams.streams.first {
            $0.stream.utf8.elementsEqual(pull.stream.utf8)
                && $0.originZone.utf8.elementsEqual(pull.origin.utf8)
        }
        guard let info, let head = SourcePosition(info.head), info.hasFirstOffset,
            info.firstOffset <= head.nextOffset
        else {
            throw .refused(
                .streamNotGranted, "\(peer.id) shows us no \(pull.stream) of \(pull.origin)")
        }
        let opened = try await dryRun(nil, receiver)
        return SourceHistory(
            logUUID: head.logUUID, epoch: head.epoch, headOffset: head.nextOffset,
            firstOffset: info.firstOffset,
            epochs: opened.epochs.map {
                SourceHistory.Epoch(epoch: $0.epoch, firstOffset: $0.firstOffset)
            })
    }

    /// Whether the source has the record before a position.
    func agrees(_ position: SourcePosition, receiver: SourcePosition) async throws(PullFailure) -> Bool {
        do throws(PullFailure) {
            _ = try await dryRun(position, receiver)
            return true
        } catch {
            if case .refused(.historyMismatch, _) = error { return false }
            throw error
        }
    }

    /// A position with the record before it as the source has it; the same where it does not tell.
    func stated(_ position: SourcePosition, receiver: SourcePosition) async throws(PullFailure)
        -> SourcePosition
    {
        let opened = try await dryRun(position, receiver)
        guard let told = SourcePosition(opened.start), told.logUUID == position.logUUID,
            told.epoch == position.epoch, told.nextOffset == position.nextOffset
        else { return position }
        return told
    }

    private func dryRun(_ position: SourcePosition?, _ receiver: SourcePosition)
        async throws(PullFailure) -> Bsfg_V1_OpenCursorResponse
    {
        var request = Bsfg_V1_OpenCursorRequest()
        request.consumerName = consumerName
        request.stream = pull.stream
        request.originZone = pull.origin
        request.initMode = CursorInitMode.fullBackfill.description
        request.receiver = receiver.wire
        request.profile = profile
        request.dryRun = true
        if let position { request.position = position.wire }
        return try await call(.openCursor, request, Bsfg_V1_OpenCursorResponse.self)
    }
}
