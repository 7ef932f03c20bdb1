internal import FoundationEssentials
internal import Gateway
internal import Glibc
internal import RPC

/// A directory with two nodes for the demo or a benchmark: a CA, what it issued, and the configuration of
/// both.
struct TwoZoneSite: Sendable {
    /// What differs between the demo and the benchmarks.
    struct Settings: Sendable {
        var capacity = "4GiB"
        /// Nil: the log chooses.
        var segment: String? = "8MiB"
        /// Memory for the key indexes of each node; nil: the default.
        var indexBudget: String?
        /// The receiver calls the relay's port, which somebody has to serve.
        var isRelayed = true
        var logLevel = "info"
    }

    static let source = "plant-a"
    static let receiver = "enterprise"
    static let stream = StreamConfiguration.defaultName
    static let producer = "plant-a-producer"
    static let consumer = "enterprise-historian"
    /// How long bytes take over the link, in each direction: as between a plant and its
    /// headquarters, so that some are always on their way.
    static let linkMilliseconds = 40

    let directory: String
    let settings: Settings
    let sourcePort: Int
    let receiverPort: Int
    let relayPort: Int
    /// The certificates that the nodes show.
    let sourceCertificate: [UInt8]
    let receiverCertificate: [UInt8]

    static func nodeIdentity(_ zone: String) -> String { "\(zone)-bsfg" }

    func root(_ zone: String) -> String { "\(directory)/\(zone)" }
    func configuration(_ zone: String) -> String { "\(root(zone))/config" }
    func socket(_ zone: String) -> String { "\(root(zone))/admin.sock" }
    func log(_ name: String) -> String { "\(directory)/\(name).log" }
    func port(_ zone: String) -> Int { zone == TwoZoneSite.source ? sourcePort : receiverPort }
    /// Certificate, key and CA of a client: `<path>.crt`, `<path>.key`.
    func client(_ identity: String) -> String { "\(directory)/clients/\(identity)" }
    var authorityFile: String { "\(directory)/clients/ca.crt" }

    /// Makes an empty directory of a name that no one else has.
    static func makeDirectory(for purpose: String) throws -> String {
        let base = getenv("TMPDIR").map { String(cString: $0) } ?? "/tmp"
        // The path of a socket below it is limited to 107 bytes.
        let parent = base.utf8.count <= 60 && !base.isEmpty ? base : "/tmp"
        var template = Array("\(parent)/bsfg-\(purpose)-XXXXXX".utf8CString)
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

    init(directory: String, settings: Settings = Settings()) throws {
        self.directory = directory
        self.settings = settings
        var ports: [Int] = []
        while ports.count < 3 { ports.append(try TwoZoneSite.freePort(except: ports)) }
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
            TwoZoneSite.nodeIdentity(TwoZoneSite.source), "\(directory)/\(TwoZoneSite.source)/certs",
            "server", server: true)
        receiverCertificate = try issue(
            TwoZoneSite.nodeIdentity(TwoZoneSite.receiver), "\(directory)/\(TwoZoneSite.receiver)/certs",
            "server", server: true)
        for client in [TwoZoneSite.producer, TwoZoneSite.consumer] {
            _ = try issue(client, "\(directory)/clients", client, server: false)
        }
        try writeConfiguration()
    }

    private func writeConfiguration() throws {
        try write(
            TwoZoneSite.source, client: TwoZoneSite.producer, role: "producer", origin: TwoZoneSite.source,
            peers: """
                peers:
                  - id: \(TwoZoneSite.receiver)
                    identity: \(TwoZoneSite.nodeIdentity(TwoZoneSite.receiver))
                    authorized: true
                    streams: [\(TwoZoneSite.stream)]

                """, cursors: "cursors: []\n")
        try write(
            TwoZoneSite.receiver, client: TwoZoneSite.consumer, role: "consumer",
            origin: TwoZoneSite.source,
            peers: """
                peers:
                  # Through the relay, where there is one: the link that the demo cuts.
                  - id: \(TwoZoneSite.source)
                    identity: \(TwoZoneSite.nodeIdentity(TwoZoneSite.source))
                    endpoint: 127.0.0.1:\(settings.isRelayed ? relayPort : sourcePort)
                    authorized: true

                """,
            cursors: """
                cursors:
                  - peer: \(TwoZoneSite.source)
                    stream: \(TwoZoneSite.stream)
                    init_mode: full_backfill
                    justification: every fact counts here

                """)
    }

    private func write(
        _ zone: String, client: String, role: String, origin: String, peers: String,
        cursors: String
    ) throws {
        let main = """
            zone: \(zone)
            identity: \(TwoZoneSite.nodeIdentity(zone))
            data: ../data
            listen: 127.0.0.1:\(port(zone))
            tls:
              ca: ../certs/ca.crt
              certificate: ../certs/server.crt
              key: ../certs/server.key
            admin: {socket: ../admin.sock}
            streams:
              - name: \(TwoZoneSite.stream)
                capacity: \(settings.capacity)
            \(settings.segment.map { "    segment: \($0)" } ?? "")
            clients:
              - identity: \(client)
                roles: [\(role)]
                streams: [\(TwoZoneSite.stream)]
                origins: [\(origin)]
            log: {level: \(settings.logLevel)}

            """ + (settings.indexBudget.map { "buffers: {index_budget: \($0)}\n" } ?? "")
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
