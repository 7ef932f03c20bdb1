/// Holds the keys of the records against those of the key runs.
///
/// For each run the keys of its range of offsets are summed up, in 256 parts, without regard to their
/// order: once as the records tell them and once as the run does. Where the sums differ the run is not
/// the records', and which part it is says about where. So memory does not grow with the number of
/// keys; only those since the checkpoint, which are in no run, are kept.
struct KeyVerification {
    /// A sum over keys that does not depend on their order.
    struct Sum: Equatable {
        private(set) var count = 0
        private var low: UInt64 = 0
        private var high: UInt64 = 0

        mutating func add(_ entry: KeyEntry, _ hash: SHA256Stream) {
            hash.update(entry.key)
            hash.update(entry.content)
            withUnsafeBytes(of: entry.offset.littleEndian) { hash.update($0) }
            let words = hash.finish().words
            count += 1
            low &+= words.0
            high &+= words.1
        }
    }

    /// The keys of one run's offsets, by the records and by the run.
    struct RunSums {
        static let partCount: UInt64 = 256

        let offsets: Range<UInt64>
        var ofRecords: [Sum]
        var ofRun: [Sum]
        private let partOffsets: UInt64

        init(_ offsets: Range<UInt64>) {
            self.offsets = offsets
            let count = offsets.upperBound - offsets.lowerBound
            partOffsets = max(1, (count + RunSums.partCount - 1) / RunSums.partCount)
            let parts = Int((count + partOffsets - 1) / partOffsets)
            ofRecords = Array(repeating: Sum(), count: parts)
            ofRun = ofRecords
        }

        func part(_ offset: UInt64) -> Int { Int((offset - offsets.lowerBound) / partOffsets) }

        func offsets(ofPart part: Int) -> Range<UInt64> {
            let start = offsets.lowerBound + UInt64(part) * partOffsets
            return start..<min(start + partOffsets, offsets.upperBound)
        }
    }

    /// Keys since the checkpoint; opening reads them all, so there is a bound to them.
    private static let recentCountMaximum = 1 << 20

    let isDeep: Bool
    private let checkpointOffset: UInt64
    private(set) var recent: Set<Digest256> = []
    var sums: [RunSums] = []
    /// The run that the last record belonged to.
    private var place = 0
    let hash = SHA256Stream()

    init(_ table: SegmentTable, deep: Bool) {
        isDeep = deep
        checkpointOffset = table.checkpoint?.nextOffset ?? 0
        if deep { sums = table.runs.map { RunSums($0.offsets) } }
    }

    /// Takes a record's key; records come in order.
    /// - Returns: false when another one since the checkpoint has it.
    mutating func take(_ entry: KeyEntry) -> Bool {
        if entry.offset >= checkpointOffset {
            guard recent.count < KeyVerification.recentCountMaximum else { return true }
            return recent.insert(entry.key).inserted
        }
        while place < sums.count, sums[place].offsets.upperBound <= entry.offset { place += 1 }
        if place < sums.count, sums[place].offsets.contains(entry.offset) {
            sums[place].ofRecords[sums[place].part(entry.offset)].add(entry, hash)
        }
        return true
    }
}

// MARK: - Runs

extension LogVerifier {
    /// Every byte of every copy of every run and, when asked for, what they say.
    func verifyRuns() throws(LogError) {
        var isIntact = [Bool](repeating: true, count: table.runs.count)
        for (number, entry) in table.runs.enumerated() {
            guard entry.flags & RunEntry.Flags.rebuilding == 0 else {
                isIntact[number] = false
                notice(
                    runPath(entry, .first), 0,
                    "the keys of \(entry.offsets) are being gathered again")
                continue
            }
            report.runCount += 1
            var intactCount = 0
            for copy in KeyRunCopy.allCases.prefix(Int(entry.copies)) {
                if try verifyRun(entry, copy) { intactCount += 1 }
            }
            isIntact[number] = intactCount > 0
        }
        verifyCoverage()
        if keys.isDeep { try compareKeys(isIntact) }
    }

    private func runPath(_ entry: RunEntry, _ copy: KeyRunCopy) -> String {
        inspector.directory + "/" + KeyRunLayout.fileName(id: entry.id, copy: copy)
    }

    private func verifyRun(_ entry: RunEntry, _ copy: KeyRunCopy) throws(LogError) -> Bool {
        let path = runPath(entry, copy)
        let places: [KeyRunDamage]
        do throws(DiskError) {
            places = try KeyRunInspector.verify(
                inspector.disk, directory: inspector.directory, identifier: table.identifier,
                entry: entry, copy: copy)
        } catch {
            // A running writer may have merged it with others.
            if try !inspector.isListed(run: entry.id) { return false }
            places = [KeyRunDamage(path: path, position: 0, reason: error.sentence)]
        }
        for place in places {
            found(
                LogVerification.Damage(
                    file: path, position: place.position,
                    reason: "\(place.reason) (keys of offsets \(entry.offsets))"), in: nil)
        }
        return places.isEmpty
    }

    /// The keys before the checkpoint are all in runs.
    private func verifyCoverage() {
        guard let checkpoint = table.checkpoint else { return }
        var next = report.firstOffset
        for run in table.runs.map(\.offsets) where run.upperBound > next {
            if run.lowerBound > next { noteMissing(next..<min(run.lowerBound, checkpoint.nextOffset)) }
            next = run.upperBound
        }
        if next < checkpoint.nextOffset { noteMissing(next..<checkpoint.nextOffset) }
    }

    private func noteMissing(_ offsets: Range<UInt64>) {
        guard !offsets.isEmpty else { return }
        notice(
            inspector.manifest.path, 0,
            "the keys of \(offsets) are in no key run; they are gathered again")
    }

    // MARK: - Deep

    /// Reads the keys of all runs in their order and sums them up; a key that two of them have, or one
    /// of them and a record since the checkpoint, is told.
    private func compareKeys(_ isIntact: [Bool]) throws(LogError) {
        let budget = KeyIndexBudget(maximumBytes: 0)
        var isCompared = isIntact
        var sources: [(number: Int, source: KeyRunSource)] = []
        for (number, entry) in table.runs.enumerated() where isIntact[number] {
            do throws(KeyRunError) {
                let run = try KeyRun(
                    inspector.disk, directory: inspector.directory, identifier: table.identifier,
                    entry: entry, budget: budget)
                sources.append((number, KeyRunSource(run)))
            } catch { isCompared[number] = false }
        }
        let known = ReadableOffsets(
            report.firstOffset, unreadable + slot.losses.spans.map { $0.first..<$0.last + 1 })
        var last: KeyEntry?
        while true {
            for place in sources.indices.reversed() {
                do throws(KeyRunError) {
                    if try !sources[place].source.fill() { sources.remove(at: place) }
                } catch {
                    // It was told of when its pages were verified.
                    isCompared[sources[place].number] = false
                    sources.remove(at: place)
                }
            }
            guard
                let least = sources.indices.min(by: {
                    sources[$0].source.entry.key.compare(sources[$1].source.entry.key) < 0
                })
            else { break }
            let number = sources[least].number
            let entry = sources[least].source.entry
            sources[least].source.advance()
            guard known.contains(entry.offset) else { continue }
            if last?.key == entry.key || keys.recent.contains(entry.key) {
                found(
                    LogVerification.Damage(
                        file: runPath(table.runs[number], .first),
                        position: UInt64(KeyRunLayout.pageBytes),
                        reason: "the key of offset \(entry.offset) stands in the log twice"), in: nil)
            }
            last = entry
            let part = keys.sums[number].part(entry.offset)
            keys.sums[number].ofRun[part].add(entry, keys.hash)
        }
        for (number, sums) in keys.sums.enumerated() where isCompared[number] {
            compare(sums, table.runs[number])
        }
    }

    private func compare(_ sums: KeyVerification.RunSums, _ entry: RunEntry) {
        for part in sums.ofRun.indices where sums.ofRun[part] != sums.ofRecords[part] {
            found(
                LogVerification.Damage(
                    file: runPath(entry, .first), position: UInt64(KeyRunLayout.pageBytes),
                    reason: "its \(sums.ofRun[part].count) keys of offsets "
                        + "\(sums.offsets(ofPart: part)) are not the \(sums.ofRecords[part].count) "
                        + "of the records"), in: nil)
        }
    }
}

/// The offsets of which records can be read.
struct ReadableOffsets {
    private let firstOffset: UInt64
    private let missing: [Range<UInt64>]

    init(_ firstOffset: UInt64, _ missing: [Range<UInt64>]) {
        self.firstOffset = firstOffset
        self.missing = LossTable.merged(missing)
    }

    func contains(_ offset: UInt64) -> Bool {
        guard offset >= firstOffset else { return false }
        var low = 0
        var high = missing.count
        while low < high {
            let middle = (low + high) / 2
            if missing[middle].upperBound <= offset { low = middle + 1 } else { high = middle }
        }
        return low == missing.count || missing[low].lowerBound > offset
    }
}
