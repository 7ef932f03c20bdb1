internal import Buffers
internal import Facts
internal import FoundationEssentials
internal import Replication
internal import RPC
internal import SwiftProtobuf
internal import WriteAheadLog

/// Hello, ListStreams and OpenCursor: what two nodes tell each other before facts flow.
struct FederationHandler: Sendable {
    let access: Access
    let logs: StreamLogs
    let pool: BlockingPool
    let custody: NodeCustody
    let now: @Sendable () -> Int64

    var configuration: NodeConfiguration { access.configuration }

    func hello(_ request: RPCRequest) throws(ServiceError) -> [UInt8] {
        _ = try WireCodec.decodeRequest(
            Bsfg_V1_HelloRequest.self, request.body, request.encoding)
        var response = Bsfg_V1_HelloResponse()
        response.zone = configuration.zone
        response.release = NodeRelease.name
        response.formatMax = messageFormatMaximum
        response.timeUnixMs = now()
        response.pageBytesMax = UInt64(FactLimits.pageBytes)
        response.recordBytesMax = UInt64(FactLimits.recordBytes)
        response.callerIdentity = request.caller.identity
        if case .peer(let id) = request.caller.kind { response.callerPeerID = id }
        return WireCodec.encode(response, request.encoding)
    }

    func listStreams(_ request: RPCRequest) throws(ServiceError) -> [UInt8] {
        _ = try WireCodec.decodeRequest(
            Bsfg_V1_ListStreamsRequest.self, request.body, request.encoding)
        var response = Bsfg_V1_ListStreamsResponse()
        for log in logs.all {
            do throws(ServiceError) {
                try access.checkRead(request.caller, stream: log.stream.name, origin: log.origin)
            } catch {
                continue
            }
            response.streams.append(info(log, request.caller))
        }
        return WireCodec.encode(response, request.encoding)
    }

    private func info(_ log: StreamLog, _ caller: Caller) -> Bsfg_V1_StreamInfo {
        var info = Bsfg_V1_StreamInfo()
        info.stream = log.stream.name
        info.originZone = log.origin
        info.head = head(log).wire
        info.firstOffset = log.log.firstOffset
        info.profile = log.stream.profile.rawValue
        let own = log.cursors.cursors().filter { $0.owner.utf8.elementsEqual(caller.identity.utf8) }
        if let next = own.map(\.nextOffset).min(), next > 0 { info.confirmedOffset = next - 1 }
        return info
    }

    /// A position in a log with the record before it, where that is still there: who accepts our history takes
    /// it over.
    private func told(_ offset: UInt64, _ log: StreamLog) async throws(ServiceError) -> SourcePosition {
        var position = head(log)
        position.nextOffset = offset
        guard offset > 0, offset <= log.buffer.headOffset else { return position }
        let buffer = log.buffer
        let digest = try await onDisk { () throws(BufferError) in
            try buffer.recordDigest(at: offset - 1)
        }
        if let digest {
            position.digest = digest
            position.digestOffset = offset - 1
        }
        return position
    }

    private func head(_ log: StreamLog) -> SourcePosition {
        SourcePosition(
            logUUID: log.buffer.identifier, epoch: log.buffer.epoch,
            nextOffset: log.buffer.headOffset)
    }

    // MARK: - OpenCursor

    func openCursor(_ request: RPCRequest, _ respond: @escaping @Sendable (RPCReply) -> Void) {
        Task {
            do throws(ServiceError) {
                let message = try WireCodec.decodeRequest(
                    Bsfg_V1_OpenCursorRequest.self, request.body, request.encoding)
                let response = try await openCursor(message, request.caller)
                respond(.message(WireCodec.encode(response, request.encoding)))
            } catch {
                respond(.failure(error))
            }
        }
    }

    private func openCursor(_ message: Bsfg_V1_OpenCursorRequest, _ caller: Caller)
        async throws(ServiceError) -> Bsfg_V1_OpenCursorResponse
    {
        guard case .peer(let peer) = caller.kind else {
            throw ServiceError(.identityNotAuthorised, "only peers open cursors this way")
        }
        try access.checkRead(caller, stream: message.stream, origin: message.originZone)
        guard let log = logs.log(stream: message.stream, origin: message.originZone) else {
            throw ServiceError(
                .streamNotGranted,
                "there is no log of \(message.stream) from \(message.originZone) here",
                field: "stream")
        }
        guard message.profile.utf8.elementsEqual(log.stream.profile.rawValue.utf8) else {
            throw ServiceError(
                .profileMismatch,
                "the stream's profile is \(log.stream.profile.rawValue) here and "
                    + "\(message.profile) there; make them equal", field: "profile")
        }
        let name = "\(peer)/\(message.stream)/\(message.originZone)"
        guard message.consumerName.utf8.elementsEqual(name.utf8) else {
            throw ServiceError(
                .consumerBound, "a peer's cursor of this log is called \(name)",
                field: "consumer_name")
        }
        guard message.hasReceiver, message.receiver.logUuid.count == 16, message.receiver.epoch >= 1
        else {
            throw ServiceError(
                .missingField, "the request does not name the receiver's log", field: "receiver")
        }
        let position = message.hasPosition ? SourcePosition(message.position) : nil
        guard !message.hasPosition || position != nil else {
            throw ServiceError(
                .malformedRequest, "the position lacks log, epoch or offset", field: "position")
        }
        if let cursor = log.cursors.cursor(owner: caller.identity, name: name) {
            return try await existing(cursor, position, message, log)
        }
        do throws(ServiceError) {
            return try await create(name, position, message, log, caller)
        } catch {
            // Another call of the same peer was faster: an existing cursor always wins.
            guard error.reason == .consumerExists,
                let cursor = log.cursors.cursor(owner: caller.identity, name: name)
            else { throw error }
            return try await existing(cursor, position, message, log)
        }
    }

    /// A refusal for its history is noted, since an operator who accepts it goes on from there. A dry run
    /// asks about the log's own history alone, whatever the cursor says.
    private func existing(
        _ cursor: TrackedCursor, _ position: SourcePosition?,
        _ message: Bsfg_V1_OpenCursorRequest, _ log: StreamLog
    ) async throws(ServiceError) -> Bsfg_V1_OpenCursorResponse {
        guard !message.dryRun else {
            if let position { try await check(position, log, nil) }
            let start = try await told(position?.nextOffset ?? cursor.nextOffset, log)
            return response(
                start, CursorStart.Recorded(text: cursor.initMode), cursor.createdMilliseconds,
                isExisting: true, log)
        }
        do throws(ServiceError) {
            let opened = try await reopened(cursor, position, message, log)
            custody.refusals.forget(cursor)
            return opened
        } catch {
            if error.reason == .historyMismatch || error.reason == .consumerBound {
                custody.refusals.note(
                    cursor,
                    HistoryRefusals.Refused(
                        position: position, receiverUUID: Array(message.receiver.logUuid),
                        receiverEpoch: message.receiver.epoch, sentence: error.message))
            }
            throw error
        }
    }

    private func reopened(
        _ cursor: TrackedCursor, _ position: SourcePosition?,
        _ message: Bsfg_V1_OpenCursorRequest, _ log: StreamLog
    ) async throws(ServiceError) -> Bsfg_V1_OpenCursorResponse {
        try FetchService.checkReceiver(message.receiver, cursor)
        try FetchService.checkAttached(cursor)
        if let position {
            try await check(position, log, cursor)
        } else if cursor.digest != nil {
            // It confirmed and knows nothing of it any more.
            throw FetchService.historyMismatch(
                "the receiver has no position, it had confirmed up to \(cursor.nextOffset): the "
                    + "receiver went back")
        }
        // The grant may have changed since the cursor was made.
        if let hold = hold(of: cursor.name), hold != cursor.hold {
            try await onDisk { () throws(BufferError) in
                try log.cursors.change(owner: cursor.owner, name: cursor.name, hold: hold)
            }
        }
        var start = head(log)
        start.nextOffset = position?.nextOffset ?? cursor.nextOffset
        return response(
            start, CursorStart.Recorded(text: cursor.initMode), cursor.createdMilliseconds,
            isExisting: true, log)
    }

    /// How long truncation waits for a peer's cursor, by its name, which begins with the peer's zone.
    private func hold(of name: String) -> CursorHold? {
        configuration.peers.first { name.utf8.starts(with: "\($0.id)/".utf8) }?.hold
    }

    private func create(
        _ name: String, _ position: SourcePosition?, _ message: Bsfg_V1_OpenCursorRequest,
        _ log: StreamLog, _ caller: Caller
    ) async throws(ServiceError) -> Bsfg_V1_OpenCursorResponse {
        var start = head(log)
        guard let position else {
            return try await initialise(name, message, log, caller)
        }
        // The source lost its cursor: the receiver's position is where the new one begins.
        try await check(position, log, nil)
        start = position
        if !message.dryRun {
            try await make(
                name, start, position, CursorStart.atPosition, message, log, caller)
        }
        return response(
            start, CursorStart.Recorded(mode: CursorStart.atPosition), now(), isExisting: false, log)
    }

    /// Resolves the mode and makes the cursor where it says. Truncation may overtake what was resolved
    /// before the cursor holds it: then it is resolved again.
    private func initialise(
        _ name: String, _ message: Bsfg_V1_OpenCursorRequest, _ log: StreamLog, _ caller: Caller
    ) async throws(ServiceError) -> Bsfg_V1_OpenCursorResponse {
        let mode = try CursorStart.mode(
            message.initMode, timestampMilliseconds: message.initTimestampUnixMs)
        for _ in 0..<CursorStart.attemptsMaximum {
            let resolved = try await resolve(mode, log)
            var start = head(log)
            start.nextOffset = resolved.offset
            let recorded = CursorStart.Recorded(
                mode: mode.recordedText, shortfallMilliseconds: resolved.shortfallMilliseconds)
            if message.dryRun { return response(start, recorded, now(), isExisting: false, log) }
            do throws(ServiceError) {
                try await make(name, start, nil, recorded.text, message, log, caller)
            } catch {
                guard error.reason == .beyondHead, resolved.offset < log.log.headOffset else {
                    throw error
                }
                continue
            }
            let made = log.cursors.cursor(owner: caller.identity, name: name)
            return response(
                start, recorded, made?.createdMilliseconds ?? now(), isExisting: false, log)
        }
        throw ServiceError(
            .overloaded, "the log is being truncated faster than a cursor can be made; retry")
    }

    /// Where an initialisation mode begins, by this log's own append times and clock.
    func resolve(_ mode: CursorInitMode, _ log: StreamLog) async throws(ServiceError) -> CursorStart {
        let buffer = log.buffer
        // By which the log stamps what it takes, and not the one that it judges age by: that one may be
        // weeks behind, where nobody vouches for the time, and the two are compared here.
        let clock = now()
        let began = log.log.epochs.first?.beganMilliseconds ?? 0
        return try await onDisk { () throws(BufferError) -> Result<CursorStart, ServiceError> in
            try CursorStart.resolve(mode, in: buffer, clock: clock, began: began)
        }.get()
    }

    private func make(
        _ name: String, _ start: SourcePosition, _ position: SourcePosition?, _ mode: String,
        _ message: Bsfg_V1_OpenCursorRequest, _ log: StreamLog, _ caller: Caller
    ) async throws(ServiceError) {
        let cursor = TrackedCursor(
            owner: caller.identity, name: name, nextOffset: start.nextOffset,
            epoch: start.epoch, digest: position?.digest, digestOffset: position?.digestOffset,
            receiverUUID: Array(message.receiver.logUuid),
            receiverEpoch: message.receiver.epoch, initMode: mode,
            createdMilliseconds: now(), hold: hold(of: name) ?? .required)
        // Where a receiver stands is its own business, whatever is left here: what is gone is a gap.
        let notBelowFirst = position == nil
        try await onDisk { () throws(BufferError) in
            try logs.createConsumer(cursor, in: log, notBelowFirst: notBelowFirst)
        }
    }

    private func check(_ position: SourcePosition, _ log: StreamLog, _ cursor: TrackedCursor?)
        async throws(ServiceError)
    {
        let buffer = log.buffer
        let mismatch = try await onDisk { () throws(BufferError) in
            try HistoryCheck.mismatch(
                position: position, identifier: buffer.identifier, epoch: buffer.epoch,
                head: buffer.headOffset, cursor: cursor,
                recordDigest: { (offset) throws(BufferError) in
                    try buffer.recordDigest(at: offset)
                })
        }
        if let mismatch { throw FetchService.historyMismatch(mismatch) }
    }

    private func response(
        _ start: SourcePosition, _ recorded: CursorStart.Recorded, _ resolvedMilliseconds: Int64,
        isExisting: Bool, _ log: StreamLog
    ) -> Bsfg_V1_OpenCursorResponse {
        var response = Bsfg_V1_OpenCursorResponse()
        response.start = start.wire
        response.existing = isExisting
        response.initMode = recorded.mode
        response.shortfallMs = recorded.shortfallMilliseconds
        response.headOffset = log.buffer.headOffset
        response.resolvedAtUnixMs = resolvedMilliseconds
        response.epochs = log.log.epochs.map { entry in
            var epoch = Bsfg_V1_Epoch()
            epoch.epoch = entry.epoch
            epoch.firstOffset = entry.firstOffset
            epoch.beganAtUnixMs = entry.beganMilliseconds
            epoch.reason = entry.reason
            return epoch
        }
        return response
    }

    private func onDisk<Value: Sendable>(
        _ body: @escaping @Sendable () throws(BufferError) -> Value
    ) async throws(ServiceError) -> Value {
        do throws(BufferError) {
            return try await pool.run(body)
        } catch {
            throw ServiceError(error)
        }
    }
}
