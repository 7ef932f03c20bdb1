import Buffers
import Facts
import Foundation
import RPC
import Replication
import SwiftProtobuf
import Synchronization
import Testing
import WriteAheadLog

@testable import Gateway

/// Two nodes in one process: what one pulls from the other, without sockets.
@Suite struct NodeReplicationTests {
    /// The connection between them, which can be cut and pointed at another source.
    private final class Wire: Sendable {
        private let source = Mutex<ServicesBench?>(nil)

        func connect(_ bench: ServicesBench?) { source.withLock { $0 = bench } }

        var connection: PeerConnection {
            PeerConnection(
                call: { [self] (procedure, body, milliseconds) async throws(RPCClientError) in
                    guard let source = source.withLock({ $0 }),
                        let procedure = Procedure(rawValue: procedure)
                    else { throw .transport(kind: .closed, sentence: "the wire is cut") }
                    let reply = await source.reply(
                        procedure, body, .peer("enterprise"), .proto,
                        milliseconds: UInt64(milliseconds))
                    switch reply {
                    case .message(let bytes): return bytes
                    case .failure(let error):
                        throw .status(
                            RPCFailure(
                                httpStatus: error.httpStatus, code: error.code.rawValue,
                                message: error.message, detail: error.detail))
                    }
                }, close: {})
        }
    }

    private static func plant(
        idempotency: String = "message_id", capacity: String = "64MiB", segment: String = "4MiB"
    ) throws -> ConfigurationTestFiles {
        try ConfigurationTestFiles(
            main: """
                zone: plant-a
                identity: plant-a-bsfg
                data: data
                listen: 127.0.0.1:0
                tls: {ca: certs/ca.crt, certificate: certs/server.crt, key: certs/server.key}
                streams:
                  - {name: facts.operational, capacity: \(capacity), segment: \(segment), idempotency: \(idempotency)}

                """,
            peers: """
                peers:
                  - {id: enterprise, identity: enterprise-bsfg, authorized: true, streams: [facts.operational]}

                """, cursors: "cursors: []\n")
    }

    private static func enterprise(idempotency: String = "message_id") throws
        -> ConfigurationTestFiles
    {
        try ConfigurationTestFiles(
            main: """
                zone: enterprise
                identity: enterprise-bsfg
                data: data
                listen: 127.0.0.1:0
                tls: {ca: certs/ca.crt, certificate: certs/server.crt, key: certs/server.key}
                streams:
                  - {name: facts.operational, capacity: 16MiB, segment: 1MiB, idempotency: \(idempotency)}

                """,
            peers: """
                peers:
                  - {id: plant-a, identity: plant-a-bsfg, endpoint: "127.0.0.1:1", authorized: true}

                """,
            cursors: """
                cursors:
                  - {peer: plant-a, stream: facts.operational, init_mode: full_backfill}

                """)
    }

    private func append(_ bench: ServicesBench, _ numbers: Range<Int>, size: Int = 0) async throws {
        let text = String(repeating: "x", count: size)
        let facts = numbers.map {
            factJSON($0, from: "plant-a", to: "enterprise", extra: #","t":"\#(text)""#)
        }
        let response = try await bench.call(
            Bsfg_V1_AppendFactsResponse.self, .appendFacts,
            #"{"facts":[\#(facts.joined(separator: ","))]}"#, as: .operator)
        #expect(response.outcomes.allSatisfy { $0.outcome == .appended })
    }

    /// Ids in a log, in order.
    private func identifiers(_ log: StreamLog) throws -> [String] {
        var found: [String] = []
        _ = try log.buffer.read(from: 0, maximumCount: .max, maximumBytes: .max) { record in
            if let stored = try? StoredRecord(record.payload),
                let message = try? Bsfg_V1_Message(
                    serializedBytes: Array(record.payload[stored.itemRange]))
            {
                found.append(message.envelope.messageID)
            }
            return true
        }
        return found
    }

    private func status(_ bench: ServicesBench) async throws -> Bsfg_Admin_V1_PullStatus {
        let status = try await bench.call(
            Bsfg_Admin_V1_StatusResponse.self, .status, "{}", as: .operator)
        return try #require(status.pulls.first)
    }

    /// Everything is received and confirmed.
    private func isLevel(_ plant: ServicesBench, _ enterprise: ServicesBench) -> Bool {
        let head = plant.log().log.headOffset
        return enterprise.log(origin: "plant-a").log.headOffset == head
            && plant.log().cursors.cursors().first?.nextOffset == head
    }

    @Test func `facts cross once through cuts, ends and a drill`() async throws {
        let wire = Wire()
        let files = (plant: try Self.plant(), enterprise: try Self.enterprise())
        var plant = try ServicesBench(files: files.plant)
        try await append(plant, 0..<50)
        var enterprise = try ServicesBench(files: files.enterprise, connect: wire.connection)
        await enterprise.pulls.start()
        try await eventually("the cut is told") {
            try await status(enterprise).state == "unavailable"
        }
        wire.connect(plant)
        try await eventually("the first facts cross") { isLevel(plant, enterprise) }
        #expect(try await status(enterprise).state == "pulling")

        // The receiver ends and another one goes on, while facts come.
        try await append(plant, 50..<90)
        await enterprise.close()
        try await append(plant, 90..<120)
        enterprise = try ServicesBench(files: files.enterprise, connect: wire.connection)
        await enterprise.pulls.start()
        try await eventually("the next facts cross") { isLevel(plant, enterprise) }

        // The source ends and comes back.
        wire.connect(nil)
        await plant.close()
        plant = try ServicesBench(files: files.plant)
        try await append(plant, 120..<130)
        wire.connect(plant)
        try await eventually("what came after the restart crosses") {
            isLevel(plant, enterprise)
        }

        // The drill: below the position, through the ordinary path.
        let before = try await status(enterprise)
        let drill = try await enterprise.call(
            Bsfg_Admin_V1_RedeliverResponse.self, .redeliver,
            #"{"peer":"plant-a","count":"100"}"#, as: .operator)
        #expect(drill.fromOffset == 30)
        try await eventually("the drill is recognised") {
            try await status(enterprise).redelivered == before.redelivered + 100
        }
        #expect(try await status(enterprise).materialised == before.materialised)
        #expect(try identifiers(enterprise.log(origin: "plant-a")) == (0..<130).map { "m-\($0)" })
        #expect(try identifiers(plant.log()) == (0..<130).map { "m-\($0)" })
        #expect(
            await enterprise.error(.redeliver, #"{"peer":"plant-b","count":"1"}"#, as: .operator)
                != nil)
        await enterprise.close()
        await plant.close()
    }

    @Test("gateway decision 25: a page larger than what was asked for is not taken")
    func largePage() async throws {
        let connection = PeerConnection(
            call: { (_, _, _) async throws(RPCClientError) in [UInt8](repeating: 0, count: 5 << 20) }, close: {})
        let files = try Self.enterprise()
        let configuration = try files.load()
        let gates = PeerGates()
        let source = RPCPullSource(
            connection: connection, peer: configuration.peers[0], pull: configuration.cursors[0],
            zone: "enterprise", profile: "standard", pageBytes: 1 << 20, gates: gates)
        let position = SourcePosition(logUUID: [UInt8](repeating: 1, count: 16), epoch: 1, nextOffset: 0)
        let failure = await #expect(throws: PullFailure.self) {
            try await source.fetch(from: 0, position: position, receiver: position)
        }
        guard case .refused(.malformedRequest, let sentence) = failure else {
            return #expect(Bool(false), "\(String(describing: failure))")
        }
        #expect(sentence.contains("5242880 bytes where 1048576 were asked for"))
    }

    @Test func `a source that was copied back is refused and nothing is merged`() async throws {
        let wire = Wire()
        let files = (plant: try Self.plant(), enterprise: try Self.enterprise())
        let data = "\(files.plant.directory)/data"
        var plant = try ServicesBench(files: files.plant)
        wire.connect(plant)
        let enterprise = try ServicesBench(files: files.enterprise, connect: wire.connection)
        await enterprise.pulls.start()
        try await append(plant, 0..<10)
        try await eventually("the first facts cross") { isLevel(plant, enterprise) }
        wire.connect(nil)
        await plant.close()
        try FileManager.default.copyItem(atPath: data, toPath: data + ".copy")

        plant = try ServicesBench(files: files.plant)
        try await append(plant, 10..<20)
        wire.connect(plant)
        try await eventually("the next facts cross") { isLevel(plant, enterprise) }
        wire.connect(nil)
        await plant.close()
        try FileManager.default.removeItem(atPath: data)
        try FileManager.default.moveItem(atPath: data + ".copy", toPath: data)

        // It went back, and goes on with other facts at the same offsets.
        plant = try ServicesBench(files: files.plant)
        try await append(plant, 100..<120)
        wire.connect(plant)
        try await eventually("it is refused") {
            let status = try await status(enterprise)
            return status.state == "blocked" && status.reason == "history_mismatch"
        }
        #expect(try identifiers(enterprise.log(origin: "plant-a")) == (0..<20).map { "m-\($0)" })
        #expect(plant.log().cursors.cursors().first?.nextOffset == 10)
        await enterprise.close()
        await plant.close()
    }

    @Test func `a receiver that was copied back is refused`() async throws {
        let wire = Wire()
        let files = (plant: try Self.plant(), enterprise: try Self.enterprise())
        let data = "\(files.enterprise.directory)/data"
        let plant = try ServicesBench(files: files.plant)
        wire.connect(plant)
        try await append(plant, 0..<10)
        var enterprise = try ServicesBench(files: files.enterprise, connect: wire.connection)
        await enterprise.pulls.start()
        try await eventually("the first facts cross") { isLevel(plant, enterprise) }
        await enterprise.close()
        try FileManager.default.copyItem(atPath: data, toPath: data + ".copy")
        enterprise = try ServicesBench(files: files.enterprise, connect: wire.connection)
        await enterprise.pulls.start()
        try await append(plant, 10..<20)
        try await eventually("the next facts cross") { isLevel(plant, enterprise) }
        await enterprise.close()
        try FileManager.default.removeItem(atPath: data)
        try FileManager.default.moveItem(atPath: data + ".copy", toPath: data)
        enterprise = try ServicesBench(files: files.enterprise, connect: wire.connection)
        await enterprise.pulls.start()
        try await eventually("it is refused") {
            let status = try await status(enterprise)
            return status.state == "blocked" && status.reason == "history_mismatch"
        }
        #expect(enterprise.log(origin: "plant-a").log.headOffset == 10)
        await enterprise.close()
        await plant.close()
    }

    @Test func `a gap of the source is met once and materialised, also past a detached cursor`()
        async throws
    {
        let wire = Wire()
        let files = (
            plant: try Self.plant(capacity: "8MiB", segment: "1MiB"),
            enterprise: try Self.enterprise()
        )
        let plant = try ServicesBench(files: files.plant)
        wire.connect(plant)
        try await append(plant, 0..<10)
        let enterprise = try ServicesBench(files: files.enterprise, connect: wire.connection)
        await enterprise.pulls.start()
        try await eventually("the first facts cross") { isLevel(plant, enterprise) }

        let name = "enterprise/facts.operational/plant-a"
        let consumer = #""owner":"enterprise-bsfg","name":"\#(name)""#
        let detached = try await plant.call(
            Bsfg_Admin_V1_DetachConsumerResponse.self, .detachConsumer,
            "{\(consumer),\"reason\":\"rebuilt\"}", as: .operator)
        #expect(detached.consumer.detached == "rebuilt")
        try await eventually("it is refused") {
            let status = try await status(enterprise)
            return status.state == "blocked" && status.reason == "cursor_detached"
        }
        // Another reader, which is not detached, lets everything go that it confirms.
        let log = plant.log()
        try log.cursors.create(TrackedCursor(owner: "x", name: "x", nextOffset: 0))
        var number = 10
        while log.log.firstOffset <= 10 {
            try await append(plant, number..<number + 20, size: 10_000)
            number += 20
            _ = try log.cursors.confirm(
                owner: "x", name: "x", 0...log.log.headOffset - 1, digest: nil)
            if number > 2_000 { break }
        }
        let first = log.log.firstOffset
        #expect(first > 10, "truncation goes on without the detached cursor")
        let attached = try await plant.call(
            Bsfg_Admin_V1_AttachConsumerResponse.self, .attachConsumer,
            "{\(consumer),\"init_mode\":\"resume\"}", as: .operator)
        #expect(attached.consumer.detached.isEmpty && attached.consumer.nextOffset == 10)
        let head = log.log.headOffset
        try await eventually("the rest crosses") {
            log.cursors.cursor(owner: "enterprise-bsfg", name: name)?.nextOffset == head
        }
        var gaps: [Bsfg_V1_Notice] = []
        let received = enterprise.log(origin: "plant-a")
        _ = try received.buffer.read(from: 0, maximumCount: .max, maximumBytes: .max) { record in
            if let stored = try? StoredRecord(record.payload), stored.item == .gap,
                let notice = try? Bsfg_V1_Notice(
                    serializedBytes: Array(record.payload[stored.itemRange]))
            {
                gaps.append(notice)
            }
            return true
        }
        #expect(gaps.count == 1)
        #expect(gaps.first?.first.offset == 10 && gaps.first?.lastOffset == first - 1)
        #expect(gaps.first?.reasons == ["detached"])
        #expect(
            try identifiers(received)
                == (Array(0..<10) + Array(Int(first)..<Int(head))).map { "m-\($0)" })
        await enterprise.close()
        await plant.close()
    }

    @Test func `pages that are larger than the receiver's commits cross`() async throws {
        let wire = Wire()
        let files = (plant: try Self.plant(), enterprise: try Self.enterprise())
        let plant = try ServicesBench(files: files.plant)
        for start in stride(from: 0, to: 60, by: 20) {
            try await append(plant, start..<start + 20, size: 50_000)
        }
        wire.connect(plant)
        let enterprise = try ServicesBench(files: files.enterprise, connect: wire.connection)
        await enterprise.pulls.start()
        try await eventually("everything crosses") { isLevel(plant, enterprise) }
        #expect(try identifiers(enterprise.log(origin: "plant-a")) == (0..<60).map { "m-\($0)" })
        #expect(try await status(enterprise).failures == 0)
        await enterprise.close()
        await plant.close()
    }

    @Test("gateway decision 20: a stream that is idempotent by content is so on both sides")
    func byContent() async throws {
        let wire = Wire()
        let files = (
            plant: try Self.plant(idempotency: "content"),
            enterprise: try Self.enterprise(idempotency: "content")
        )
        let plant = try ServicesBench(files: files.plant)
        for value in [1, 2, 1] {
            _ = try await plant.call(
                Bsfg_V1_AppendFactResponse.self, .appendFact,
                appendJSON(factJSON(7, from: "plant-a", to: "enterprise", value: value)),
                as: .operator)
        }
        #expect(plant.log().log.headOffset == 2)
        wire.connect(plant)
        let enterprise = try ServicesBench(files: files.enterprise, connect: wire.connection)
        await enterprise.pulls.start()
        try await eventually("both contents cross") { isLevel(plant, enterprise) }
        #expect(try identifiers(enterprise.log(origin: "plant-a")) == ["m-7", "m-7"])
        await enterprise.close()
        await plant.close()
    }

    @Test func `a peer that is another zone than its entry says is not pulled from`()
        async throws
    {
        let wire = Wire()
        let other = try ServicesBench(
            main: ServicesBench.main.replacing("zone: enterprise", with: "zone: plant-x")
                .replacing("[cloud]", with: "[cloud, plant-a]"),
            peers: """
                peers:
                  - {id: enterprise, identity: enterprise-bsfg2, authorized: true, streams: [facts.operational]}

                """)
        wire.connect(other)
        let enterprise = try ServicesBench(
            files: Self.enterprise(), connect: wire.connection)
        await enterprise.pulls.start()
        try await eventually("it is refused") {
            let status = try await status(enterprise)
            return status.state == "blocked" && status.reason == "unknown_zone"
        }
        await enterprise.close()
        await other.close()
    }
}
