package import RPC

/// The commented files that `bsfg init` writes, with one default stream and nobody granted
/// anything.
package struct NodeTemplate: Sendable {
    package let root: String
    package let zone: String
    package let identity: String
    package let addresses: [String]
    package let port: Int

    package static let directoryName = "config"

    package init(
        root: String, zone: String, identity: String, addresses: [String], port: Int = 9443
    ) throws(CertificateError) {
        guard ZoneName.isValid(zone) else {
            throw CertificateError("--zone '\(zone)' is no zone name: use \(ZoneName.rule)")
        }
        guard !addresses.isEmpty else {
            throw CertificateError("--address is needed: a name or address that others call")
        }
        for address in addresses
        where IPAddress(address) == nil && !CertificateAuthority.isHostName(address) {
            throw CertificateError(
                "--address '\(address)' is neither an IP address nor a host name (the port is "
                    + "given by --port)")
        }
        // The commands that are printed have to work.
        _ = try CertificateAuthority.alternativeNames(
            CertificateRequest(identity: identity, addresses: addresses))
        guard (0...65_535).contains(port) else {
            throw CertificateError("--port is between 0 and 65535, not \(port)")
        }
        self.root = root
        self.zone = zone
        self.identity = identity
        self.addresses = addresses
        self.port = port
    }

    package var directory: String { "\(root)/\(Self.directoryName)" }

    /// Names and texts of the three files.
    package var files: [(name: String, text: String)] {
        [
            (NodeConfiguration.mainFile, mainText),
            (NodeConfiguration.peersFile, Self.peersText),
            (NodeConfiguration.cursorsFile, Self.cursorsText),
        ]
    }

    /// What to run next, in order.
    package var nextCommands: [String] {
        let authority = shellQuoted("\(root)/ca")
        return [
            "bsfg ca init --dir \(authority)",
            "bsfg cert issue --ca \(authority) --identity \(shellQuoted(identity)) "
                + addresses.map { "--address \($0) " }.joined()
                + "--out \(shellQuoted("\(root)/certs"))",
            ServiceUnit.runs(configuration: directory)
                ? "systemctl enable --now \(ServiceUnit.name)"
                : "bsfg serve --config \(shellQuoted(directory))",
        ]
    }

    /// The first address that is one, since a name cannot be listened on; else every interface.
    private var listen: HostPort {
        let own = addresses.first { IPAddress($0) != nil }
        return HostPort(host: own ?? "0.0.0.0", port: port)
    }

    private var mainText: String {
        """
        # What this node is. Paths are relative to this directory. An unknown key is refused.
        zone: \(zone)
        # The name in this node's certificate, by which other zones know it.
        identity: \(identity)
        # Logs and state live here.
        data: ../data
        # Where peers, producers and consumers call, over TLS 1.3 with client certificates.
        # Several: listeners: [{address: 192.0.2.10:9443, accept: peers}, {...}] (all|peers|clients)
        listen: \(Self.quoted(listen.description))

        tls:
          # Roots and every issuing CA that peers are trusted by. A peer may name its own (ca).
          ca: ../certs/ca.crt
          certificate: ../certs/server.crt
          key: ../certs/server.key
          # The same for the clients below, where it is another CA.
          # client_ca: ../certs/clients-ca.crt
          # The CRLs of those CAs. Default: the file beside the CA's, ca.crl for ca.crt, where it is.
          # A stale one goes on revoking; [FILE, required] refuses callers without a current one.
          # crl: ../certs/ca.crl
          # client_crl: ../certs/clients-ca.crl
          # The kinds of names an identity may be found in.
          identity_from: [uri, dns, cn]

        # Local administration, without a certificate. Default: admin.sock in the data directory.
        # admin: {socket: /run/bsfg/admin.sock}

        # Zones that are neither this one nor a peer but may be named in facts.
        # zones: [plant-b]

        # One log for each stream and origin. Every stream that is granted or pulled is listed here.
        streams:
          - name: \(StreamConfiguration.defaultName)
            capacity: 1GiB
            # profile: standard          # or sil_strict
            # segment: 16MiB
            # object_limit: 1MiB         # at most 3MiB
            # idempotency: message_id    # or content
            # artifact_references: unchecked  # or required: what a fact refers to has to be here
            # From the high watermark on new facts are refused, from the low one on taken again. Only
            # what may not be removed counts: facts that a reader has not confirmed, and confirmed
            # ones younger than min_retention.
            # high_watermark: 80%
            # low_watermark: 75%
            # when_full: reject          # or drop_oldest: old facts go, confirmed or not (standard)
            # How long confirmed facts stay while there is room; without it until room is needed.
            # retention: 365d
            # min_retention: 0s          # confirmed facts younger than this always stay
            # unconfirmed_ttl: 7d        # or never; older facts go unconfirmed (standard)
            # dedupe_horizon: 30d        # a retry is recognised this long, though its fact is gone
            # terminal: true             # sil_strict asks for it where nobody is granted the stream
            # compression: none          # or lz4
            # writing: synchronised      # or direct, past the page cache; 'bsfg log disk-test' names the faster
            # free_space_reserve: 64MiB  # refuse when the file system has less than this
            # For the logs of other zones' facts, where they differ; all keys above but when_full.
            # forward: {capacity: 4GiB}

        # Memory for the key indexes of all logs.
        # buffers: {index_budget: 256MiB, quarantine: 128MiB}

        # Files that facts refer to, of this zone and copies of others'. An artifact goes when no fact
        # refers to it any more and it is older than artifact_retention; an upload that no fact ever
        # referred to after upload_grace.
        # artifacts: {capacity: 10GiB, artifact_retention: 30d, upload_grace: 1d}

        # Who may call this node besides its peers. Nobody may until listed.
        # Roles: producer (append), consumer (fetch and confirm), monitor, operator,
        # auditor (health, which names them; nothing on this port administers).
        # Take the [] away when you list one.
        clients: []
        #  - identity: line-3-historian
        #    roles: [producer]
        #    streams: [\(StreamConfiguration.defaultName)]      # without it nothing is granted
        #    artifacts: [batch-files]     # buckets to put into, or as a consumer to read
        #  - identity: dashboard
        #    roles: [consumer]
        #    streams: [\(StreamConfiguration.defaultName)]
        #    origins: [\(zone), plant-b]  # whose facts; default: this zone's own only

        # What one caller, or all of them, may make this node hold; these are the defaults.
        # limits:
        #   connections: 512
        #   connections_per_identity: 64
        #   unauthenticated_connections: 64
        #   unauthenticated_connections_per_address: 8
        #   administration_connections: 64
        #   in_flight: 1024
        #   in_flight_per_identity: 256
        #   handshake: 10s
        #   head: 10s
        #   write_stall: 30s
        #   idle: 2m
        #   head_size: 32KiB
        #   header_field_size: 16KiB
        #   header_fields: 64
        #   body_size: 12MiB
        #   body_rate: 1KiB              # a second, after the first ten
        #   body_memory: 64MiB           # of the bodies and answers of all requests together
        #   http2_streams: 128
        #   http2_connection_window: 1MiB
        #   http2_stream_window: 256KiB
        # A connection to a peer on which nothing comes is asked after peer_ping, and given up when what
        # was sent is not acknowledged for peer_unacknowledged.
        #   peer_ping: 10s
        #   peer_unacknowledged: 20s

        log: {level: info}

        """
    }

    private static let peersText = """
        # What each peer may take from this node, and where it is called. Nothing else is given. Both
        # sides list each other. Take the [] away when you list one.
        peers: []
        #  - id: plant-a                       # its zone
        #    identity: plant-a-bsfg            # the name in its certificate
        #    endpoint: 10.3.1.10:9443
        #    authorized: true
        #    streams: [\(StreamConfiguration.defaultName)]      # what it may take
        #    artifacts: []                     # buckets that it may read, of these origins
        #    origins: []                       # default: this zone's own facts
        #    ca: ../certs/plant-a-ca.crt       # default: tls.ca of bsfg.yaml
        #    crl: ../certs/plant-a-ca.crl      # of that CA; default: the file beside it
        #    start: auto                       # or manual: held until 'bsfg peer start plant-a'
        #    compression: none                 # or lz4: pages, where the peer's entry for us says so too
        #    notify: false                     # or true: told of new facts; only makes them come sooner
        #    required: true                    # or false with max_lag: [7d, 10GiB]: left behind after

        """

    private static let cursorsText = """
        # What this node pulls. Nothing else is pulled.
        # init_mode decides where the first fetch begins: bounded_backfill_24h (default),
        # bounded_backfill_Nh, start_now, full_backfill, or explicit_timestamp with
        # init_timestamp: "2025-01-15T10:00:00Z", by the times at which the source took the facts. A cursor that exists always wins. Facts of a zone
        # behind the peer: origin. A change is in force after 'bsfg config reload'. Take the [] away
        # when you list one.
        cursors: []
        #  - peer: plant-a
        #    stream: \(StreamConfiguration.defaultName)
        #    origin: plant-a                   # whose facts; default: the peer's own
        #    init_mode: bounded_backfill_24h
        #    justification: why, where it is not the default

        """

    /// Plain where plain is safe, else in double quotes.
    private static func quoted(_ text: String) -> String {
        let isPlain = text.utf8.allSatisfy { byte in
            asciiAlphanumeric(byte) || "._-".utf8.contains(byte)
                || byte == UInt8(ascii: ":") && !text.hasSuffix(":")
        }
        if isPlain, let first = text.utf8.first, asciiAlphanumeric(first) { return text }
        return "\"\(text)\""
    }

    private static func asciiAlphanumeric(_ byte: UInt8) -> Bool {
        (byte >= UInt8(ascii: "a") && byte <= UInt8(ascii: "z"))
            || (byte >= UInt8(ascii: "A") && byte <= UInt8(ascii: "Z"))
            || (byte >= UInt8(ascii: "0") && byte <= UInt8(ascii: "9"))
    }
}

extension NodeTemplate {
    /// In what a configuration that is there is another one than was asked for, in one sentence; nil when it
    /// is the same, is not there or cannot be read.
    package var difference: String? {
        guard let present = try? NodeConfiguration.load(directory: directory) else { return nil }
        let wanted = [("zone", present.zone, zone), ("identity", present.identity, identity)]
        guard let (key, found, asked) = wanted.first(where: { !$0.1.utf8.elementsEqual($0.2.utf8) }) else {
            return nil
        }
        return "\(directory)/\(NodeConfiguration.mainFile) is there and has \(key): \(found), not \(asked); nothing "
            + "was written: say --\(key) \(shellQuoted(found)), or use another --root"
    }

    /// Writes what is missing and keeps what is there. Returns the paths written and kept.
    package func write() throws(CertificateError) -> (written: [String], kept: [String]) {
        try CertificateFiles.makeDirectory(directory)
        var written: [String] = []
        var kept: [String] = []
        for file in files {
            let path = "\(directory)/\(file.name)"
            if CertificateFiles.exists(path) {
                kept.append(path)
                continue
            }
            try CertificateFiles.write(Array(file.text.utf8), to: path, mode: 0o644, force: false)
            written.append(path)
        }
        return (written, kept)
    }
}
