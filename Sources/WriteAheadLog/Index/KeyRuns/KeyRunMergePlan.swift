/// Which runs to merge next: eight neighbours of one tier become one of the next. So an entry is
/// written as often as there are tiers, and a log of 100 million keys has some 30 runs.
enum KeyRunMergePlan {
    static let fanIn = 8

    /// The entries of the merged run, oldest offsets first; nil when nothing is to be merged.
    ///
    /// Only neighbours without a gap between them are merged, of one number of copies, and none that
    /// is being rebuilt.
    ///
    /// - Parameters:
    ///   - runs: the log's runs in any order.
    ///   - belowTier: only runs of lower tiers are merged.
    ///   - outputBytesMaximum: room for the merged run, which is what a merge needs on disk beside
    ///     its inputs.
    static func next(
        runs: [RunEntry], belowTier: UInt8 = .max, outputBytesMaximum: UInt64 = .max
    ) -> [RunEntry]? {
        let runs = runs.sorted { $0.firstOffset < $1.firstOffset }
        for tier in Set(runs.map(\.tier)).sorted()
        where tier < min(belowTier, RunEntry.tierMaximum) {
            for span in spans(runs, where: { $0.tier == tier }) where span.count >= fanIn {
                if let group = group(span, outputBytesMaximum) { return group }
            }
        }
        return belowTier == .max ? enclosed(runs, outputBytesMaximum) : nil
    }

    /// The tier of what comes of a merge.
    static func tier(of inputs: [RunEntry]) -> UInt8 {
        let tiers = inputs.map(\.tier)
        let greatest = tiers.max() ?? 0
        // Runs of different tiers are merged only behind a larger run, where no more will come.
        return tiers.allSatisfy { $0 == greatest } ? min(greatest + 1, RunEntry.tierMaximum) : greatest
    }

    /// Small runs before a run of a higher tier: what was written again after damage. No others will
    /// come to make them eight.
    private static func enclosed(_ runs: [RunEntry], _ outputBytesMaximum: UInt64) -> [RunEntry]? {
        var greatestAfter: UInt8 = 0
        var isEnclosed = [Bool](repeating: false, count: runs.count)
        for place in runs.indices.reversed() {
            isEnclosed[place] = runs[place].tier < greatestAfter
            greatestAfter = max(greatestAfter, runs[place].tier)
        }
        let ids = Set(runs.indices.filter { isEnclosed[$0] }.map { runs[$0].id })
        for span in spans(runs, where: { ids.contains($0.id) }) {
            if let group = group(span, outputBytesMaximum) { return group }
        }
        return nil
    }

    /// Maximal spans of neighbours that could be one run.
    private static func spans(_ runs: [RunEntry], where isWanted: (RunEntry) -> Bool)
        -> [ArraySlice<RunEntry>]
    {
        var spans: [ArraySlice<RunEntry>] = []
        var start = 0
        for place in 0...runs.count {
            if place < runs.count, isWanted(runs[place]),
                runs[place].flags & RunEntry.Flags.rebuilding == 0
            {
                if place > start {
                    let before = runs[place - 1]
                    guard
                        before.endOffset != runs[place].firstOffset
                            || before.copies != runs[place].copies
                    else { continue }
                    spans.append(runs[start..<place])
                    start = place
                }
            } else {
                if place > start { spans.append(runs[start..<place]) }
                start = place + 1
            }
        }
        return spans
    }

    /// The oldest neighbours of a span, two to eight, that fit one run.
    private static func group(_ span: ArraySlice<RunEntry>, _ outputBytesMaximum: UInt64)
        -> [RunEntry]?
    {
        for start in span.indices {
            var entryCount = 0
            var byteCount: UInt64 = 0
            let group = span[start...].prefix(fanIn).prefix { run in
                entryCount += run.entryCount
                byteCount += run.byteCount
                return entryCount <= KeyRunLayout.entryCountMaximum
                    && byteCount <= outputBytesMaximum
            }
            if group.count >= 2 { return Array(group) }
        }
        return nil
    }
}
