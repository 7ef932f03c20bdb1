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
    /// What a key is that no run has.
    private let notFound: KeyAnswer

    private init(members: [Member], floorOffset: UInt64, missing: [Range<UInt64>]) {
        self.members = members
        self.floorOffset = floorOffset
        self.missing = missing
        probed = members.filter {
            $0.run.entry.endOffset > floorOffset && $0.run.entry.entryCount > 0
        }
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
    /// With the next run's lines that is what a processor can have on the way; more was slower.
    private static let groupCount = 16

    /// Answers in the order of the keys. A batch of 1,000 costs less a key than single keys do.
    /// Reads from disk: one page for a key that is found and rarely for another; a filter that is
    /// not in memory one page a key.
    func lookUp(_ keys: [Digest256]) -> [KeyAnswer] {
        var answers = [KeyAnswer](repeating: notFound, count: keys.count)
        guard !probed.isEmpty else { return answers }
        let capacity = min(keys.count, KeyRunSet.groupCount)
        withUnsafeTemporaryAllocation(of: KeyHash.self, capacity: capacity) { hashes in
            withUnsafeTemporaryAllocation(of: Bool.self, capacity: capacity) { isDone in
                keys.withUnsafeBufferPointer { keys in
                    answers.withUnsafeMutableBufferPointer { answers in
                        var scratch: PageBuffer?
                        for first in stride(from: 0, to: keys.count, by: KeyRunSet.groupCount) {
                            let range = first..<min(first + KeyRunSet.groupCount, keys.count)
                            lookUp(
                                UnsafeBufferPointer(rebasing: keys[range]),
                                UnsafeMutableBufferPointer(rebasing: answers[range]), hashes, isDone,
                                &scratch)
                        }
                    }
                }
            }
        }
        return answers
    }

    private func lookUp(
        _ keys: UnsafeBufferPointer<Digest256>, _ answers: UnsafeMutableBufferPointer<KeyAnswer>,
        _ hashes: UnsafeMutableBufferPointer<KeyHash>, _ isDone: UnsafeMutableBufferPointer<Bool>,
        _ scratch: inout PageBuffer?
    ) {
        for place in keys.indices {
            hashes[place] = KeyHash(keys[place])
            isDone[place] = false
        }
        for (number, member) in probed.enumerated() {
            if number == 0, let index = member.index {
                for place in keys.indices { index.prefetch(hashes[place]) }
            }
            // The lines of the next run travel while this one's are tested.
            if number + 1 < probed.count, let index = probed[number + 1].index {
                for place in keys.indices { index.prefetch(hashes[place]) }
            }
            for place in keys.indices where !isDone[place] {
                if let index = member.index, !index.mayContain(hashes[place]) { continue }
                let page = scratch ?? PageBuffer(pageCount: 1)
                scratch = page
                isDone[place] = find(
                    keys[place], hashes[place], member, &answers[place], scratch: page)
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
        let hash = KeyHash(key)
        for member in probed {
            guard let index = member.index else { return nil }
            index.prefetch(hash)
        }
        for member in probed where member.index!.mayContain(hash) { return nil }
        return notFound
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
                guard more <= remaining else { continue }
                remaining -= more
                levels[place] = level
            }
        }
        return levels
    }
}
