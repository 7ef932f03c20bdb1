internal import RPC
internal import WriteAheadLog

/// `bsfg.yaml` as read, with the places that later checks point at.
struct NodeFile {
    let file: String
    private(set) var zone: Located<String>?
    private(set) var identity: Located<String>?
    private(set) var otherZones: [Located<String>] = []
    private(set) var streams: [Located<StreamConfiguration>] = []
    private(set) var clients: [Located<ClientConfiguration>] = []
    private(set) var tls = TLSConfiguration(
        authorityFiles: [], certificateFile: "", keyFile: "", clientAuthorityFiles: [],
        identityFrom: Set(IdentityNameKind.allCases))
    private var dataDirectory = ""
    private var adminSocketPath = ""
    private var listeners: [ListenerConfiguration] = []
    private var limits = RPCServerLimits()
    private var peerLimits = PeerConnectionLimits()
    private var logLevel = LogLevel.info
    private var indexBudgetBytes = KeyIndexBudget.defaultBytes
    private var quarantineBytes = NodeConfiguration.quarantineDefaultBytes
    private var artifacts: ArtifactConfiguration?

    init(_ tree: YAMLTree, file: String, paths: ConfigurationPaths, problems: ProblemList) {
        self.file = file
        guard
            var reader = MappingReader(
                tree, file: file, what: NodeConfiguration.mainFile, problems: problems)
        else { return }
        zone = reader.zoneName("zone", required: true)
        identity = reader.identity("identity")
        if let data = reader.text("data", required: true) {
            dataDirectory = paths.absolute(data.value)
        }
        readListeners(&reader)
        readTLS(&reader, paths)
        readAdmin(&reader, paths)
        otherZones = reader.zoneNames("zones") ?? []
        readStreams(&reader)
        readClients(&reader, paths)
        if var section = reader.mapping("limits") {
            limits = RPCServerLimits(&section)
            peerLimits = PeerConnectionLimits(&section)
            section.finish()
        }
        if var section = reader.mapping("buffers") {
            if let budget = section.bytes("index_budget", 0...(1 << 40)) {
                indexBudgetBytes = budget.value
            }
            if let capacity = section.bytes("quarantine", (1 << 20)...(1 << 40)) {
                quarantineBytes = capacity.value
            }
            section.finish()
        }
        if var section = reader.mapping("artifacts") {
            artifacts = ArtifactConfiguration(&section)
            section.finish()
        }
        if var section = reader.mapping("log") {
            logLevel = section.word("level", LogLevel.self)?.value ?? .info
            section.finish()
        }
        reader.finish()
    }

    private mutating func readListeners(_ reader: inout MappingReader) {
        let single = reader.hostPort("listen", allowsPortZero: true)
        let several = reader.mappings("listeners", what: "a listener", countMaximum: 16)
        if single != nil && several != nil {
            reader.problem(
                reader.keyPosition("listen"),
                "'listen' and 'listeners' exclude each other; keep one")
        }
        if let single {
            listeners = [ListenerConfiguration(address: single.value, accept: .all)]
        }
        for var section in several ?? [] {
            let address = section.hostPort("address", required: true, allowsPortZero: true)
            let accept = section.choice("accept", ["all", "peers", "clients"])?.value
            section.finish()
            guard let address else { continue }
            guard
                address.value.port == 0
                    || !listeners.contains(where: { $0.address == address.value })
            else {
                section.problem(address.position, "\(address.value) is listened on twice; keep one")
                continue
            }
            listeners.append(
                ListenerConfiguration(
                    address: address.value,
                    accept: accept.flatMap(RPCListener.Acceptance.init(rawValue:)) ?? .all))
        }
        let isMissing =
            reader.keyPosition("listen") == nil && reader.keyPosition("listeners") == nil
        if isMissing || several?.isEmpty == true {
            reader.problem(nil, "bsfg.yaml needs the key 'listen', as in listen: 192.0.2.10:9443")
        }
    }

    private mutating func readTLS(_ reader: inout MappingReader, _ paths: ConfigurationPaths) {
        guard var section = reader.mapping("tls") else {
            if reader.keyPosition("tls") == nil {
                reader.problem(nil, "bsfg.yaml needs the key 'tls' with ca, certificate and key")
            }
            return
        }
        tls.authorityFiles = section.authorityFiles("ca", paths) ?? []
        if tls.authorityFiles.isEmpty && section.keyPosition("ca") == nil {
            section.problem(nil, "'tls' needs the key 'ca'")
        }
        tls.certificateFile =
            section.text("certificate", required: true).map { paths.absolute($0.value) } ?? ""
        tls.keyFile = section.text("key", required: true).map { paths.absolute($0.value) } ?? ""
        let clientAuthorities = section.authorityFiles("client_ca", paths)
        tls.clientAuthorityFiles = clientAuthorities ?? tls.authorityFiles
        tls.revocation = section.revocation("crl", paths) ?? RevocationConfiguration()
        tls.clientRevocation =
            section.revocation("client_crl", paths)
            ?? (clientAuthorities == nil ? tls.revocation : RevocationConfiguration())
        if let kinds = section.texts("identity_from") {
            let known = IdentityNameKind.allCases.map(\.rawValue)
            var chosen: Set<IdentityNameKind> = []
            for kind in kinds {
                if let found = IdentityNameKind(rawValue: kind.value) {
                    chosen.insert(found)
                } else {
                    section.problem(
                        kind.position,
                        "'\(kind.value)' is no kind of name; "
                            + NearestName.hint(for: kind.value, among: known))
                }
            }
            if kinds.isEmpty {
                section.problem(
                    section.keyPosition("identity_from"),
                    "'identity_from' lists at least one of uri, dns, cn")
            }
            tls.identityFrom = chosen
        }
        section.finish()
    }

    /// The longest path a unix socket address holds.
    private static let socketPathBytesMaximum = 107

    private mutating func readAdmin(_ reader: inout MappingReader, _ paths: ConfigurationPaths) {
        adminSocketPath = "\(dataDirectory)/admin.sock"
        var position = reader.keyPosition("data")
        if var section = reader.mapping("admin") {
            if let socket = section.text("socket", required: true) {
                adminSocketPath = paths.absolute(socket.value)
                position = socket.position
            }
            section.finish()
        }
        if adminSocketPath.utf8.count > Self.socketPathBytesMaximum {
            reader.problem(
                position,
                "the administration socket \(adminSocketPath) has more than "
                    + "\(Self.socketPathBytesMaximum) bytes; give a shorter path with admin: "
                    + "{socket: /run/bsfg/admin.sock}")
        }
    }

    private mutating func readStreams(_ reader: inout MappingReader) {
        guard let sections = reader.mappings("streams", what: "a stream", countMaximum: 256) else {
            let position = reader.position
            streams = [
                Located(
                    value: StreamConfiguration(name: StreamConfiguration.defaultName),
                    position: position)
            ]
            return
        }
        if sections.isEmpty {
            reader.problem(
                reader.keyPosition("streams"), "'streams' lists at least one stream, or is left out"
            )
        }
        for var section in sections {
            defer { section.finish() }
            var stream = StreamConfiguration(name: "")
            stream.profile =
                section.word("profile", StreamConfiguration.Profile.self)?.value ?? .standard
            (stream.store, stream.forward) = BufferSection.read(&section, stream.profile)
            if let limit = section.bytes("object_limit", 1...(3 << 20)) {
                stream.objectBytesMaximum = limit.value
            }
            stream.idempotency =
                section.word("idempotency", StreamConfiguration.Idempotency.self)?.value
                ?? .messageID
            stream.artifactReferences =
                section.word("artifact_references", ArtifactReferencePolicy.self)?.value
                ?? .unchecked
            guard let name = section.zoneName("name", required: true, kind: "stream") else {
                continue
            }
            stream.name = name.value
            if streams.contains(where: { $0.value.name.utf8.elementsEqual(name.value.utf8) }) {
                section.problem(
                    name.position, "the stream '\(name.value)' is defined twice; keep one")
                continue
            }
            if let other = streams.map(\.value.name).first(where: {
                Self.shareKeys($0, name.value) || Self.shareKeys(name.value, $0)
            }) {
                section.problem(
                    name.position,
                    "the stream '\(name.value)' beside '\(other)' makes keys of two meanings, as "
                        + "'bsfg config show' and a reload name them: the one ends in the section "
                        + "'forward' of the other; rename one")
                continue
            }
            streams.append(Located(value: stream, position: name.position))
        }
    }

    /// Whether the section `forward` of one stream has the keys that the other stream has.
    private static func shareKeys(_ one: String, _ other: String) -> Bool {
        "\(one).forward".utf8.elementsEqual(other.utf8)
    }

    private mutating func readClients(_ reader: inout MappingReader, _ paths: ConfigurationPaths) {
        for var section in reader.mappings("clients", what: "a client") ?? [] {
            defer { section.finish() }
            let roles = section.texts("roles")
            if roles == nil && section.keyPosition("roles") == nil {
                section.problem(nil, "a client needs the key 'roles', as in roles: [producer]")
            }
            var granted: Set<ClientConfiguration.Role> = []
            for role in roles ?? [] {
                guard let known = ClientConfiguration.Role(rawValue: role.value) else {
                    section.problem(
                        role.position,
                        "'\(role.value)' is no role; "
                            + NearestName.hint(
                                for: role.value,
                                among: ClientConfiguration.Role.allCases.map(\.rawValue)))
                    continue
                }
                granted.insert(known)
            }
            let grantedStreams = section.texts("streams") ?? []
            for stream in grantedStreams { requireStream(stream, section) }
            let origins = section.zoneNames("origins")?.map(\.value)
            let buckets = section.buckets()
            let ownAuthorities = section.authorityFiles("ca", paths)
            let revocation =
                section.revocation("crl", paths)
                ?? (ownAuthorities == nil ? tls.clientRevocation : RevocationConfiguration())
            let authorities = ownAuthorities ?? tls.clientAuthorityFiles
            guard let identity = section.identity("identity") else { continue }
            clients.append(
                Located(
                    value: ClientConfiguration(
                        identity: identity.value, roles: granted,
                        streams: grantedStreams.map(\.value),
                        origins: origins ?? zone.map { [$0.value] } ?? [],
                        artifacts: buckets, authorityFiles: authorities, revocation: revocation),
                    position: identity.position))
        }
    }

    /// Says so when a grant names a stream that is not defined.
    func requireStream(_ stream: Located<String>, _ section: MappingReader) {
        guard let sentence = undefinedStream(stream.value) else { return }
        section.problem(stream.position, sentence)
    }

    func undefinedStream(_ name: String) -> String? {
        let known = streams.map(\.value.name)
        guard !known.contains(where: { $0.utf8.elementsEqual(name.utf8) }) else { return nil }
        return "the stream '\(name)' is not defined under 'streams' in bsfg.yaml; "
            + NearestName.hint(for: name, among: known)
    }

    func configuration(
        directory: String, peers: [PeerConfiguration], cursors: [CursorConfiguration]
    ) -> NodeConfiguration {
        guard let zone, let identity else {
            preconditionFailure("a file without problems has both")
        }
        let usesArtifacts = NodeConfiguration.usesArtifacts(
            streams.map(\.value), clients.map(\.value), peers)
        return NodeConfiguration(
            directory: directory, zone: zone.value, identity: identity.value,
            dataDirectory: dataDirectory, listeners: listeners, tls: tls,
            adminSocketPath: adminSocketPath,
            otherZones: otherZones.map(\.value), streams: streams.map(\.value),
            clients: clients.map(\.value), peers: peers, cursors: cursors, limits: limits,
            peerLimits: peerLimits,
            indexBudgetBytes: indexBudgetBytes, quarantineBytes: quarantineBytes, logLevel: logLevel,
            artifacts: artifacts ?? (usesArtifacts ? ArtifactConfiguration() : nil))
    }
}
