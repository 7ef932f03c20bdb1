import Buffers
import Facts
import RPC
import SwiftProtobuf
import Testing
import WriteAheadLog

@testable import Gateway

@Suite struct ServicesAppendTests {
    private func append(_ bench: ServicesBench, _ fact: String, stream: String = "") async throws
        -> Bsfg_V1_AppendFactResponse
    {
        try await bench.call(
            Bsfg_V1_AppendFactResponse.self, .appendFact, appendJSON(fact, stream: stream),
            as: .client("writer"))
    }

    private func batch(
        _ bench: ServicesBench, _ facts: [String], stops: Bool = false
    ) async throws -> Bsfg_V1_AppendFactsResponse {
        try await bench.call(
            Bsfg_V1_AppendFactsResponse.self, .appendFacts,
            #"{"facts":[\#(facts.joined(separator: ","))],"stop_on_error":\#(stops)}"#,
            as: .client("writer"))
    }

    @Test func `a full log refuses what is new, answers what is there, and takes again by itself`()
        async throws
    {
        let bench = try ServicesBench(
            main: ServicesBench.main.replacing(
                "{name: facts.operational, capacity: 16MiB, segment: 1MiB}",
                with: "{name: facts.operational, capacity: 8MiB, segment: 1MiB}"))
        try await bench.consumer("reports", of: "reader")
        // The peer that is granted the log is there and has everything at the end; it is waited for too.
        let (log, peer) = (bench.log(), try #require(bench.log().awaited(bench).first))
        try log.cursors.create(TrackedCursor(owner: peer.owner, name: peer.name, nextOffset: 0))
        let text = String(repeating: "x", count: 150_000)
        func fact(_ number: Int) -> String { factJSON(number, extra: #","t":"\#(text)""#) }
        var stored = 0
        var refusal: ServiceError?
        while refusal == nil, stored < 200 {
            refusal = await bench.error(
                .appendFact, appendJSON(fact(stored)), as: .client("writer"))
            if refusal == nil { stored += 1 }
        }
        #expect(refusal?.reason == .backpressure && refusal?.retryable == true)
        #expect(refusal.map { $0.retryAfterMilliseconds > 0 && $0.fill >= 0.8 } == true)
        #expect(UInt64(stored) == bench.log().log.headOffset)
        #expect(try await append(bench, fact(0)).outcome == .existing)
        // A batch: what is there is told apart from what is refused.
        let batch = await bench.error(
            .appendFacts, #"{"facts":[\#(fact(1)),\#(fact(1_000))]}"#, as: .client("writer"))
        #expect(batch?.reason == .backpressure && batch?.acceptedCount == 1)
        #expect(batch?.failedCount == 1 && batch?.failures.first?.outcome == .refused)
        let status = try await bench.call(
            Bsfg_Admin_V1_StatusResponse.self, .status, "{}", as: .operator)
        #expect(status.streams[0].accepts == false && status.streams[0].refusals > 0)
        #expect(status.streams[0].events["backpressure_closed"] == 1)
        _ = try await bench.call(
            Bsfg_V1_ConfirmReceiptResponse.self, .confirmReceipt,
            #"{"consumer_name":"reports","offset":"\#(stored - 1)"}"#, as: .client("reader"))
        _ = try log.cursors.confirm(
            owner: peer.owner, name: peer.name, 0...UInt64(stored - 1), digest: nil)
        try await eventually("it takes facts again") {
            await bench.error(
                .appendFact, appendJSON(fact(stored)), as: .client("writer")) == nil
        }
        #expect(bench.log().log.headOffset == UInt64(stored) + 1)
        await bench.close()
    }

    @Test func `the alarm of a sil_strict log stays until it is acknowledged`() async throws {
        let bench = try ServicesBench(
            main: ServicesBench.main.replacing(
                "{name: facts.safety, capacity: 16MiB, segment: 1MiB,",
                with: "{name: facts.safety, capacity: 8MiB, segment: 1MiB,"))
        let log = bench.log("facts.safety")
        // The granted peer: without its cursor nothing would ever be confirmed.
        let reader = try #require(log.awaited(bench).first)
        try log.cursors.create(
            TrackedCursor(owner: reader.owner, name: reader.name, nextOffset: 0))
        let text = String(repeating: "x", count: 200_000)
        var number = 0
        while number < 200,
            await bench.error(
                .appendFact,
                appendJSON(factJSON(number, extra: #","t":"\#(text)""#), stream: "facts.safety"),
                as: .operator) == nil
        { number += 1 }
        func isRaised() async throws -> Bool {
            try await bench.call(
                Bsfg_Admin_V1_StatusResponse.self, .status, "{}", as: .operator
            ).streams.contains { $0.stream == "facts.safety" && $0.alarm }
        }
        #expect(try await isRaised())
        _ = try log.cursors.confirm(
            owner: reader.owner, name: reader.name, 0...log.log.headOffset - 1, digest: nil)
        try await eventually("it takes facts again") { log.log.statistics().isAcceptingRecords }
        #expect(try await isRaised())
        #expect(
            await bench.error(.acknowledgeAlarm, #"{"stream":"facts.safety"}"#, as: .operator)?
                .field == "reason")
        let first = try await bench.call(
            Bsfg_Admin_V1_AcknowledgeAlarmResponse.self, .acknowledgeAlarm,
            #"{"stream":"facts.safety","reason":"reader was down"}"#, as: .operator)
        #expect(first.acknowledged)
        #expect(try await !isRaised())
        let second = try await bench.call(
            Bsfg_Admin_V1_AcknowledgeAlarmResponse.self, .acknowledgeAlarm,
            #"{"stream":"facts.safety","reason":"again"}"#, as: .operator)
        #expect(!second.acknowledged)
        await bench.close()
    }

    @Test func `a retry returns the original offset and other content changes nothing`()
        async throws
    {
        let bench = try ServicesBench()
        let first = try await append(bench, factJSON(1))
        #expect(first.hasOffset && first.offset == 0 && first.outcome == .appended)
        #expect(first.epoch == 1 && first.contentDigest.count == 32 && first.fill > 0)
        _ = try await append(bench, factJSON(2))
        let again = try await append(bench, factJSON(1))
        #expect(again.offset == 0 && again.outcome == .existing)
        #expect(again.contentDigest == first.contentDigest)
        let conflict = await bench.error(
            .appendFact, appendJSON(factJSON(1, value: 9)), as: .client("writer"))
        #expect(conflict?.reason == .conflictingDuplicate && conflict?.offset == 0)
        #expect(conflict?.storedDigest?.bytes == Array(first.contentDigest))
        #expect(conflict?.offeredDigest != conflict?.storedDigest)
        #expect(bench.log().log.headOffset == 2)
        // Streams do not know each other's ids.
        #expect(try await append(bench, factJSON(1), stream: "facts.audit").outcome == .appended)
        await bench.close()
        // Nor does a restart make a retry new.
        let reopened = try ServicesBench(files: bench.files)
        #expect(try await append(reopened, factJSON(2)).outcome == .existing)
        #expect(
            await reopened.error(
                .appendFact, appendJSON(factJSON(1, value: 9)), as: .client("writer"))?.reason
                == .conflictingDuplicate)
        await reopened.close()
    }

    @Test(arguments: [
        (factJSON(1, from: "plant-a"), ErrorReason.fromZoneNotAllowed, "envelope.from_zone"),
        (factJSON(1, to: "nowhere"), .unknownZone, "envelope.to_zone"),
        (factJSON(1, subject: "no subject"), .invalidSubject, "fact.subject"),
        (
            factJSON(1, extra: #","c":9007199254740993"#), .numberNotRepresentable,
            "fact.object.c"
        ),
        (#"{"fact":{}}"#, .missingField, "envelope"),
        (#"{"envelop":{}}"#, .unknownField, "envelop"),
        ("{", .malformedRequest, ""),
    ])
    func `a fact that cannot be taken is refused with its place`(
        _ fact: String, _ reason: ErrorReason, _ field: String
    ) async throws {
        let bench = try ServicesBench()
        let body = fact == "{" ? fact : appendJSON(fact)
        let error = await bench.error(.appendFact, body, as: .client("writer"))
        #expect(error?.reason == reason && error?.field == field)
        #expect(bench.log().log.headOffset == 0)
        await bench.close()
    }

    @Test func `zones that are known may be sent to`() async throws {
        let bench = try ServicesBench()
        for (number, zone) in ["enterprise", "plant-b", "plant-c", "cloud"].enumerated() {
            #expect(try await append(bench, factJSON(number, to: zone)).outcome == .appended)
        }
        await bench.close()
    }

    @Test("gateway decision 23: a mixed batch answers each fact")
    func mixedBatch() async throws {
        let bench = try ServicesBench()
        try await bench.append(0..<2)
        let response = try await batch(
            bench,
            [
                factJSON(5), factJSON(1), factJSON(0, value: 9), factJSON(6, subject: "x"),
                factJSON(5), factJSON(7),
            ])
        #expect(
            response.outcomes.map(\.outcome) == [
                .appended, .existing, .conflict, .invalid, .existing, .appended,
            ])
        #expect(response.outcomes.map(\.offset) == [2, 1, 0, 0, 2, 3])
        #expect(response.outcomes[2].error.reason == "conflicting_duplicate")
        #expect(response.outcomes[2].error.storedDigest.count == 32)
        #expect(response.outcomes[3].error.reason == "invalid_subject")
        #expect(response.outcomes[3].error.field == "facts[3].fact.subject")
        #expect(bench.log().log.headOffset == 4)
        // All invalid is an answer, too.
        let invalid = try await batch(bench, [factJSON(9, subject: "x")])
        #expect(invalid.outcomes.map(\.outcome) == [.invalid] && invalid.epoch == 1)
        await bench.close()
    }

    @Test("gateway decision 23: nothing after the first bad fact is appended when asked so")
    func stopsAtFirst() async throws {
        let bench = try ServicesBench()
        try await bench.append(0..<1)
        let conflict = try await batch(
            bench, [factJSON(1), factJSON(0), factJSON(0, value: 9), factJSON(2)], stops: true)
        #expect(
            conflict.outcomes.map(\.outcome) == [.appended, .existing, .conflict, .skipped])
        let invalid = try await batch(
            bench, [factJSON(3), factJSON(4, subject: "x"), factJSON(5)], stops: true)
        #expect(invalid.outcomes.map(\.outcome) == [.appended, .invalid, .skipped])
        #expect(bench.log().log.headOffset == 3)
        let good = try await batch(bench, [factJSON(5), factJSON(6)], stops: true)
        #expect(good.outcomes.map(\.outcome) == [.appended, .appended])
        await bench.close()
    }

    @Test("gateway decision 22: batches have limits, in stored bytes and facts")
    func batchLimits() async throws {
        let bench = try ServicesBench()
        func error(_ facts: [String]) async -> ServiceError? {
            await bench.error(
                .appendFacts, #"{"facts":[\#(facts.joined(separator: ","))]}"#,
                as: .client("writer"))
        }
        let empty = await error([])
        #expect(empty?.reason == .missingField && empty?.field == "facts")
        let tooMany = await error((0...FactLimits.pageFacts).map { factJSON($0) })
        #expect(tooMany?.reason == .tooLarge && tooMany?.field == "facts")
        let text = String(repeating: "x", count: 1_000_000)
        let tooLarge = await error((0..<7).map { factJSON($0, extra: #","t":"\#(text)""#) })
        #expect(tooLarge?.reason == .tooLarge && tooLarge?.message.contains("stored") == true)
        // The object's own limit is about one fact and is answered for it.
        let one = try await batch(bench, [factJSON(1, extra: #","t":"\#(text)\#(text)""#)])
        #expect(one.outcomes[0].error.reason == "too_large")
        #expect(bench.log().log.headOffset == 0)
        await bench.close()
    }

    @Test func `a large batch is taken whole, in one commit`() async throws {
        let bench = try ServicesBench()
        let before = bench.log().log.statistics().counters.commits
        let response = try await batch(bench, (0..<1_000).map { factJSON($0) })
        #expect(response.outcomes.allSatisfy { $0.outcome == .appended })
        #expect(response.outcomes.map(\.offset) == (0..<1_000).map { UInt64($0) })
        #expect(bench.log().log.statistics().counters.commits == before + 1)
        await bench.close()
    }

    @Test("gateway decision 23: a batch that cannot be written is an error that says what stands")
    func unwrittenBatch() async throws {
        let bench = try ServicesBench()
        try await bench.append(0..<2)
        bench.log().log.close()
        for stops in [false, true] {
            let facts = [factJSON(0), factJSON(1, value: 9), factJSON(2, subject: "x"), factJSON(3)]
            let error = await bench.error(
                .appendFacts,
                #"{"facts":[\#(facts.joined(separator: ","))],"stop_on_error":\#(stops)}"#,
                as: .client("writer"))
            #expect(error?.reason == .logPoisoned && error?.retryable == true)
            #expect(error?.acceptedCount == 1 && error?.failedCount == 3)
            if !stops {
                #expect(error?.failures.map(\.outcome) == [.conflict, .invalid, .refused])
                #expect(
                    error?.failures.map(\.error.field)
                        == ["facts[1]", "facts[2].fact.subject", "facts[3]"])
            }
        }
        await bench.close()
    }

    @Test("gateway decision 20: a stream may be idempotent by content")
    func byContent() async throws {
        let bench = try ServicesBench()
        let stream = "facts.audit"
        #expect(try await append(bench, factJSON(1), stream: stream).outcome == .appended)
        // Another id that says the same is the same fact; the same id that says more is another.
        let same = try await append(bench, factJSON(2, value: 1), stream: stream)
        #expect(same.outcome == .existing && same.offset == 0)
        let other = try await append(bench, factJSON(1, value: 5), stream: stream)
        #expect(other.outcome == .appended && other.offset == 1)
        await bench.close()
    }

    @Test("gateway decision 32: an append that is not answered in time has an unknown outcome, to be retried")
    func lateAppendsHaveAnUnknownOutcome() async throws {
        let bench = try ServicesBench()
        #expect(
            bench.service.timedOut(procedure: Procedure.appendFact.rawValue).reason
                == .outcomeUnknown)
        #expect(
            bench.service.timedOut(procedure: Procedure.appendFacts.rawValue).retryable)
        #expect(
            bench.service.timedOut(procedure: Procedure.fetchFacts.rawValue).reason
                == .deadlineExceeded)
        await bench.close()
    }
}

extension StreamLog {
    fileprivate func awaited(_ bench: ServicesBench) -> [AwaitedReader] {
        bench.configuration.awaitedReaders(stream: stream.name, origin: origin)
    }
}
