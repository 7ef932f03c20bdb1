internal import Buffers
internal import Facts
internal import FoundationEssentials
internal import Logging
internal import Replication
internal import RPC

/// What an operator decides about each fact in quarantine.
extension AdminHandler {
    private static let listDefaultCount: UInt32 = 100
    private static let listMaximumCount: UInt32 = 1_000

    func listQuarantine(_ request: Bsfg_Admin_V1_ListQuarantineRequest) async throws(ServiceError)
        -> Bsfg_Admin_V1_ListQuarantineResponse
    {
        let maximum = request.limit == 0 ? AdminHandler.listDefaultCount : request.limit
        guard maximum <= AdminHandler.listMaximumCount else {
            throw ServiceError(
                .malformedRequest, "limit is \(maximum) and may be "
                    + "\(AdminHandler.listMaximumCount)", field: "limit")
        }
        let after = request.after.isEmpty ? nil : try identifier(request.after)
        let quarantine = custody.quarantine
        let entries = try await onDisk { () throws(BufferError) in
            var entries: [Bsfg_Admin_V1_QuarantinedEntry] = []
            var isBehind = after == nil
            try quarantine.visit { fact in
                if isBehind { entries.append(AdminHandler.entry(fact)) }
                isBehind = isBehind || fact.identifier == after
                return entries.count < maximum
            }
            return entries
        }
        var response = Bsfg_Admin_V1_ListQuarantineResponse()
        response.entries = entries
        let size = quarantine.size
        response.count = UInt64(size.count)
        response.bytes = size.bytes
        response.capacityBytes = size.capacityBytes
        return response
    }

    func showQuarantine(_ request: Bsfg_Admin_V1_ShowQuarantineRequest) async throws(ServiceError)
        -> Bsfg_Admin_V1_ShowQuarantineResponse
    {
        let fact = try await quarantined(request.id)
        var response = Bsfg_Admin_V1_ShowQuarantineResponse()
        response.entry = AdminHandler.entry(fact)
        response.entry.storedRecord = Data(fact.storedRecord)
        if let stored = try? StoredRecord(fact.storedRecord), stored.item == .message,
            let json = try? EntryPresentation.json(
                protobuf: Array(fact.storedRecord[stored.itemRange]), messageName: "Message")
        {
            response.entry.messageJson = String(decoding: json, as: UTF8.self)
        }
        return response
    }

    /// Asks the source for the fact once more and otherwise judges the bytes that were kept again: a later
    /// release may know what this one could not read.
    func retryQuarantine(_ request: Bsfg_Admin_V1_RetryQuarantineRequest, by caller: String)
        async throws(ServiceError) -> Bsfg_Admin_V1_RetryQuarantineResponse
    {
        let fact = try await quarantined(request.id)
        guard !fact.isHalting else {
            throw ServiceError(
                .malformedRequest,
                "its stream halted for this fact; use bsfg quarantine resolve \(request.id) --retry")
        }
        guard fact.reason != .conflict else {
            throw ServiceError(
                .conflictingDuplicate,
                "another fact with this id stands here for good; export or discard this one")
        }
        let log = try log(fact.stream, fact.origin)
        guard let buffer = log.forward else {
            throw ServiceError(.unknownStream, "\(fact.stream) of \(fact.origin) is not pulled here")
        }
        try requirePassed(fact, buffer)
        let keyedBy: PageIntake.KeyRule =
            log.stream.idempotency == .content ? .content : .identifier
        guard let record = await released(fact, keyedBy) else {
            throw ServiceError(
                .invalidObject, "it cannot be materialised now either: \(fact.sentence); export or "
                    + "discard it, or have its source repaired", field: "id")
        }
        let outcome = try await onDisk { () throws(BufferError) in try buffer.putLate(record) }
        var response = Bsfg_Admin_V1_RetryQuarantineResponse()
        switch outcome {
        case .appended(let offset): response.offset = offset
        case .existing(let offset):
            response.offset = offset
            response.existing = true
        case .conflict(let offset, let stored):
            var error = ServiceError(
                .conflictingDuplicate,
                "another fact with this id stands at offset \(offset); export or discard this one")
            error.offset = offset
            error.storedDigest = stored
            throw error
        case .skipped: preconditionFailure("one fact is not skipped")
        }
        try await forget(fact)
        decided(fact, "released", "", caller)
        return response
    }

    private func released(_ fact: QuarantinedFact, _ keyedBy: PageIntake.KeyRule) async
        -> ForwardRecord?
    {
        let identifier = fact.identifier
        if let pull = pulls.pull(stream: fact.stream, origin: fact.origin),
            let position = pull.log.forward?.position, position.logUUID == identifier.logUUID,
            position.epoch == identifier.epoch,
            let entry = try? await pull.loop.entry(at: identifier.offset),
            entry.fromZone == Array(fact.origin.utf8),
            let record = Quarantining.late(entry, keyedBy: keyedBy)
        {
            return record
        }
        let kept = ReceivedEntry(
            storedRecord: fact.storedRecord, offset: identifier.offset,
            statedDigest: fact.offeredDigest)
        guard kept.fromZone == Array(fact.origin.utf8) else { return nil }
        return Quarantining.late(kept, keyedBy: keyedBy)
    }

    func discardQuarantine(_ request: Bsfg_Admin_V1_DiscardQuarantineRequest, by caller: String)
        async throws(ServiceError) -> Bsfg_Admin_V1_DiscardQuarantineResponse
    {
        try requireReason(request.reason)
        let fact = try await quarantined(request.id)
        guard !fact.isHalting else {
            throw ServiceError(
                .malformedRequest,
                "a sil_strict stream leaves nothing out; use bsfg quarantine resolve \(request.id)")
        }
        if let buffer = try? log(fact.stream, fact.origin).forward { try requirePassed(fact, buffer) }
        try await forget(fact)
        decided(fact, "discarded", request.reason, caller)
        return Bsfg_Admin_V1_DiscardQuarantineResponse()
    }

    func resolveQuarantine(_ request: Bsfg_Admin_V1_ResolveQuarantineRequest, by caller: String)
        async throws(ServiceError) -> Bsfg_Admin_V1_ResolveQuarantineResponse
    {
        let fact = try await quarantined(request.id)
        guard fact.isHalting, let buffer = try log(fact.stream, fact.origin).forward else {
            throw ServiceError(
                .malformedRequest,
                "no stream halted for this fact; use bsfg quarantine retry, export or discard")
        }
        let isStanding = buffer.halt?.identifier == fact.identifier
        var response = Bsfg_Admin_V1_ResolveQuarantineResponse()
        switch request.resolution {
        case "retry":
            if isStanding {
                try await onDisk { () throws(BufferError) in try buffer.setHalt(nil) }
            }
        case "record_refusal":
            try requireReason(request.reason)
            guard isStanding else {
                throw ServiceError(
                    .malformedRequest,
                    "the stream does not stand at this fact any more; resolve it with --retry")
            }
            response.refusedOffset = try await refuse(fact, buffer)
        default:
            throw ServiceError(
                .malformedRequest, "the resolution is retry or record_refusal, not "
                    + request.resolution, field: "resolution")
        }
        // What was decided is durable: it is told and taken up also where the quarantine cannot note it now.
        decided(fact, request.resolution, request.reason, caller)
        await pulls.pull(stream: fact.stream, origin: fact.origin)?.loop.startAgain()
        try await forget(fact)
        return response
    }

    /// The bytes as they came stand as a refused record, and the position is behind it.
    /// - Returns: the record's offset.
    private func refuse(_ fact: QuarantinedFact, _ buffer: LogForwardBuffer)
        async throws(ServiceError) -> UInt64
    {
        guard let position = buffer.position,
            position.logUUID == fact.identifier.logUUID, position.epoch == fact.identifier.epoch,
            position.nextOffset == fact.identifier.offset
        else {
            throw ServiceError(
                .historyMismatch, "the position is not at this fact: \(fact.identifier)")
        }
        var past = position
        past.nextOffset += 1
        // Bytes that changed on the way have another digest than the source's.
        if fact.reason != .digestMismatch,
            let digest = try? RecordDigest.compute(
                offset: fact.identifier.offset, storedRecord: fact.storedRecord)
        {
            past.digest = digest
            past.digestOffset = fact.identifier.offset
        }
        let (to, record) = (past, Quarantining.refusal(fact, position))
        return try await onDisk { () throws(BufferError) in
            try buffer.putRefusal(
                ForwardRecord(key: nil, contentDigest: nil, storedRecord: record),
                from: position, to: to)
            return buffer.headOffset - 1
        }
    }

    // MARK: - Parts

    private func identifier(_ text: String) throws(ServiceError) -> QuarantineIdentifier {
        guard let identifier = QuarantineIdentifier(text) else {
            throw ServiceError(
                .malformedRequest,
                "\(text) is no id of a fact in quarantine; bsfg quarantine list shows them",
                field: "id")
        }
        return identifier
    }

    private func quarantined(_ id: String) async throws(ServiceError) -> QuarantinedFact {
        let (identifier, quarantine) = (try identifier(id), custody.quarantine)
        guard let fact = try await onDisk({ () throws(BufferError) in
            try quarantine.fact(identifier)
        }) else {
            throw ServiceError(
                .malformedRequest, "nothing waits in quarantine as \(id); see bsfg quarantine list",
                field: "id")
        }
        return fact
    }

    /// The page that it came in is taken in whole. Until then that page brings it again: a decision would be
    /// asked for twice.
    private func requirePassed(_ fact: QuarantinedFact, _ buffer: LogForwardBuffer) throws(ServiceError) {
        guard let position = buffer.position, position.logUUID == fact.identifier.logUUID,
            position.epoch == fact.identifier.epoch, position.nextOffset <= fact.identifier.offset
        else { return }
        throw ServiceError(
            .malformedRequest,
            "the facts that came with it are not stored yet (the stream is at offset \(position.nextOffset)); "
                + "decide about it when they are, see bsfg status", field: "id")
    }

    private func forget(_ fact: QuarantinedFact) async throws(ServiceError) {
        let quarantine = custody.quarantine
        _ = try await onDisk { () throws(BufferError) in try quarantine.remove(fact.identifier) }
    }

    private func decided(
        _ fact: QuarantinedFact, _ decision: String, _ reason: String, _ caller: String
    ) {
        custody.audit(
            "quarantine_decided", by: caller, reason: reason,
            [
                "id": "\(fact.identifier)", "decision": "\(decision)",
                "stream": "\(fact.stream)", "origin": "\(fact.origin)",
            ])
    }

    private static func entry(_ fact: QuarantinedFact) -> Bsfg_Admin_V1_QuarantinedEntry {
        var entry = Bsfg_Admin_V1_QuarantinedEntry()
        entry.id = fact.identifier.description
        entry.stream = fact.stream
        entry.origin = fact.origin
        entry.reason = fact.reason.rawValue
        entry.sentence = fact.sentence
        entry.halting = fact.isHalting
        entry.quarantinedAtUnixMs = fact.quarantinedMilliseconds
        entry.offeredDigest = fact.offeredDigest?.hexadecimal ?? ""
        entry.storedDigest = fact.storedDigest?.hexadecimal ?? ""
        if let offset = fact.storedOffset { entry.storedOffset = offset }
        entry.bytes = UInt64(fact.storedRecord.count)
        return entry
    }
}
