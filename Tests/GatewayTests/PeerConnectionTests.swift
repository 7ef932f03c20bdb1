import Foundation
import RPC
import Testing

@testable import Gateway

@Suite struct PeerConnectionTests {
    @Test func `only what can be a host's name is told in the handshake`() throws {
        let root = NSTemporaryDirectory() + "peer-\(UUID().uuidString)"
        defer { try? FileManager.default.removeItem(atPath: root) }
        _ = try NodeTemplate(
            root: root, zone: "plant-a", identity: "plant-a-bsfg", addresses: ["127.0.0.1"]
        ).write()
        let authority = try CertificateAuthority.make(name: "node ca")
        try authority.issue(CertificateRequest(identity: "plant-a-bsfg", addresses: ["127.0.0.1"])).write(
            directory: "\(root)/certs", name: "server", authority: authority.certificate, force: true)
        let label = String(repeating: "a", count: 60)
        let identities = [
            ("plant-b.example.com", true), ("plant-b", false), ("192.0.2.7", false), ("::ffff:192.0.2.7", false),
            ("spiffe://zone.example/b", false),
            // 254 bytes, and a label of 64.
            (Array(repeating: label, count: 4).joined(separator: ".") + ".abcdefghij", false),
            ("\(label)aaaa.example", false),
        ]
        for (identity, isTold) in identities {
            try """
            peers:
              - {id: plant-b, identity: "\(identity)", authorized: true, endpoint: "127.0.0.1:1"}
            """.write(toFile: "\(root)/config/peers.yaml", atomically: true, encoding: .utf8)
            let configuration = try NodeConfiguration.load(directory: root)
            let tls = try PeerConnection.tls(configuration.peers[0], try NodeCredentials.load(configuration))
            #expect(tls.serverName == (isTold ? identity : nil))
        }
    }
}
