import Testing

@testable import WriteAheadLog

@Suite struct KeyTableTests {
    private func add(_ offsets: Range<UInt64>, to table: inout KeyTable) {
        for offset in offsets {
            let entry = keyEntry(offset)
            table.reserve(entry.key, content: entry.content, owner: 1, index: 0)
            let isAdmitted = table.admit(entry.key, owner: 1, index: 0, offset: offset)
            #expect(isAdmitted)
        }
        table.finished(keyCount: offsets.count, endOffset: offsets.upperBound)
    }

    private func known(_ offsets: Range<UInt64>, in table: KeyTable) -> [UInt64] {
        offsets.filter { table.durable(keyEntry($0).key) != nil }
    }

    /// Generations that follow each other share two sets of slots: neither may show the keys of the
    /// generation that had it before, nor lose its own.
    @Test func slotsAreUsedAgainWithoutTheirKeys() {
        var table = KeyTable(durableEndOffset: 0)
        var seen: Set<ObjectIdentifier> = []
        for generation in 0..<8 as Range<UInt64> {
            let offsets = generation * 1000..<(generation + 1) * 1000
            add(offsets, to: &table)
            // One that is not durable yet goes over to the next generation.
            let pending = keyEntry(offsets.upperBound)
            table.reserve(pending.key, content: pending.content, owner: 2, index: 0)
            let apart = table.beginFlush()
            seen.insert(ObjectIdentifier(apart))
            let entries = apart.entries
            #expect((0..<entries.count).map { entries[$0].offset } == Array(offsets))
            #expect(known(0..<8000, in: table) == Array(offsets))
            table.endFlush()
            apart.removeAll()
            table.reuse(apart)
            #expect(known(0..<8000, in: table).isEmpty)
            guard case .pending = table.find(pending.key) else {
                Issue.record("a reserved key is gone after generation \(generation)")
                return
            }
            table.release(pending.key, owner: 2, index: 0)
        }
        #expect(seen.count == 2)
    }
}
