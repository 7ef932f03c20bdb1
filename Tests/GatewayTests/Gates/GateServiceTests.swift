import Buffers
import Facts
import Foundation
import Logging
import RPC
import Replication
import Synchronization
import Testing
import WriteAheadLog

@testable import Gateway

@Suite struct GateServiceTests {
    private static let name = "plant-a/facts.operational/enterprise"

    private static func partition(_ bench: ServicesBench, _ json: String) async throws
        -> Bsfg_Admin_V1_PartitionResponse
    {
        try await bench.call(
            Bsfg_Admin_V1_PartitionResponse.self, .partition, json, as: .operator)
    }

    private static func open(_ bench: ServicesBench) async throws -> Bsfg_V1_FetchFactsRequest {
        var opening = Bsfg_V1_OpenCursorRequest()
        opening.consumerName = name
        opening.stream = "facts.operational"
        opening.originZone = "enterprise"
        opening.initMode = "full_backfill"
        opening.profile = "standard"
        opening.receiver =
            SourcePosition(
                logUUID: [UInt8](repeating: 5, count: 16), epoch: 1, nextOffset: 0
            ).wire
        let opened = try await bench.call(
            Bsfg_V1_OpenCursorResponse.self, .openCursor, opening, as: .peer("plant-a"))
        var fetch = Bsfg_V1_FetchFactsRequest()
        fetch.consumerName = name
        fetch.source = opened.start
        fetch.receiver = opening.receiver
        return fetch
    }

    @Test("gateway decision 18: a partition refuses the peer facts and confirmations, over a restart, and nothing else")
    func partitionIsDurable() async throws {
        let files = try ConfigurationTestFiles(
            main: ServicesBench.main, peers: ServicesBench.peers, cursors: ServicesBench.noCursors)
        var bench = try ServicesBench(files: files)
        try await bench.append(0..<3)
        let fetch = try await Self.open(bench)
        _ = try await bench.call(
            Bsfg_V1_FetchFactsResponse.self, .fetchFacts, fetch, as: .peer("plant-a"))
        let closed = try await Self.partition(bench, #"{"peer":"plant-a","reason":"drill"}"#)
        #expect(closed.gate.mode == "autonomous" && closed.gate.closure.reason == "drill")
        for isRestarted in [false, true] {
            if isRestarted {
                await bench.close()
                bench = try ServicesBench(files: files)
            }
            #expect(
                try await bench.error(.fetchFacts, fetch, as: .peer("plant-a"))?.reason
                    == .gateClosed)
            #expect(
                try await bench.error(
                    .confirmReceipt, Bsfg_V1_ConfirmReceiptRequest(), as: .peer("plant-a"))?.reason
                    == .gateClosed)
            #expect(
                await bench.error(
                    .hello, #"{"zone":"plant-a","format_max":1}"#, as: .peer("plant-a")) == nil)
            // Others notice nothing.
            #expect(
                await bench.error(.listStreams, "{}", as: .peer("plant-b")) == nil)
            let gates = try await bench.call(
                Bsfg_Admin_V1_ListGatesResponse.self, .listGates, "{}", as: .operator)
            let gate = try #require(gates.gates.first { $0.peer == "plant-a" })
            #expect(gate.outbound.mode == "autonomous" && gate.outbound.reason == "drill")
        }
        let reconciled = try await bench.call(
            Bsfg_Admin_V1_ReconcileResponse.self, .reconcile, #"{"peer":"plant-a"}"#,
            as: .operator)
        #expect(reconciled.wasClosed && !reconciled.gate.hasClosure)
        _ = try await bench.call(
            Bsfg_V1_FetchFactsResponse.self, .fetchFacts, fetch, as: .peer("plant-a"))
        let again = try await bench.call(
            Bsfg_Admin_V1_ReconcileResponse.self, .reconcile, #"{"peer":"plant-a"}"#,
            as: .operator)
        #expect(!again.wasClosed)
        await bench.close()
        bench = try ServicesBench(files: files)
        #expect(bench.gates.refusal(to: "plant-a") == nil, "reconcile survives a restart too")
        await bench.close()
    }

    /// The peer was set up under another id before, with the same certificate: its cursor of then is still there.
    @Test func `a second cursor of a peer in one log is none of its gate's`() async throws {
        func peers(_ id: String) -> String {
            """
            peers:
              - {id: \(id), identity: plant-a-bsfg, authorized: true, streams: [facts.operational]}

            """
        }
        let files = try ConfigurationTestFiles(
            main: ServicesBench.main.replacing(", origins: [enterprise, plant-a]", with: ""),
            peers: peers("plant-x"), cursors: ServicesBench.noCursors)
        var opening = Bsfg_V1_OpenCursorRequest()
        opening.stream = "facts.operational"
        opening.originZone = "enterprise"
        opening.initMode = "full_backfill"
        opening.profile = "standard"
        var receiver = SourcePosition(logUUID: [UInt8](repeating: 5, count: 16), epoch: 1, nextOffset: 0)
        var bench = try ServicesBench(files: files)
        for id in ["plant-x", "plant-a"] {
            if id == "plant-a" {
                await bench.close()
                try Data(peers(id).utf8).write(to: URL(fileURLWithPath: "\(files.directory)/peers.yaml"))
                bench = try ServicesBench(files: files)
                try await bench.append(0..<3)
                receiver.logUUID = [UInt8](repeating: 6, count: 16)
            }
            opening.consumerName = "\(id)/facts.operational/enterprise"
            opening.receiver = receiver.wire
            _ = try await bench.call(
                Bsfg_V1_OpenCursorResponse.self, .openCursor, opening,
                as: Caller(kind: .peer(id: id), identity: "plant-a-bsfg"))
        }
        #expect(bench.log().cursors.cursors().count == 2)
        let driver = GateDriver(
            live: bench.live, gates: bench.gates, pulls: bench.pulls, logs: bench.logs,
            partitions: bench.partitions, now: { 0 })
        await driver.look()
        #expect(bench.gates.status(of: "plant-a").outbound.mode == "reconciling")
        // Its own one is what it is waited for.
        let cursor = try #require(bench.log().cursors.cursors().first { $0.name.hasPrefix("plant-a/") })
        _ = try bench.log().cursors.confirm(
            owner: cursor.owner, name: cursor.name, 0...2, digest: nil)
        await driver.look()
        #expect(bench.gates.status(of: "plant-a").outbound.mode == "normal")
        await bench.close()
    }

    @Test("gateway decision 18: the command returns once no page is in flight, a long poll does not hold it up")
    func partitionEndsPolls() async throws {
        let bench = try ServicesBench()
        var fetch = try await Self.open(bench)
        fetch.fromOffset = 0
        fetch.waitMs = 10_000
        let question = fetch
        let began = MonotonicClock.milliseconds
        async let poll = bench.error(.fetchFacts, question, as: .peer("plant-a"))
        try await eventually("the poll waits") { bench.gates.isServing("plant-a") }
        _ = try await Self.partition(bench, #"{"peer":"plant-a","reason":"drill"}"#)
        #expect(!bench.gates.isServing("plant-a"))
        #expect(try await poll?.reason == .gateClosed)
        #expect(MonotonicClock.milliseconds - began < 9_000)
        await bench.close()
    }

    /// A source in the same process, which the receiver calls as plant-a's peer.
    private static func connection(to source: ServicesBench) -> PeerConnection {
        PeerConnection(
            call: { (procedure, body, milliseconds) async throws(RPCClientError) in
                guard let procedure = Procedure(rawValue: procedure) else {
                    throw .transport(kind: .malformed, sentence: "no such procedure")
                }
                let reply = await source.reply(
                    procedure, body, .peer("plant-a"), .proto, milliseconds: UInt64(milliseconds))
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

    @Test("gateway decision 18: a partition stops our pulls with their calls, and afterwards they go on where they stood")
    func partitionStopsPulls() async throws {
        let source = try ServicesBench()
        let receiver = try ServicesBench(
            main: ServicesBench.main.replacing("zone: enterprise", with: "zone: plant-a")
                .replacing("identity: enterprise-bsfg", with: "identity: plant-a-bsfg")
                .replacing(", origins: [enterprise, plant-a]", with: ""),
            peers: """
                peers:
                  - {id: enterprise, identity: enterprise-bsfg, endpoint: "127.0.0.1:1", authorized: true}

                """,
            cursors: """
                cursors:
                  - {peer: enterprise, stream: facts.operational, init_mode: full_backfill}

                """, connect: Self.connection(to: source))
        func mode() -> String { receiver.gates.status(of: "enterprise").inbound.mode }
        func look() async {
            for one in await receiver.pulls.progress() {
                receiver.gates.progress(
                    one.peer, one.stream, offset: one.offset, blocked: one.blocked)
            }
        }
        try await source.append(0..<20)
        await receiver.pulls.start()
        try await eventually("the facts cross and the gate is normal") {
            await look()
            return receiver.log(origin: "enterprise").log.headOffset == 20 && mode() == "normal"
        }
        _ = try await Self.partition(receiver, #"{"peer":"enterprise","reason":"drill"}"#)
        #expect(mode() == "autonomous")
        try await eventually("our long poll there has ended") { !source.gates.isServing("plant-a") }
        try await source.append(20..<50)
        try await Task.sleep(for: .milliseconds(300))
        #expect(receiver.log(origin: "enterprise").log.headOffset == 20)
        #expect(
            source.log().cursors.cursors().first?.nextOffset ?? 0 <= 20, "the frontier is frozen")
        _ = try await receiver.call(
            Bsfg_Admin_V1_ReconcileResponse.self, .reconcile, #"{"peer":"enterprise"}"#,
            as: .operator)
        try await eventually("what came meanwhile is here and the gate is normal") {
            await look()
            return receiver.log(origin: "enterprise").log.headOffset == 50 && mode() == "normal"
        }
        await receiver.close()
        await source.close()
    }

    @Test func `a partition ends by itself at its time`() async throws {
        let bench = try ServicesBench()
        let closed = try await Self.partition(
            bench, #"{"peer":"plant-a","reason":"drill","for_ms":"60000"}"#)
        let until = closed.gate.closure.untilUnixMs
        await bench.partitions.endThoseDue(at: until - 1)
        #expect(bench.gates.refusal(to: "plant-a") != nil)
        await bench.partitions.endThoseDue(at: until)
        #expect(bench.gates.refusal(to: "plant-a") == nil)
        await bench.close()
    }

    @Test func `commands that come at once keep each other's partitions over a restart`() async throws {
        let bench = try ServicesBench()
        let file = OperatorClosures(dataDirectory: bench.live.current.dataDirectory)
        func closure(_ peer: String) -> Bsfg_Admin_V1_OperatorClosure {
            var closure = Bsfg_Admin_V1_OperatorClosure()
            closure.peer = peer
            closure.reason = "incident"
            return closure
        }
        let names = (0..<8).map { "peer-\($0)" }
        for _ in 0..<10 {
            try await withThrowingTaskGroup(of: Void.self) { group in
                for name in names { group.addTask { try await bench.partitions.close(closure(name), by: "test") } }
                try await group.waitForAll()
            }
            #expect(try file.load().map(\.peer) == names)
            try await withThrowingTaskGroup(of: Void.self) { group in
                for name in names.dropFirst() {
                    group.addTask { _ = try await bench.partitions.open(name, by: "test", why: "over") }
                }
                try await group.waitForAll()
            }
            #expect(try file.load().map(\.peer) == ["peer-0"])
        }
        await bench.close()
    }

    @Test func `a partition needs a peer, a reason and a time within bounds`() async throws {
        let bench = try ServicesBench()
        for (json, reason) in [
            (#"{"peer":"plant-z","reason":"x"}"#, .unknownZone),
            (#"{"peer":"plant-a"}"#, .missingField),
            (#"{"peer":"plant-a","reason":"x","for_ms":"-1"}"#, .malformedRequest),
            (#"{"peer":"plant-a","reason":"x","for_ms":"2592000001"}"#, .malformedRequest),
            (#"{"peer":"plant-a","reason":"\#(String(repeating: "x", count: 257))"}"#, .tooLarge),
        ] as [(String, ErrorReason)] {
            #expect(await bench.error(.partition, json, as: .operator)?.reason == reason)
        }
        #expect(bench.gates.closures.isEmpty)
        await bench.close()
    }

    @Test func `a file of closures that cannot be read keeps a node from starting`() throws {
        let files = try ConfigurationTestFiles()
        let closures = OperatorClosures(dataDirectory: files.directory)
        #expect(try closures.load().isEmpty)
        var closure = Bsfg_Admin_V1_OperatorClosure()
        closure.peer = "plant-a"
        closure.reason = "why \"quoted\""
        closure.untilUnixMs = 5
        try closures.store([closure])
        #expect(try closures.load() == [closure])
        try Data("{\"closures\":[{\"peer\"".utf8).write(to: URL(fileURLWithPath: closures.path))
        #expect(throws: NodeError.self) { try closures.load() }
    }

    @Test func `notices are taken once a second and move nothing`() async throws {
        let resumed = Mutex(0)
        let time = Mutex<Int64>(5_000)
        let receiver = NoticeReceiver(
            gates: PeerGates(), clock: { time.withLock { $0 } }
        ) { peer in
            #expect(peer == "plant-a")
            resumed.withLock { $0 += 1 }
        }
        func notify() throws -> [UInt8] {
            try receiver.receive(
                RPCRequest(
                    procedure: Procedure.notifyAvailable.rawValue, caller: .peer("plant-a"),
                    codec: .json, body: Array(#"{"stream":"facts.operational"}"#.utf8),
                    deadlineNanoseconds: .max, httpVersion: "2"))
        }
        for _ in 0..<10 { _ = try notify() }
        #expect(resumed.withLock { $0 } == 1)
        time.withLock { $0 += NoticeReceiver.intervalMilliseconds }
        _ = try notify()
        #expect(resumed.withLock { $0 } == 2)
    }

    @Test func `a wake-up between looking and waiting is not lost`() async {
        let wakeups = Wakeups()
        let seen = wakeups.count
        wakeups.wakeAll()
        await wakeups.wait(after: seen, milliseconds: 60_000)
        let waiting = Task { await wakeups.wait(after: wakeups.count, milliseconds: 60_000) }
        try? await Task.sleep(for: .milliseconds(20))
        wakeups.end()
        await waiting.value
        await wakeups.wait(after: wakeups.count, milliseconds: 60_000)
    }

    @Test("gateway decision 7: a restored node starts with its gates closed, each until the operator opens it")
    func restored() throws {
        let data = NSTemporaryDirectory() + "restored-\(UUID().uuidString)"
        let log = "\(data)/forward/facts.operational/plant-a"
        try FileManager.default.createDirectory(atPath: log, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(atPath: data) }
        #expect(RestoredGates(logDirectory: log) == nil, "nobody's log")
        _ = FileManager.default.createFile(atPath: "\(data)/node", contents: nil)
        #expect(RestoredGates(logDirectory: "\(data)/store/facts.operational") == nil, "it is not there")
        let closures = OperatorClosures(dataDirectory: data)
        var own = Bsfg_Admin_V1_OperatorClosure()
        own.peer = "plant-a"
        own.reason = "drill"
        try closures.store([own])
        let restored = try #require(RestoredGates(logDirectory: log))
        try restored.close(reason: "disk of 3 March")
        try restored.close(reason: "disk of 3 March")
        let loaded = try closures.load(peers: ["plant-a", "idmz"])
        #expect(loaded.map(\.peer) == ["plant-a", "idmz"])
        #expect(loaded.map(\.reason) == ["drill", "restored: disk of 3 March"])
        // The next start knows of no other peer, and what was opened stays open.
        #expect(try Set(closures.load(peers: ["plant-a", "idmz", "cloud"])) == Set(loaded))
        try closures.store([own])
        #expect(try closures.load(peers: ["plant-a", "idmz"]) == [own])
    }

    @Test("gateway decision 25: pages that are read ahead are shares of one budget")
    func pageShares() {
        #expect(PageShare(pullCount: 0) == PageShare(pullCount: 1))
        #expect(PageShare(pullCount: 1).pagesAhead == PullMachine.pagesAheadMaximum)
        for count in 1...1_000 {
            let share = PageShare(pullCount: count)
            #expect((1...PullMachine.pagesAheadMaximum).contains(share.pagesAhead))
            #expect(count * share.pagesAhead * share.pageBytes <= PageShare.budgetBytes, "\(count)")
        }
    }
}
