import Glibc
import Testing

@testable import WriteAheadLog

@Suite struct KeyRunMergeTests {
    @Test("merged runs answer like a dictionary", arguments: KeyShape.allCases)
    func merging(shape: KeyShape) throws {
        var chance = SeededGenerator(seed: SeededGenerator.seed("merging \(shape)"))
        let directory = RunDirectory()
        var model = KeyModel()
        var entries: [RunEntry] = []
        var offset: UInt64 = 0
        for _ in 0..<40 {
            let count = UInt64.random(in: 0...200, using: &chance)
            var run: [KeyEntry] = []
            for place in 0..<count {
                // Some keys come again: their first records have expired.
                let number = UInt64.random(in: 0..<3000, using: &chance)
                let entry = keyEntry(number, shape, offset: offset + place)
                run.append(entry)
                model[entry.key] = entry
            }
            entries.append(try directory.write(run, offsets: offset..<offset + count + 1))
            offset += count + 1
        }
        let floor = offset / 3
        let merged = try directory.mergeAll(entries, floorOffset: floor)
        #expect(merged.count < 16)
        #expect(merged.first!.firstOffset == 0)
        #expect(merged.last!.endOffset == offset)
        for entry in merged { #expect(try directory.verify(entry) == []) }
        let runs = try merged.map { try directory.open($0) }
        let keys = (0..<4000).map { shape.key($0) }
        let expected = keys.map { key in
            model[key].map { $0.offset < floor ? .absent : $0.answer } ?? KeyAnswer.absent
        }
        let set = KeyRunSet(runs: runs, floorOffset: floor)
        #expect(set.lookUp(keys) == expected)
        #expect(set.loaded.lookUp(keys) == expected)
        // Entries below the floor are gone, not only passed over.
        let all = try directory.merge(merged, floorOffset: floor)
        #expect(all.entryCount == model.values.count { $0.offset >= floor })
        #expect(KeyRunSet(runs: [try directory.open(all)]).loaded.lookUp(keys) == expected)
    }

    @Test func aMergeOfNothingButExpiredKeysIsEmpty() throws {
        let directory = RunDirectory()
        let inputs = try (0..<8).map {
            try directory.write([keyEntry($0)], offsets: $0..<$0 + 1)
        }
        let merged = try directory.merge(inputs, floorOffset: 8)
        #expect(merged.entryCount == 0)
        #expect(merged.byteCount == 4096)
        #expect(try directory.verify(merged) == [])
        #expect(try directory.open(merged).attachment() == [])
    }

    @Test func mergesInBoundedSteps() throws {
        let directory = RunDirectory()
        let inputs = try (0..<UInt64(4)).map { run in
            try directory.write(
                (0..<2000).map { keyEntry(run * 2000 + $0) },
                offsets: run * 2000..<run * 2000 + 2000)
        }
        let merger = try KeyRunMerger(
            directory.disk, directory: logPath, identifier: runIdentifier, id: directory.takeID(),
            inputs: try inputs.map { try directory.open($0) }, floorOffset: 0,
            budget: directory.budget)
        var steps = 1
        while case .more = try merger.step(outputBytesMaximum: 64 << 10) { steps += 1 }
        #expect(steps == 8000 * 72 / (64 << 10) + 1)
    }

    @Test func errorsEndAMergeAndLeaveNoFile() throws {
        let directory = RunDirectory()
        let inputs = try (0..<UInt64(2)).map { run in
            try directory.write(
                (0..<200).map { keyEntry(run * 200 + $0) }, offsets: run * 200..<run * 200 + 200)
        }
        let files = directory.disk.files
        for operation in [DiskError.Operation.write, .read, .synchronise, .synchroniseDirectory] {
            let runs = try inputs.map { try directory.open($0) }
            let merger = try KeyRunMerger(
                directory.disk, directory: logPath, identifier: runIdentifier,
                id: directory.takeID(), inputs: runs, floorOffset: 0,
                budget: directory.budget)
            directory.disk.setHook { $0.operation == operation ? .error(EIO) : nil }
            #expect(throws: KeyRunError.self) { try merger.step(outputBytesMaximum: 1 << 20) }
            directory.disk.setHook(nil)
            merger.cancel()
            #expect(directory.disk.files == files)
            #expect(runs.contains { $0.isLost } == (operation == .read))
        }
        #expect(try directory.merge(inputs, floorOffset: 0).entryCount == 400)
    }

    // MARK: - Plan

    private func run(
        _ number: UInt64, tier: UInt8 = 0, entryCount: Int = 1000, width: UInt64 = 1000,
        copies: UInt8 = 1
    ) throws -> RunEntry {
        var header = KeyRunHeader(
            identifier: runIdentifier, id: number, firstOffset: number * width,
            endOffset: (number + 1) * width, newestTimeMilliseconds: 0, entryCount: entryCount,
            filterBlocks: KeyFilter.blockCount(entryCount: entryCount), attachmentBytes: 0,
            attachmentCRC: 0, top: [])
        header.top = [UInt64](repeating: 0, count: header.fencePages)
        return RunEntry(header, tier: tier, copies: copies)
    }

    @Test func eightOfATierBecomeOne() throws {
        let runs = try (0..<9).map { try run($0) }
        #expect(KeyRunMergePlan.next(runs: Array(runs.prefix(7))) == nil)
        #expect(KeyRunMergePlan.next(runs: runs.reversed()) == Array(runs.prefix(8)))
        #expect(KeyRunMergePlan.tier(of: Array(runs.prefix(8))) == 1)
    }

    @Test("while large runs are merged, small ones that came since are merged first")
    func smallRunsDoNotWait() throws {
        let large = try (0..<8).map { try run($0, tier: 1) }
        let small = try (8..<16).map { try run($0) }
        let group = try #require(KeyRunMergePlan.next(runs: large))
        #expect(group == large)
        #expect(KeyRunMergePlan.next(runs: small, belowTier: 1) == small)
        #expect(KeyRunMergePlan.next(runs: small, belowTier: 0) == nil)
        #expect(KeyRunMergePlan.next(runs: large, belowTier: 1) == nil)
    }

    @Test func onlyNeighboursOfAKindAreMerged() throws {
        let runs = try (0..<8).map { try run($0) }
        var gap = runs
        gap[4].firstOffset += 1
        #expect(KeyRunMergePlan.next(runs: gap) == nil)
        var copies = runs
        copies[0].copies = 2
        #expect(KeyRunMergePlan.next(runs: copies) == nil)
        var rebuilding = runs
        rebuilding[3].flags = RunEntry.Flags.rebuilding
        #expect(KeyRunMergePlan.next(runs: rebuilding) == nil)
    }

    @Test func aMergedRunFitsItsRoom() throws {
        let runs = try (0..<8).map { try run($0, entryCount: 4_000_000, width: 4_000_000) }
        #expect(KeyRunMergePlan.next(runs: runs) == Array(runs.prefix(3)))
        let bytes = runs[0].byteCount
        #expect(KeyRunMergePlan.next(runs: runs, outputBytesMaximum: 2 * bytes) == Array(runs.prefix(2)))
        #expect(KeyRunMergePlan.next(runs: runs, outputBytesMaximum: 2 * bytes - 1) == nil)
    }

    @Test func whatWasWrittenAgainBeforeALargerRunIsMerged() throws {
        let runs = [try run(0, tier: 2), try run(1), try run(2), try run(3, tier: 2), try run(4)]
        let group = try #require(KeyRunMergePlan.next(runs: runs))
        #expect(group == Array(runs[1...2]))
    }

    @Test func oneHundredMillionKeysAreFewRuns() throws {
        var runs: [RunEntry] = []
        var nextID: UInt64 = 1 << 40
        var greatest = 0
        var written = 0
        for number in 0..<UInt64(100_000_000 / 50_000) {
            runs.append(try run(number, entryCount: 50_000, width: 50_000))
            while let group = KeyRunMergePlan.next(runs: runs) {
                let entryCount = group.reduce(0) { $0 + $1.entryCount }
                written += entryCount
                var merged = try run(
                    nextID, tier: KeyRunMergePlan.tier(of: group), entryCount: entryCount,
                    width: 1)
                nextID += 1
                merged.firstOffset = group.first!.firstOffset
                merged.endOffset = group.last!.endOffset
                runs.removeAll { run in group.contains { $0.id == run.id } }
                runs.append(merged)
            }
            greatest = max(greatest, runs.count)
        }
        #expect(greatest <= 40)
        #expect(written < 500_000_000, "an entry is written again as often as there are tiers")
        print("runs at 100 M keys: \(runs.count), at most \(greatest), entries written again \(written)")
    }
}
