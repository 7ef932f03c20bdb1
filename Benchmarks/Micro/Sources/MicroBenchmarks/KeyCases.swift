@testable import WriteAheadLog

private let keyCount: UInt64 = 100_000
private let batchCount: UInt64 = 1_000

/// Looks a thousand keys up in a run of a hundred thousand on the disk.
private func runCase(_ name: String, _ operation: String, firstKey: UInt64) -> MicroCase {
    MicroCase(name: name, operation: operation) { directory in
        let disk = LinuxDisk()
        let identifier = LogIdentifier(bytes: Array(0..<16))
        let entry = try KeyRunWriter.write(
            (0..<keyCount).map {
                KeyEntry(key: sampleDigest($0), content: sampleDigest(~$0), offset: $0)
            },
            KeyRunCoverage(offsets: 0..<keyCount, newestTimeMilliseconds: 1, tier: 0),
            attachment: [], to: disk, directory: directory, identifier: identifier, id: 1,
            budget: KeyIndexBudget(maximumBytes: 0)
        ).entry
        let run = try KeyRun(
            disk, directory: directory, identifier: identifier, entry: entry,
            budget: KeyIndexBudget(maximumBytes: 1 << 30))
        var runs = KeyRunSet(runs: [run])
        while let next = runs.adjusted() { runs = next }
        let set = runs
        let keys = (firstKey..<firstKey + batchCount).map(sampleDigest)
        return { operations in
            for _ in 0..<operations {
                let answers = set.lookUp(keys)
                precondition(
                    answers.allSatisfy { ($0 == .absent) == (firstKey >= keyCount) },
                    "the run answers")
            }
        }
    }
}

let keyCases = [
    MicroCase(name: "key-recent", operation: "1,000 keys of 100,000 in memory") { _ in
        var table = KeyTable(durableEndOffset: keyCount)
        let keys = (0..<keyCount).map(sampleDigest)
        for (offset, key) in keys.enumerated() {
            table.restore(key, KeyTable.Entry(offset: UInt64(offset), content: key))
        }
        var next = 0
        return { operations in
            // Where keys meet in the table is another matter in each process: many are looked up.
            for _ in 0..<operations * Int(batchCount) {
                precondition(table.durable(keys[next]) != nil, "the key is there")
                next = next + 1 == keys.count ? 0 : next + 1
            }
        }
    },
    runCase("key-run-absent", "1,000 keys that a run of 100,000 does not have", firstKey: keyCount),
    runCase("key-run-present", "1,000 keys that a run of 100,000 has", firstKey: 0),
]
