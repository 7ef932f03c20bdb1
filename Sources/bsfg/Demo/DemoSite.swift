internal import FoundationEssentials
internal import Gateway
internal import Glibc
internal import RPC

/// The demo's directory: a CA, what it issued, and the configuration of both nodes.
struct DemoSite: Sendable {
    static let source = "plant-a"
    static let receiver = "enterprise"
    static let stream = StreamConfiguration.defaultName
    static let producer = "plant-a-producer"
    static let consumer = "enterprise-historian"
    /// How long bytes take over the link, in each direction: as between a plant and its
    /// headquarters, so that some are always on their way.
    static let linkMilliseconds = 40

    let directory: String
    let sourcePort: Int
    let receiverPort: Int
    let relayPort: Int
    /// The certificate that plant-a shows.
    let sourceCertificate: [UInt8]

    static func nodeIdentity(_ zone: String) -> String { "\(zone)-bsfg" }

    func root(_ zone: String) -> String { "\(directory)/\(zone)" }
    func configuration(_ zone: String) -> String { "\(root(zone))/config" }
    func socket(_ zone: String) -> String { "\(root(zone))/admin.sock" }
    func log(_ name: String) -> String { "\(directory)/\(name).log" }
    func port(_ zone: String) -> Int { zone == DemoSite.source ? sourcePort : receiverPort }
    /// Certificate, key and CA of a client: `<path>.crt`, `<path>.key`.
    func client(_ identity: String) -> String { "\(directory)/clients/\(identity)" }
    var authorityFile: String { "\(directory)/clients/ca.crt" }

    /// Makes an empty directory of a name that no one else has.
    static func makeDirectory() throws -> String {
        let base = getenv("TMPDIR").map { String(cString: $0) } ?? "/tmp"
        // The path of a socket below it is limited to 107 bytes.
        let parent = base.utf8.count <= 60 && !base.isEmpty ? base : "/tmp"
        var template = Array("\(parent)/bsfg-demo-XXXXXX".utf8CString)
        guard mkdtemp(&template) != nil else {
            throw CommandFailure(
                .failure,
                "no directory can be made in \(parent): \(String(cString: strerror(errno)))")
        }
        return String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    static func exists(_ directory: String) -> Bool { access(directory, F_OK) == 0 }

    static func remove(_ directory: String) {
        try? FileManager.default.removeItem(atPath: directory)
    }

    init(directory: String) throws {
        self.directory = directory
        var ports: [Int] = []
        while ports.count < 3 { ports.append(try DemoSite.freePort(except: ports)) }
        (sourcePort, receiverPort, relayPort) = (ports[0], ports[1], ports[2])
        let authority = try CertificateAuthority.make(name: CertificateAuthority.uniqueName())
        try authority.write(directory: "\(directory)/ca", force: false)
        func issue(_ identity: String, _ place: String, _ name: String, server: Bool) throws
            -> [UInt8]
        {
            let issued = try authority.issue(
                CertificateRequest(
                    identity: identity, addresses: server ? ["127.0.0.1", "localhost"] : [],
                    days: 90))
            try issued.write(
                directory: place, name: name, authority: authority.certificate, force: false)
            return issued.certificate.der
        }
        sourceCertificate = try issue(
            DemoSite.nodeIdentity(DemoSite.source), "\(directory)/\(DemoSite.source)/certs",
            "server", server: true)
        _ = try issue(
            DemoSite.nodeIdentity(DemoSite.receiver), "\(directory)/\(DemoSite.receiver)/certs",
            "server", server: true)
        for client in [DemoSite.producer, DemoSite.consumer] {
            _ = try issue(client, "\(directory)/clients", client, server: false)
        }
        try writeConfiguration()
    }

    private func writeConfiguration() throws {
        try write(
            DemoSite.source, client: DemoSite.producer, role: "producer", origin: DemoSite.source,
            peers: """
                peers:
                  - id: \(DemoSite.receiver)
                    identity: \(DemoSite.nodeIdentity(DemoSite.receiver))
                    authorized: true
                    streams: [\(DemoSite.stream)]

                """, cursors: "cursors: []\n")
        try write(
            DemoSite.receiver, client: DemoSite.consumer, role: "consumer",
            origin: DemoSite.source,
            peers: """
                peers:
                  # Through the relay: the link that the demo cuts.
                  - id: \(DemoSite.source)
                    identity: \(DemoSite.nodeIdentity(DemoSite.source))
                    endpoint: 127.0.0.1:\(relayPort)
                    authorized: true

                """,
            cursors: """
                cursors:
                  - peer: \(DemoSite.source)
                    stream: \(DemoSite.stream)
                    init_mode: full_backfill
                    justification: the demo shows every fact

                """)
    }

    private func write(
        _ zone: String, client: String, role: String, origin: String, peers: String,
        cursors: String
    ) throws {
        let main = """
            zone: \(zone)
            identity: \(DemoSite.nodeIdentity(zone))
            data: ../data
            listen: 127.0.0.1:\(port(zone))
            tls:
              ca: ../certs/ca.crt
              certificate: ../certs/server.crt
              key: ../certs/server.key
            admin: {socket: ../admin.sock}
            streams:
              - name: \(DemoSite.stream)
                capacity: 4GiB
                segment: 8MiB
            clients:
              - identity: \(client)
                roles: [\(role)]
                streams: [\(DemoSite.stream)]
                origins: [\(origin)]
            log: {level: info}

            """
        try CertificateFiles.makeDirectory(configuration(zone))
        for (name, text) in [
            (NodeConfiguration.mainFile, main), (NodeConfiguration.peersFile, peers),
            (NodeConfiguration.cursorsFile, cursors),
        ] {
            try CertificateFiles.write(
                Array(text.utf8), to: "\(configuration(zone))/\(name)", mode: 0o644, force: false)
        }
    }

    /// Below the ports that the system gives to callers, so that it is still free for the restart
    /// of what listens on it.
    private static func freePort(except taken: [Int]) throws -> Int {
        for _ in 0..<200 {
            let port = Int.random(in: 20_000..<32_000)
            if !taken.contains(port), isFree(port) { return port }
        }
        throw CommandFailure(.failure, "no free port was found on 127.0.0.1 from 20000 to 32000")
    }

    private static func isFree(_ port: Int) -> Bool {
        let descriptor = Glibc.socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        defer { close(descriptor) }
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = in_port_t(port).bigEndian
        address.sin_addr.s_addr = in_addr_t(INADDR_LOOPBACK).bigEndian
        let size = socklen_t(MemoryLayout<sockaddr_in>.size)
        return withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(descriptor, $0, size) == 0
            }
        }
    }
}
