@testable import WriteAheadLog

/// Entries by key: what runs must answer like.
typealias KeyModel = [Digest256: KeyEntry]

let runIdentifier = LogIdentifier(bytes: Array(0..<16))

/// Kinds of keys: the format may assume nothing about them.
enum KeyShape: CaseIterable {
    case uniform
    /// The first 24 bytes are zero.
    case zeroPrefix
    /// Two values of the first eight bytes, over many pages.
    case twoPrefixes
    /// A counter in the first bytes, zeros after.
    case counter

    func key(_ number: UInt64) -> Digest256 {
        var chance = SeededGenerator(seed: number)
        var bytes = (0..<4).flatMap { _ in withUnsafeBytes(of: chance.next()) { Array($0) } }
        switch self {
        case .uniform: break
        case .zeroPrefix:
            bytes = [UInt8](repeating: 0, count: 24) + withUnsafeBytes(of: number.bigEndian) { Array($0) }
        case .twoPrefixes:
            bytes.replaceSubrange(0..<8, with: [UInt8](repeating: number % 2 == 0 ? 0 : 255, count: 8))
        case .counter:
            bytes = withUnsafeBytes(of: number.bigEndian) { Array($0) } + [UInt8](repeating: 0, count: 24)
        }
        return Digest256(bytes: bytes)
    }
}

func keyEntry(_ number: UInt64, _ shape: KeyShape = .uniform, offset: UInt64? = nil) -> KeyEntry {
    KeyEntry(
        key: shape.key(number), content: KeyShape.uniform.key(~number), offset: offset ?? number)
}

/// A log's runs on a disk, as the engine would keep them.
final class RunDirectory {
    let disk: MemoryDisk
    let budget: KeyIndexBudget
    private(set) var nextID: UInt64 = 1

    init(_ disk: MemoryDisk = MemoryDisk(), budgetBytes: Int = 1 << 30) {
        self.disk = disk
        budget = KeyIndexBudget(maximumBytes: budgetBytes)
    }

    func takeID() -> UInt64 {
        defer { nextID += 1 }
        return nextID
    }

    func write(
        _ entries: [KeyEntry], offsets: Range<UInt64>? = nil, tier: UInt8 = 0,
        attachment: [UInt8] = []
    ) throws -> RunEntry {
        let covered = offsets ?? 0..<(entries.map(\.offset).max().map { $0 + 1 } ?? 0)
        return try KeyRunWriter.write(
            entries,
            KeyRunCoverage(offsets: covered, newestTimeMilliseconds: Int64(nextID), tier: tier),
            attachment: attachment, to: disk, directory: logPath, identifier: runIdentifier,
            id: takeID(), budget: KeyIndexBudget(maximumBytes: 0)
        ).entry
    }

    func open(_ entry: RunEntry, on other: MemoryDisk? = nil) throws(KeyRunError) -> KeyRun {
        try KeyRun(
            other ?? disk, directory: logPath, identifier: runIdentifier, entry: entry,
            budget: budget)
    }

    func path(_ entry: RunEntry, _ copy: KeyRunCopy = .first) -> String {
        logPath + "/" + KeyRunLayout.fileName(id: entry.id, copy: copy)
    }

    func verify(_ entry: RunEntry, _ copy: KeyRunCopy = .first) throws -> [KeyRunDamage] {
        try KeyRunInspector.verify(
            disk, directory: logPath, identifier: runIdentifier, entry: entry, copy: copy)
    }

    /// Merges as the plan says until it says nothing more.
    func mergeAll(_ entries: [RunEntry], floorOffset: UInt64 = 0) throws -> [RunEntry] {
        var entries = entries
        while let group = KeyRunMergePlan.next(runs: entries) {
            let merged = try merge(group, floorOffset: floorOffset)
            entries.removeAll { entry in group.contains { $0.id == entry.id } }
            for entry in group { try disk.remove(path(entry)) }
            entries.append(merged)
        }
        return entries.sorted { $0.firstOffset < $1.firstOffset }
    }

    func merge(_ group: [RunEntry], floorOffset: UInt64, stepBytes: Int = 8192) throws -> RunEntry {
        let merger = try KeyRunMerger(
            disk, directory: logPath, identifier: runIdentifier, id: takeID(),
            inputs: group.map { try open($0) }, floorOffset: floorOffset, budget: budget)
        while true {
            if case .done(let entry) = try merger.step(outputBytesMaximum: stepBytes) { return entry }
        }
    }
}

extension KeyRunSet {
    /// With as much in memory as the budget allows.
    var loaded: KeyRunSet {
        var set = self
        while let next = set.adjusted() { set = next }
        return set
    }

    func answer(_ key: Digest256) -> KeyAnswer { lookUp([key])[0] }
}

extension KeyEntry {
    var answer: KeyAnswer { .found(offset: offset, content: content) }
}
