import Buffers
import Foundation
import Testing
import WriteAheadLog

@testable import Gateway
@testable import RPC

@Suite struct ConfigurationTests {
    @Test func readsTheThreeFiles() throws {
        let files = try ConfigurationTestFiles()
        let node = try files.load()
        let real = node.directory
        #expect(node.zone == "enterprise")
        #expect(node.dataDirectory == "\(real)/data")
        #expect(node.adminSocketPath == "\(real)/data/admin.sock")
        #expect(
            node.listeners == [
                ListenerConfiguration(address: HostPort(host: "127.0.0.1", port: 0), accept: .all)
            ])
        #expect(node.tls.certificateFile == "\(real)/certs/server.crt")
        #expect(node.tls.identityFrom == [.uri, .dns, .commonName])
        #expect(node.streams.map(\.name) == ["facts.operational", "facts.audit"])
        #expect(node.streams[0].store == BufferConfiguration())
        #expect(node.streams[0].forward == BufferConfiguration())
        #expect(node.streams[0].store.capacityBytes == 1 << 30)
        #expect(node.streams[0].store.segmentBytes == nil)
        #expect(node.streams[0].store.retention.dedupeHorizonMilliseconds == 30 * 86_400_000)
        #expect(node.indexBudgetBytes == 256 << 20)
        #expect(node.clients[0].roles == [.producer, .consumer])
        #expect(node.clients[0].origins == ["enterprise"])
        #expect(node.clients[0].authorityFiles == ["\(real)/certs/ca.crt"])
        #expect(node.peers.map(\.id) == ["plant-a", "plant-b"])
        #expect(node.peers[0].endpoint == HostPort(host: "10.3.1.10", port: 9443))
        #expect(node.peers[0].streams == ["facts.operational"])
        #expect(node.peers[0].origins == ["enterprise"])
        #expect(node.peers[0].start == .auto)
        #expect(node.peers[1].streams == [])
        #expect(
            node.cursors == [
                CursorConfiguration(
                    peer: "plant-a", stream: "facts.operational", origin: "plant-a",
                    initMode: .boundedBackfill(hours: 24), justification: nil)
            ])
        #expect(node.knownZones == ["enterprise", "plant-a", "plant-b"])
        #expect(node.logLevel == .info)
        #expect(node.limits.connections == 512)
    }

    @Test func everyKeyHasItsEffect() throws {
        let main = """
            zone: idmz
            identity: "idmz-bsfg"
            data: /var/lib/bsfg
            listeners:
              - {address: 192.0.2.1:9443, accept: peers}
              - {address: "[2001:db8::1]:9444", accept: clients}
              - address: 192.0.2.1:9445
            tls:
              ca: [a.crt, ../b.crt]
              certificate: ./server.crt
              key: /keys/server.key
              client_ca: clients.crt
              identity_from: [dns, uri]
            admin: {socket: /run/bsfg/admin.sock}
            zones: [plant-c]
            streams:
              - {name: facts.safety, profile: sil_strict, capacity: 64MiB, segment: 1MiB,
                 object_limit: 3MiB, idempotency: content, terminal: true, compression: lz4,
                 writing: direct,
                 high_watermark: 70%, low_watermark: 0.6, retention: 90d, min_retention: 1d,
                 dedupe_horizon: 60d, free_space_reserve: 16MiB, unconfirmed_ttl: never,
                 when_full: reject, forward: {capacity: 128MiB, segment: 2MiB, retention: 30d}}
            clients:
              - {identity: "spiffe://idmz/scada", roles: [monitor], origins: [plant-a], ca: scada.crt}
            limits:
              connections: 10
              connections_per_identity: 11
              unauthenticated_connections: 12
              unauthenticated_connections_per_address: 13
              administration_connections: 14
              in_flight: 15
              in_flight_per_identity: 16
              header_fields: 17
              handshake: 1s
              head: 2s
              write_stall: 3s
              idle: 4m
              head_size: 16KiB
              header_field_size: 8KiB
              body_size: 1MiB
              body_rate: 10KiB
              body_memory: 8MiB
              http2_streams: 18
              http2_connection_window: 2MiB
              http2_stream_window: 128KiB
              peer_ping: 5s
              peer_unacknowledged: 6s
            log: {level: debug}
            buffers: {index_budget: 64MiB}
            """
        let peers = """
            peers:
              - id: plant-a
                identity: plant-a-bsfg
                authorized: true
                streams: [facts.safety]
                artifacts: [batch-files]
                origins: [idmz, plant-c]
                ca: [plant-a.crt]
                endpoint: plant-a:9443
                start: manual
                compression: lz4
                notify: true
            """
        let cursors = """
            cursors:
              - {peer: plant-a, stream: facts.safety, init_mode: bounded_backfill_72h,
                 justification: "audit"}
              - {peer: plant-a, stream: facts.safety, origin: plant-c, init_mode: explicit_timestamp,
                 init_timestamp: "2025-01-15T10:00:00Z", justification: "repair"}
            """
        let files = try ConfigurationTestFiles(main: main, peers: peers, cursors: cursors)
        #expect(try files.problems() == [])
        let node = try files.load()
        let parent = (node.directory as NSString).deletingLastPathComponent
        #expect(node.listeners.map(\.accept) == [.peers, .clients, .all])
        #expect(node.listeners[1].address == HostPort(host: "2001:db8::1", port: 9444))
        #expect(node.tls.authorityFiles == ["\(node.directory)/a.crt", "\(parent)/b.crt"])
        #expect(node.tls.certificateFile == "\(node.directory)/server.crt")
        #expect(node.tls.keyFile == "/keys/server.key")
        #expect(node.tls.identityFrom == [.dns, .uri])
        #expect(node.adminSocketPath == "/run/bsfg/admin.sock")
        #expect(node.otherZones == ["plant-c"])
        var store = BufferConfiguration()
        store.capacityBytes = 64 << 20
        store.segmentBytes = 1 << 20
        store.policy = .silStrict(StrictPolicy())
        store.isTerminal = true
        store.compression = .lz4
        store.writing = .direct
        store.retention = RetentionOptions(
            highWatermark: 0.7, lowWatermark: 0.6, retentionMilliseconds: 90 * 86_400_000,
            minimumRetentionMilliseconds: 86_400_000, dedupeHorizonMilliseconds: 60 * 86_400_000,
            freeSpaceReserveBytes: 16 << 20)
        var forward = store
        forward.capacityBytes = 128 << 20
        forward.segmentBytes = 2 << 20
        forward.retention.retentionMilliseconds = 30 * 86_400_000
        #expect(
            node.streams == [
                StreamConfiguration(
                    name: "facts.safety", profile: .silStrict, store: store, forward: forward,
                    objectBytesMaximum: 3 << 20, idempotency: .content)
            ])
        #expect(node.indexBudgetBytes == 64 << 20)
        #expect(node.clients[0].roles == [.monitor])
        #expect(node.clients[0].authorityFiles == ["\(node.directory)/scada.crt"])
        #expect(node.peers[0].authorityFiles == ["\(node.directory)/plant-a.crt"])
        #expect(node.peers[0].start == .manual)
        #expect(node.peers[0].artifacts == ["batch-files"])
        #expect(node.peers[0].origins == ["idmz", "plant-c"])
        #expect(node.cursors[0].initMode == .boundedBackfill(hours: 72))
        #expect(node.cursors[0].justification == "audit")
        #expect(node.cursors[1].origin == "plant-c")
        #expect(node.cursors[1].initMode == .explicitTimestamp(unixMilliseconds: 1_736_935_200_000))
        #expect(node.peers[0].compression == .lz4 && node.peers[0].isNotified)
        #expect(node.logLevel == .debug)
        let limits = node.limits
        #expect(limits.connections == 10 && limits.connectionsPerIdentity == 11)
        #expect(limits.unauthenticatedConnections == 12)
        #expect(limits.unauthenticatedConnectionsPerAddress == 13)
        #expect(limits.administrationConnections == 14)
        #expect(limits.inFlight == 15 && limits.inFlightPerIdentity == 16 && limits.fields == 17)
        #expect(limits.handshakeMilliseconds == 1000 && limits.headMilliseconds == 2000)
        #expect(limits.writeStallMilliseconds == 3000 && limits.idleMilliseconds == 240_000)
        #expect(limits.headBytes == 16 << 10 && limits.fieldBytes == 8 << 10)
        #expect(limits.bodyBytes == 1 << 20 && limits.bodyBytesPerSecond == 10 << 10)
        #expect(limits.bodyBudgetBytes == 8 << 20)
        #expect(limits.http2.concurrentStreams == 18 && limits.http2.streamWindowBytes == 128 << 10)
        #expect(limits.http2.connectionWindowBytes == 2 << 20)
        let peer = try #require(node.peers.first)
        let settings = PeerConnection.settings(peer, HostPort("192.0.2.1:1", allowsPortZero: false)!, node)
        #expect(settings.pingIntervalMilliseconds == 5_000 && settings.userTimeoutMilliseconds == 6_000)
    }

    @Test("gateway decision 42: the limits that init writes as comments are the defaults, all of them")
    func commentedLimitsAreTheDefaults() throws {
        let text = try NodeTemplate(
            root: "/r", zone: "enterprise", identity: "i", addresses: ["a"]
        ).files[0].text
        let lines = text.split(separator: "\n")
        let begin = try #require(lines.firstIndex { $0.hasPrefix("# limits:") })
        let limits = lines[begin...].prefix { $0.hasPrefix("#") }.map { $0.dropFirst(2) }
            .filter { $0.hasPrefix("limits:") || $0.hasPrefix("  ") }
        let written = ConfigurationTestFiles.main + limits.joined(separator: "\n") + "\n"
        let keys = limits.dropFirst().map { $0.split(separator: ":")[0].drop { $0 == " " } }
        let listed = ConfigurationListing(try ConfigurationTestFiles(main: written).load()).lines
        let defaults = ConfigurationListing(try ConfigurationTestFiles().load()).lines
        #expect(listed.filter { $0.key.hasPrefix("limits.") } == defaults.filter { $0.key.hasPrefix("limits.") })
        #expect(
            Set(keys.map { "limits.\($0)" })
                == Set(defaults.map(\.key).filter { $0.hasPrefix("limits.") }))
    }

    @Test("gateway decision 43: a file of 1 MiB is read, one byte more is refused", arguments: [
        "bsfg.yaml", "peers.yaml", "cursors.yaml",
    ])
    func filesAtTheLimitAndOneAbove(_ name: String) throws {
        let files = try ConfigurationTestFiles()
        let path = "\(files.directory)/\(name)"
        let text = try Data(contentsOf: URL(fileURLWithPath: path))
        let padding = [UInt8](repeating: UInt8(ascii: "#"), count: (1 << 20) - text.count)
        try (text + padding).write(to: URL(fileURLWithPath: path))
        #expect(try files.load().zone == "enterprise")
        try (text + padding + [UInt8(ascii: "#")]).write(to: URL(fileURLWithPath: path))
        let problems = try files.problems()
        #expect(problems.count == 1 && problems[0].contains("has 1048577 bytes, at most 1048576"), "\(problems)")
    }

    @Test func aStandardStreamMayDropAndExpire() throws {
        let main = ConfigurationTestFiles.main.replacing(
            "- name: facts.audit",
            with: "- {name: facts.audit, when_full: drop_oldest, unconfirmed_ttl: 2d, "
                + "high_watermark: 50%, forward: {unconfirmed_ttl: never}}")
        let stream = try #require(try ConfigurationTestFiles(main: main).load().stream("facts.audit"))
        #expect(
            stream.store.policy
                == .standard(
                    StandardPolicy(
                        whenFull: .dropOldest, unconfirmedLifetimeMilliseconds: 2 * 86_400_000)))
        // A forward log never drops, whatever its stream's store log does.
        #expect(
            stream.forward.policy
                == .standard(StandardPolicy(unconfirmedLifetimeMilliseconds: nil)))
        #expect(abs(stream.store.retention.lowWatermark - 0.45) < 0.001)
    }

    @Test func aPeerMayBeLeftBehind() throws {
        func peer(_ more: String) throws -> PeerConfiguration {
            try ConfigurationTestFiles(
                peers: ConfigurationTestFiles.peers.replacing(
                    "streams: [facts.operational]",
                    with: "streams: [facts.operational]\n    " + more)
            ).load().peers[0]
        }
        #expect(try peer("required: true").hold == .required)
        #expect(
            try peer("required: false\n    max_lag: 7d").hold
                == .upTo(lagBytes: nil, lagMilliseconds: 7 * 86_400_000))
        #expect(
            try peer("required: false\n    max_lag: [10GiB, 1h]").hold
                == .upTo(lagBytes: 10 << 30, lagMilliseconds: 3_600_000))
    }

    @Test func whoIsGrantedALogReadsIt() throws {
        let node = try ConfigurationTestFiles().load()
        // plant-a is granted our own facts, historian consumes them.
        #expect(node.hasReaders(stream: "facts.operational", origin: "enterprise"))
        #expect(!node.hasReaders(stream: "facts.operational", origin: "plant-a"))
        #expect(!node.hasReaders(stream: "facts.audit", origin: "enterprise"))
        // The peer is waited for before it has come, the client when its consumer is made.
        #expect(
            node.awaitedReaders(stream: "facts.operational", origin: "enterprise")
                == node.peers.prefix(1).map {
                    AwaitedReader(
                        owner: $0.identity, name: "plant-a/facts.operational/enterprise")
                })
        #expect(node.awaitedReaders(stream: "facts.operational", origin: "plant-a").isEmpty)
        var optional = node
        optional.peers[0].hold = .upTo(lagBytes: 1, lagMilliseconds: nil)
        #expect(
            optional.awaitedReaders(stream: "facts.operational", origin: "enterprise").isEmpty)
        let stream = try #require(node.stream("facts.audit"))
        let budget = KeyIndexBudget()
        #expect(stream.store.options(hasReaders: false, indexBudget: budget).retention.isTerminal)
        #expect(!stream.store.options(hasReaders: true, indexBudget: budget).retention.isTerminal)
        var strict = stream.store
        strict.policy = .silStrict(StrictPolicy())
        #expect(!strict.options(hasReaders: false, indexBudget: budget).retention.isTerminal)
        strict.isTerminal = true
        #expect(strict.options(hasReaders: false, indexBudget: budget).retention.isTerminal)
    }

    @Test func scalarsAreTypedByTheirKey() throws {
        let main = ConfigurationTestFiles.main.replacing("zone: enterprise", with: "zone: no")
            .replacing("identity: enterprise-bsfg", with: "identity: 1e3")
        let node = try ConfigurationTestFiles(main: main).load()
        #expect(node.zone == "no")
        #expect(node.identity == "1e3")
    }

    @Test func emptySectionsAreEmptyLists() throws {
        let node = try ConfigurationTestFiles(peers: "peers:\n", cursors: "# nothing\n").load()
        #expect(node.peers.isEmpty && node.cursors.isEmpty)
    }

    @Test func aMissingFileIsAnsweredWithItsCommand() throws {
        let nothing = try ConfigurationTestFiles(main: nil, peers: nil, cursors: nil)
        let error = try #require(throws: ConfigurationError.self) { try nothing.load() }
        #expect(error.command?.hasPrefix("bsfg init --root ") == true)
        let halfway = try ConfigurationTestFiles(peers: nil)
        let second = try #require(throws: ConfigurationError.self) { try halfway.load() }
        #expect(second.command?.contains("--zone enterprise --identity enterprise-bsfg") == true)
        #expect(second.description.contains("peers.yaml: the file does not exist\nmake it with: "))
    }

    @Test func theFilesOfInitAreRight() throws {
        let root = NSTemporaryDirectory() + "init-\(UUID().uuidString)"
        defer { try? FileManager.default.removeItem(atPath: root) }
        let template = try NodeTemplate(
            root: root, zone: "plant-a", identity: "plant-a-bsfg",
            addresses: ["plant-a.example", "2001:db8::1"])
        let first = try template.write()
        #expect(first.written.count == 3 && first.kept.isEmpty)
        let node = try NodeConfiguration.load(directory: root)
        #expect(node.zone == "plant-a")
        #expect(node.streams.map(\.name) == ["facts.operational"])
        #expect(node.listeners[0].address == HostPort(host: "2001:db8::1", port: 9443))
        #expect(node.dataDirectory.hasSuffix("/data") && !node.dataDirectory.contains("config"))
        #expect(node.peers.isEmpty && node.clients.isEmpty && node.cursors.isEmpty)
        #expect(template.nextCommands.count == 3)

        #expect(shellQuoted("/opt/it's here") == "'/opt/it'\\''s here'")
        try "kept".write(toFile: "\(root)/config/peers.yaml", atomically: true, encoding: .utf8)
        let second = try template.write()
        #expect(second.written.isEmpty && second.kept.count == 3)
        let kept = try String(contentsOfFile: "\(root)/config/peers.yaml", encoding: .utf8)
        #expect(kept == "kept")
    }

    @Test("What 'cert issue' would refuse is refused by 'init', whose commands name it", arguments: [
        ("plant a", "127.0.0.1", "cannot be a DNS name"),
        ("", "127.0.0.1", "cannot be a DNS name"),
        (String(repeating: "a", count: 65), "127.0.0.1", "cannot be a DNS name"),
        ("plant-a", "0.0.0.0", "names nothing"),
        ("plant-a", "::", "names nothing"),
        ("plant-a", "plant-a:9443", "neither an IP address nor a host name"),
    ])
    func initRefusesWhatCannotBeCertified(identity: String, address: String, why: String) {
        let error = #expect(throws: CertificateError.self) {
            try NodeTemplate(
                root: "/x", zone: "plant-a", identity: identity, addresses: ["192.0.2.1", address])
        }
        #expect(error?.sentence.contains(why) == true)
    }

    @Test func theExamplesInTheCommentsWork() throws {
        let template = try NodeTemplate(
            root: "/x", zone: "enterprise", identity: "enterprise-bsfg",
            addresses: ["192.0.2.1"])
        func uncommented(_ text: String) -> String {
            text.split(separator: "\n", omittingEmptySubsequences: false).map { line in
                let isExample = line.hasPrefix("#  ")
                return isExample ? String(line.dropFirst()) : String(line)
            }.joined(separator: "\n")
                .replacing("peers: []", with: "peers:").replacing("cursors: []", with: "cursors:")
                .replacing("clients: []", with: "clients:")
                .replacing("# segment", with: "segment").replacing("# zones", with: "zones")
                .replacing("# object_limit", with: "object_limit")
                .replacing("# high_watermark", with: "high_watermark")
                .replacing("# low_watermark", with: "low_watermark")
                .replacing("# when_full", with: "when_full")
                .replacing("# retention", with: "retention")
                .replacing("# min_retention", with: "min_retention")
                .replacing("# unconfirmed_ttl", with: "unconfirmed_ttl")
                .replacing("# dedupe_horizon", with: "dedupe_horizon")
                .replacing("# terminal", with: "terminal")
                .replacing("# compression", with: "compression")
                .replacing("# writing", with: "writing")
                .replacing("# free_space_reserve", with: "free_space_reserve")
                .replacing("# forward", with: "forward").replacing("# buffers", with: "buffers")
                .replacing("# profile", with: "profile").replacing("# idemp", with: "idemp")
                .replacing("# limits:", with: "limits:")
                .replacing("# client_ca", with: "client_ca").replacing("# admin", with: "admin")
                .replacing("origins: [] ", with: "origins: [enterprise] ")
        }
        let texts = template.files.map { uncommented($0.text) }
        let files = try ConfigurationTestFiles(main: texts[0], peers: texts[1], cursors: texts[2])
        #expect(try files.problems() == [])
        let node = try files.load()
        #expect(node.identity == "enterprise-bsfg")
        #expect(node.peers[0].id == "plant-a" && node.cursors[0].peer == "plant-a")
        #expect(node.clients[0].roles == [.producer])
        #expect(node.adminSocketPath == "/run/bsfg/admin.sock")
        // What the comments show as defaults are the defaults.
        var store = BufferConfiguration()
        store.segmentBytes = 16 << 20
        store.isTerminal = true
        store.retention.retentionMilliseconds = 365 * 86_400_000
        #expect(node.streams[0].store == store)
        #expect(node.streams[0].forward.capacityBytes == 4 << 30)
        #expect(node.indexBudgetBytes == 256 << 20)
        #expect(node.otherZones == ["plant-b"])
    }
}
