import Testing

@testable import WriteAheadLog

@Suite struct KeyRunTests {
    @Test("every key that was written is found and no other", arguments: [0, 1, 55, 56, 57, 73, 5000])
    func roundTrip(count: Int) throws {
        for shape in KeyShape.allCases {
            try check(count: count, shape)
        }
    }

    @Test func oneHundredThousandKeys() throws {
        try check(count: 100_000, .uniform)
    }

    private func check(count: Int, _ shape: KeyShape) throws {
        let directory = RunDirectory()
        var chance = SeededGenerator(seed: UInt64(count))
        let entries = (0..<UInt64(count)).map { keyEntry($0, shape) }.shuffled(using: &chance)
        let attachment = Array("attached".utf8)
        let entry = try directory.write(
            entries, offsets: 0..<UInt64(count), attachment: attachment)
        #expect(entry.entryCount == count)
        #expect(entry.byteCount == UInt64(directory.disk.files[directory.path(entry)]!.count))
        #expect(try directory.verify(entry) == [])

        let run = try directory.open(entry)
        #expect(try run.attachment() == attachment)
        let cold = KeyRunSet(runs: [run])
        let warm = cold.loaded
        // Cold lookups take a few page reads each; a part of a large set says as much.
        let step = max(1, count / 1000)
        let sample = stride(from: 0, to: count, by: step).map { entries[$0] }
        let absent = (0..<UInt64(max(count, 500))).map { shape.key(UInt64(count) + $0) }
        #expect(warm.lookUp(entries.map(\.key)) == entries.map(\.answer))
        #expect(warm.lookUp(absent).allSatisfy { $0 == .absent })
        #expect(cold.lookUp(sample.map(\.key)) == sample.map(\.answer))
        #expect(cold.lookUp(Array(absent.prefix(500))).allSatisfy { $0 == .absent })
        let memory = absent.map { warm.lookUpInMemory($0) }
        #expect(memory.allSatisfy { $0 == .absent || $0 == nil })
        #expect(memory.count { $0 == nil } <= absent.count / 20, "few absent keys need the disk")
        #expect(entries.prefix(100).allSatisfy { warm.lookUpInMemory($0.key) == nil })
        #expect(run.damagedCopies.isEmpty)
    }

    @Test func emptyRunHasItsAttachment() throws {
        let directory = RunDirectory()
        let attachment = (0..<10_000).map { UInt8(truncatingIfNeeded: $0) }
        let entry = try directory.write([], offsets: 5..<9, attachment: attachment)
        #expect(try directory.open(entry).attachment() == attachment)
        #expect(try directory.verify(entry) == [])
        #expect(entry.byteCount == 4096 * 4)
    }

    @Test func ofOneKeyInARunTheHighestOffsetStays() throws {
        let directory = RunDirectory()
        let entry = try directory.write([
            keyEntry(1, offset: 3), keyEntry(1, offset: 9), keyEntry(2, offset: 8),
            keyEntry(1, offset: 7),
        ])
        #expect(entry.entryCount == 2)
        let set = KeyRunSet(runs: [try directory.open(entry)])
        #expect(set.answer(keyEntry(1).key) == keyEntry(1, offset: 9).answer)
    }

    @Test func newestRunAnswers() throws {
        let directory = RunDirectory()
        let old = try directory.write([keyEntry(1, offset: 1), keyEntry(2, offset: 2)], offsets: 0..<10)
        let new = try directory.write([keyEntry(1, offset: 11)], offsets: 10..<20)
        let set = KeyRunSet(runs: try [old, new].map { try directory.open($0) })
        for set in [set, set.loaded] {
            #expect(set.answer(keyEntry(1).key) == keyEntry(1, offset: 11).answer)
            #expect(set.answer(keyEntry(2).key) == keyEntry(2, offset: 2).answer)
        }
    }

    @Test func expiredKeysAreAbsent() throws {
        let directory = RunDirectory()
        let first = try directory.write((0..<10).map { keyEntry($0) }, offsets: 0..<10)
        let second = try directory.write((10..<20).map { keyEntry($0) }, offsets: 10..<20)
        let runs = try [first, second].map { try directory.open($0) }
        for floor: UInt64 in [0, 5, 10, 15, 20] {
            let set = KeyRunSet(runs: runs, floorOffset: floor).loaded
            for number: UInt64 in 0..<20 {
                #expect(
                    set.answer(keyEntry(number).key)
                        == (number < floor ? .absent : keyEntry(number).answer))
            }
        }
    }

    @Test func whatIsMissingIsNeverAbsent() throws {
        let directory = RunDirectory()
        let entry = try directory.write((10..<20).map { keyEntry($0) }, offsets: 10..<20)
        let runs = [try directory.open(entry)]
        let set = KeyRunSet(runs: runs, missing: [0..<10]).loaded
        #expect(set.answer(keyEntry(15).key) == keyEntry(15).answer)
        #expect(set.answer(keyEntry(5).key) == .retryLater)
        #expect(KeyRunSet(missing: [0..<10]).answer(keyEntry(5).key) == .retryLater)
        #expect(KeyRunSet(missing: [0..<10]).lookUpInMemory(keyEntry(5).key) == .retryLater)
        let below = set.replacing(floorOffset: 10, missing: [0..<10])
        #expect(below.answer(keyEntry(5).key) == .absent)
        #expect(below.lookUpInMemory(keyEntry(5).key) == .absent, "what was loaded stays loaded")
    }

    @Test func fileNames() {
        #expect(KeyRunLayout.fileName(id: 0x1f) == "000000000000001f.run")
        #expect(KeyRunLayout.fileName(id: 0x1f, copy: .second) == "000000000000001f.run2")
        #expect(KeyRunLayout.parse(fileName: "000000000000001f.run2")! == (0x1f, .second))
        for name in ["000000000000001F.run", "1f.run", "000000000000001f.run3", "", "lock"] {
            #expect(KeyRunLayout.parse(fileName: name) == nil)
        }
        #expect(KeyRunCopies.isWorkingName("000000000000001f.run2.new"))
        #expect(!KeyRunCopies.isWorkingName("manifest.new"))
    }

    @Test func runTableEntry() throws {
        let directory = RunDirectory()
        var entry = try directory.write((0..<100).map { keyEntry($0) }, tier: 3)
        entry.copies = 2
        entry.flags = RunEntry.Flags.rebuilding
        var bytes = [UInt8](repeating: 0xAA, count: RunEntry.byteCount)
        bytes.withUnsafeMutableBytes { entry.write(at: $0.baseAddress!) }
        #expect(try bytes.withUnsafeBytes { try RunEntry($0.baseAddress!) } == entry)
        // Whatever stands there is refused or bounded, and nothing traps.
        var chance = SeededGenerator(seed: SeededGenerator.seed("run table entry"))
        var refused = 0
        for _ in 0..<2000 {
            var other = bytes
            other[Int.random(in: 0..<52, using: &chance)] = UInt8.random(in: 0...255, using: &chance)
            do {
                let entry = try other.withUnsafeBytes { try RunEntry($0.baseAddress!) }
                #expect(entry.entryCount <= KeyRunLayout.entryCountMaximum)
                #expect(entry.firstOffset <= entry.endOffset)
                #expect((1...2).contains(entry.copies))
            } catch { refused += 1 }
        }
        #expect(refused > 200)
    }
}
