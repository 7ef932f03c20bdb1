internal import Buffers
internal import Facts
internal import FoundationEssentials
internal import Logging
internal import Replication
internal import RPC
internal import WriteAheadLog

/// What the operator of this machine may ask over the administration socket.
struct AdminHandler: AdminCodec, Sendable {
    let live: LiveConfiguration
    let logs: StreamLogs
    let pulls: Pulls
    let pool: BlockingPool
    let waits: HeadWaits
    let custody: NodeCustody
    let startedMilliseconds: Int64
    let now: @Sendable () -> Int64
    let server: @Sendable () -> RPCServerStatistics
    let listeners: @Sendable () -> [String]
    /// Nil where the configuration has no artifacts.
    var artifacts: NodeArtifacts?
    /// Tells which certificate is in force; nil where nothing is served.
    var reloader: Reloader?

    var configuration: NodeConfiguration { live.current }

    func handle(_ procedure: Procedure, _ request: RPCRequest) async throws(ServiceError) -> [UInt8] {
        switch procedure {
        case .status: try encode(await status(), request)
        case .listConsumers: try encode(listConsumers(), request)
        case .peek: try await peek(try decode(request), request)
        case .getFact: try await getFact(try decode(request), request)
        case .queryFacts: try await queryFacts(try decode(request), request)
        case .listQuarantine:
            try encode(try await listQuarantine(try decode(request)), request)
        case .showQuarantine:
            try encode(try await showQuarantine(try decode(request)), request)
        case .listArtifacts: try encode(try await listArtifacts(try decode(request)), request)
        case .showArtifact: try encode(try await showArtifact(try decode(request)), request)
        default: try await decide(procedure, request, by: request.caller.identity)
        }
    }

    /// What an operator decides, by whom.
    private func decide(_ procedure: Procedure, _ request: RPCRequest, by caller: String)
        async throws(ServiceError) -> [UInt8]
    {
        switch procedure {
        case .createConsumer:
            try encode(try await createConsumer(try decode(request), by: caller), request)
        case .redeliver: try encode(try await redeliver(try decode(request), by: caller), request)
        case .detachConsumer: try encode(try await detach(try decode(request), by: caller), request)
        case .attachConsumer: try encode(try await attach(try decode(request), by: caller), request)
        case .acknowledgeAlarm:
            try encode(try await acknowledgeAlarm(try decode(request), by: caller), request)
        case .retryQuarantine:
            try encode(try await retryQuarantine(try decode(request), by: caller), request)
        case .discardQuarantine:
            try encode(try await discardQuarantine(try decode(request), by: caller), request)
        case .resolveQuarantine:
            try encode(try await resolveQuarantine(try decode(request), by: caller), request)
        case .acceptHistory:
            try encode(try await acceptHistory(try decode(request), by: caller), request)
        case .deleteConsumer:
            try encode(try await deleteConsumer(try decode(request), by: caller), request)
        default: preconditionFailure("\(procedure.rawValue) is not administration")
        }
    }

    // MARK: - Status

    private func status() async -> Bsfg_Admin_V1_StatusResponse {
        var response = Bsfg_Admin_V1_StatusResponse()
        response.zone = configuration.zone
        response.identity = configuration.identity
        response.release = NodeRelease.name
        response.startedAtUnixMs = startedMilliseconds
        response.listeners = listeners()
        response.streams = logs.all.map(stream)
        response.consumers = listConsumers().consumers
        response.pulls = await pulls.status()
        let statistics = server()
        response.server.connections = statistics.connectionsAccepted
        response.server.requests = statistics.requests
        response.server.openConnections = UInt64(statistics.openConnections)
        response.server.handshakeFailures = statistics.handshakeFailures
        response.server.callersRefused = statistics.callersRefused
        response.server.errors = statistics.errors
        let quarantine = custody.quarantine.size
        response.quarantine.count = UInt64(quarantine.count)
        response.quarantine.bytes = quarantine.bytes
        response.quarantine.capacityBytes = quarantine.capacityBytes
        if let reloader { response.certificate = await AdminHandler.certificate(reloader) }
        if let artifacts { response.artifacts = AdminHandler.usage(artifacts.store.usage) }
        return response
    }

    static func certificate(_ reloader: Reloader) async -> Bsfg_Admin_V1_NodeCertificate {
        let credentials = await reloader.credentials
        let leaf = credentials.leaf
        var status = Bsfg_Admin_V1_NodeCertificate()
        status.subject = leaf.subject
        status.serial = leaf.serial
        status.notBeforeUnixMs = leaf.notBefore * 1_000
        status.notAfterUnixMs = leaf.notAfter * 1_000
        status.refusedFiles = await reloader.refusedFiles ?? ""
        status.problem = await problem(credentials) ?? ""
        status.staleCrls = credentials.revocation.stale(atSeconds: GatewayNode.nowMilliseconds() / 1_000).map {
            "'\($0.authority.subject)' since \(UTCText.text($0.list.nextUpdate ?? 0))"
        }
        return status
    }

    /// Not on the disk's threads: a disk that hangs is what a status has to tell.
    @concurrent private static func problem(_ credentials: NodeCredentials) async -> String? {
        credentials.ownProblem()
    }

    private func stream(_ log: StreamLog) -> Bsfg_Admin_V1_StreamStatus {
        let statistics = log.log.statistics()
        var status = Bsfg_Admin_V1_StreamStatus()
        status.stream = log.stream.name
        status.origin = log.origin
        status.role = log.role
        status.logUuid = log.log.identifier.hexadecimal
        status.epoch = log.log.epoch
        status.firstOffset = statistics.firstOffset
        status.headOffset = statistics.headOffset
        status.fill = statistics.fill
        status.fillBytes = statistics.fillBytes
        status.capacityBytes = statistics.capacityBytes
        status.accepts = statistics.isAcceptingRecords
        status.alarm = statistics.isAlarmRaised
        status.gaps = log.buffer.gaps(in: 0..<statistics.headOffset).map { gap in
            var told = Bsfg_Admin_V1_Gap()
            told.firstOffset = gap.offsets.lowerBound
            told.lastOffset = gap.offsets.upperBound - 1
            told.reasons = gap.reasons
            return told
        }
        status.terminal = !configuration.hasReaders(stream: log.stream.name, origin: log.origin)
        status.awaitedReaders = absentReaders(of: log)
        status.refusals = statistics.counters.refusals
        status.events = LogEventNames.counts(statistics.events)
        status.profile = log.stream.profile.rawValue
        status.state = statistics.poison.map { "stopped: \($0.error.sentence)" } ?? "writing"
        status.directory = log.log.directory
        return status
    }

    /// Peers that are granted a log and have no cursor in it yet: nothing of it is removed before they come.
    private func absentReaders(of log: StreamLog) -> [String] {
        let cursors = log.cursors.cursors()
        return configuration.awaitedReaders(stream: log.stream.name, origin: log.origin).filter { reader in
            !cursors.contains {
                $0.owner.utf8.elementsEqual(reader.owner.utf8) && $0.name.utf8.elementsEqual(reader.name.utf8)
            }
        }.map(\.owner)
    }

    // MARK: - Consumers

    private func listConsumers() -> Bsfg_Admin_V1_ListConsumersResponse {
        var response = Bsfg_Admin_V1_ListConsumersResponse()
        response.consumers = logs.all.flatMap { log in
            log.cursors.cursors().map { AdminHandler.consumer($0, log) }
        }
        return response
    }

    static func consumer(_ cursor: TrackedCursor, _ log: StreamLog)
        -> Bsfg_Admin_V1_Consumer
    {
        var consumer = Bsfg_Admin_V1_Consumer()
        consumer.owner = cursor.owner
        consumer.name = cursor.name
        consumer.stream = log.stream.name
        consumer.origin = log.origin
        consumer.nextOffset = cursor.nextOffset
        consumer.headOffset = log.log.headOffset
        consumer.initMode = cursor.initMode
        consumer.createdAtUnixMs = cursor.createdMilliseconds
        consumer.detached = cursor.detachReason ?? ""
        consumer.required = cursor.hold == .required
        return consumer
    }

    private func createConsumer(_ request: Bsfg_Admin_V1_CreateConsumerRequest, by caller: String)
        async throws(ServiceError) -> Bsfg_Admin_V1_CreateConsumerResponse
    {
        guard FactRules.isConsumerName(request.name) else {
            throw ServiceError(
                .malformedRequest, "the consumer's name \(request.name) is not usable; use "
                    + "letters, digits and ._-/ up to 256 bytes", field: "name")
        }
        guard let client = configuration.client(identity: request.owner) else {
            throw ServiceError(
                .identityNotAuthorised,
                "\(request.owner) is not in clients; add it with the role consumer", field: "owner")
        }
        let log = try log(request.stream, request.origin)
        guard client.roles.contains(.consumer) else {
            throw ServiceError(
                .identityNotAuthorised, "\(request.owner) has not the role consumer",
                field: "owner")
        }
        let mode = request.initMode.isEmpty ? "full_backfill" : request.initMode
        let start: UInt64 =
            switch mode {
            case "full_backfill": log.log.firstOffset
            case "start_now": log.log.headOffset
            default:
                throw ServiceError(
                    .initOutOfRange, "start is full_backfill or start_now, not \(mode)",
                    field: "init_mode")
            }
        let cursor = TrackedCursor(
            owner: request.owner, name: request.name, nextOffset: start, epoch: log.log.epoch,
            initMode: mode, createdMilliseconds: now())
        do throws(BufferError) {
            try await pool.run { () throws(BufferError) in
                try logs.createConsumer(cursor, in: log)
            }
        } catch {
            var refusal = ServiceError(error)
            if refusal.reason == .consumerExists { refusal.field = "name" }
            throw refusal
        }
        custody.audit(
            "consumer_created", by: caller,
            [
                "owner": "\(request.owner)", "consumer": "\(request.name)",
                "stream": "\(log.stream.name)", "origin": "\(log.origin)", "init_mode": "\(mode)",
                "next_offset": "\(start)",
            ])
        var response = Bsfg_Admin_V1_CreateConsumerResponse()
        response.consumer = AdminHandler.consumer(cursor, log)
        return response
    }

    /// A log by stream and origin; each may be left out when it is clear which is meant.
    func log(_ stream: String, _ origin: String) throws(ServiceError) -> StreamLog {
        let name = stream.isEmpty ? StreamConfiguration.defaultName : stream
        let found = logs.all.filter {
            $0.stream.name.utf8.elementsEqual(name.utf8)
                && (origin.isEmpty
                    ? $0.store != nil : $0.origin.utf8.elementsEqual(origin.utf8))
        }
        guard let log = found.first else {
            throw ServiceError(
                .unknownStream,
                "there is no log of \(name)\(origin.isEmpty ? "" : " from \(origin)") here",
                field: "stream")
        }
        return log
    }

    // MARK: - Peek and drill

    private func peek(_ message: Bsfg_Admin_V1_PeekRequest, _ request: RPCRequest)
        async throws(ServiceError) -> [UInt8]
    {
        let log = try log(message.stream, message.origin)
        let limits = try PageLimits(
            limit: message.limit, bytes: 0, waitMilliseconds: message.waitMs)
        let head = log.log.headOffset
        let from = message.hasFromOffset ? message.fromOffset : head
        guard from <= head else {
            var error = ServiceError(
                .beyondHead, "from_offset \(from) is beyond the head \(head)", field: "from_offset")
            error.headOffset = head
            throw error
        }
        if from == head {
            await waits.wait(
                for: log.buffer, beyond: from,
                milliseconds: min(
                    Int(limits.waitMilliseconds), request.remainingMilliseconds - 250))
        }
        return try await FetchService.page(
            log, from: from, limits, confirmedOffset: nil, awaitedFrom: nil, request.encoding,
            request.answerMemory, pool)
    }

    private func redeliver(_ request: Bsfg_Admin_V1_RedeliverRequest, by caller: String)
        async throws(ServiceError) -> Bsfg_Admin_V1_RedeliverResponse
    {
        let stream = request.stream.isEmpty ? StreamConfiguration.defaultName : request.stream
        let origin = request.origin.isEmpty ? request.peer : request.origin
        guard let from = await pulls.redeliver(stream: stream, origin: origin, count: request.count)
        else {
            throw ServiceError(
                .unknownStream,
                "nothing is pulled as \(stream) of \(origin) right now; see bsfg status",
                field: "stream")
        }
        custody.audit(
            "redelivery_asked", by: caller,
            ["stream": "\(stream)", "origin": "\(origin)", "from_offset": "\(from)"])
        var response = Bsfg_Admin_V1_RedeliverResponse()
        response.fromOffset = from
        return response
    }
}
