/// `cursors.yaml` as read: what this node pulls, from whom, and where it begins.
struct CursorsFile {
    /// An entry with the places that the checks across files point at.
    struct Entry {
        var value: CursorConfiguration
        var peer: YAMLPosition
        var stream: YAMLPosition
        var origin: YAMLPosition
    }

    let file: String
    private(set) var cursors: [Entry] = []

    static let justificationBytesMaximum = 1024

    init(_ tree: YAMLTree, file: String, problems: ProblemList) {
        self.file = file
        guard
            var reader = MappingReader(
                tree, file: file, what: NodeConfiguration.cursorsFile, problems: problems)
        else { return }
        for var section in reader.mappings("cursors", what: "a cursor") ?? [] {
            if let entry = Self.entry(&section) { cursors.append(entry) }
            section.finish()
        }
        reader.finish()
    }

    private static func entry(_ section: inout MappingReader) -> Entry? {
        let peer = section.zoneName("peer", required: true)
        let stream = section.zoneName("stream", required: true, kind: "stream")
        let origin = section.zoneName("origin")
        let mode = initMode(&section)
        let justification = section.text("justification")
        if let justification, justification.value.utf8.count > justificationBytesMaximum {
            section.problem(
                justification.position,
                "a justification has at most \(justificationBytesMaximum) bytes")
        }
        guard let peer, let stream, let mode else { return nil }
        return Entry(
            value: CursorConfiguration(
                peer: peer.value, stream: stream.value, origin: origin?.value ?? peer.value,
                initMode: mode, justification: justification?.value),
            peer: peer.position, stream: stream.position, origin: (origin ?? peer).position)
    }

    private static let explicit = "explicit_timestamp"
    private static let modes = [
        "start_now", "full_backfill", "bounded_backfill_24h", explicit,
    ]

    private static func initMode(_ section: inout MappingReader) -> CursorInitMode? {
        let mode = section.text("init_mode")
        let time = section.text("init_timestamp")
        let isExplicit = mode?.value.utf8.elementsEqual(explicit.utf8) ?? false
        if let time, !isExplicit {
            section.problem(
                time.position, "'init_timestamp' goes with init_mode: \(explicit) only")
        }
        guard let mode else {
            return section.keyPosition("init_mode") == nil ? .boundedBackfill(hours: 24) : nil
        }
        if let known = CursorInitMode(mode.value) { return known }
        guard isExplicit else {
            section.problem(
                mode.position,
                "'\(mode.value)' is no init_mode (bounded_backfill_Nh takes 1 to "
                    + "\(CursorInitMode.hoursMaximum) hours); "
                    + NearestName.hint(for: mode.value, among: modes))
            return nil
        }
        guard let time else {
            section.problem(
                mode.position,
                "init_mode \(explicit) needs 'init_timestamp', as in \"2025-01-15T10:00:00Z\"")
            return nil
        }
        guard let milliseconds = Timestamp.unixMilliseconds(time.value) else {
            section.problem(
                time.position,
                "'\(time.value)' is no instant; write it as \"2025-01-15T10:00:00Z\"")
            return nil
        }
        return .explicitTimestamp(unixMilliseconds: milliseconds)
    }
}
