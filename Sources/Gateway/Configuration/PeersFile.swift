internal import Buffers

/// `peers.yaml` as read: what each peer may take from us, and where it is.
struct PeersFile {
    let file: String
    private(set) var peers: [Located<PeerConfiguration>] = []

    init(
        _ tree: YAMLTree, file: String, main: NodeFile, paths: ConfigurationPaths,
        problems: ProblemList
    ) {
        self.file = file
        guard
            var reader = MappingReader(
                tree, file: file, what: NodeConfiguration.peersFile, problems: problems)
        else { return }
        for var section in reader.mappings("peers", what: "a peer") ?? [] {
            if let peer = Self.peer(&section, main, paths) { peers.append(peer) }
            section.finish()
        }
        reader.finish()
    }

    private static func peer(
        _ section: inout MappingReader, _ main: NodeFile, _ paths: ConfigurationPaths
    ) -> Located<PeerConfiguration>? {
        let id = section.zoneName("id", required: true)
        let identity = section.identity("identity")
        let endpoint = section.hostPort("endpoint")
        let authorized = section.flag("authorized")
        if authorized == nil && section.keyPosition("authorized") == nil {
            section.problem(nil, "a peer needs the key 'authorized', true or false")
        }
        let streams = section.texts("streams") ?? []
        for stream in streams { main.requireStream(stream, section) }
        let artifacts = section.buckets()
        let origins = section.zoneNames("origins")
        let ownAuthorities = section.authorityFiles("ca", paths)
        let revocation =
            section.revocation("crl", paths)
            ?? (ownAuthorities == nil ? main.tls.revocation : RevocationConfiguration())
        let authorities = ownAuthorities ?? main.tls.authorityFiles
        let start = section.word("start", PeerConfiguration.Start.self)?.value ?? .auto
        let hold = hold(&section, streams, main)
        let compression =
            section.word("compression", PeerConfiguration.Compression.self)?.value ?? .none
        let notifies = section.flag("notify")
        if let notifies, notifies.value, endpoint == nil {
            section.problem(
                notifies.position, "'notify: true' calls the peer, which needs its endpoint")
        }
        if let id,
            let own = (origins ?? []).first(where: { $0.value.utf8.elementsEqual(id.value.utf8) })
        {
            section.problem(
                own.position,
                "'\(id.value)' is never given its own facts back; remove it from its origins")
        }
        guard let id, let identity, let authorized else { return nil }
        return Located(
            value: PeerConfiguration(
                id: id.value, identity: identity.value, endpoint: endpoint?.value,
                authorized: authorized.value, streams: streams.map(\.value),
                artifacts: artifacts,
                origins: origins?.map(\.value) ?? main.zone.map { [$0.value] } ?? [],
                authorityFiles: authorities, revocation: revocation, start: start, hold: hold,
                compression: compression, isNotified: notifies?.value ?? false),
            position: id.position)
    }

    /// `required: false` with `max_lag`: a duration, a size, or one of each.
    private static func hold(
        _ section: inout MappingReader, _ streams: [Located<String>], _ main: NodeFile
    ) -> CursorHold {
        let required = section.flag("required")
        let lags = section.oneOrMore("max_lag")
        guard let required, !required.value else {
            if let lag = lags?.first {
                section.problem(lag.position, "'max_lag' goes with required: false only")
            }
            return .required
        }
        let strict = streams.first { name in
            main.streams.contains {
                $0.value.name.utf8.elementsEqual(name.value.utf8) && $0.value.profile == .silStrict
            }
        }
        if let strict {
            section.problem(
                required.position,
                "sil_strict never skips an unconfirmed fact, so a peer that is granted "
                    + "\(strict.value) must be required")
        }
        var lagBytes: UInt64?
        var lagMilliseconds: Int64?
        for lag in lags ?? [] {
            if let time = Quantity.milliseconds(lag.value), time > 0, lagMilliseconds == nil {
                lagMilliseconds = Int64(time)
            } else if Quantity.number(lag.value) == nil, let size = Quantity.bytes(lag.value),
                size > 0, lagBytes == nil
            {
                lagBytes = UInt64(size)
            } else {
                section.problem(
                    lag.position,
                    "'max_lag' is a duration, a size or one of each, as in 7d or [7d, 10GiB], not "
                        + "'\(lag.value)'")
            }
        }
        if lags == nil || lags?.isEmpty == true {
            section.problem(
                required.position,
                "'required: false' needs 'max_lag': how far the peer may stay behind before its "
                    + "cursor is detached, as in 7d or 10GiB")
        }
        return .upTo(lagBytes: lagBytes, lagMilliseconds: lagMilliseconds)
    }

}
