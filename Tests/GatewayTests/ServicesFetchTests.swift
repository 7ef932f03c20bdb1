import Buffers
import Facts
import Foundation
import RPC
import SwiftProtobuf
import Testing
import WriteAheadLog

@testable import Gateway

@Suite struct ServicesFetchTests {
    private func bench(facts: Int) async throws -> ServicesBench {
        let bench = try ServicesBench()
        try await bench.append(0..<facts)
        try await bench.consumer("reports", of: "reader")
        return bench
    }

    private func fetch(
        _ bench: ServicesBench, _ more: String = "", as caller: Caller = .client("reader"),
        milliseconds: UInt64 = 10_000
    ) async throws -> Bsfg_V1_FetchFactsResponse {
        try await bench.call(
            Bsfg_V1_FetchFactsResponse.self, .fetchFacts, #"{"consumer_name":"reports"\#(more)}"#,
            as: caller, milliseconds: milliseconds)
    }

    private func confirm(_ bench: ServicesBench, _ offset: UInt64, _ more: String = "")
        async throws -> Bsfg_V1_ConfirmReceiptResponse
    {
        try await bench.call(
            Bsfg_V1_ConfirmReceiptResponse.self, .confirmReceipt,
            #"{"consumer_name":"reports","offset":"\#(offset)"\#(more)}"#, as: .client("reader"))
    }

    // MARK: - Gaps and detached consumers

    @Test func `an application meets what was dropped as an entry, and passes it`() async throws {
        let bench = try ServicesBench(
            main: ServicesBench.main.replacing(
                "{name: facts.operational, capacity: 16MiB, segment: 1MiB}",
                with: "{name: facts.operational, capacity: 8MiB, segment: 1MiB, "
                    + "high_watermark: 50%, when_full: drop_oldest}"))
        try await bench.consumer("reports", of: "reader")
        let text = String(repeating: "x", count: 10_000)
        var number = 0
        while bench.log().log.firstOffset == 0, number < 2_000 {
            let facts = (number..<number + 20).map { factJSON($0, extra: #","t":"\#(text)""#) }
            _ = try await bench.call(
                Bsfg_V1_AppendFactsResponse.self, .appendFacts,
                #"{"facts":[\#(facts.joined(separator: ","))]}"#, as: .operator)
            number += 20
        }
        // What the last append made too much goes behind its answer.
        try await eventually("dropping has ended") { bench.log().log.statistics().fill < 0.5 }
        let first = bench.log().log.firstOffset
        #expect(first > 0)
        let page = try await fetch(bench, #","limit":5"#)
        #expect(page.entries.count == 6 && !page.entries[0].hasOffset)
        let gap = page.entries[0].gap
        #expect(gap.first.offset == 0 && gap.lastOffset == first - 1 && gap.reasons == ["dropped"])
        #expect(page.entries[1].offset == first && page.nextOffset == first + 5)
        // From within the gap: the part that is asked for.
        let part = try await fetch(bench, #","from_offset":"1","limit":1"#)
        #expect(part.entries[0].gap.first.offset == 1 && part.entries[0].gap.lastOffset == first - 1)
        let passed = try await confirm(bench, first)
        #expect(passed.nextOffset == first + 1 && passed.passed.count == 1)
        #expect(passed.passed[0].first.offset == 0 && passed.passed[0].lastOffset == first - 1)
        #expect(try await fetch(bench).entries[0].offset == first + 1)
        await bench.close()
    }

    @Test func `a detached consumer is refused until it is attached`() async throws {
        let bench = try await bench(facts: 5)
        let consumer = #""owner":"reader","name":"reports""#
        #expect(
            await bench.error(.detachConsumer, "{\(consumer)}", as: .operator)?.field == "reason")
        #expect(
            await bench.error(
                .detachConsumer, #"{"owner":"reader","name":"x","reason":"gone"}"#, as: .operator
            )?.reason == .consumerNotFound)
        _ = try await bench.call(
            Bsfg_Admin_V1_DetachConsumerResponse.self, .detachConsumer,
            "{\(consumer),\"reason\":\"gone\"}", as: .operator)
        let fetching = await bench.error(
            .fetchFacts, #"{"consumer_name":"reports"}"#, as: .client("reader"))
        #expect(fetching?.reason == .cursorDetached && fetching?.message.contains("gone") == true)
        #expect(
            await bench.error(
                .confirmReceipt, #"{"consumer_name":"reports","offset":"1"}"#,
                as: .client("reader"))?.reason == .cursorDetached)
        #expect(
            await bench.error(
                .attachConsumer, "{\(consumer),\"init_mode\":\"later\"}", as: .operator)?.reason
                == .initOutOfRange)
        let attached = try await bench.call(
            Bsfg_Admin_V1_AttachConsumerResponse.self, .attachConsumer,
            "{\(consumer),\"init_mode\":\"start_now\"}", as: .operator)
        #expect(attached.consumer.nextOffset == 5)
        #expect(try await fetch(bench).entries.isEmpty)
        await bench.close()
    }

    // MARK: - Fetch

    @Test func `a page has the facts from the cursor on and moves nothing`() async throws {
        let bench = try await bench(facts: 5)
        for _ in 0..<2 {
            let page = try await fetch(bench)
            #expect(page.entries.map(\.offset) == [0, 1, 2, 3, 4])
            #expect(page.entries[0].hasOffset)
            #expect(page.entries[3].message.envelope.messageID == "m-3")
            #expect(page.entries[3].message.fact.objectJson == #"{"n":3}"#)
            #expect(page.entries[3].origin.offset == 3)
            #expect(Array(page.entries[3].origin.logUuid) == bench.log().log.identifier.bytes)
            #expect(page.nextOffset == 5 && page.headOffset == 5 && page.firstOffset == 0)
            #expect(!page.hasConfirmedOffset)
            #expect(page.source.offset == 5 && page.source.epoch == 1)
        }
        _ = try await confirm(bench, 2)
        let page = try await fetch(bench)
        #expect(page.entries.map(\.offset) == [3, 4] && page.confirmedOffset == 2)
        #expect(try await fetch(bench, #","from_offset":"1""#).entries.count == 4)
        #expect(try await fetch(bench, #","from_offset":"5""#).entries.isEmpty)
        await bench.close()
    }

    @Test("gateway decision 22: a page ends at its count and at its bytes, never before its first fact")
    func pageLimits() async throws {
        let bench = try await bench(facts: 8)
        let counted = try await fetch(bench, #","limit":3"#)
        #expect(counted.entries.count == 3 && counted.nextOffset == 3)
        let sized = try await fetch(bench, #","max_bytes":1000"#)
        #expect(sized.entries.count > 1 && sized.entries.count < 8)
        #expect(sized.nextOffset == UInt64(sized.entries.count))
        let one = try await fetch(bench, #","max_bytes":1,"from_offset":"4""#)
        #expect(one.entries.map(\.offset) == [4] && one.nextOffset == 5)
        await bench.close()
    }

    @Test(arguments: [
        (#","limit":10001"#, "limit"), (#","max_bytes":6291457"#, "max_bytes"),
        (#","wait_ms":10001"#, "wait_ms"),
    ])
    func `what is asked for has limits`(_ more: String, _ field: String) async throws {
        let bench = try await bench(facts: 1)
        let error = await bench.error(
            .fetchFacts, #"{"consumer_name":"reports"\#(more)}"#, as: .client("reader"))
        #expect(error?.reason == .malformedRequest && error?.field == field)
        let limits = #"{"consumer_name":"reports","limit":10000,"max_bytes":6291456}"#
        #expect(await bench.error(.fetchFacts, limits, as: .client("reader")) == nil)
        await bench.close()
    }

    @Test("gateway decision 32: a long poll ends with a fact, with its time, or 250 ms before its deadline")
    func longPollsEnd() async throws {
        let bench = try await bench(facts: 1)
        var head = 1
        let withFact = try await quickest(below: .seconds(5)) {
            let offset = head
            head += 1
            async let waiting = fetch(
                bench, #","from_offset":"\#(offset)","wait_ms":10000"#, milliseconds: 60_000)
            try await Task.sleep(for: .milliseconds(150))
            try await bench.append(offset..<offset + 1)
            let page = try await waiting
            #expect(page.entries.map(\.offset) == [UInt64(offset)])
        }
        #expect(withFact < .seconds(5))
        let withTime = try await quickest(below: .seconds(5)) {
            let page = try await fetch(bench, #","from_offset":"\#(head)","wait_ms":200"#)
            #expect(page.entries.isEmpty)
        }
        #expect(withTime >= .milliseconds(190))
        // 250 ms before the deadline.
        let withDeadline = try await quickest(below: .seconds(3)) {
            let page = try await fetch(
                bench, #","from_offset":"\#(head)","wait_ms":10000"#, milliseconds: 700)
            #expect(page.entries.isEmpty && page.nextOffset == UInt64(head))
        }
        #expect(withDeadline >= .milliseconds(400) && withDeadline < .seconds(3))
        let withoutWaiting = try await quickest(below: .seconds(2)) {
            let page = try await fetch(bench, #","from_offset":"\#(head)""#)
            #expect(page.entries.isEmpty)
        }
        #expect(withoutWaiting < .seconds(2))
        await bench.close()
    }

    @Test func `a node that stops ends long polls`() async throws {
        let ended = try await quickest(below: .seconds(5)) {
            let bench = try await bench(facts: 1)
            async let waiting = fetch(bench, #","from_offset":"1","wait_ms":10000"#)
            try await Task.sleep(for: .milliseconds(150))
            bench.waits.end()
            #expect(try await waiting.entries.isEmpty)
            #expect(try await fetch(bench, #","from_offset":"1","wait_ms":10000"#).entries.isEmpty)
            await bench.close()
        }
        #expect(ended < .seconds(5))
    }

    /// How long it takes, by the first of a few tries that is below a bound: a busy machine may be late, and is
    /// not so each time.
    private func quickest(below bound: Duration, _ body: () async throws -> Void) async throws -> Duration {
        let clock = ContinuousClock()
        var least = Duration.seconds(1_000)
        for _ in 0..<5 where least >= bound {
            let start = clock.now
            try await body()
            least = min(least, clock.now - start)
        }
        return least
    }

    @Test func `an offset beyond the head is refused and the head told`() async throws {
        let bench = try await bench(facts: 2)
        let error = await bench.error(
            .fetchFacts, #"{"consumer_name":"reports","from_offset":"3"}"#, as: .client("reader"))
        #expect(error?.reason == .beyondHead && error?.headOffset == 2 && error?.firstOffset == 0)
        await bench.close()
    }

    // MARK: - Confirm

    @Test("gateway decision 6: a confirm at or below the cursor changes nothing, one beyond the head is refused")
    func confirmForward() async throws {
        let bench = try await bench(facts: 5)
        let moved = try await confirm(bench, 3)
        #expect(moved.cursorAdvancedTo == 3 && moved.nextOffset == 4)
        for offset in [3, 0] as [UInt64] {
            let same = try await confirm(bench, offset)
            #expect(same.cursorAdvancedTo == 3 && same.nextOffset == 4)
        }
        let beyond = await bench.error(
            .confirmReceipt, #"{"consumer_name":"reports","offset":"5"}"#, as: .client("reader"))
        #expect(beyond?.reason == .beyondHead && beyond?.headOffset == 5)
        let missing = await bench.error(
            .confirmReceipt, #"{"consumer_name":"reports"}"#, as: .client("reader"))
        #expect(missing?.reason == .missingField && missing?.field == "offset")
        await bench.close()
        let reopened = try ServicesBench(files: bench.files)
        #expect(try await fetch(reopened).confirmedOffset == 3)
        await reopened.close()
    }

    @Test("gateway decision 6: an application's epoch is checked when it says one")
    func applicationEpoch() async throws {
        let bench = try await bench(facts: 2)
        _ = try await confirm(bench, 0, #","source":{"epoch":"1"}"#)
        let uuid = Data(bench.log().log.identifier.bytes).base64EncodedString()
        _ = try await confirm(bench, 1, #","source":{"log_uuid":"\#(uuid)","epoch":"1"}"#)
        for source in [
            #"{"epoch":"2"}"#, #"{"log_uuid":"AAAAAAAAAAAAAAAAAAAAAA==","epoch":"1"}"#,
        ] {
            let error = await bench.error(
                .confirmReceipt, #"{"consumer_name":"reports","offset":"1","source":\#(source)}"#,
                as: .client("reader"))
            #expect(error?.reason == .historyMismatch)
        }
        await bench.close()
    }

    @Test func `confirms of several tasks at once end at the greatest`() async throws {
        let bench = try await bench(facts: 40)
        try await withThrowingTaskGroup(of: Void.self) { group in
            for offset in (0..<40).shuffled() {
                group.addTask { _ = try await self.confirm(bench, UInt64(offset)) }
            }
            try await group.waitForAll()
        }
        #expect(try await fetch(bench).confirmedOffset == 39)
        await bench.close()
    }

    // MARK: - Consumers

    @Test("gateway decision 8: a consumer is its owner's")
    func owner() async throws {
        let bench = try await bench(facts: 1)
        for procedure in [Procedure.fetchFacts, .confirmReceipt] {
            func error(_ name: String, _ caller: Caller) async -> ServiceError? {
                await bench.error(
                    procedure, #"{"consumer_name":"\#(name)","offset":"0"}"#
                        .replacing(procedure == .fetchFacts ? #","offset":"0""# : "~", with: ""),
                    as: caller)
            }
            #expect(await error("reports", .client("both"))?.reason == .notTheOwner)
            #expect(await error("reports", .peer("plant-a"))?.reason == .notTheOwner)
            #expect(await error("reports", .operator)?.reason == .notTheOwner)
            let near = await error("report", .client("reader"))
            #expect(near?.reason == .consumerNotFound)
            #expect(near?.message.contains("did you mean reports?") == true)
            // Others' names are not suggested.
            #expect(
                await error("report", .client("both"))?.message.contains("reports") == false)
            #expect(await error("", .client("reader"))?.reason == .missingField)
        }
        await bench.close()
    }

    @Test func `a consumer whose stream is no longer granted reads nothing`() async throws {
        let bench = try await bench(facts: 1)
        try await bench.consumer("audit", of: "reader", stream: "facts.audit")
        #expect(
            await bench.error(.fetchFacts, #"{"consumer_name":"audit"}"#, as: .client("reader"))?
                .reason == .streamNotGranted)
        await bench.close()
    }

    @Test("gateway decision 8: consumers are created by the operator, once in the node")
    func created() async throws {
        let bench = try await bench(facts: 3)
        func error(_ json: String) async -> ServiceError? {
            await bench.error(.createConsumer, json, as: .operator)
        }
        let other = await error(
            #"{"owner":"reader","name":"reports","stream":"facts.audit"}"#)
        #expect(other?.reason == .consumerExists)
        #expect(
            await error(#"{"owner":"nobody","name":"x"}"#)?.reason == .identityNotAuthorised)
        #expect(
            await error(#"{"owner":"writer","name":"x"}"#)?.reason == .identityNotAuthorised)
        #expect(await error(#"{"owner":"reader","name":""}"#)?.reason == .malformedRequest)
        #expect(
            await error(#"{"owner":"reader","name":"x","stream":"no"}"#)?.reason
                == .unknownStream)
        #expect(
            await error(#"{"owner":"reader","name":"x","init_mode":"later"}"#)?.reason
                == .initOutOfRange)
        try await bench.consumer("fresh", of: "reader", mode: "start_now")
        let list = try await bench.call(
            Bsfg_Admin_V1_ListConsumersResponse.self, .listConsumers, "{}", as: .operator)
        #expect(Set(list.consumers.map(\.name)) == ["reports", "fresh"])
        #expect(list.consumers.first { $0.name == "fresh" }?.nextOffset == 3)
        // Two at once for two streams: one of them is made.
        async let first = error(#"{"owner":"reader","name":"twice"}"#)
        async let second = error(#"{"owner":"reader","name":"twice","stream":"facts.audit"}"#)
        let results = await [first, second]
        #expect(results.count { $0 == nil } == 1)
        #expect(results.compactMap { $0?.reason } == [.consumerExists])
        await bench.close()
    }

    // MARK: - Operator

    @Test func `the operator looks without a cursor`() async throws {
        let bench = try await bench(facts: 3)
        let page = try await bench.call(
            Bsfg_V1_FetchFactsResponse.self, .peek, #"{"from_offset":"1","limit":1}"#,
            as: .operator)
        #expect(page.entries.map(\.offset) == [1] && page.nextOffset == 2)
        let tail = try await bench.call(
            Bsfg_V1_FetchFactsResponse.self, .peek, "{}", as: .operator)
        #expect(tail.entries.isEmpty && tail.nextOffset == 3)
        #expect(
            await bench.error(.peek, #"{"from_offset":"4"}"#, as: .operator)?.reason
                == .beyondHead)
        #expect(try await fetch(bench).entries.count == 3)
        let status = try await bench.call(
            Bsfg_Admin_V1_StatusResponse.self, .status, "{}", as: .operator)
        #expect(status.zone == "enterprise" && status.streams.count == 3)
        #expect(status.streams[0].headOffset == 3 && status.streams[0].role == "store")
        await bench.close()
    }
}
