import CPlatform
import Testing

@testable import WriteAheadLog

@Suite struct KeyRunBudgetTests {
    private static let keysPerRun: UInt64 = 5_000

    private func runs(_ directory: RunDirectory, count: UInt64) throws -> [KeyRun] {
        try (0..<count).map { number in
            let offsets = number * Self.keysPerRun..<(number + 1) * Self.keysPerRun
            return try directory.open(
                directory.write(offsets.map { keyEntry($0) }, offsets: offsets))
        }
    }

    private func levels(_ set: KeyRunSet) -> [KeyIndexLevel] {
        set.members.map { $0.index?.level ?? .onDisk }
    }

    @Test func theNewestRunsHaveTheMost() throws {
        let files = MemoryDisk()
        let whole = 4 * KeyRunIndex.byteCount(
            try runs(RunDirectory(files), count: 4)[0].header, .whole)
        var seen: Set<[KeyIndexLevel]> = []
        for budgetBytes in stride(from: 0, through: whole, by: whole / 16) {
            let directory = RunDirectory(budgetBytes: budgetBytes)
            let set = KeyRunSet(runs: try runs(directory, count: 4)).loaded
            let levels = levels(set)
            #expect(levels == levels.sorted(by: >))
            // What is left over and too little for another folded index may make one whole.
            #expect(levels.contains(.onDisk) ? levels.count { $0 == .whole } <= 1 : true)
            #expect(directory.budget.heldBytes <= budgetBytes)
            seen.insert(levels)
            let keys = (0..<Self.keysPerRun * 4).filter { $0 % 97 == 0 }
            #expect(set.lookUp(keys.map { keyEntry($0).key }) == keys.map { keyEntry($0).answer })
        }
        #expect(seen.contains([.onDisk, .onDisk, .onDisk, .onDisk]))
        #expect(seen.contains([.whole, .whole, .whole, .whole]))
        #expect(seen.count >= 6)
    }

    @Test func whatIsNotUsedIsGivenBack() throws {
        let directory = RunDirectory(budgetBytes: 1 << 20)
        var set: KeyRunSet? = KeyRunSet(runs: try runs(directory, count: 3)).loaded
        let bytes = KeyRunIndex.byteCount(set!.runs[0].header, .whole)
        #expect(directory.budget.heldBytes == 3 * bytes)
        #expect(directory.budget.keyCount == 3 * Int(Self.keysPerRun))
        set = set!.replacing(runs: [set!.runs[0]], floorOffset: 0, missing: [])
        #expect(directory.budget.heldBytes == bytes)
        #expect(directory.budget.keyCount == Int(Self.keysPerRun))
        set = nil
        #expect(directory.budget.heldBytes == 0)
        #expect(directory.budget.keyCount == 0)
    }

    @Test func anotherLogTakesItsShare() throws {
        let header = try runs(RunDirectory(), count: 1)[0].header
        let whole = KeyRunIndex.byteCount(header, .whole)
        let folded = KeyRunIndex.byteCount(header, .folded)
        let first = RunDirectory(budgetBytes: 2 * whole + folded * 9 / 10)
        var set: KeyRunSet? = KeyRunSet(runs: try runs(first, count: 2)).loaded
        #expect(levels(set!) == [.whole, .whole])

        let second = RunDirectory()
        let offsets = 0..<Self.keysPerRun
        let entry = try second.write(offsets.map { keyEntry($0) }, offsets: offsets)
        let other = KeyRunSet(runs: [
            try KeyRun(
                second.disk, directory: logPath, identifier: runIdentifier, entry: entry,
                budget: first.budget)
        ])
        #expect(other.adjusted() == nil, "nothing is free yet")
        #expect(other.answer(keyEntry(1).key) == keyEntry(1).answer)
        let smaller = set!.loaded
        #expect(levels(smaller) == [.whole, .folded])
        let keys = offsets.map { keyEntry($0) }
        #expect(smaller.lookUp(keys.map(\.key)) == keys.map(\.answer))
        #expect(other.adjusted() == nil, "a snapshot still holds it")
        set = nil
        #expect(levels(other.loaded) == [.folded])
        #expect(smaller.adjusted() == nil)
    }

    @Test("what had to make way is whole again only when there is room for an eighth more", arguments: [false, true])
    func hesitates(hasRoom: Bool) throws {
        let whole = KeyRunIndex.byteCount(try runs(RunDirectory(), count: 1)[0].header, .whole)
        let first = RunDirectory(budgetBytes: hasRoom ? whole * 5 / 4 : whole * 17 / 16)
        var set = KeyRunSet(runs: try runs(first, count: 1)).loaded
        #expect(levels(set) == [.whole])
        // The keys of another log, for a while.
        first.budget.add(keys: Int(Self.keysPerRun) / 2)
        set = set.loaded
        #expect(levels(set) == [.folded])
        first.budget.remove(keys: Int(Self.keysPerRun) / 2)
        #expect(levels(set.loaded) == [hasRoom ? .whole : .folded])
    }

    @Test("filters answer the same with and without the processor's instructions for it, at any number of keys")
    func filterProbes() throws {
        let directory = RunDirectory()
        let set = KeyRunSet(runs: try runs(directory, count: 3)).loaded
        var filters = set.members.map { $0.index!.filter }
        filters.insert(bsfg_filter(blocks: nil, block_count: 0), at: 1)
        let hashes = (0..<3 * Self.keysPerRun * 2).map { KeyHash(keyEntry($0).key) }
        for count in [0, 1, 2, 15, 16, 31, 32] {
            for first in stride(from: 0, to: hashes.count - count, by: 97) {
                var found = [UInt32](repeating: 0, count: filters.count)
                var portable = found
                let group = Array(hashes[first..<first + count])
                bsfg_filters_probe(filters, filters.count, group, count, &found)
                bsfg_filters_probe_portable(filters, filters.count, group, count, &portable)
                #expect(found == portable)
                #expect(count == 0 || found[1] == UInt32(truncatingIfNeeded: UInt64(1) << count - 1))
                for place in 0..<count where first + place < 3 * Int(Self.keysPerRun) {
                    // The newest run is the first.
                    let filter = [3, 2, 0][(first + place) / Int(Self.keysPerRun)]
                    #expect(found[filter] >> place & 1 == 1, "a filter never forgets a key")
                }
            }
        }
    }

    @Test("a run that was just written is looked up in what its writer had in memory")
    func writersGiveTheirIndex() throws {
        let directory = RunDirectory()
        let entries = (0..<Self.keysPerRun).map { keyEntry($0) }
        func write(_ budget: KeyIndexBudget) throws -> (entry: RunEntry, index: KeyRunIndex?) {
            try KeyRunWriter.write(
                entries, KeyRunCoverage(offsets: 0..<Self.keysPerRun, newestTimeMilliseconds: 0),
                to: directory.disk, directory: logPath, identifier: runIdentifier,
                id: directory.takeID(), budget: budget)
        }
        var (entry, index) = try write(directory.budget)
        let held = try #require(index)
        #expect(held.level == .whole)
        #expect(directory.budget.heldBytes == KeyRunIndex.byteCount(try directory.open(entry).header, .whole))
        let run = try directory.open(entry)
        let read = try #require(try KeyRunIndex.load(run, .whole, replacing: nil))
        for entry in entries + (0..<10_000).map({ keyEntry($0 + 1_000_000) }) {
            let hash = KeyHash(entry.key)
            #expect(held.filter.mayContain(hash) == read.filter.mayContain(hash))
            #expect(held.fenceCounts(entry.key.prefix) == read.fenceCounts(entry.key.prefix))
        }
        index = nil
        // Without room it is not kept, and nothing stays counted.
        let none = KeyIndexBudget(maximumBytes: 1000)
        (entry, index) = try write(none)
        #expect(index == nil)
        #expect(none.heldBytes == 0)
    }

    @Test("a folded filter lets few absent keys through")
    func filterRates() throws {
        let directory = RunDirectory(budgetBytes: 30_000)
        let run = try runs(directory, count: 1)
        var rates: [KeyIndexLevel: Double] = [:]
        for level in [KeyIndexLevel.folded, .whole] {
            let index = try #require(try KeyRunIndex.load(run[0], level, replacing: nil))
            let absent = (0..<UInt64(200_000)).map { KeyHash(keyEntry($0 + 1_000_000).key) }
            let passed = absent.count { index.filter.mayContain($0) }
            rates[level] = Double(passed) / Double(absent.count)
        }
        #expect(rates[.folded]! < 0.02)
        #expect(rates[.whole]! < 0.0005)
    }
}

extension bsfg_filter {
    fileprivate func mayContain(_ hash: KeyHash) -> Bool {
        let block = hash.block(of: Int(block_count)) * KeyFilter.blockBytes
        return KeyFilter.mayContain(hash, blocks! + block)
    }
}
