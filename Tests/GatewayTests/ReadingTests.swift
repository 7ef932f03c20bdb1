import Buffers
import Facts
import RPC
import SwiftProtobuf
import Testing
import WriteAheadLog

@testable import Gateway

/// Looking facts up without a cursor, and ending consumers.
@Suite struct ReadingTests {
    private func page(_ bench: ServicesBench, _ procedure: Procedure, _ json: String) async throws
        -> Bsfg_V1_FetchFactsResponse
    {
        try await bench.call(
            Bsfg_V1_FetchFactsResponse.self, procedure, json, as: .operator)
    }

    @Test func `a fact is found by its offset and by its message id`() async throws {
        let bench = try ServicesBench()
        try await bench.append(0..<4)
        let byOffset = try await page(bench, .getFact, #"{"offset":"2"}"#)
        #expect(byOffset.entries.map(\.message.envelope.messageID) == ["m-2"])
        let byName = try await page(bench, .getFact, #"{"message_id":"m-3"}"#)
        #expect(byName.entries.map(\.offset) == [3])
        for (json, reason) in [
            ("{}", ErrorReason.malformedRequest), (#"{"offset":"1","message_id":"m-1"}"#, .malformedRequest),
            (#"{"offset":"4"}"#, .beyondHead), (#"{"message_id":"m-9"}"#, .malformedRequest),
            (#"{"stream":"facts.audit","message_id":"m-1"}"#, .malformedRequest),
            (#"{"stream":"nothing","offset":"1"}"#, .unknownStream),
        ] {
            #expect(await bench.error(.getFact, json, as: .operator)?.reason == reason, "\(json)")
        }
        await bench.close()
    }

    @Test func `facts are listed by when the log took them`() async throws {
        let bench = try ServicesBench()
        try await bench.append(0..<3)
        try await Task.sleep(for: .milliseconds(30))
        let middle = GatewayNode.nowMilliseconds()
        try await Task.sleep(for: .milliseconds(30))
        try await bench.append(3..<8)
        func query(_ json: String) async throws -> [UInt64] {
            try await page(bench, .queryFacts, json).entries.map(\.offset)
        }
        let end = Int64.max
        #expect(try await query(#"{"from_unix_ms":"0","to_unix_ms":"\#(middle)"}"#) == [0, 1, 2])
        #expect(
            try await query(#"{"from_unix_ms":"\#(middle)","to_unix_ms":"\#(end)"}"#)
                == [3, 4, 5, 6, 7])
        #expect(
            try await query(
                #"{"from_unix_ms":"\#(middle)","to_unix_ms":"\#(end)","limit":2,"from_offset":"5"}"#)
                == [5, 6])
        #expect(try await query(#"{"from_unix_ms":"\#(end)","to_unix_ms":"\#(end)"}"#) == [])
        #expect(
            await bench.error(
                .queryFacts, #"{"from_unix_ms":"2","to_unix_ms":"1"}"#, as: .operator)?.reason
                == .malformedRequest)
        await bench.close()
    }

    /// What `POST /v1/fetch` answers to somebody.
    private func preview(_ bench: ServicesBench, _ json: String, as caller: Caller) async throws
        -> String
    {
        switch await bench.reply(.previewFetch, Array(json.utf8), caller) {
        case .message(let bytes): String(decoding: bytes, as: UTF8.self)
        case .failure(let error): throw error
        }
    }

    @Test("gateway decision 45: POST /v1/fetch shows what a cursor policy would get and opens no cursor")
    func preview() async throws {
        let bench = try ServicesBench()
        try await bench.append(0..<3)
        let body = #"{"stream":"facts.operational","cursor_policy":"bounded_backfill_24h"}"#
        for caller in [Caller.peer("plant-a"), .client("reader"), .operator] {
            let page = try await preview(bench, body, as: caller)
            // Nested JSON and the specification's names, as people read it.
            #expect(page.contains(#""message_id":"m-2""#) && page.contains(#""object":{"n":2}"#))
            #expect(page.contains(#""next_offset":3"#))
        }
        #expect(bench.log().cursors.cursors().isEmpty)
        let now = try await preview(bench, #"{"cursor_policy":"start_now"}"#, as: .client("reader"))
        #expect(!now.contains("message_id"))
        let one = try await preview(
            bench, #"{"cursor_policy":"full_backfill","limit":1}"#, as: .client("reader"))
        #expect(one.contains("m-0") && !one.contains("m-1"))
        for (json, caller, reason) in [
            (body, Caller.peer("plant-b"), ErrorReason.streamNotGranted),
            (body, .client("writer"), .identityNotAuthorised),
            (#"{"stream":"facts.audit"}"#, .client("reader"), .streamNotGranted),
            (#"{"cursor_policy":"yesterday"}"#, .client("reader"), .initOutOfRange),
            (#"{"cursor":"x"}"#, .client("reader"), .malformedRequest),
        ] {
            #expect(
                await bench.error(.previewFetch, json, as: caller)?.reason == reason, "\(json)")
        }
        await bench.close()
    }

    @Test("gateway decision 8: a deleted consumer is unknown, and nobody waits for it")
    func deleted() async throws {
        let bench = try ServicesBench()
        try await bench.append(0..<3)
        try await bench.consumer("reports", of: "reader")
        #expect(
            await bench.error(
                .deleteConsumer, #"{"owner":"reader","name":"reports"}"#, as: .operator)?.reason
                == .missingField)
        let body = #"{"owner":"reader","name":"reports","reason":"moved"}"#
        _ = try await bench.call(
            Bsfg_Admin_V1_DeleteConsumerResponse.self, .deleteConsumer, body, as: .operator)
        #expect(bench.log().cursors.cursors().isEmpty)
        #expect(
            await bench.error(
                .fetchFacts, #"{"consumer_name":"reports"}"#, as: .client("reader"))?.reason
                == .consumerNotFound)
        #expect(
            await bench.error(.deleteConsumer, body, as: .operator)?.reason == .consumerNotFound)
        await bench.close()
    }

    @Test("gateway decision 23: under backpressure a batch with nothing new is answered whole, also as a retry of a lost answer")
    func underBackpressure() async throws {
        let bench = try ServicesBench(
            main: ServicesBench.main.replacing(
                "{name: facts.operational, capacity: 16MiB, segment: 1MiB}",
                with: "{name: facts.operational, capacity: 8MiB, segment: 1MiB}"))
        try await bench.consumer("reports", of: "reader")
        let text = String(repeating: "x", count: 90_000)
        func fact(_ number: Int, value: Int? = nil) -> String {
            factJSON(number, value: value, extra: #","t":"\#(text)""#)
        }
        func body(_ facts: [String], stops: Bool = false) -> String {
            #"{"facts":[\#(facts.joined(separator: ","))],"stop_on_error":\#(stops)}"#
        }
        var stored = 0
        while stored < 200 {
            let error = await bench.error(
                .appendFacts, body([fact(stored), fact(stored + 1)]), as: .client("writer"))
            if error != nil { break }
            stored += 2
        }
        let head = bench.log().log.headOffset
        #expect(stored < 200 && head == UInt64(stored))
        let answered = try await bench.call(
            Bsfg_V1_AppendFactsResponse.self, .appendFacts,
            body([fact(0), fact(1, value: 9), factJSON(2, subject: "x"), fact(stored - 1)]),
            as: .client("writer"))
        #expect(
            answered.outcomes.map(\.outcome) == [.existing, .conflict, .invalid, .existing])
        // The last batch that was stored, sent again since its answer was lost.
        let again = try await bench.call(
            Bsfg_V1_AppendFactsResponse.self, .appendFacts,
            body([fact(stored - 2), fact(stored - 1)], stops: true), as: .client("writer"))
        #expect(again.outcomes.map(\.offset) == [UInt64(stored - 2), UInt64(stored - 1)])
        // One new fact makes it an error that tells the rest, and nothing is appended.
        let refused = await bench.error(
            .appendFacts,
            body([fact(0), fact(900), fact(1, value: 9), fact(901)], stops: true),
            as: .client("writer"))
        #expect(refused?.reason == .backpressure && refused?.retryAfterMilliseconds ?? 0 > 0)
        #expect(refused?.acceptedCount == 1 && refused?.failedCount == 3)
        #expect(refused?.failures.map(\.outcome) == [.refused, .conflict, .skipped])
        #expect(bench.log().log.headOffset == head)
        await bench.close()
    }
}
