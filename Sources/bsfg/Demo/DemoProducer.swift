internal import Facts
internal import Gateway
internal import RPC
internal import SwiftProtobuf

/// A producer client: turns rows into facts, keeps many batches in flight, repeats with the same
/// ids whatever it does not know the outcome of, and remembers every acknowledgement.
///
/// It is paced: the rows are spread over some seconds, so that every fault falls into the flow,
/// however short the file is.
actor DemoProducer {
    struct Acknowledged: Sendable {
        var offset: UInt64
        var contentDigest: Digest
    }

    struct Counts: Sendable {
        var rows = 0
        var sent = 0
        var acknowledged = 0
        /// Facts whose call broke off: nobody knew whether they were stored.
        var unknown = 0
        /// Of those, found to be there already when they were sent again.
        var recognised = 0
        /// Rows that cannot be facts, and rows that stood in the file before.
        var invalid = 0
        var repeated = 0
        var inFlight = 0
        var isDone = false
    }

    static let inFlightMaximum = 16
    private static let callMilliseconds = 10_000
    private static let giveUpSeconds = 90.0

    private let reader: RowReader
    private let mapping: RowMapping
    private let client: RPCClient
    private let encoder = FactEncoder(
        limits: FactLimits(objectBytes: FactLimits.objectBytesCeiling))
    private let rate: Double
    private let batchCount: Int
    private let rowCount: Int
    private var start = Pacing.seconds()
    /// Rows that may go before their time.
    private var ahead = 0
    /// Rows beyond this wait for `release`: what later faults need to happen in the flow.
    private var ceiling: Int
    private(set) var counts = Counts()
    private(set) var acknowledged: [Digest: Acknowledged] = [:]
    private(set) var firstRefusal: String?

    /// - Parameter seconds: over how long the rows are spread.
    init(
        reader: sending RowReader, mapping: RowMapping, rowCount: Int, seconds: Double,
        client: RPCClient
    ) {
        self.reader = reader
        self.mapping = mapping
        self.client = client
        self.rowCount = rowCount
        counts.rows = rowCount
        rate = max(1, Double(rowCount) / seconds)
        // Ten times a second half of the calls that may be in flight.
        batchCount = min(500, max(1, Int(rate / 10 / Double(DemoProducer.inFlightMaximum / 2))))
        ceiling = rowCount
        acknowledged.reserveCapacity(rowCount)
    }

    /// Sends everything; returns when every fact is acknowledged.
    func run() async throws {
        start = Pacing.seconds()
        try await withThrowingTaskGroup(of: Void.self) { group in
            for _ in 0..<DemoProducer.inFlightMaximum {
                group.addTask { try await self.work() }
            }
            // The first that fails ends the others, which waiting for all would not.
            for try await _ in group {}
        }
        counts.isDone = true
    }

    /// Sends no row beyond this share of all until it is raised.
    func hold(at share: Double) { ceiling = Int(share * Double(rowCount)) }

    /// Sends as many batches as may be in flight at once, whatever their time.
    func burst() {
        ahead += batchCount * DemoProducer.inFlightMaximum
        ceiling = max(ceiling, counts.sent + batchCount * DemoProducer.inFlightMaximum)
    }

    private func work() async throws {
        while let batch = try await nextBatch() { try await deliver(batch) }
    }

    private var isRead = false

    /// The next facts in the order of the file, when it is time for them.
    private func nextBatch() async throws -> [EncodedFact]? {
        while true {
            if isRead || counts.sent == rowCount { return nil }
            try Task.checkCancellation()
            let due = Int((Pacing.seconds() - start) * rate) + ahead + 1
            if counts.sent < min(due, ceiling) { break }
            await Pacing.pause(milliseconds: 10)
        }
        var facts: [EncodedFact] = []
        for _ in 0..<batchCount where !isRead {
            if let fact = try nextFact() { facts.append(fact) }
        }
        return facts.isEmpty && isRead ? nil : facts
    }

    /// The next row's; nil at the end, and for a row that cannot be one.
    private func nextFact() throws -> EncodedFact? {
        let row: Row
        do throws(RowError) {
            guard counts.sent < rowCount, let next = try reader.next() else {
                isRead = true
                return nil
            }
            row = next
        } catch {
            guard error.line != nil else { throw error }
            counts.sent += 1
            refuse(error.description)
            return nil
        }
        counts.sent += 1
        do {
            return try encoder.encode(try mapping.submission(row))
        } catch let error as FactError {
            refuse("line \(row.line): \(error.sentence)")
        } catch let error as RowError {
            refuse(error.description)
        }
        return nil
    }

    private func refuse(_ sentence: String) {
        counts.invalid += 1
        if firstRefusal == nil { firstRefusal = sentence }
    }

    /// Sends a batch until its outcome is known.
    private func deliver(_ facts: [EncodedFact]) async throws {
        guard !facts.isEmpty else { return }
        let body = AppendRequestWriter.appendFacts(stream: TwoZoneSite.stream, facts)
        var isUnknown = false
        let end = Pacing.seconds() + DemoProducer.giveUpSeconds
        while true {
            try Task.checkCancellation()
            counts.inFlight += 1
            let answer = await send(body)
            counts.inFlight -= 1
            switch answer {
            case .success(let bytes):
                return try settle(facts, bytes, isUnknown: isUnknown)
            case .failure(let error):
                let isSent =
                    switch error.transportKind {
                    case .closed, .timeout, .cancelled: true
                    case nil: error.failure?.reason == ErrorReason.outcomeUnknown.rawValue
                    default: false
                    }
                if isSent, !isUnknown {
                    isUnknown = true
                    counts.unknown += facts.count
                }
                guard error.transportKind != nil || error.failure?.detail?.retryable == true else {
                    throw CommandFailure(.failure, "plant-a refuses a batch: \(error)")
                }
                guard Pacing.seconds() < end else {
                    throw CommandFailure(.failure, "plant-a takes no facts any more: \(error)")
                }
                await Pacing.pause(milliseconds: 100)
            }
        }
    }

    private func send(_ body: [UInt8]) async -> Result<[UInt8], RPCClientError> {
        do throws(RPCClientError) {
            return .success(
                try await client.call(
                    "/bsfg.v1.IngestService/AppendFacts", body,
                    timeoutMilliseconds: DemoProducer.callMilliseconds))
        } catch {
            return .failure(error)
        }
    }

    private func settle(_ facts: [EncodedFact], _ bytes: [UInt8], isUnknown: Bool) throws {
        let response = try Bsfg_V1_AppendFactsResponse(serializedBytes: bytes)
        guard response.outcomes.count == facts.count else {
            throw CommandFailure(.failure, "plant-a did not answer every fact of a batch")
        }
        for (fact, result) in zip(facts, response.outcomes) {
            switch result.outcome {
            case .appended, .existing:
                guard result.hasOffset, let digest = Digest(result.contentDigest) else {
                    throw CommandFailure(.failure, "an acknowledgement lacks offset or digest")
                }
                let known = acknowledged.updateValue(
                    Acknowledged(offset: result.offset, contentDigest: digest), forKey: fact.key)
                if let known {
                    counts.repeated += 1
                    guard known.offset == result.offset, known.contentDigest == digest else {
                        throw CommandFailure(.failure, "one id was acknowledged at two offsets")
                    }
                } else {
                    counts.acknowledged += 1
                    if isUnknown, result.outcome == .existing { counts.recognised += 1 }
                }
                guard digest == fact.contentDigest else {
                    throw CommandFailure(.failure, "plant-a acknowledged other content than sent")
                }
            default: refuse(result.error.reason)
            }
        }
    }
}
