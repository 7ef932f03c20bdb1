internal import Buffers
internal import Facts
internal import RPC
internal import SwiftProtobuf

/// AppendFact and AppendFacts: a fact is acknowledged when it is durable in the store buffer, and
/// whatever the other zone does changes nothing about that.
struct AppendService: Sendable {
    let access: Access
    let logs: StreamLogs
    let pool: BlockingPool
    var references = ArtifactReferenceCheck(store: nil)

    /// Where the facts of a call go, and by which rules: one configuration from its first fact to its last.
    private struct Target {
        let stream: StreamConfiguration
        let store: LogStoreBuffer
        let zone: String
        let knownZones: [String]
    }

    private func target(_ caller: Caller, _ stream: String) throws(ServiceError) -> Target {
        let name = stream.isEmpty ? StreamConfiguration.defaultName : stream
        let held = access.live.snapshot
        let configured = try access.checkAppend(caller, stream: name, held)
        guard let store = logs.store(stream: configured.name) else {
            preconditionFailure("every stream has a store log")
        }
        return Target(
            stream: configured, store: store, zone: held.configuration.zone,
            knownZones: held.knownZones)
    }

    private func encode(_ submission: FactSubmission, _ target: Target)
        throws(ServiceError) -> KeyedFact
    {
        let stream = target.stream
        let encoded: EncodedFact
        do throws(FactError) {
            encoded = try FactEncoder(limits: FactLimits(objectBytes: stream.objectBytesMaximum))
                .encode(submission)
        } catch {
            throw error.serviceError
        }
        guard submission.fromZone.utf8.elementsEqual(target.zone.utf8) else {
            throw ServiceError(
                .fromZoneNotAllowed,
                "from_zone is \(submission.fromZone), local producers append as "
                    + "\(target.zone)", field: "envelope.from_zone")
        }
        let zones = target.knownZones
        guard zones.contains(where: { $0.utf8.elementsEqual(submission.toZone.utf8) }) else {
            throw ServiceError(
                .unknownZone,
                "to_zone \(submission.toZone) is not known here; the zones are "
                    + zones.joined(separator: ", "), field: "envelope.to_zone")
        }
        let key =
            stream.idempotency == .content ? encoded.contentDigest : encoded.key
        return KeyedFact(
            key: key, contentDigest: encoded.contentDigest, storedRecord: encoded.storedRecord)
    }

    func appendFact(_ request: RPCRequest, _ respond: @escaping @Sendable (RPCReply) -> Void) {
        let encoding = request.encoding
        do throws(ServiceError) {
            let submission = try WireCodec.decodeAppendFact(request.body, encoding)
            let target = try target(request.caller, submission.stream)
            let fact = try encode(submission.fact, target)
            let pins = try references.hold(
                submission.fact.artifacts, target.stream.artifactReferences)
            target.store.append([fact]) { result in
                withExtendedLifetime(pins) {
                    respond(AppendService.reply(result, fact, encoding))
                }
            }
        } catch {
            respond(.failure(error))
        }
    }

    private static func reply(
        _ result: Result<PutReceipt, BufferError>, _ fact: KeyedFact, _ encoding: WireEncoding
    ) -> RPCReply {
        switch result {
        case .failure(let error): return .failure(ServiceError(error))
        case .success(let receipt):
            var response = Bsfg_V1_AppendFactResponse()
            response.epoch = receipt.epoch
            response.fill = receipt.fill
            response.contentDigest = fact.contentDigest.data
            switch receipt.outcomes[0] {
            case .appended(let offset):
                response.offset = offset
                response.outcome = .appended
            case .existing(let offset):
                response.offset = offset
                response.outcome = .existing
            case .conflict(let offset, let stored):
                return .failure(conflict(offset, stored, fact))
            case .skipped: preconditionFailure("one fact is not skipped")
            }
            return .message(WireCodec.encode(response, encoding))
        }
    }

    private static func conflict(_ offset: UInt64, _ stored: Digest, _ fact: KeyedFact)
        -> ServiceError
    {
        var error = ServiceError(
            .conflictingDuplicate,
            "a fact with this id and other content stands at offset \(offset); nothing was "
                + "written; give the new fact an id of its own", field: "envelope.message_id")
        error.offset = offset
        error.storedDigest = stored
        error.offeredDigest = fact.contentDigest
        return error
    }

    // MARK: - Batch

    func appendFacts(_ request: RPCRequest, _ respond: @escaping @Sendable (RPCReply) -> Void) {
        let encoding = request.encoding
        do throws(ServiceError) {
            let submission = try WireCodec.decodeAppendFacts(request.body, encoding)
            let target = try target(request.caller, submission.stream)
            let store = target.store
            guard submission.count > 0 else {
                throw ServiceError(.missingField, "the batch has no facts", field: "facts")
            }
            guard submission.count <= FactLimits.pageFacts else {
                throw ServiceError(
                    .tooLarge,
                    "the batch has more than \(FactLimits.pageFacts) facts; split it", field: "facts")
            }
            var batch = Batch(facts: [], results: [])
            for index in 0..<submission.count {
                guard !(submission.stopOnError && batch.hasInvalid) else {
                    batch.skip()
                    continue
                }
                do throws(ServiceError) {
                    let fact = try submission.fact(at: index)
                    let encoded = try encode(fact, target)
                    batch.pins += try references.hold(
                        fact.artifacts, target.stream.artifactReferences)
                    batch.add(encoded)
                } catch {
                    var error = error
                    error.field = "facts[\(index)]" + (error.field.isEmpty ? "" : "." + error.field)
                    batch.add(error)
                }
                try batch.checkSize()
            }
            batch.stopsAtConflict = submission.stopOnError
            let whole = batch
            write(whole, store, submission.stopOnError) { result in
                answer(whole, result, store, encoding, respond)
            }
        } catch {
            respond(.failure(error))
        }
    }

    /// A long answer is made on the pool, and so is one that has to look keys up: the thread that tells
    /// the outcomes is the one that commits, and everybody's next commit waits for it.
    private func answer(
        _ batch: Batch, _ result: Result<PutReceipt, BufferError>, _ store: LogStoreBuffer,
        _ encoding: WireEncoding, _ respond: @escaping @Sendable (RPCReply) -> Void
    ) {
        var isLong = batch.results.count > AppendService.shortAnswerCount
        if case .failure = result { isLong = true }
        let work: @Sendable () -> Void = { respond(batch.reply(result, store, encoding)) }
        if !isLong || !pool.submit(work) { work() }
    }

    private static let shortAnswerCount = 64

    private func write(
        _ batch: Batch, _ store: LogStoreBuffer, _ stopOnError: Bool,
        _ completion: @escaping @Sendable (Result<PutReceipt, BufferError>) -> Void
    ) {
        guard !batch.facts.isEmpty else {
            return completion(
                .success(PutReceipt(outcomes: [], epoch: store.epoch, fill: store.fill)))
        }
        guard stopOnError else { return store.append(batch.facts, completion: completion) }
        // Deciding between preparing and committing blocks.
        let work: @Sendable () -> Void = {
            completion(
                Result { () throws(BufferError) in try store.appendUntilConflict(batch.facts) })
        }
        if !pool.submit(work) {
            completion(
                .failure(
                    BufferError(
                        .busy, "too many batches are in work; retry", retryAfterMilliseconds: 1_000)))
        }
    }
}

/// A batch between decoding and answering: what of it goes to the buffer, and the place of each.
private struct Batch: Sendable {
    enum Result: Sendable {
        /// Goes to the buffer, by its index there.
        case fact(Int)
        case invalid(ServiceError)
        case skipped
    }

    var facts: [KeyedFact]
    /// Artifacts that its facts refer to, held until it is answered.
    var pins: [ArtifactPin] = []
    private(set) var results: [Result]
    private(set) var hasInvalid = false
    private(set) var bytes = 0
    /// Nothing behind a conflict is appended.
    var stopsAtConflict = false

    mutating func add(_ fact: KeyedFact) {
        results.append(.fact(facts.count))
        facts.append(fact)
        bytes += fact.storedRecord.count + 96
    }

    mutating func add(_ error: ServiceError) {
        results.append(.invalid(error))
        hasInvalid = true
    }

    mutating func skip() { results.append(.skipped) }

    func checkSize() throws(ServiceError) {
        guard bytes <= FactLimits.pageBytes else {
            throw ServiceError(
                .tooLarge,
                "the batch takes more than \(FactLimits.pageBytes) bytes as it is stored; split it",
                field: "facts")
        }
    }

    func reply(
        _ result: Swift.Result<PutReceipt, BufferError>, _ store: LogStoreBuffer,
        _ encoding: WireEncoding
    ) -> RPCReply {
        switch result {
        case .failure(let error): return .failure(failure(ServiceError(error), store))
        case .success(let receipt):
            var response = Bsfg_V1_AppendFactsResponse()
            response.epoch = receipt.epoch
            response.fill = receipt.fill
            response.outcomes = results.map { result in
                var answer = Bsfg_V1_AppendResult()
                switch result {
                case .skipped: answer.outcome = .skipped
                case .invalid(let error):
                    answer.outcome = .invalid
                    answer.error = error.detail
                case .fact(let index):
                    answer.fill(receipt.outcomes[index], facts[index])
                }
                return answer
            }
            return .message(WireCodec.encode(response, encoding))
        }
    }

    /// The new facts were refused all, or nobody knows; the same batch is retried whole. What stood
    /// before and what is wrong with a fact does not depend on it and is told.
    private func failure(_ error: ServiceError, _ store: LogStoreBuffer) -> ServiceError {
        var failure = error
        var isStopped = false
        for (place, result) in results.enumerated() {
            var answer = Bsfg_V1_AppendResult()
            switch result {
            case .fact where isStopped: answer.outcome = .skipped
            case .skipped: answer.outcome = .skipped
            case .invalid(let error):
                answer.outcome = .invalid
                answer.error = error.detail
            case .fact(let index):
                let fact = facts[index]
                let found: (offset: UInt64, content: Digest)?
                // What cannot be looked up now is refused like what is new.
                do throws(BufferError) { found = try store.find(fact.key) } catch { found = nil }
                switch found {
                case (let offset, let content)? where content == fact.contentDigest:
                    answer.fill(.existing(offset: offset), fact)
                case (let offset, let content)?:
                    answer.fill(.conflict(offset: offset, stored: content), fact)
                    isStopped = stopsAtConflict
                case nil:
                    answer.outcome = error.reason == .outcomeUnknown ? .unknown : .refused
                    answer.error.reason = error.reason.rawValue
                    answer.error.retryable = error.retryable
                }
                if answer.error.field.isEmpty, answer.hasError {
                    answer.error.field = "facts[\(place)]"
                }
            }
            if answer.outcome == .existing {
                failure.acceptedCount += 1
            } else {
                failure.failedCount += 1
                if failure.failures.count < 64 { failure.failures.append(answer) }
            }
        }
        return failure
    }
}

extension Bsfg_V1_AppendResult {
    fileprivate mutating func fill(_ outcome: PutOutcome, _ fact: KeyedFact) {
        contentDigest = fact.contentDigest.data
        switch outcome {
        case .appended(let offset):
            self.offset = offset
            self.outcome = .appended
        case .existing(let offset):
            self.offset = offset
            self.outcome = .existing
        case .conflict(let offset, let stored):
            self.offset = offset
            self.outcome = .conflict
            var error = ServiceError(.conflictingDuplicate)
            error.offset = offset
            error.storedDigest = stored
            error.offeredDigest = fact.contentDigest
            self.error = error.detail
        case .skipped: self.outcome = .skipped
        }
    }
}

extension RPCRequest {
    var encoding: WireEncoding { codec == .json ? .json : .proto }
}
