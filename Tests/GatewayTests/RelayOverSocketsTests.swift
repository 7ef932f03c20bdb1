import Buffers
import Facts
import Foundation
import Logging
import RPC
import SwiftProtobuf
import Testing
import WriteAheadLog

@testable import Gateway

/// Whole nodes in one process, plant-a - idmz - enterprise, over TLS on loopback: what a producer of a later
/// release wrote arrives with every byte behind a relay that does not know it.
@Suite struct RelayOverSocketsTests {
    private static let stream = "facts.operational"

    /// A directory with a certificate authority and the files of three zones.
    private final class Site {
        let root = NSTemporaryDirectory() + "relay-\(UUID().uuidString.prefix(8))"
        let authority: CertificateAuthority

        init() throws { authority = try CertificateAuthority.make(name: "relay ca") }

        deinit { try? FileManager.default.removeItem(atPath: root) }

        /// A zone's configuration, with its certificate.
        func configuration(
            _ zone: String, zones: String = "", peers: String, cursors: String = "cursors: []\n"
        ) throws -> NodeConfiguration {
            let directory = "\(root)/\(zone)"
            try FileManager.default.createDirectory(
                atPath: directory, withIntermediateDirectories: true)
            try authority.issue(
                CertificateRequest(identity: "\(zone)-bsfg", addresses: ["127.0.0.1"])
            ).write(
                directory: "\(directory)/certs", name: "server", authority: authority.certificate,
                force: true)
            let main = """
                zone: \(zone)
                identity: \(zone)-bsfg
                data: data
                listen: 127.0.0.1:0
                admin: {socket: admin.sock}
                tls: {ca: certs/ca.crt, certificate: certs/server.crt, key: certs/server.key}
                zones: [\(zones)]
                streams: [{name: \(RelayOverSocketsTests.stream), capacity: 16MiB, segment: 1MiB}]

                """
            for (name, text) in [
                ("bsfg.yaml", main), ("peers.yaml", peers), ("cursors.yaml", cursors),
            ] {
                try text.write(toFile: "\(directory)/\(name)", atomically: true, encoding: .utf8)
            }
            return try NodeConfiguration.load(directory: directory)
        }
    }

    private func node(_ configuration: NodeConfiguration) throws -> GatewayNode {
        try GatewayNode(
            configuration, try NodeCredentials.load(configuration),
            logger: Logger(label: "relay") { _ in SwiftLogNoOpLogHandler() })
    }

    /// Facts as a later release would encode them: fields that this one does not know, in the message, in its
    /// envelope and in its fact, and what is known out of order.
    private func later(_ number: Int) throws -> [UInt8] {
        var envelope = Bsfg_V1_Envelope()
        envelope.messageID = "later-\(number)"
        envelope.fromZone = "plant-a"
        envelope.toZone = "enterprise"
        envelope.producedAtUnixMs = 1_388_534_400_000
        envelope.labels = ["trace": "1", "b": "2"]
        var fact = Bsfg_V1_Fact()
        fact.subject = "asset:site/T1"
        fact.predicate = "reading_recorded"
        fact.objectJson = #"{"n":\#(number)}"#
        // Field 1000, length-delimited; field 1001, a varint.
        let unknown: [UInt8] = [0xC2, 0x3E, 3, 1, 2, UInt8(number), 0xC8, 0x3E, 7]
        func field(_ number: UInt8, _ content: [UInt8]) -> [UInt8] {
            precondition(content.count < 1 << 14, "two bytes of length")
            return [number << 3 | 2, UInt8(content.count & 0x7F) | 0x80, UInt8(content.count >> 7)]
                + content
        }
        // The fact before the envelope, the format before both.
        return [0x18, 1] + unknown + field(2, unknown + (try fact.serializedBytes()))
            + field(1, try envelope.serializedBytes() + unknown)
    }

    private func write(_ messages: [[UInt8]], into configuration: NodeConfiguration) throws {
        let logs = try StreamLogs(configuration)
        let store = try #require(logs.log(stream: Self.stream, origin: "plant-a")?.store)
        for (number, message) in messages.enumerated() {
            _ = try store.appendUntilConflict([
                KeyedFact(
                    key: SHA256.hash([UInt8(number)]),
                    contentDigest: try message.withUnsafeBytes {
                        try MessageSummary($0).contentDigest
                    }, storedRecord: StoredRecord.encode(.message, message, origin: nil))
            ])
        }
        logs.close()
    }

    /// The messages in a node's log of plant-a, after the node has ended.
    private func messages(_ configuration: NodeConfiguration) throws -> [[UInt8]] {
        let logs = try StreamLogs(configuration)
        defer { logs.close() }
        let log = try #require(logs.log(stream: Self.stream, origin: "plant-a"))
        var found: [[UInt8]] = []
        _ = try log.buffer.read(from: 0, maximumCount: .max, maximumBytes: .max) { record in
            if let stored = try? StoredRecord(record.payload), stored.item == .message {
                found.append(Array(record.payload[stored.itemRange]))
            }
            return true
        }
        return found
    }

    @Test("gateway decision 19: over sockets and a relay a later release's message arrives with every byte")
    func everyByte() async throws {
        let site = try Site()
        let plant = try site.configuration(
            "plant-a", zones: "enterprise",
            peers: """
                peers:
                  - {id: idmz, identity: idmz-bsfg, authorized: true, streams: [\(Self.stream)], compression: lz4}

                """)
        let sent = try (0..<3).map(later)
        try write(sent, into: plant)
        let source = try node(plant)
        let sourceAddress = try #require(try await source.start().first)
        let idmz = try site.configuration(
            "idmz",
            peers: """
                peers:
                  - {id: plant-a, identity: plant-a-bsfg, endpoint: "\(sourceAddress)", authorized: true, compression: lz4}
                  - {id: enterprise, identity: enterprise-bsfg, authorized: true, streams: [\(Self.stream)], origins: [plant-a]}

                """,
            cursors: "cursors: [{peer: plant-a, stream: \(Self.stream), init_mode: full_backfill}]\n")
        let relay = try node(idmz)
        let relayAddress = try #require(try await relay.start().first)
        let enterprise = try site.configuration(
            "enterprise", zones: "plant-a",
            peers: """
                peers:
                  - {id: idmz, identity: idmz-bsfg, endpoint: "\(relayAddress)", authorized: true}

                """,
            cursors:
                "cursors: [{peer: idmz, stream: \(Self.stream), origin: plant-a, init_mode: full_backfill}]\n")
        let far = try node(enterprise)
        _ = try await far.start()
        let admin = AdminClient(socketPath: enterprise.adminSocketPath)
        try await eventually("all of them are at the far end") {
            let status = try await admin.status()
            #expect(status.quarantine.count == 0)
            return status.streams.contains {
                $0.origin == "plant-a" && $0.headOffset == UInt64(sent.count)
            }
        }
        for node in [far, relay, source] { await node.stop() }
        #expect(try messages(enterprise) == sent)
        #expect(try messages(idmz) == sent)
    }
}
