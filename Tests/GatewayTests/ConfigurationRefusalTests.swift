import Foundation
import Testing

@testable import Gateway

/// Each refusal with its place and what it says to do.
@Suite struct ConfigurationRefusalTests {
    private static let base = """
        zone: enterprise
        identity: enterprise-bsfg
        data: data
        listen: 127.0.0.1:0
        tls: {ca: ca.crt, certificate: server.crt, key: server.key}

        """

    /// Lines after the base begin at line 6.
    private func problems(main addition: String) throws -> [String] {
        try ConfigurationTestFiles(
            main: Self.base + addition, peers: "peers: []", cursors: "cursors: []"
        ).problems()
    }

    @Test(arguments: [
        ("strems: []", "bsfg.yaml:6:1: bsfg.yaml has no key 'strems'; did you mean 'streams'?"),
        ("log: {levle: info}", "bsfg.yaml:6:7: 'log' has no key 'levle'; did you mean 'level'?"),
        (
            "log: {level: inof}",
            "bsfg.yaml:6:14: 'inof' is not a value of 'level'; did you mean 'info'?"
        ),
        ("log: info", "bsfg.yaml:6:6: 'log' must consist of 'key: value' lines"),
        ("log: {level: }", "bsfg.yaml:6:14: 'level' has no value"),
        (
            "log: {level: [info]}",
            "bsfg.yaml:6:14: 'level' is one value, not a list or a group of keys"
        ),
        ("zone: other", "bsfg.yaml:1:1: the key 'zone' is given twice; keep one"),
        ("zones: plant-c", "bsfg.yaml:6:8: 'zones' is a list, as in zones: [first, second]"),
        ("zones: [Plant-C]", "bsfg.yaml:6:9: 'Plant-C' is no zone name: use 1 to 64 of"),
        ("zones: [a, a]", "bsfg.yaml:6:12: 'a' is listed twice in 'zones'; keep one"),
        ("streams: []", "bsfg.yaml:6:1: 'streams' lists at least one stream"),
        ("streams: [{name: a/b}]", "bsfg.yaml:6:18: 'a/b' is no stream name"),
        ("streams: [{name: ..}]", "bsfg.yaml:6:18: '..' is no stream name"),
        ("streams: [{capacity: 1GiB}]", "bsfg.yaml:6:11: a stream needs the key 'name'"),
        (
            "streams: [{name: a, capacity: 1GB}]",
            "bsfg.yaml:6:31: 'capacity' is a size from 1MiB to 1024TiB such as 64MiB or 1GiB, not '1GB'"
        ),
        ("streams: [{name: a, capacity: 1023KiB}]", "bsfg.yaml:6:31: 'capacity' is a size"),
        (
            "streams: [{name: a, capacity: 1MiB, segment: 1MiB}]",
            "bsfg.yaml:6:46: a segment of 1MiB does not fit 8 times"
        ),
        (
            "streams: [{name: a, segment: 1025KiB}]",
            "bsfg.yaml:6:30: a segment is a multiple of 64KiB"
        ),
        (
            "streams: [{name: a, capacity: 64MiB}]",
            "bsfg.yaml:6:31: a capacity below 128MiB needs the key 'segment'"
        ),
        // What a log at its limits may do.
        (
            "streams: [{name: a, profile: sil_strict, terminal: true, when_full: drop_oldest}]",
            "bsfg.yaml:6:69: sil_strict never drops an unconfirmed record, so it cannot drop_oldest when full"
        ),
        (
            "streams: [{name: a, profile: sil_strict, terminal: true, unconfirmed_ttl: 7d}]",
            "bsfg.yaml:6:75: sil_strict never expires an unconfirmed record"
        ),
        (
            "streams: [{name: a, profile: sil_strict}]",
            "bsfg.yaml:6:18: the sil_strict stream 'a' of 'enterprise' has no reader"
        ),
        (
            "streams: [{name: a, forward: {when_full: drop_oldest}}]",
            "bsfg.yaml:6:42: a forward log never drops what it took over from another zone"
        ),
        (
            "streams: [{name: a, when_full: drop_newest}]",
            "bsfg.yaml:6:32: 'drop_newest' is not a value of 'when_full'; did you mean 'drop_oldest'?"
        ),
        (
            "streams: [{name: a, unconfirmed_ttl: 7}]",
            "bsfg.yaml:6:38: 'unconfirmed_ttl' is a duration from 1ms to 100 years or 'never', not '7'"
        ),
        (
            "streams: [{name: a, unconfirmed_ttl: 0s}]",
            "bsfg.yaml:6:38: 'unconfirmed_ttl' is a duration"
        ),
        (
            "streams: [{name: a, high_watermark: 96%}]",
            "bsfg.yaml:6:37: 'high_watermark' is a share from 10% to 95% such as 80% or 0.8, not '96%'"
        ),
        (
            "streams: [{name: a, high_watermark: 8e-1}]",
            "bsfg.yaml:6:37: 'high_watermark' is a share"
        ),
        (
            "streams: [{name: a, low_watermark: 80%}]",
            "bsfg.yaml:6:36: the low watermark 0.8 must be below the high watermark 0.8"
        ),
        (
            "streams: [{name: a, retention: 1d, min_retention: 2d}]",
            "bsfg.yaml:6:21: the retention of 1d is shorter than the min_retention of 2d"
        ),
        (
            "streams: [{name: a, retention: 36501d}]",
            "bsfg.yaml:6:32: 'retention' is a duration from 0ms to 36500d"
        ),
        ("streams: [{name: a, dedupe_horizon: long}]", "bsfg.yaml:6:37: 'dedupe_horizon' is a duration"),
        ("streams: [{name: a, terminal: 1}]", "bsfg.yaml:6:31: 'terminal' is true or false, not '1'"),
        (
            "streams: [{name: a, compression: zstd}]",
            "bsfg.yaml:6:34: 'zstd' is not a value of 'compression'"
        ),
        (
            "streams: [{name: a, writing: buffered}]",
            "bsfg.yaml:6:30: 'buffered' is not a value of 'writing'"
        ),
        (
            "streams: [{name: a, free_space_reserve: 2PiB}]",
            "bsfg.yaml:6:41: 'free_space_reserve' is a size"
        ),
        (
            "streams: [{name: a, capacity: 256MiB, segment: 16MiB, forward: {capacity: 64MiB}}]",
            "bsfg.yaml:6:75: a segment of 16MiB does not fit 8 times into the capacity of 64MiB"
        ),
        (
            "streams: [{name: a, forward: {profile: standard}}]",
            "bsfg.yaml:6:31: 'forward' has no key 'profile'"
        ),
        ("buffers: {index_budget: -1}", "bsfg.yaml:6:25: 'index_budget' is a size"),
        ("streams: [{name: a, object_limit: 4MiB}]", "bsfg.yaml:6:35: 'object_limit' is a size"),
        (
            "streams: [{name: a}, {name: a}]",
            "bsfg.yaml:6:29: the stream 'a' is defined twice; keep one"
        ),
        (
            "streams: [{name: a}, {name: a.forward}]",
            "bsfg.yaml:6:29: the stream 'a.forward' beside 'a' makes keys of two meanings"
        ),
        (
            "streams: [{name: a.forward}, {name: a}]",
            "bsfg.yaml:6:37: the stream 'a' beside 'a.forward' makes keys of two meanings"
        ),
        (
            "streams: [{name: a, idempotency: no}]",
            "bsfg.yaml:6:34: 'no' is not a value of 'idempotency'"
        ),
        (
            "limits: {connections: 0}",
            "bsfg.yaml:6:23: 'connections' is a number from 1 to 1000000, not '0'"
        ),
        ("limits: {connections: many}", "bsfg.yaml:6:23: 'connections' is a number"),
        (
            "limits: {idle: 120}",
            "bsfg.yaml:6:16: 'idle' is a duration from 100ms to 1d such as 30s or 7d, not '120'"
        ),
        (
            "limits: {body_memory: 1MiB}",
            "bsfg.yaml:6:10: body_memory (1MiB) is less than one body of 12MiB"
        ),
        ("operations: {listen: 127.0.0.1:9464}", "bsfg.yaml:6:1: bsfg.yaml has no key 'operations'"),
        (
            "listeners: [{address: 127.0.0.1:0}]",
            "bsfg.yaml:4:1: 'listen' and 'listeners' exclude each other"
        ),
        (
            "admin: {socket: /\(String(repeating: "s", count: 107))}",
            "bsfg.yaml:6:17: the administration socket"
        ),
        ("clients: [{identity: x}]", "bsfg.yaml:6:11: a client needs the key 'roles'"),
        (
            "clients: [{identity: x, roles: [admin]}]",
            "bsfg.yaml:6:33: 'admin' is no role; known here: auditor, consumer, monitor, operator, producer"
        ),
        (
            "clients: [{identity: x*, roles: [monitor]}]",
            "bsfg.yaml:6:22: an identity must not contain '*'"
        ),
        (
            "clients: [{identity: x, roles: [producer], streams: [facts.operationl]}]",
            "bsfg.yaml:6:54: the stream 'facts.operationl' is not defined under 'streams' in bsfg.yaml; did you mean 'facts.operational'?"
        ),
        (
            "clients: [{identity: x, roles: [consumer], origins: [plant-a]}]",
            "bsfg.yaml:6:22: the zone 'plant-a' is neither this one, a peer nor listed under 'zones'"
        ),
        (
            "clients: [{identity: x, roles: [monitor]}, {identity: X, roles: [monitor]}]",
            "bsfg.yaml:6:55: the identity 'X' is that of a client already"
        ),
        // What YAML offers and a configuration does not need.
        ("zones: &anchor [a]", "bsfg.yaml:6:8: YAML anchors are not accepted"),
        ("zones: [*anchor]", "bsfg.yaml:6:9: YAML aliases are not accepted"),
        ("zones: !!seq [a]", "bsfg.yaml:6:8: YAML tags are not accepted"),
        ("<<: {zone: b}", "bsfg.yaml:6:1: YAML merge keys are not accepted"),
        ("zones: |\n  a", "bsfg.yaml:6:8: YAML block scalars are not accepted"),
        ("%TAG ! x", "bsfg.yaml:6:1: YAML directives are not accepted"),
        ("zones: [a", "bsfg.yaml:7:1: this is not valid YAML"),
        ("\tzones: []", "bsfg.yaml:6:1: a tab is not indentation"),
        ("---\nzone: b", "bsfg.yaml:6:1: this is not valid YAML"),
        ("zones: " + String(repeating: "[", count: 40), "bsfg.yaml:6:40: nested too deeply"),
        ("zones:\n" + String(repeating: "- ", count: 900), "bsfg.yaml:7:257: nested too deeply"),
    ])
    func mainFile(addition: String, expected: String) throws {
        let found = try problems(main: addition)
        #expect(found.contains { $0.hasPrefix(expected) }, "\(found)")
        #expect(found.count == 1, "\(found)")
    }

    @Test func aStrictStreamIsGrantedToRequiredPeersOnly() throws {
        let found = try ConfigurationTestFiles(
            main: Self.base + "streams: [{name: a, profile: sil_strict}]",
            peers: """
                peers:
                  - {id: plant-a, identity: a, authorized: true, streams: [a], required: false, max_lag: 7d}
                """, cursors: "cursors: []"
        ).problems()
        #expect(found.count == 1, "\(found)")
        #expect(
            found.first?.hasPrefix(
                "peers.yaml:2:74: sil_strict never skips an unconfirmed fact, so a peer that is "
                    + "granted a must be required") == true, "\(found)")
    }

    @Test func everyProblemOfAFileIsNamedAtOnce() throws {
        let files = try ConfigurationTestFiles(
            main: "zone: Enterprise\nlisten: nowhere\nextra: 1\n", peers: "peers: [{id: x}]")
        let found = try files.problems()
        #expect(found.contains("bsfg.yaml:1:1: bsfg.yaml needs the key 'identity'"))
        #expect(found.contains("bsfg.yaml:1:1: bsfg.yaml needs the key 'data'"))
        #expect(found.contains { $0.hasPrefix("bsfg.yaml:1:1: bsfg.yaml needs the key 'tls'") })
        #expect(found.contains { $0.hasPrefix("bsfg.yaml:1:7: 'Enterprise' is no zone name") })
        #expect(found.contains { $0.hasPrefix("bsfg.yaml:2:9: 'nowhere' is no host:port") })
        #expect(found.contains { $0.hasPrefix("bsfg.yaml:3:1: bsfg.yaml has no key 'extra'") })
        #expect(found.contains("peers.yaml:1:9: a peer needs the key 'identity'"))
        #expect(
            found.contains { $0.hasPrefix("peers.yaml:1:9: a peer needs the key 'authorized'") })
    }

    @Test(arguments: [
        (
            "id: plant-a\nidentity: a\nauthorized: yes",
            "peers.yaml:4:17: 'authorized' is true or false, not 'yes'"
        ),
        (
            "id: plant-a\nidentity: a\nauthorized: true\nnotify: true",
            "peers.yaml:5:13: 'notify: true' calls the peer, which needs its endpoint"
        ),
        (
            "id: plant-a\nidentity: a\nauthorized: true\nstart: later",
            "peers.yaml:5:12: 'later' is not a value of 'start'; known here: auto, manual"
        ),
        (
            "id: plant-a\nidentity: a\nauthorized: true\nendpoint: plant-a",
            "peers.yaml:5:15: 'plant-a' is no host:port"
        ),
        (
            "id: plant-a\nidentity: a\nauthorized: true\nendpoint: plant-a:0",
            "peers.yaml:5:15: 'plant-a:0' is no host:port"
        ),
        (
            "id: plant-a\nidentity: a\nauthorized: true\nstreams: [facts.x]",
            "peers.yaml:5:15: the stream 'facts.x' is not defined"
        ),
        (
            "id: plant-a\nidentity: a\nauthorized: true\norigins: [plant-a]",
            "peers.yaml:5:15: 'plant-a' is never given its own facts back"
        ),
        (
            "id: plant-a\nidentity: a\nauthorized: true\norigins: [plant-z]",
            "peers.yaml:2:9: the zone 'plant-z' is neither"
        ),
        (
            "id: plant-a\nidentity: a\nauthorized: true\nca: []",
            "peers.yaml:5:5: 'ca' names at least one file"
        ),
        (
            "id: enterprise\nidentity: a\nauthorized: true",
            "peers.yaml:2:9: 'enterprise' is this zone"
        ),
        (
            "id: plant-a\nidentity: Enterprise-BSFG\nauthorized: true",
            "peers.yaml:2:9: the peer 'plant-a' has this node's own identity"
        ),
        (
            "id: plant-a\nidentity: a\nauthorized: true\nrequired: false",
            "peers.yaml:5:15: 'required: false' needs 'max_lag'"
        ),
        (
            "id: plant-a\nidentity: a\nauthorized: true\nmax_lag: 7d",
            "peers.yaml:5:14: 'max_lag' goes with required: false only"
        ),
        (
            "id: plant-a\nidentity: a\nauthorized: true\nrequired: false\nmax_lag: 7",
            "peers.yaml:6:14: 'max_lag' is a duration, a size or one of each"
        ),
        (
            "id: plant-a\nidentity: a\nauthorized: true\nrequired: false\nmax_lag: [7d, 8d]",
            "peers.yaml:6:19: 'max_lag' is a duration, a size or one of each"
        ),
        (
            "id: plant-a\nidentity: a\nauthorized: true\nstream: [x]",
            "peers.yaml:5:5: a peer has no key 'stream'; did you mean 'streams'?"
        ),
    ])
    func peersFile(entry: String, expected: String) throws {
        let indented = entry.replacing("\n", with: "\n    ")
        let files = try ConfigurationTestFiles(
            main: Self.base, peers: "peers:\n  - \(indented)\n", cursors: "cursors: []")
        let found = try files.problems()
        #expect(found.count == 1 && found[0].hasPrefix(expected), "\(found)")
    }

    @Test func identitiesAndPeersAreUnique() throws {
        let peer = "{id: plant-a, identity: historian, authorized: true}"
        let files = try ConfigurationTestFiles(
            peers: "peers:\n  - \(peer)\n  - \(peer)\n", cursors: "cursors: []")
        let found = try files.problems()
        #expect(found.contains("peers.yaml:3:10: the peer 'plant-a' is listed twice; keep one"))
        #expect(
            found.contains {
                $0.hasPrefix("peers.yaml:3:10: the identity 'historian' is that of peer 'plant-a'")
            })
        #expect(
            found.contains {
                $0.hasPrefix("bsfg.yaml:10:15: the identity 'historian' is that of peer 'plant-a'")
            }, "\(found)")
    }

    @Test(arguments: [
        (
            "peer: plant-x\nstream: facts.operational",
            "cursors.yaml:2:11: the peer 'plant-x' is not in peers.yaml; did you mean 'plant-a'?"
        ),
        (
            "peer: plant-a\nstream: facts.audti",
            "cursors.yaml:3:13: the stream 'facts.audti' is not defined under 'streams' in bsfg.yaml; did you mean 'facts.audit'?"
        ),
        (
            "peer: plant-a\nstream: facts.audit\norigin: enterprise",
            "cursors.yaml:4:13: a node never pulls facts of its own zone 'enterprise'"
        ),
        (
            "peer: plant-a\nstream: facts.audit\norigin: plant-q",
            "cursors.yaml:4:13: the zone 'plant-q' is neither"
        ),
        (
            "peer: plant-a\nstream: facts.audit\ninit_mode: start",
            "cursors.yaml:4:16: 'start' is no init_mode"
        ),
        (
            "peer: plant-a\nstream: facts.audit\ninit_mode: bounded_backfill_0h",
            "cursors.yaml:4:16: 'bounded_backfill_0h' is no init_mode"
        ),
        (
            "peer: plant-a\nstream: facts.audit\ninit_mode: bounded_backfill_87601h",
            "cursors.yaml:4:16: 'bounded_backfill_87601h' is no init_mode"
        ),
        (
            "peer: plant-a\nstream: facts.audit\ninit_mode: explicit_timestamp",
            "cursors.yaml:4:16: init_mode explicit_timestamp needs 'init_timestamp'"
        ),
        (
            "peer: plant-a\nstream: facts.audit\ninit_mode: explicit_timestamp\ninit_timestamp: yesterday",
            "cursors.yaml:5:21: 'yesterday' is no instant"
        ),
        (
            "peer: plant-a\nstream: facts.audit\ninit_mode: explicit_timestamp\ninit_timestamp: 2025-02-30T10:00:00Z",
            "cursors.yaml:5:21: '2025-02-30T10:00:00Z' is no instant"
        ),
        (
            "peer: plant-a\nstream: facts.audit\ninit_timestamp: 2025-01-15T10:00:00Z",
            "cursors.yaml:4:21: 'init_timestamp' goes with init_mode: explicit_timestamp only"
        ),
        ("stream: facts.audit", "cursors.yaml:2:5: a cursor needs the key 'peer'"),
        (
            "peer: plant-c\nstream: facts.audit",
            "cursors.yaml:2:11: the peer 'plant-c' has no endpoint"
        ),
        (
            "peer: plant-d\nstream: facts.audit",
            "cursors.yaml:2:11: the peer 'plant-d' has authorized: false"
        ),
    ])
    func cursorsFile(entry: String, expected: String) throws {
        let indented = entry.replacing("\n", with: "\n    ")
        let more = """
              - {id: plant-c, identity: c, authorized: true}
              - {id: plant-d, identity: d, authorized: false, endpoint: "d:1"}

            """
        let files = try ConfigurationTestFiles(
            peers: ConfigurationTestFiles.peers + more, cursors: "cursors:\n  - \(indented)\n")
        let found = try files.problems()
        #expect(found.count == 1 && found[0].hasPrefix(expected), "\(found)")
    }

    @Test func aStreamOfAnOriginComesFromOnePeer() throws {
        let files = try ConfigurationTestFiles(
            cursors: """
                cursors:
                  - {peer: plant-a, stream: facts.audit, origin: plant-b}
                  - {peer: plant-b, stream: facts.audit}
                  - {peer: plant-a, stream: facts.operational}
                  - {peer: plant-a, stream: facts.operational}
                """)
        #expect(
            try files.problems() == [
                "cursors.yaml:3:29: stream 'facts.audit' of origin 'plant-b' is pulled from "
                    + "'plant-a' already; it may come from one peer only",
                "cursors.yaml:5:29: stream 'facts.operational' of origin 'plant-a' is pulled from "
                    + "'plant-a' twice; keep one",
            ])
    }

    @Test func sizeAndEncodingAreLimited() throws {
        let limit = YAMLTree.bytesMaximum
        let comment = "#" + String(repeating: "x", count: limit - 1 - Self.base.utf8.count)
        let atLimit = try ConfigurationTestFiles(
            main: Self.base + comment, peers: "peers: []", cursors: "cursors: []")
        #expect(try atLimit.problems() == [])
        let above = try ConfigurationTestFiles(
            main: Self.base + comment + "x", peers: "peers: []", cursors: "cursors: []")
        #expect(try above.problems().first?.contains("at most \(limit) are read") == true)
        #expect(throws: ConfigurationError.self) {
            try YAMLTree.parse([0x7a, 0x3a, 0x20, 0xff], file: "x")
        }
        #expect(throws: ConfigurationError.self) {
            try YAMLTree.parse(Array("zone: a\0b".utf8), file: "x")
        }
    }

    /// The parser's own expansion of aliases is never reached.
    @Test func nestedAliasesAreRefusedAtOnce() throws {
        var text = "a: &a [x, x]\n"
        for letter in "bcdefghijklmnopqrstuvwxyz" {
            let before = String(UnicodeScalar(letter.unicodeScalars.first!.value - 1)!)
            text += "\(letter): &\(letter) [*\(before), *\(before)]\n"
        }
        text += "? *z\n: 1\n"
        let begin = ContinuousClock.now
        #expect(throws: ConfigurationError.self) {
            try YAMLTree.parse(Array(text.utf8), file: "bomb")
        }
        // Expanded it had 2^26 parts, which no machine goes through in this time.
        #expect(ContinuousClock.now - begin < .seconds(60))
    }

    /// A plain scalar may go on with a quotation mark on its next line, which misleads the first
    /// look; the second one, at each node's place, still finds the anchor.
    @Test func anAnchorHiddenFromTheFirstLookIsFound() throws {
        let text = "a: plain\n  \" goes on\nb: &x value\nc: \" ends\"\n"
        #expect(throws: ConfigurationError.self) {
            try YAMLTree.parse(Array(text.utf8), file: "hidden")
        }
    }

    @Test func randomDamageNeverCrashes() throws {
        let seed = UInt64.random(in: 0...UInt64.max)
        print("configuration damage seed \(seed)")
        var state = seed
        func next() -> UInt64 {
            state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
            return state >> 33
        }
        let letters = Array("&*!|>%@`'\"[]{},:-?# \n\tab\u{e9}".utf8)
        let original = Array(ConfigurationTestFiles.main.utf8)
        var refused = 0
        for _ in 0..<3000 {
            var bytes = original
            for _ in 0...(next() % 4) {
                let place = Int(next()) % bytes.count
                if next() % 3 == 0 {
                    bytes.remove(at: place)
                } else {
                    bytes.insert(letters[Int(next()) % letters.count], at: place)
                }
            }
            if (try? YAMLTree.parse(bytes, file: "damaged")) == nil { refused += 1 }
        }
        #expect(refused > 100)
    }

    @Test(arguments: [
        ("2025-01-15T10:00:00Z", Int64(1_736_935_200_000)),
        ("2025-01-15T10:00:00.5+01:00", 1_736_931_600_500),
        ("1969-12-31T23:59:59.999Z", -1),
        ("2024-02-29T00:00:00Z", 1_709_164_800_000),
    ])
    func instants(text: String, milliseconds: Int64) {
        #expect(Timestamp.unixMilliseconds(text) == milliseconds)
    }

    @Test(arguments: [
        "2025-01-15", "2025-02-29T00:00:00Z", "2025-13-01T00:00:00Z", "2025-01-15T24:00:00Z",
        "2025-01-15T10:00:00", "2025-01-15T10:00:00Zx", "2025-01-15 10:00:00Z",
        "2025-01-15T10:00:00.Z", "٢025-01-15T10:00:00Z",
    ])
    func noInstants(text: String) {
        #expect(Timestamp.unixMilliseconds(text) == nil)
    }

    @Test func quantities() {
        #expect(Quantity.bytes("1GiB") == 1 << 30)
        #expect(Quantity.bytes("4096") == 4096)
        #expect(Quantity.bytes("4096B") == 4096)
        #expect(Quantity.bytes("1.5GiB") == nil)
        #expect(Quantity.bytes("-1") == nil)
        #expect(Quantity.bytes("99999999TiB") == nil)
        #expect(Quantity.bytes("GiB") == nil)
        #expect(Quantity.milliseconds("250ms") == 250)
        #expect(Quantity.milliseconds("7d") == 604_800_000)
        #expect(Quantity.milliseconds("5m") == 300_000)
        #expect(Quantity.milliseconds("30") == nil)
        #expect(Quantity.bytesText(1536) == "1536B")
        #expect(Quantity.millisecondsText(90_000) == "90s")
    }

    @Test(
        arguments: [
            ("127.0.0.1:9443", "127.0.0.1:9443"), ("[::1]:1", "[::1]:1"),
            ("a.b-c:65535", "a.b-c:65535"),
            ("::1:9443", nil), ("a:65536", nil), ("a:", nil), (":1", nil), ("[a]:1", nil),
            ("a b:1", nil),
            ("-a:1", nil), ("a:+1", nil), ("[127.0.0.1]:1", nil),
        ] as [(String, String?)])
    func hostPorts(text: String, expected: String?) {
        #expect(HostPort(text)?.description == expected)
    }
}
