import Buffers
import Facts
import Foundation
import RPC
import Testing

@testable import Gateway

@Suite struct FederationConfigurationTests {
    private func problems(peers: String, cursors: String, zones: String = "[plant-c]") throws
        -> [String]
    {
        try ConfigurationTestFiles(
            main: ConfigurationTestFiles.main + "zones: \(zones)\n", peers: "peers:\n" + peers,
            cursors: "cursors:\n" + cursors
        ).problems()
    }

    private static let both = """
          - {id: plant-a, identity: a, endpoint: "a:1", authorized: true, origins: [enterprise]}
          - {id: plant-b, identity: b, endpoint: "b:1", authorized: true, origins: [enterprise]}

        """

    @Test("gateway decision 1: a stream of an origin comes from one peer, own facts from nobody, and none go back")
    func oneSource() throws {
        let twice = try problems(
            peers: Self.both,
            cursors: """
                  - {peer: plant-a, stream: facts.operational, origin: plant-c}
                  - {peer: plant-b, stream: facts.operational, origin: plant-c}

                """)
        #expect(twice.count == 1 && twice[0].contains("it may come from one peer only"))
        let own = try problems(
            peers: Self.both,
            cursors: "  - {peer: plant-a, stream: facts.operational, origin: enterprise}\n")
        #expect(own.count == 1 && own[0].contains("never pulls facts of its own zone"))
        let back = try problems(
            peers: Self.both.replacing("[enterprise]", with: "[enterprise, plant-a]"),
            cursors: "  - {peer: plant-a, stream: facts.operational}\n")
        #expect(back.count == 1 && back[0].contains("never given its own facts back"))
        // The same stream of two origins, and two streams of one, are different logs.
        #expect(
            try problems(
                peers: Self.both,
                cursors: """
                      - {peer: plant-a, stream: facts.operational}
                      - {peer: plant-a, stream: facts.operational, origin: plant-c}
                      - {peer: plant-b, stream: facts.audit, origin: plant-c}

                    """) == [])
    }

    @Test("gateway decision 2: cursors name peer, stream, origin and mode; the origin is the peer, the mode 24 hours back")
    func cursorDefaults() throws {
        let files = try ConfigurationTestFiles(
            peers: "peers:\n" + Self.both,
            cursors: "cursors:\n  - {peer: plant-a, stream: facts.operational}\n")
        let cursor = try #require(try files.load().cursors.first)
        #expect(cursor.origin == "plant-a" && cursor.initMode == .boundedBackfill(hours: 24))
        #expect(try files.load().peer(id: "plant-a")?.start == .auto)
        for (text, mode) in [
            ("start_now", .startNow), ("full_backfill", .fullBackfill),
            ("bounded_backfill_3h", .boundedBackfill(hours: 3)),
            (
                "explicit_timestamp, init_timestamp: \"2025-01-15T10:00:00Z\"",
                .explicitTimestamp(unixMilliseconds: 1_736_935_200_000)
            ),
        ] as [(String, CursorInitMode)] {
            let other = try ConfigurationTestFiles(
                peers: "peers:\n" + Self.both,
                cursors: """
                    cursors:
                      - {peer: plant-a, stream: facts.operational, init_mode: \(text), justification: why}

                    """)
            #expect(try other.load().cursors.first?.initMode == mode)
            #expect(try other.load().cursors.first?.justification == "why")
        }
    }

    @Test func `a safety stream says why it does not begin by the default`() throws {
        let main = ConfigurationTestFiles.main.replacing(
            "  - name: facts.audit",
            with: "  - {name: facts.safety, profile: sil_strict, terminal: true}")
        func problems(_ rest: String) throws -> [String] {
            try ConfigurationTestFiles(
                main: main, peers: "peers:\n" + Self.both,
                cursors: "cursors:\n  - {peer: plant-a, stream: facts.safety\(rest)}\n"
            ).problems()
        }
        #expect(try problems("") == [])
        #expect(try problems(", init_mode: full_backfill, justification: all of it") == [])
        let found = try problems(", init_mode: full_backfill")
        #expect(found.count == 1 && found[0].contains("'justification'"))
    }

    // MARK: - What a reload takes

    private func changes(main: String = "", peers: String = "", cursors: String = "")
        throws -> ConfigurationChanges
    {
        let before = ConfigurationTestFiles.main
        let files = try ConfigurationTestFiles()
        let other = try ConfigurationTestFiles(
            main: main.isEmpty ? before : main,
            peers: peers.isEmpty ? ConfigurationTestFiles.peers : peers,
            cursors: cursors.isEmpty ? ConfigurationTestFiles.cursors : cursors)
        // The directories differ, and with them every path.
        func lines(_ files: ConfigurationTestFiles) throws -> [ConfigurationListing.Line] {
            ConfigurationListing(try files.load()).lines.map {
                ConfigurationListing.Line(
                    key: $0.key, value: $0.value.replacing(files.directory, with: "DIR"))
            }
        }
        return ConfigurationChanges(from: try lines(files), to: try lines(other))
    }

    @Test func `grants, peers, clients, cursors and what streams keep change while a node runs`() throws {
        #expect(try changes().isEmpty)
        let grant = try changes(
            peers: ConfigurationTestFiles.peers.replacing(
                "streams: [facts.operational]", with: "streams: [facts.operational, facts.audit]"))
        #expect(grant.changes.map(\.key) == ["peers.plant-a.streams"] && grant.refusal == nil)
        #expect(grant.changes[0].before == "[facts.operational]")
        #expect(grant.changes[0].after == "[facts.operational, facts.audit]")
        let cursor = try changes(cursors: "cursors: []\n")
        #expect(cursor.refusal == nil && cursor.changes.allSatisfy { $0.after == nil })
        let main = ConfigurationTestFiles.main
        for live in [
            main.replacing("- name: facts.audit", with: "- {name: facts.audit, retention: 30d}"),
            main.replacing("- name: facts.audit", with: "- {name: facts.audit, high_watermark: 90%}"),
            main.replacing("- name: facts.audit", with: "- {name: facts.audit, object_limit: 2MiB}"),
            main.replacing("- name: facts.audit", with: "- name: facts.audit\n  - name: facts.new"),
            main.replacing("- name: facts.audit", with: "- name: facts.audit\n  - name: facts.forward"),
            main.replacing("[producer, consumer]", with: "[producer]"),
            main + "zones: [cloud]\n",
        ] {
            let found = try changes(main: live)
            #expect(!found.isEmpty && found.refusal == nil, "\(found.changes)")
        }
    }

    @Test func `what needs a restart is refused in one sentence that names it`() throws {
        let main = ConfigurationTestFiles.main
        for (fixed, key) in [
            (main.replacing("- name: facts.audit", with: "- {name: facts.audit, capacity: 2GiB}"), "streams.facts.audit.capacity"),
            (main.replacing("- name: facts.audit", with: "- {name: facts.audit, forward: {capacity: 2GiB}}"), "streams.facts.audit.forward.capacity"),
            (main.replacing("- name: facts.audit", with: "- {name: facts.audit, dedupe_horizon: 1d}"), "streams.facts.audit.dedupe_horizon"),
            (main.replacing("  - name: facts.audit\n", with: ""), "streams.facts.audit.profile"),
            (main.replacing("data: data", with: "data: other"), "data"),
            (main.replacing("127.0.0.1:0", with: "127.0.0.1:9443"), "listeners"),
            (main + "limits: {connections: 9}\n", "limits.connections"),
            (main + "log: {level: debug}\n", "log.level"),
        ] {
            let refusal = try #require(try changes(main: fixed).refusal, "\(key)")
            #expect(refusal.contains(key) && refusal.contains("restart"), "\(refusal)")
            #expect(!refusal.contains("\n"))
        }
    }

    @Test func `what no restart takes either is refused without offering one`() throws {
        let main = ConfigurationTestFiles.main
        for (fixed, key, remedy) in [
            (main.replacing("zone: enterprise", with: "zone: enterprize"), "zone", "another data directory"),
            (
                main.replacing("- name: facts.audit", with: "- {name: facts.audit, profile: sil_strict, terminal: true}"),
                "streams.facts.audit.profile", "a new stream name"
            ),
        ] {
            let found = try changes(main: fixed)
            let refusal = try #require(found.refusal, "\(key)")
            #expect(refusal.contains("\(key) is for life") && refusal.contains(remedy), "\(refusal)")
            #expect(!refusal.contains("restart"), "\(refusal)")
            #expect(found.changes.filter(\.isForLife).map(\.key) == [key])
            // Elsewhere there are no logs of it yet.
            let moved = try changes(main: fixed.replacing("data: data", with: "data: other"))
            #expect(moved.changes.allSatisfy { !$0.isForLife } && moved.refusal?.contains("restart") == true)
        }
    }

    // MARK: - What is pulled

    @Test("gateway decision 2: start: manual holds a peer until it is started, and only at the beginning")
    func manual() async throws {
        let files = try ConfigurationTestFiles(
            main: ServicesBench.main,
            peers: ServicesBench.peers.replacing(
                "id: plant-b, identity: plant-b-bsfg,", with: "id: plant-b, start: manual, identity: plant-b-bsfg,"),
            cursors: "cursors:\n  - {peer: plant-b, stream: facts.operational}\n")
        let connection = PeerConnection(
            call: { (_, _, _) async throws(RPCClientError) in
                throw .transport(kind: .closed, sentence: "nobody is there")
            }, close: {})
        var bench = try ServicesBench(files: files, connect: connection)
        await bench.pulls.start()
        #expect(await bench.pulls.status().map(\.state) == ["manual"])
        let started = try await bench.call(
            Bsfg_Admin_V1_StartPeerResponse.self, .startPeer, #"{"peer":"plant-b"}"#, as: .operator)
        #expect(started.pulls.map(\.origin) == ["plant-b"])
        try await eventually("it is asked") { await bench.pulls.status().map(\.state) == ["unavailable"] }
        let again = try await bench.call(
            Bsfg_Admin_V1_StartPeerResponse.self, .startPeer, #"{"peer":"plant-b"}"#, as: .operator)
        #expect(again.pulls.isEmpty)
        #expect(await bench.error(.startPeer, #"{"peer":"plant-a"}"#, as: .operator)?.reason == .unknownStream)
        await bench.close()

        // Nothing was received: it is held again. Once something was, it goes on.
        bench = try ServicesBench(files: files, connect: connection)
        #expect(await bench.pulls.status().map(\.state) == ["manual"])
        let forward = try #require(bench.log(origin: "plant-b").forward)
        try forward.begin(
            at: SourcePosition(
                logUUID: [UInt8](repeating: 9, count: 16), epoch: 1, nextOffset: 0))
        await bench.close()
        bench = try ServicesBench(files: files, connect: connection)
        #expect(await bench.pulls.status().map(\.state) == ["connecting"])
        await bench.close()
    }

    @Test("gateway decision 5: an offset anywhere up to the head may be asked for, and asking moves nothing")
    func fetchingMovesNothing() async throws {
        let bench = try ServicesBench()
        try await bench.append(0..<10)
        try await bench.consumer("c", of: "both")
        _ = try await bench.call(
            Bsfg_V1_ConfirmReceiptResponse.self, .confirmReceipt,
            #"{"consumer_name":"c","offset":"4"}"#, as: .client("both"))
        for from in [0, 3, 5, 9, 10] {
            let page = try await bench.call(
                Bsfg_V1_FetchFactsResponse.self, .fetchFacts,
                #"{"consumer_name":"c","from_offset":"\#(from)"}"#, as: .client("both"))
            #expect(page.entries.count == 10 - from && page.confirmedOffset == 4)
        }
        let following = try await bench.call(
            Bsfg_V1_FetchFactsResponse.self, .fetchFacts, #"{"consumer_name":"c"}"#,
            as: .client("both"))
        #expect(following.entries.first?.offset == 5, "the default is the cursor")
        #expect(
            await bench.error(
                .fetchFacts, #"{"consumer_name":"c","from_offset":"11"}"#, as: .client("both"))?
                .reason == .beyondHead)
        #expect(bench.log().cursors.cursor(owner: "both", name: "c")?.nextOffset == 5)
        await bench.close()
    }
}
