internal import CPlatform

/// What the runs know of a key.
enum KeyAnswer: Equatable, Sendable {
    case absent
    case found(offset: UInt64, content: Digest256)
    /// A run that could hold the key is missing or damaged; it is being written again.
    case retryLater
}

/// The runs of a log at one moment, with what of them is in memory. Never changed: the engine
/// publishes another one. Thread-safe.
final class KeyRunSet: Sendable {
    struct Member: Sendable {
        var run: KeyRun
        var index: KeyRunIndex?
    }

    /// Newest offsets first.
    let members: [Member]
    /// Entries below are expired and count as absent.
    let floorOffset: UInt64
    /// Offsets whose keys no run here knows.
    let missing: [Range<UInt64>]

    /// The runs that can answer.
    private let probed: [Member]
    /// Their filters, held by them.
    nonisolated(unsafe) private let filters: [bsfg_filter]
    /// What a key is that no run has.
    private let notFound: KeyAnswer

    private init(members: [Member], floorOffset: UInt64, missing: [Range<UInt64>]) {
        self.members = members
        self.floorOffset = floorOffset
        self.missing = missing
        probed = members.filter {
            $0.run.entry.endOffset > floorOffset && $0.run.entry.entryCount > 0
        }
        filters = probed.map { $0.index?.filter ?? bsfg_filter(blocks: nil, block_count: 0) }
        notFound = missing.contains { $0.upperBound > floorOffset } ? .retryLater : .absent
    }

    /// A snapshot without anything in memory.
    convenience init(runs: [KeyRun] = [], floorOffset: UInt64 = 0, missing: [Range<UInt64>] = []) {
        self.init(
            members: KeyRunSet.sorted(runs).map { Member(run: $0) }, floorOffset: floorOffset,
            missing: missing)
    }

    /// The snapshot after this one; runs that stay keep what they have in memory.
    ///
    /// - Parameter loaded: what of a new run is in memory already.
    func replacing(
        runs: [KeyRun]? = nil, loaded: Member? = nil, floorOffset: UInt64, missing: [Range<UInt64>]
    ) -> KeyRunSet {
        let members =
            runs.map { runs in
                KeyRunSet.sorted(runs).map { run in
                    Member(
                        run: run,
                        index: run === loaded?.run
                            ? loaded?.index : self.members.first { $0.run === run }?.index)
                }
            } ?? members
        return KeyRunSet(members: members, floorOffset: floorOffset, missing: missing)
    }

    private static func sorted(_ runs: [KeyRun]) -> [KeyRun] {
        runs.sorted { $0.entry.endOffset > $1.entry.endOffset }
    }

    var runs: [KeyRun] { members.map(\.run) }

    /// Runs of which a lookup, or opening them, found a copy damaged.
    var damagedRuns: [KeyRun] { runs.filter { !$0.damagedCopies.isEmpty } }

    // MARK: - Looking up

    /// Keys that are looked up together: their cache lines are on the way before the first is used.
    private static let groupCount = 16

    /// Answers in the order of the keys. A batch of 1,000 costs less a key than single keys do.
    /// Reads from disk: one page for a key that is found and rarely for another; a filter that is
    /// not in memory one page a key.
    func lookUp(_ keys: [Digest256]) -> [KeyAnswer] {
        var answers = [KeyAnswer](repeating: notFound, count: keys.count)
        guard !probed.isEmpty else { return answers }
        withUnsafeTemporaryAllocation(of: KeyHash.self, capacity: KeyRunSet.groupCount) { hashes in
            withUnsafeTemporaryAllocation(of: UInt32.self, capacity: probed.count) { found in
                var scratch: PageBuffer?
                for first in stride(from: 0, to: keys.count, by: KeyRunSet.groupCount) {
                    let group = first..<min(first + KeyRunSet.groupCount, keys.count)
                    for place in group { hashes[place - first] = KeyHash(keys[place]) }
                    bsfg_filters_probe(
                        filters, filters.count, hashes.baseAddress, group.count, found.baseAddress)
                    for number in found.indices where found[number] != 0 {
                        settle(keys, group, hashes, number, found, &answers, &scratch)
                    }
                }
            }
        }
        return answers
    }

    /// Looks into one run for those keys of a group that its filter may contain.
    private func settle(
        _ keys: [Digest256], _ group: Range<Int>, _ hashes: UnsafeMutableBufferPointer<KeyHash>,
        _ number: Int, _ found: UnsafeMutableBufferPointer<UInt32>, _ answers: inout [KeyAnswer],
        _ scratch: inout PageBuffer?
    ) {
        let page = scratch ?? PageBuffer(pageCount: 1)
        scratch = page
        for place in group where found[number] & 1 << UInt32(place - group.lowerBound) != 0 {
            let isSettled = find(
                keys[place], hashes[place - group.lowerBound], probed[number], &answers[place],
                scratch: page)
            // Older runs are not asked.
            guard isSettled else { continue }
            for older in number + 1..<found.count {
                found[older] &= ~(1 << UInt32(place - group.lowerBound))
            }
        }
    }

    /// Looks into one run; true when that settles the key.
    private func find(
        _ key: Digest256, _ hash: KeyHash, _ member: Member, _ answer: inout KeyAnswer,
        scratch: PageBuffer
    ) -> Bool {
        do throws(KeyRunError) {
            guard let entry = try member.run.find(key, hash, member.index, scratch: scratch) else {
                return false
            }
            // An older run has the key at a lower offset still.
            guard entry.offset >= floorOffset else { return true }
            answer = .found(offset: entry.offset, content: entry.content)
            return true
        } catch {
            // An older run can still have it above the floor; then it is not in this one.
            answer = .retryLater
            return false
        }
    }

    /// The answer when memory alone has it, which is so for nearly every absent key; nil when a
    /// disk has to be asked. Never blocks.
    func lookUpInMemory(_ key: Digest256) -> KeyAnswer? {
        var hash = KeyHash(key)
        return withUnsafeTemporaryAllocation(of: UInt32.self, capacity: probed.count) { found in
            bsfg_filters_probe(filters, filters.count, &hash, 1, found.baseAddress)
            return found.allSatisfy { $0 == 0 } ? notFound : nil
        }
    }

    // MARK: - Memory

    /// One step towards what the budget allows: the snapshot after it, or nil when there is
    /// nothing to do now. Reads at most one run's filter and fences (36 MiB); call it again.
    func adjusted() -> KeyRunSet? {
        let planned = plannedLevels()
        let current = members.map { $0.index?.level ?? .onDisk }
        // What gives memory back comes first.
        for place in members.indices where current[place] > planned[place] {
            let header = members[place].run.header
            return replacing(
                place, planned[place] == .folded ? members[place].index!.folded(header) : nil)
        }
        for place in members.indices where current[place] < planned[place] {
            // A run that cannot be read is reported as damaged, and is not asked again.
            guard !members[place].run.isLost,
                let index = try? KeyRunIndex.load(
                    members[place].run, planned[place], replacing: members[place].index)
            else { continue }
            return replacing(place, index)
        }
        return nil
    }

    private func replacing(_ place: Int, _ index: KeyRunIndex?) -> KeyRunSet {
        var members = members
        members[place].index = index
        return KeyRunSet(members: members, floorOffset: floorOffset, missing: missing)
    }

    /// What each member should have in memory.
    private func plannedLevels() -> [KeyIndexLevel] {
        guard let budget = members.first?.run.budget else { return [] }
        let keyCount = members.reduce(0) { $0 + $1.run.entry.entryCount }
        var remaining = budget.shareBytes(ofKeys: keyCount)
        // What is whole stays so as long as it fits; what would have to be read again for it waits until there
        // is room for more, so that merges, which come and go, do not make it change back and forth.
        let hesitation = remaining / 8
        var levels = [KeyIndexLevel](repeating: .onDisk, count: members.count)
        for level in [KeyIndexLevel.folded, .whole] {
            for place in members.indices {
                let run = members[place].run
                guard run.entry.entryCount > 0, run.entry.endOffset > floorOffset,
                    levels[place].rawValue == level.rawValue - 1
                else { continue }
                let more =
                    KeyRunIndex.byteCount(run.header, level)
                    - KeyRunIndex.byteCount(run.header, levels[place])
                let isRead = level == .whole && members[place].index?.level == .folded
                guard more + (isRead ? hesitation : 0) <= remaining else { continue }
                remaining -= more
                levels[place] = level
            }
        }
        return levels
    }
}
