import Buffers
import Facts
import Foundation
import RPC
import SwiftProtobuf
import Testing
import WriteAheadLog

@testable import Gateway

/// Facts that cannot simply be materialised, from one node to another.
@Suite struct CustodyTests {
    private let stream = "facts.operational"

    private func plant(_ profile: String = "standard") throws -> ConfigurationTestFiles {
        try zoneFiles(
            "plant-a",
            peers: "  - {id: idmz, identity: idmz-bsfg, authorized: true, streams: [facts.operational]}",
            profile: profile)
    }

    private func idmz(_ profile: String = "standard") throws -> ConfigurationTestFiles {
        try zoneFiles(
            "idmz",
            peers: """
                  - {id: plant-a, identity: plant-a-bsfg, endpoint: "127.0.0.1:1", authorized: true}
                  - {id: cloud, identity: cloud-bsfg, authorized: true, streams: [facts.operational], origins: [plant-a]}
                """,
            cursors: "  - {peer: plant-a, stream: facts.operational, init_mode: full_backfill, justification: all}",
            profile: profile)
    }

    private func cloud() throws -> ConfigurationTestFiles {
        try zoneFiles(
            "cloud", others: "enterprise, plant-a",
            peers:
                "  - {id: idmz, identity: idmz-bsfg, endpoint: \"127.0.0.1:1\", authorized: true}",
            cursors:
                "  - {peer: idmz, stream: facts.operational, origin: plant-a, init_mode: full_backfill, justification: all}"
        )
    }

    private func append(_ bench: ServicesBench, _ numbers: Range<Int>) async throws {
        let facts = numbers.map { factJSON($0, from: "plant-a", to: "enterprise") }
        let response = try await bench.call(
            Bsfg_V1_AppendFactsResponse.self, .appendFacts,
            #"{"facts":[\#(facts.joined(separator: ","))]}"#, as: .operator)
        #expect(response.outcomes.allSatisfy { $0.outcome == .appended })
    }

    /// Puts a message into a store log as another release might have encoded it.
    private func inject(_ bench: ServicesBench, _ message: [UInt8], _ key: String) throws {
        let receipt = try bench.log().store!.appendUntilConflict([
            KeyedFact(
                key: SHA256.hash(Array(key.utf8)), contentDigest: try digest(message),
                storedRecord: StoredRecord.encode(.message, message, origin: nil))
        ])
        #expect(receipt.outcomes.count == 1)
    }

    private func digest(_ message: [UInt8]) throws -> Digest {
        try message.withUnsafeBytes { try MessageSummary($0).contentDigest }
    }

    private func messageBytes(_ number: Int) throws -> [UInt8] {
        var submission = FactSubmission()
        submission.messageID = "m-\(number)"
        submission.fromZone = "plant-a"
        submission.toZone = "enterprise"
        submission.producedAtUnixMilliseconds = 1_388_534_400_000
        submission.subject = "asset:site/T1"
        submission.predicate = "reading_recorded"
        submission.body = .objectJSON(Array(#"{"n":1}"#.utf8))
        return try FactEncoder().encode(submission).message
    }

    private func records(_ log: StreamLog) throws -> [(item: RecordItem, bytes: [UInt8], isLate: Bool)] {
        var found: [(item: RecordItem, bytes: [UInt8], isLate: Bool)] = []
        _ = try log.buffer.read(from: 0, maximumCount: .max, maximumBytes: .max) { record in
            if let stored = try? StoredRecord(record.payload) {
                found.append(
                    (stored.item, Array(record.payload[stored.itemRange]), stored.isLate))
            }
            return true
        }
        return found
    }

    private func pull(_ bench: ServicesBench) async throws -> Bsfg_Admin_V1_PullStatus {
        let status = try await bench.call(
            Bsfg_Admin_V1_StatusResponse.self, .status, "{}", as: .operator)
        return try #require(status.pulls.first)
    }

    private func confirmed(_ bench: ServicesBench) -> UInt64 {
        bench.log().cursors.cursors().first?.nextOffset ?? 0
    }

    @Test("gateway decision 19: a message with fields that a relay does not know arrives with every byte")
    func unknownFields() async throws {
        let benches = (plant: try ServicesBench(files: try plant()), wire: BenchWire(from: "idmz"))
        benches.wire.connect(benches.plant)
        let idmz = try ServicesBench(files: try idmz(), connect: benches.wire.connection)
        let further = BenchWire(from: "cloud")
        further.connect(idmz)
        let cloud = try ServicesBench(files: try cloud(), connect: further.connection)
        // Fields of a later contract: one of the message, one inside its envelope, out of order.
        var message = try messageBytes(1)
        let envelope = try #require(message.first == 0x0A ? Int(message[1]) : nil)
        let added: [UInt8] = [0xC2, 0x3E, 3, 1, 2, 3]
        message[1] = UInt8(envelope + added.count)
        message.insert(contentsOf: added, at: 2 + envelope)
        message += [0xC8, 0x3E, 7]
        let known = try messageBytes(2)
        try inject(benches.plant, message, "one")
        try inject(benches.plant, known, "two")
        await idmz.pulls.start()
        await cloud.pulls.start()
        let far = cloud.log(origin: "plant-a")
        try await eventually("both are at the far end") { far.log.headOffset == 2 }
        #expect(try records(far).map(\.bytes) == [message, known])
        #expect(try records(idmz.log(origin: "plant-a")).map(\.bytes) == [message, known])
        #expect(cloud.custody.quarantine.size.count == 0)
        await cloud.close()
        await idmz.close()
        await benches.plant.close()
    }

    @Test("gateway decision 19: a message of a later format blocks its stream in order and is never quarantined",
        arguments: ["standard", "sil_strict"], [true, false])
    func laterFormat(_ profile: String, isKeptBack: Bool) async throws {
        let source = try ServicesBench(files: try plant(profile))
        let wire = BenchWire(from: "idmz")
        wire.connect(source)
        if !isKeptBack {
            // A source that sends it all the same: the receiver finds out for itself.
            wire.changeQuestions { procedure, body in
                guard procedure == .fetchFacts,
                    var request = try? Bsfg_V1_FetchFactsRequest(serializedBytes: body)
                else { return body }
                request.formatMax = 9
                return (try? request.serializedBytes()) ?? body
            }
        }
        let receiver = try ServicesBench(files: try idmz(profile), connect: wire.connection)
        try await append(source, 0..<3)
        var later = try Bsfg_V1_Message(serializedBytes: try messageBytes(9))
        later.format = 2
        try inject(source, try later.serializedBytes(), "later")
        try await append(source, 4..<6)
        await receiver.pulls.start()
        try await eventually("it is blocked, and says what to do") {
            let status = try await pull(receiver)
            return status.reason == "format_unsupported" && status.sentence.contains("offset 3")
                && status.sentence.contains("format 2") && status.sentence.contains("upgrade")
        }
        // What was before it is here and confirmed; nothing behind it, and nothing is held.
        try await eventually("up to there is confirmed") { confirmed(source) == 3 }
        #expect(receiver.log(origin: "plant-a").log.headOffset == 3)
        #expect(receiver.custody.quarantine.size.count == 0)
        #expect(receiver.log(origin: "plant-a").forward?.halt == nil)
        await receiver.close()
        await source.close()
    }

    @Test("gateway decision 3: what a relay confirmed and lost comes again while its source keeps it")
    func lostCustody() async throws {
        let source = try ServicesBench(files: try plant())
        let wire = BenchWire(from: "idmz")
        wire.connect(source)
        let relay = try ServicesBench(files: try idmz(), connect: wire.connection)
        try await append(source, 0..<20)
        await relay.pulls.start()
        try await eventually("the relay is responsible") { confirmed(source) == 20 }
        await relay.close()
        // Its disk is lost before it forwarded anything; another one takes its place.
        let another = try ServicesBench(files: try idmz(), connect: wire.connection)
        await another.pulls.start()
        try await eventually("it is somebody else") {
            try await pull(another).reason == "consumer_bound"
        }
        let accepted = try await source.call(
            Bsfg_Admin_V1_AcceptHistoryResponse.self, .acceptHistory,
            #"{"peer":"idmz","reason":"its disk was lost"}"#, as: .operator)
        #expect(accepted.side == "source" && accepted.toOffset == 0)
        try await eventually("all of it is there again") {
            another.log(origin: "plant-a").log.headOffset == 20 && confirmed(source) == 20
        }
        await another.close()
        await source.close()
    }

    /// A letter of one fact's predicate is another one on the way.
    private static func damage(_ procedure: Procedure, _ page: inout [UInt8], _ identifier: String) {
        guard procedure == .fetchFacts else { return }
        let name = Array(identifier.utf8)
        let word = Array("reading_recorded".utf8)
        for start in page.indices.dropLast(name.count)
        where Array(page[start..<start + name.count]) == name {
            for place in start..<max(start, page.count - word.count)
            where Array(page[place..<place + word.count]) == word {
                page[place] ^= 1
                return
            }
        }
    }

    @Test("gateway decision 15: a fact that arrived damaged is released at the tail, marked late, once its source sends it well")
    func released() async throws {
        let source = try ServicesBench(files: try plant())
        let wire = BenchWire(from: "idmz")
        wire.connect(source)
        wire.change { Self.damage($0, &$1, "m-2") }
        let receiver = try ServicesBench(files: try idmz(), connect: wire.connection)
        try await append(source, 0..<5)
        await receiver.pulls.start()
        try await eventually("the stream goes on") { confirmed(source) == 5 }
        let log = receiver.log(origin: "plant-a")
        #expect(
            try records(log).map(\.item) == [.message, .message, .quarantined, .message, .message])
        let list = try await receiver.call(
            Bsfg_Admin_V1_ListQuarantineResponse.self, .listQuarantine, "{}", as: .operator)
        let entry = try #require(list.entries.first)
        #expect(list.count == 1 && entry.reason == "digest_mismatch" && !entry.halting)
        // Still damaged: there is nothing to release.
        let refused = await receiver.error(
            .retryQuarantine, #"{"id":"\#(entry.id)"}"#, as: .operator)
        #expect(refused?.reason == .invalidObject)
        wire.change(nil)
        let released = try await receiver.call(
            Bsfg_Admin_V1_RetryQuarantineResponse.self, .retryQuarantine,
            #"{"id":"\#(entry.id)"}"#, as: .operator)
        #expect(released.offset == 5 && !released.existing)
        let last = try #require(try records(log).last)
        #expect(last.isLate && last.item == .message)
        #expect(last.bytes == (try records(source.log())[2].bytes))
        #expect(receiver.custody.quarantine.size.count == 0)
        let gone = await receiver.error(
            .retryQuarantine, #"{"id":"\#(entry.id)"}"#, as: .operator)
        #expect(gone?.reason == .malformedRequest && gone?.field == "id")
        // It keeps its place in the origin's history.
        let found = try await receiver.call(
            Bsfg_V1_FetchFactsResponse.self, .getFact,
            #"{"origin":"plant-a","message_id":"m-2"}"#, as: .operator)
        #expect(found.entries.first?.origin.offset == 2 && found.entries.first?.late == true)
        await receiver.close()
        await source.close()
    }

    @Test("gateway decision 16: a silStrict stream ends its halt by a retry or by a recorded refusal, and by nothing else",
        arguments: [false, true])
    func resolved(_ isRefused: Bool) async throws {
        let source = try ServicesBench(files: try plant("sil_strict"))
        let wire = BenchWire(from: "idmz")
        wire.connect(source)
        wire.change { Self.damage($0, &$1, "m-2") }
        let files = try idmz("sil_strict")
        var receiver = try ServicesBench(files: files, connect: wire.connection)
        try await append(source, 0..<5)
        await receiver.pulls.start()
        try await eventually("it halts") { try await pull(receiver).reason == "halted" }
        try await eventually("confirmed up to there") { confirmed(source) == 2 }
        #expect(receiver.log(origin: "plant-a").log.isHalted)
        // Also after a restart, and whatever the source sends now.
        await receiver.close()
        wire.change(nil)
        receiver = try ServicesBench(files: files, connect: wire.connection)
        await receiver.pulls.start()
        try await eventually("it is halted still") { try await pull(receiver).reason == "halted" }
        let list = try await receiver.call(
            Bsfg_Admin_V1_ListQuarantineResponse.self, .listQuarantine, "{}", as: .operator)
        let id = try #require(list.entries.first).id
        #expect(list.entries[0].halting)
        for (procedure, body) in [
            (Procedure.retryQuarantine, #"{"id":"\#(id)"}"#),
            (.discardQuarantine, #"{"id":"\#(id)","reason":"x"}"#),
            (.resolveQuarantine, #"{"id":"\#(id)","resolution":"record_refusal"}"#),
            (.resolveQuarantine, #"{"id":"\#(id)","resolution":"discard","reason":"x"}"#),
        ] {
            #expect(await receiver.error(procedure, body, as: .operator) != nil, "\(body)")
        }
        #expect(receiver.log(origin: "plant-a").log.headOffset == 2)
        let resolution = isRefused ? "record_refusal" : "retry"
        let answer = try await receiver.call(
            Bsfg_Admin_V1_ResolveQuarantineResponse.self, .resolveQuarantine,
            #"{"id":"\#(id)","resolution":"\#(resolution)","reason":"looked at"}"#, as: .operator)
        #expect(answer.hasRefusedOffset == isRefused)
        try await eventually("the stream goes on") { confirmed(source) == 5 }
        let log = receiver.log(origin: "plant-a")
        #expect(
            try records(log).map(\.item)
                == [.message, .message, isRefused ? .refused : .message, .message, .message])
        #expect(!log.log.isHalted && receiver.custody.quarantine.size.count == 0)
        #expect(try records(log).allSatisfy { !$0.isLate })
        await receiver.close()
        await source.close()
    }

    @Test("gateway decision 15: a grant that is taken back blocks, and everything follows in order once it is given again")
    func grant() async throws {
        let granted = try plant()
        let source = try ServicesBench(files: granted)
        let wire = BenchWire(from: "idmz")
        wire.connect(source)
        let receiver = try ServicesBench(files: try idmz(), connect: wire.connection)
        try await append(source, 0..<3)
        await receiver.pulls.start()
        try await eventually("the first facts cross") { confirmed(source) == 3 }
        wire.connect(nil)
        await source.close()
        let peers = "\(granted.directory)/peers.yaml"
        let before = try String(contentsOfFile: peers, encoding: .utf8)
        try before.replacing("streams: [facts.operational]", with: "streams: []")
            .write(toFile: peers, atomically: true, encoding: .utf8)
        let without = try ServicesBench(files: granted)
        try await append(without, 3..<5)
        wire.connect(without)
        try await eventually("it is blocked") {
            try await pull(receiver).reason == "stream_not_granted"
        }
        #expect(receiver.log(origin: "plant-a").log.headOffset == 3 && confirmed(without) == 3)
        wire.connect(nil)
        await without.close()
        try before.write(toFile: peers, atomically: true, encoding: .utf8)
        let again = try ServicesBench(files: granted)
        try await append(again, 5..<6)
        wire.connect(again)
        try await eventually("the rest crosses") { confirmed(again) == 6 }
        #expect(
            try records(receiver.log(origin: "plant-a")).map(\.bytes)
                == (try records(again.log()).map(\.bytes)))
        #expect(receiver.custody.quarantine.size.count == 0)
        await receiver.close()
        await again.close()
    }

    @Test("gateway decision 15: a fact of another zone blocks in order, unconfirmed, and is not quarantined")
    func configuration() async throws {
        let source = try ServicesBench(files: try plant())
        let wire = BenchWire(from: "idmz")
        wire.connect(source)
        let receiver = try ServicesBench(files: try idmz(), connect: wire.connection)
        try await append(source, 0..<2)
        // A fact of another zone in the log of this one.
        let foreign = try FactEncoder().encode(
            {
                var submission = FactSubmission()
                submission.messageID = "f"
                submission.fromZone = "plant-b"
                submission.toZone = "enterprise"
                submission.producedAtUnixMilliseconds = 1
                submission.subject = "asset:x"
                submission.predicate = "seen"
                submission.body = .objectJSON(Array("{}".utf8))
                return submission
            }())
        try inject(source, foreign.message, "foreign")
        try await append(source, 3..<5)
        await receiver.pulls.start()
        try await eventually("it is blocked") {
            try await pull(receiver).reason == "from_zone_not_allowed"
        }
        try await eventually("up to there is confirmed") { confirmed(source) == 2 }
        try await Task.sleep(for: .milliseconds(300))
        #expect(receiver.log(origin: "plant-a").log.headOffset == 2 && confirmed(source) == 2)
        #expect(receiver.custody.quarantine.size.count == 0)
        await receiver.close()
        await source.close()
    }
}
