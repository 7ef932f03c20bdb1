/// What a reload would change, key by key, and what of it a running node can take.
package struct ConfigurationChanges: Sendable {
    package struct Change: Sendable, Equatable {
        package var key: String
        /// Nil: it was not there.
        package var before: String?
        /// Nil: it is not there any more.
        package var after: String?
        /// Whether a running node takes it.
        package var isLive: Bool
        /// Whether no restart takes it either: the logs that are there were made with it.
        package var isForLife = false
    }

    package let changes: [Change]

    package init(
        from before: [ConfigurationListing.Line], to after: [ConfigurationListing.Line]
    ) {
        let old = Dictionary(before.map { ($0.key, $0.value) }) { first, _ in first }
        let new = Dictionary(after.map { ($0.key, $0.value) }) { first, _ in first }
        let knownStreams = Set(old.keys.compactMap(Self.stream))
        var changes: [Change] = []
        for line in before where new[line.key] != line.value {
            changes.append(
                Change(
                    key: line.key, before: line.value, after: new[line.key],
                    isLive: Self.isLive(line.key, knownStreams, isRemoved: new[line.key] == nil)))
        }
        for line in after where old[line.key] == nil {
            changes.append(
                Change(
                    key: line.key, before: nil, after: line.value,
                    isLive: Self.isLive(line.key, knownStreams, isRemoved: false)))
        }
        let keepsDirectory = !changes.contains { $0.key.utf8.elementsEqual("data".utf8) }
        for index in changes.indices where keepsDirectory && !changes[index].isLive {
            changes[index].isForLife = Self.isForLife(changes[index])
        }
        self.changes = changes
    }

    package var isEmpty: Bool { changes.isEmpty }

    /// Why a running node cannot take the changes, in one sentence; nil when it can.
    package var refusal: String? {
        if let change = changes.first(where: \.isForLife), let before = change.before {
            let isZone = change.key.utf8.elementsEqual("zone".utf8)
            return "\(change.key) is for life, since there are logs of it; nothing was changed: put \(before) back, "
                + "or use \(isZone ? "another data directory" : "a new stream name")"
        }
        let fixed = changes.filter { !$0.isLive }.map(\.key)
        guard !fixed.isEmpty else { return nil }
        // The section's keys come with the first grant, and nobody wrote them.
        let keys = fixed.allSatisfy { $0.utf8.starts(with: "artifacts.".utf8) }
        if keys, let grant = firstBucket {
            return "\(grant) is this node's first use of artifacts, and their store is made at a start; nothing was "
                + "changed: restart the node, or take it back"
        }
        let shown = fixed.prefix(5).joined(separator: ", ")
        return "\(shown)\(fixed.count > 5 ? " and \(fixed.count - 5) more" : "") can only change with a "
            + "restart of the node; nothing was changed: restart it, or take \(fixed.count > 1 ? "them" : "it") back"
    }

    /// The key by which a node that had no artifact store comes to need one; nil where that is not what changes.
    private var firstBucket: String? {
        let section = changes.filter { $0.key.utf8.starts(with: "artifacts.".utf8) }
        guard section.allSatisfy({ $0.before == nil }) else { return nil }
        return changes.first { change in
            (change.key.hasSuffix(".artifacts") && change.after != "[]" || change.key.hasSuffix(".artifact_references"))
                && change.after != nil
        }?.key
    }

    /// Everything of peers, clients and cursors, which CRLs count, what streams keep, and new streams.
    private static func isLive(_ key: String, _ knownStreams: Set<String>, isRemoved: Bool) -> Bool {
        for prefix in ["peers.", "clients.", "cursors."] where key.utf8.starts(with: prefix.utf8) {
            return true
        }
        if liveKeys.contains(where: { $0.utf8.elementsEqual(key.utf8) }) { return true }
        guard let stream = stream(key) else { return false }
        guard knownStreams.contains(stream) else { return true }
        let word = key.split(separator: ".").last.map(String.init) ?? ""
        return !isRemoved && liveStreamKeys.contains(word)
    }

    /// A zone and a stream's profile: a log keeps what it was made with. A stream that goes is a restart's matter.
    private static func isForLife(_ change: Change) -> Bool {
        guard change.before != nil, change.after != nil else { return false }
        if change.key.utf8.elementsEqual("zone".utf8) { return true }
        return stream(change.key) != nil && change.key.utf8.reversed().starts(with: ".profile".utf8.reversed())
    }

    private static let liveKeys = ["zones", "tls.crl", "tls.client_crl"]

    private static let liveStreamKeys: Set<String> = [
        "high_watermark", "low_watermark", "min_retention", "retention", "terminal", "when_full",
        "unconfirmed_ttl", "object_limit", "artifact_references",
    ]

    /// The stream that a key is of: its name has points itself, so the name ends where a stream's first key
    /// would begin.
    private static func stream(_ key: String) -> String? {
        let prefix = "streams."
        guard key.utf8.starts(with: prefix.utf8), let point = key.lastIndex(of: ".") else { return nil }
        var name = key[key.index(key.startIndex, offsetBy: prefix.count)..<point]
        if name.utf8.reversed().starts(with: ".forward".utf8.reversed()) { name.removeLast(8) }
        return String(name)
    }
}
