internal import Facts

/// Everything that is known of names, in memory and without I/O: what a store rebuilds at opening and
/// decides by.
struct ArtifactNames {
    struct Known {
        var entry: ArtifactEntry
        /// Where its newest record stands in the index.
        var recordOffset: UInt64 = 0
        var pins = 0
        /// The sweep that was the newest when it was pinned last.
        var pinnedInSweep: UInt64 = 0
        /// About to be removed: nobody can pin it any more.
        var isCondemned = false
    }

    /// Names that are kept at most, and what their records come to at most, in bytes: so that memory is
    /// bounded, and the index has room to be written again.
    static let countMaximum = 500_000
    let recordBytesMaximum: Int

    private(set) var known: [ArtifactName: Known] = [:]
    private var namesByDigest: [Digest: Set<ArtifactName>] = [:]
    private var pendingNames: Set<ArtifactName> = []
    private var storedCount = 0
    private var bytes: UInt64 = 0
    private(set) var recordBytes = 0
    var followed: [[UInt8]: (offset: UInt64, recordOffset: UInt64)] = [:]
    var sweeps: UInt64 = 0
    var reservedBytes: UInt64 = 0

    init(recordBytesMaximum: Int = .max) { self.recordBytesMaximum = recordBytesMaximum }

    subscript(name: ArtifactName) -> ArtifactEntry? { known[name]?.entry }

    var usage: ArtifactUsage {
        var usage = ArtifactUsage()
        usage.names = storedCount
        usage.pending = pendingNames.count
        usage.blobs = namesByDigest.count
        usage.bytes = bytes
        usage.reservedBytes = reservedBytes
        return usage
    }

    func names(of digest: Digest) -> Set<ArtifactName> { namesByDigest[digest] ?? [] }
    func holds(_ digest: Digest) -> Bool { namesByDigest[digest] != nil }
    var digests: Dictionary<Digest, Set<ArtifactName>>.Keys { namesByDigest.keys }

    func names(isPending: Bool) -> [ArtifactName] {
        isPending ? Array(pendingNames) : Array(known.keys)
    }

    /// The names of a list, in order.
    static func page(
        _ names: [ArtifactName], after name: ArtifactName?, count: Int
    ) -> ArraySlice<ArtifactName> {
        let after = name.map { name in names.filter { $0 > name } } ?? names
        return after.sorted().prefix(count)
    }

    // MARK: Changes

    /// Takes a name's new state.
    mutating func set(_ entry: ArtifactEntry, recordOffset: UInt64) {
        let before = known[entry.name]?.entry
        forget(before)
        var changed = known[entry.name] ?? Known(entry: entry)
        changed.entry = entry
        changed.recordOffset = recordOffset
        known[entry.name] = changed
        recordBytes += entry.reservedByteCount
        if let stored = entry.stored {
            if namesByDigest[stored.content.digest] == nil { bytes += stored.content.size }
            namesByDigest[stored.content.digest, default: []].insert(entry.name)
            storedCount += 1
        }
        if entry.isPending { pendingNames.insert(entry.name) }
    }

    mutating func remove(_ name: ArtifactName) {
        forget(known.removeValue(forKey: name)?.entry)
    }

    private mutating func forget(_ entry: ArtifactEntry?) {
        guard let entry else { return }
        recordBytes -= entry.reservedByteCount
        pendingNames.remove(entry.name)
        guard let stored = entry.stored else { return }
        storedCount -= 1
        let digest = stored.content.digest
        namesByDigest[digest]?.remove(entry.name)
        if namesByDigest[digest]?.isEmpty == true {
            namesByDigest[digest] = nil
            bytes -= stored.content.size
        }
    }

    /// All references are to be read again.
    mutating func forgetFollowed() {
        for log in followed.keys { followed[log]?.offset = 0 }
    }

    // MARK: Pins

    mutating func pin(_ name: ArtifactName) -> Bool {
        guard let found = known[name], found.entry.stored != nil, !found.isCondemned else {
            return false
        }
        known[name]?.pins += 1
        known[name]?.pinnedInSweep = sweeps
        return true
    }

    mutating func unpin(_ name: ArtifactName) { known[name]?.pins -= 1 }

    // MARK: Deciding

    /// Whether names that are not known yet may come. None always may.
    func hasRoom(for entries: [ArtifactEntry]) -> Bool {
        entries.isEmpty
            || known.count + entries.count <= ArtifactNames.countMaximum
                && recordBytes + entries.reduce(0) { $0 + $1.reservedByteCount } <= recordBytesMaximum
    }

    /// The states that names get when facts of a log refer to them.
    func taking(_ uses: [ArtifactUse], log: [UInt8], isReceived: Bool) -> [ArtifactEntry] {
        var changed: [ArtifactName: ArtifactEntry] = [:]
        for use in uses {
            var entry = changed[use.name] ?? self[use.name] ?? ArtifactEntry(name: use.name)
            if let index = entry.uses.firstIndex(where: { $0.log == log }) {
                guard entry.uses[index].offset < use.offset else { continue }
                entry.uses[index].offset = use.offset
            } else {
                entry.uses.append((log, use.offset))
            }
            if isReceived { entry.expected = use.content }
            changed[use.name] = entry
        }
        return changed.values.sorted { $0.name < $1.name }
    }

    /// The names that a sweep removes.
    func sweepable(_ rules: ArtifactSweepRules) -> [ArtifactEntry] {
        known.values.filter { isSweepable($0, rules) }.map(\.entry)
    }

    /// Whether a name may go now; if so nobody can pin it from here on.
    mutating func condemn(_ name: ArtifactName, _ rules: ArtifactSweepRules) -> Bool {
        guard let found = known[name], isSweepable(found, rules) else { return false }
        known[name]?.isCondemned = true
        return true
    }

    mutating func spare(_ name: ArtifactName) { known[name]?.isCondemned = false }

    private func isSweepable(_ known: Known, _ rules: ArtifactSweepRules) -> Bool {
        guard known.pins == 0, known.pinnedInSweep != rules.generation else { return false }
        let uses = known.entry.uses
        let isUsed = uses.contains { use in
            rules.firstOffsets[use.log].map { $0 <= use.offset } ?? true
        }
        guard !isUsed else { return false }
        guard let stored = known.entry.stored else { return true }
        return stored.storedMilliseconds < (uses.isEmpty ? rules.unusedBefore : rules.usedBefore)
    }

    /// What is the same was written again elsewhere.
    mutating func takeRecordOffsets(of other: ArtifactNames) {
        for (name, state) in other.known { known[name]?.recordOffset = state.recordOffset }
        for (log, state) in other.followed { followed[log]?.recordOffset = state.recordOffset }
    }
}
