import Foundation

@testable import Gateway

/// A configuration directory with files as given; it disappears with the object.
final class ConfigurationTestFiles: Sendable {
    let directory: String

    static let main = """
        zone: enterprise
        identity: enterprise-bsfg
        data: data
        listen: 127.0.0.1:0
        tls: {ca: certs/ca.crt, certificate: certs/server.crt, key: certs/server.key}
        streams:
          - name: facts.operational
          - name: facts.audit
        clients:
          - identity: historian
            roles: [producer, consumer]
            streams: [facts.operational]

        """

    static let peers = """
        peers:
          - id: plant-a
            identity: plant-a-bsfg
            endpoint: 10.3.1.10:9443
            authorized: true
            streams: [facts.operational]
          - id: plant-b
            identity: plant-b-bsfg
            endpoint: plant-b.example:9443
            authorized: true

        """

    static let cursors = """
        cursors:
          - peer: plant-a
            stream: facts.operational

        """

    init(main: String? = main, peers: String? = peers, cursors: String? = cursors) throws {
        directory = NSTemporaryDirectory() + "configuration-\(UUID().uuidString)"
        try FileManager.default.createDirectory(
            atPath: directory, withIntermediateDirectories: true)
        for (name, text) in [("bsfg.yaml", main), ("peers.yaml", peers), ("cursors.yaml", cursors)]
        {
            guard let text else { continue }
            try Data(text.utf8).write(to: URL(fileURLWithPath: "\(directory)/\(name)"))
        }
    }

    deinit { try? FileManager.default.removeItem(atPath: directory) }

    func load() throws -> NodeConfiguration { try NodeConfiguration.load(directory: directory) }

    /// The problems, each as `file:line:column: sentence` without the directory.
    func problems() throws -> [String] {
        do {
            _ = try load()
            return []
        } catch let error as ConfigurationError {
            return error.problems.map { $0.description.replacing("\(directory)/", with: "") }
        }
    }
}
