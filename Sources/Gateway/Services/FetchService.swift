internal import Buffers
internal import Facts
internal import FoundationEssentials
internal import Replication
internal import RPC
internal import SwiftProtobuf
internal import Synchronization
internal import WriteAheadLog

/// FetchFacts and ConfirmReceipt: pages of a log by durable consumer, for peers and applications.
/// Fetching moves nothing; only a confirm does.
struct FetchService: Sendable {
    /// A long poll answers this long before the caller's deadline.
    private static let deadlineMarginMilliseconds = 250

    let access: Access
    let logs: StreamLogs
    let pool: BlockingPool
    let waits: HeadWaits
    let custody: NodeCustody

    // MARK: - Fetch

    func fetch(_ request: RPCRequest, _ respond: @escaping @Sendable (RPCReply) -> Void) {
        Task {
            do throws(ServiceError) {
                respond(.message(try await fetch(request)))
            } catch {
                respond(.failure(error))
            }
        }
    }

    private func fetch(_ request: RPCRequest) async throws(ServiceError) -> [UInt8] {
        let message = try WireCodec.decodeRequest(
            Bsfg_V1_FetchFactsRequest.self, request.body, request.encoding)
        let limits = try PageLimits(
            limit: message.limit, bytes: message.maxBytes, waitMilliseconds: message.waitMs)
        let (log, cursor) = try consumer(message.consumerName, request.caller)
        if case .peer = request.caller.kind {
            _ = try await checkHistory(
                message.hasSource ? message.source : nil,
                message.hasReceiver ? message.receiver : nil, log, cursor)
        }
        let from = message.hasFromOffset ? message.fromOffset : cursor.nextOffset
        let head = log.log.headOffset
        guard from <= head else {
            throw beyondHead("from_offset \(from) is beyond the head \(head)", log, "from_offset")
        }
        if from == head, limits.waitMilliseconds > 0 {
            let patience = min(
                Int(limits.waitMilliseconds),
                request.remainingMilliseconds - FetchService.deadlineMarginMilliseconds)
            await waits.wait(
                for: log.buffer, beyond: from, milliseconds: max(0, patience))
            // The grant may have gone meanwhile, or the operator closed the gate.
            if let refusal = access.admit(.fetchFacts, request.caller) { throw refusal }
            try access.checkRead(request.caller, stream: log.stream.name, origin: log.origin)
        }
        // Read again: it may have moved while the call waited.
        let confirmed = log.cursors.cursor(owner: cursor.owner, name: cursor.name)?.nextOffset ?? 0
        let page = try await FetchService.page(
            log, from: from, limits, confirmedOffset: confirmed > 0 ? confirmed - 1 : nil,
            awaitedFrom: cursor.nextOffset,
            formatMaximum: FetchService.formatMaximum(message.formatMax, request.caller),
            request.encoding, request.answerMemory, pool)
        if case .peer = request.caller.kind, from < log.log.headOffset {
            custody.faults.reached(.served)
        }
        return page
    }

    /// A page, read and encoded on the pool: up to 6 MiB turned into JSON is no work for the few
    /// threads that all tasks share. Its bytes are held before they are read, so that readers who never
    /// take their pages are refused the next (gateway decision 42).
    ///
    /// - Parameter awaitedFrom: from here on truncation waited for the reader while it was attached; nil
    ///   for somebody who only looks.
    /// - Parameter untilMilliseconds: records that the log took later are left out.
    /// - Parameter formatMaximum: what is of a later format ends the page, and is refused when it is the first.
    static func page(
        _ log: StreamLog, from: UInt64, _ limits: PageLimits, confirmedOffset: UInt64?,
        awaitedFrom: UInt64?, untilMilliseconds: Int64 = .max, formatMaximum: UInt32 = .max,
        _ encoding: WireEncoding, _ memory: (any AnswerMemory)?, _ pool: BlockingPool
    ) async throws(ServiceError) -> [UInt8] {
        try memory?.hold(bytes: limits.bytes)
        let result: Result<[UInt8], ServiceError>
        do throws(BufferError) {
            result = try await pool.run { () throws(BufferError) in
                try page(
                    log, from: from, limits, confirmedOffset: confirmedOffset,
                    awaitedFrom: awaitedFrom, untilMilliseconds: untilMilliseconds,
                    formatMaximum: formatMaximum
                ).flatMap { page in
                    Result { () throws(ServiceError) in try encode(page, encoding, memory) }
                }
            }
        } catch {
            throw ServiceError(error)
        }
        return try result.get()
    }

    /// A page in JSON takes so many times its bytes: those, and beside them the text with its escapes and names.
    static let jsonForms = 3

    private static func encode(
        _ page: [UInt8], _ encoding: WireEncoding, _ memory: (any AnswerMemory)?
    ) throws(ServiceError) -> [UInt8] {
        try memory?.hold(bytes: page.count * (encoding == .json ? jsonForms : 1))
        do throws(MalformedRecord) {
            return try WireCodec.encode(
                protobuf: page, messageName: "FetchFactsResponse", encoding)
        } catch {
            throw ServiceError(.internal, error.sentence)
        }
    }

    /// What the log no longer has at `from` is an entry before the records that follow it; a gap that
    /// comes later begins the next page.
    private static func page(
        _ log: StreamLog, from: UInt64, _ limits: PageLimits, confirmedOffset: UInt64?,
        awaitedFrom: UInt64?, untilMilliseconds: Int64, formatMaximum: UInt32
    ) throws(BufferError) -> Result<[UInt8], ServiceError> {
        let buffer = log.buffer
        var writer = PageWriter(
            originLogUUID: log.store == nil ? nil : buffer.identifier, formatMaximum: formatMaximum)
        var malformed: MalformedRecord?
        var next = from
        func visit(_ record: BufferRecord) -> Bool {
            guard record.appendedMilliseconds <= untilMilliseconds else { return false }
            if writer.count > 0,
                writer.byteCount + record.payload.count + PageWriter.entryOverheadBytes
                    > limits.bytes
            {
                return false
            }
            do throws(MalformedRecord) {
                try writer.append(
                    PageWriter.Record(
                        offset: record.offset,
                        appendedAtUnixMilliseconds: record.appendedMilliseconds,
                        epoch: record.epoch, contentDigest: record.contentDigest,
                        payload: record.payload))
                guard writer.withheldFormat == nil else { return false }
            } catch {
                malformed = error
                return false
            }
            next = record.offset + 1
            return true
        }
        do throws(BufferError) {
            _ = try buffer.read(
                from: next, maximumCount: limits.count, maximumBytes: .max, visit)
        } catch {
            guard case .gap(let gap) = error.kind else { throw error }
            let isAwaited = awaitedFrom.map { gap.offsets.upperBound > $0 } ?? false
            writer.appendGap(FetchService.notice(isAwaited ? gap.toAwaitedReader : gap, log))
            next = gap.offsets.upperBound
            do throws(BufferError) {
                _ = try buffer.read(
                    from: next, maximumCount: limits.count, maximumBytes: .max, visit)
            } catch {
                // It went on meanwhile: the rest of it begins the next page.
                guard case .gap = error.kind else { throw error }
            }
        }
        if let malformed { return .failure(ServiceError(.internal, malformed.sentence)) }
        if writer.count == 0, let format = writer.withheldFormat {
            return .failure(FetchService.formatUnsupported(format, formatMaximum, at: next))
        }
        let position = SourcePosition(
            logUUID: buffer.identifier, epoch: buffer.epoch, nextOffset: buffer.headOffset)
        return .success(
            writer.finish(
                nextOffset: next, headOffset: buffer.headOffset, firstOffset: buffer.firstOffset,
                confirmedOffset: confirmedOffset, source: position.wire))
    }

    /// A peer that names none knows the first format; an application may leave it out and gets everything.
    private static func formatMaximum(_ stated: UInt32, _ caller: Caller) -> UInt32 {
        if stated > 0 { return stated }
        if case .peer = caller.kind { return 1 }
        return .max
    }

    private static func formatUnsupported(_ format: UInt32, _ maximum: UInt32, at offset: UInt64)
        -> ServiceError
    {
        var error = ServiceError(
            .formatUnsupported,
            "offset \(offset) is of format \(format), and the caller knows formats up to \(maximum); "
                + "upgrade the caller")
        error.offset = offset
        return error
    }

    /// A gap as it travels: where it begins in the log being read, its last offset, and why.
    private static func notice(_ gap: BufferGap, _ log: StreamLog) -> Bsfg_V1_Notice {
        var notice = Bsfg_V1_Notice()
        notice.first.logUuid = Data(log.buffer.identifier)
        notice.first.epoch = log.buffer.epoch
        notice.first.offset = gap.offsets.lowerBound
        notice.lastOffset = gap.offsets.upperBound - 1
        notice.reasons = gap.reasons
        return notice
    }

    // MARK: - Confirm

    func confirm(_ request: RPCRequest, _ respond: @escaping @Sendable (RPCReply) -> Void) {
        Task {
            do throws(ServiceError) {
                respond(.message(try await confirm(request)))
            } catch {
                respond(.failure(error))
            }
        }
    }

    private func confirm(_ request: RPCRequest) async throws(ServiceError) -> [UInt8] {
        let message = try WireCodec.decodeRequest(
            Bsfg_V1_ConfirmReceiptRequest.self, request.body, request.encoding)
        let (log, cursor) = try consumer(message.consumerName, request.caller)
        guard message.hasOffset else {
            throw ServiceError(
                .missingField, "the request has no offset; send the last one that is safe",
                field: "offset")
        }
        var digest: (value: Digest, offset: UInt64)?
        if case .peer = request.caller.kind {
            let position = try await checkHistory(
                message.hasSource ? message.source : nil,
                message.hasReceiver ? message.receiver : nil, log, cursor)
            guard position.nextOffset > 0, message.offset == position.nextOffset - 1 else {
                throw ServiceError(
                    .malformedRequest,
                    "the offset \(message.offset) is not the last one before the position",
                    field: "offset")
            }
            if let value = position.digest, let offset = position.digestOffset {
                digest = (value, offset)
            }
        } else {
            try FetchService.checkEpoch(message.hasSource ? message.source : nil, log)
        }
        let head = log.log.headOffset
        guard message.offset < head else {
            throw beyondHead("offset \(message.offset) is beyond the head \(head)", log, "offset")
        }
        let moved = try await move(cursor, log, through: message.offset, digest)
        if case .peer = request.caller.kind, moved.nextOffset > cursor.nextOffset {
            custody.faults.reached(.cursorDurable)
        }
        var response = Bsfg_V1_ConfirmReceiptResponse()
        if moved.nextOffset > 0 { response.cursorAdvancedTo = moved.nextOffset - 1 }
        response.nextOffset = moved.nextOffset
        if moved.nextOffset > cursor.nextOffset {
            response.passed = log.buffer.gaps(in: cursor.nextOffset..<moved.nextOffset).map {
                FetchService.notice($0.toAwaitedReader, log)
            }
        }
        return WireCodec.encode(response, request.encoding)
    }

    private func move(
        _ cursor: TrackedCursor, _ log: StreamLog, through offset: UInt64,
        _ digest: (value: Digest, offset: UInt64)?
    ) async throws(ServiceError) -> TrackedCursor {
        // At or below the cursor nothing changes, and the answer is where it stands.
        guard offset >= cursor.nextOffset else { return cursor }
        do throws(BufferError) {
            return try await pool.run { () throws(BufferError) in
                try log.cursors.confirm(
                    owner: cursor.owner, name: cursor.name, cursor.nextOffset...offset,
                    digest: digest)
            }
        } catch {
            throw ServiceError(error)
        }
    }

    // MARK: - Parts

    /// The caller's consumer and its log; a consumer of somebody else is nobody's business.
    private func consumer(_ name: String, _ caller: Caller) throws(ServiceError)
        -> (StreamLog, TrackedCursor)
    {
        guard !name.isEmpty else {
            throw ServiceError(
                .missingField, "the request names no consumer", field: "consumer_name")
        }
        // What is no name is not looked for among them, and what is near it even less.
        guard name.utf8.count <= FactLimits.nameBytes else {
            throw ServiceError(
                .malformedRequest,
                "consumer_name has \(name.utf8.count) bytes and may have \(FactLimits.nameBytes)",
                field: "consumer_name")
        }
        guard let log = logs.log(ofConsumer: name, owner: caller.identity),
            let cursor = log.cursors.cursor(owner: caller.identity, name: name)
        else { throw unknownConsumer(name, caller) }
        try access.checkRead(caller, stream: log.stream.name, origin: log.origin)
        try FetchService.checkAttached(cursor)
        return (log, cursor)
    }

    static func checkAttached(_ cursor: TrackedCursor) throws(ServiceError) {
        guard let reason = cursor.detachReason else { return }
        throw ServiceError(
            .cursorDetached,
            "the consumer \(cursor.name) was detached (\(reason)); the operator attaches it with "
                + "bsfg consumer attach", field: "consumer_name")
    }

    private func unknownConsumer(_ name: String, _ caller: Caller) -> ServiceError {
        let cursors = logs.all.flatMap { $0.cursors.cursors() }
        if cursors.contains(where: { $0.name.utf8.elementsEqual(name.utf8) }) {
            return ServiceError(
                .notTheOwner, "the consumer \(name) belongs to another identity than "
                    + "\(caller.identity)", field: "consumer_name")
        }
        let own = cursors.filter { $0.owner.utf8.elementsEqual(caller.identity.utf8) }.map(\.name)
        let hint = NearestName.suggestion(for: name, among: own).map { "; did you mean \($0)?" } ?? ""
        return ServiceError(
            .consumerNotFound,
            "there is no consumer \(name)\(hint.isEmpty ? "; have the operator create it" : hint)",
            field: "consumer_name")
    }

    private func beyondHead(_ sentence: String, _ log: StreamLog, _ field: String) -> ServiceError {
        var error = ServiceError(.beyondHead, sentence, field: field)
        error.firstOffset = log.log.firstOffset
        error.headOffset = log.log.headOffset
        return error
    }

    /// The history check of a peer's call.
    private func checkHistory(
        _ source: Bsfg_V1_Position?, _ receiver: Bsfg_V1_Position?, _ log: StreamLog,
        _ cursor: TrackedCursor
    ) async throws(ServiceError) -> SourcePosition {
        guard let source, let position = SourcePosition(source) else {
            throw ServiceError(
                .missingField, "a peer's call carries its position in the source", field: "source")
        }
        try FetchService.checkReceiver(receiver, cursor)
        let buffer = log.buffer
        let mismatch: String?
        do throws(BufferError) {
            mismatch = try await pool.run { () throws(BufferError) in
                try HistoryCheck.mismatch(
                    position: position, identifier: buffer.identifier, epoch: buffer.epoch,
                    head: buffer.headOffset, cursor: cursor,
                    recordDigest: { (offset) throws(BufferError) in
                        try buffer.recordDigest(at: offset)
                    })
            }
        } catch {
            throw ServiceError(error)
        }
        if let mismatch { throw FetchService.historyMismatch(mismatch) }
        return position
    }

    /// An application's offset means something in one epoch of one log only. It may leave them out
    /// while there has been no other.
    private static func checkEpoch(_ source: Bsfg_V1_Position?, _ log: StreamLog)
        throws(ServiceError)
    {
        guard let source else {
            guard log.log.epoch == 1 else {
                throw ServiceError(
                    .missingField,
                    "the log is in epoch \(log.log.epoch); send the source of the page along",
                    field: "source")
            }
            return
        }
        guard source.logUuid.isEmpty || source.logUuid.elementsEqual(log.buffer.identifier) else {
            throw historyMismatch("the offset is one of another log")
        }
        guard source.epoch == log.log.epoch else {
            throw historyMismatch(
                "the offset is of epoch \(source.epoch), the log is in epoch \(log.log.epoch)")
        }
    }

    static func historyMismatch(_ sentence: String) -> ServiceError {
        ServiceError(
            .historyMismatch,
            "the histories differ: \(sentence); nothing was merged; find out which side was "
                + "restored or copied before going on")
    }

    /// A cursor serves the receiver log that it was opened for and no clone of another.
    static func checkReceiver(_ receiver: Bsfg_V1_Position?, _ cursor: TrackedCursor)
        throws(ServiceError)
    {
        guard let receiver, receiver.logUuid.count == 16 else {
            throw ServiceError(
                .missingField, "a peer's call carries its own log's identity", field: "receiver")
        }
        guard let bound = cursor.receiverUUID, bound == Array(receiver.logUuid) else {
            throw ServiceError(
                .consumerBound,
                "the consumer \(cursor.name) serves another receiver log than "
                    + Hexadecimal.encode(Array(receiver.logUuid)), field: "receiver")
        }
        guard cursor.receiverEpoch == receiver.epoch else {
            throw historyMismatch(
                "the receiver is in epoch \(receiver.epoch), its cursor was opened in "
                    + "\(cursor.receiverEpoch)")
        }
    }
}

/// How much a page may hold and how long a call may wait for one.
struct PageLimits: Sendable {
    private static let defaultCount: UInt32 = 1_000
    private static let defaultBytes: UInt32 = 1 << 20

    var count: Int
    var bytes: Int
    var waitMilliseconds: UInt32

    init(limit: UInt32, bytes: UInt32, waitMilliseconds: UInt32) throws(ServiceError) {
        guard limit <= FactLimits.pageFacts else {
            throw ServiceError(
                .malformedRequest, "limit is \(limit) and may be \(FactLimits.pageFacts)",
                field: "limit")
        }
        guard bytes <= FactLimits.pageBytes else {
            throw ServiceError(
                .malformedRequest, "max_bytes is \(bytes) and may be \(FactLimits.pageBytes)",
                field: "max_bytes")
        }
        guard waitMilliseconds <= 10_000 else {
            throw ServiceError(
                .malformedRequest, "wait_ms is \(waitMilliseconds) and may be 10000",
                field: "wait_ms")
        }
        count = Int(limit == 0 ? PageLimits.defaultCount : limit)
        self.bytes = Int(bytes == 0 ? PageLimits.defaultBytes : bytes)
        self.waitMilliseconds = waitMilliseconds
    }
}

/// Waits for heads without holding a thread, until the node stops.
final class HeadWaits: Sendable {
    private struct State {
        var isEnded = false
        var next: UInt64 = 0
        var waiting: [UInt64: AsyncStream<Void>.Continuation] = [:]
    }

    private let state = Mutex(State())

    func wait(for buffer: any ReadableBuffer, beyond offset: UInt64, milliseconds: Int) async {
        guard milliseconds > 0, buffer.headOffset <= offset else { return }
        let (stream, continuation) = AsyncStream<Void>.makeStream(
            bufferingPolicy: .bufferingNewest(1))
        guard let number = begin(continuation) else { return }
        defer { state.withLock { _ = $0.waiting.removeValue(forKey: number) } }
        let observer = buffer.observeHead { head in
            if head > offset { continuation.yield() }
        }
        defer { buffer.removeObserver(observer) }
        // It may have moved between the look above and the observer.
        guard buffer.headOffset <= offset else { return }
        let timer = Task {
            try? await Task.sleep(for: .milliseconds(milliseconds))
            continuation.finish()
        }
        defer { timer.cancel() }
        for await _ in stream { return }
    }

    private func begin(_ continuation: AsyncStream<Void>.Continuation) -> UInt64? {
        state.withLock { state in
            guard !state.isEnded else { return nil }
            defer { state.next += 1 }
            state.waiting[state.next] = continuation
            return state.next
        }
    }

    /// Ends the waits that are there, so that each is looked at again.
    func interrupt() {
        for continuation in state.withLock({ Array($0.waiting.values) }) { continuation.finish() }
    }

    /// Ends every wait, and those that come: a node that stops does not wait for facts.
    func end() {
        let waiting = state.withLock { state in
            state.isEnded = true
            return Array(state.waiting.values)
        }
        for continuation in waiting { continuation.finish() }
    }
}
