internal import Glibc

/// A merge that is under way.
struct MergingWork {
    var merger: KeyRunMerger
    var inputs: [RunEntry]
}

/// The key runs: merged, kept in memory as far as the budget allows, written again when they are
/// missing or damaged, and let go when their time is over.
extension LogEngine {
    static let mergingStepBytes = 1 << 20
    /// Keys that are gathered for one run that is written again.
    static let rebuiltKeyCountMaximum = 500_000

    /// One piece of work on the runs; false when there is none.
    func keyRunStep() -> Bool {
        forgetExpiredRuns() || adjustMemory() || rebuildStep() || repairCopies() || mergingStep()
    }

    // MARK: - The snapshot

    /// Makes other runs the ones that are looked up. With the lock.
    func publish(runs new: [KeyRun], loaded: KeyRunSet.Member? = nil, missing: [Range<UInt64>]) {
        runs = runs.replacing(
            runs: new, loaded: loaded, floorOffset: keyFloorOffset,
            missing: missing.compactMap {
                let rest = $0.clamped(to: max($0.lowerBound, keyFloorOffset)..<$0.upperBound)
                return rest.isEmpty ? nil : rest
            })
        pipeline.keys.floorOffset = keyFloorOffset
        pipeline.hasRuns = !runs.isEmpty
    }

    /// Keys below are forgotten: their records are gone, and no horizon keeps them. With the lock.
    private var keyFloorOffset: UInt64 {
        options.retention.dedupeHorizonMilliseconds > 0 ? 0 : firstOffset
    }

    func openRun(_ entry: RunEntry) throws(KeyRunError) -> KeyRun {
        try KeyRun(
            disk, directory: directory, identifier: identifier, entry: entry,
            budget: options.indexBudget)
    }

    /// A new run with its filter, which is there before anybody asks for it: every append will. Without
    /// room for it lookups read.
    ///
    /// - Parameter index: as it was written, if it is in memory still.
    func loaded(_ run: KeyRun, _ index: KeyRunIndex? = nil) -> KeyRunSet.Member {
        guard run.entry.entryCount > 0 else { return KeyRunSet.Member(run: run) }
        let loaded = try? index ?? KeyRunIndex.load(run, .whole, replacing: nil)
        return KeyRunSet.Member(run: run, index: loaded)
    }

    /// A lookup may have met damage. With the lock.
    func noteDamage(_ snapshot: KeyRunSet) {
        if !snapshot.damagedRuns.isEmpty { wantMaintenance() }
    }

    var runTableIsFull: DiskError {
        DiskError(.write, directory + "/" + ManifestLayout.fileName, code: ENOSPC)
    }

    func removeRunFiles(_ entries: [RunEntry]) {
        guard !entries.isEmpty else { return }
        for entry in entries {
            for copy in KeyRunCopy.allCases.prefix(Int(entry.copies)) {
                try? disk.remove(
                    directory + "/" + KeyRunLayout.fileName(id: entry.id, copy: copy))
            }
        }
        try? disk.synchroniseDirectory(directory)
    }

    /// Puts other runs into the table, then before the readers, then removes the files of those that
    /// are no longer named.
    private func exchange(
        _ old: [RunEntry], for new: [RunEntry], index: KeyRunIndex? = nil,
        missing: [Range<UInt64>]? = nil, flags: UInt32 = 0
    ) -> Bool {
        var opened: [KeyRun] = []
        for entry in new {
            do throws(KeyRunError) { opened.append(try openRun(entry)) } catch {
                failed(.keyRuns, "key run", error.diskError)
                return false
            }
        }
        let loaded = opened.count == 1 ? loaded(opened[0], index) : nil
        let names = Set(old.map(\.id))
        var gone: [RunEntry] = []
        var isFull = false
        let isDone = betweenCommits { [self] (writer) throws(DiskError) in
            if flags != 0 {
                let state = monitor.withLock {
                    pipeline.changeSlotFacts { $0.flags |= flags }
                    return pipeline.state
                }
                try writer.writeStateSlot(state)
                try writer.writeStateSlot(state)
            }
            gone = writer.table.runs.filter { names.contains($0.id) }
            isFull = writer.table.runs.count - gone.count + new.count > FormatLimits.runCountMaximum
            guard !isFull else { return }
            try writer.changeTable(removing: true) { table in
                table.runs.removeAll { names.contains($0.id) }
                table.runs += new
                table.runs.sort { $0.firstOffset < $1.firstOffset }
            }
            monitor.withLock {
                publish(
                    runs: runs.runs.filter { !names.contains($0.entry.id) } + opened,
                    loaded: loaded, missing: missing ?? runs.missing)
            }
        }
        if isFull {
            removeRunFiles(new.filter { !names.contains($0.id) })
            failed(.keyRuns, "key run", runTableIsFull)
            return false
        }
        if isDone {
            let kept = Set(new.map(\.id))
            removeRunFiles(gone.filter { !kept.contains($0.id) })
        }
        return isDone
    }

    // MARK: - Memory and merges

    private func adjustMemory() -> Bool {
        let before = monitor.withLock { runs }
        guard let adjusted = before.adjusted() else { return false }
        monitor.withLock {
            // Somebody accepted the loss of keys meanwhile: what was adjusted is out of date.
            if runs === before { runs = adjusted }
        }
        return true
    }

    /// Merges small runs before it goes on with larger ones: while a large merge takes its time, small runs
    /// come, and every new key is looked for in each.
    private func mergingStep() -> Bool {
        // It takes room before it gives some back; one that is under way waits with what it wrote.
        if monitor.withLock({ upkeep.freeSpace.isLow }) { return false }
        let (snapshot, underWay, room) = monitor.withLock {
            (runs, upkeep.merging, options.capacityBytes / 16)
        }
        let taken = Set(underWay.flatMap { $0.inputs.map(\.id) })
        let takenBytes = underWay.flatMap(\.inputs).reduce(0) { $0 + $1.byteCount }
        let tier = underWay.last?.inputs.map(\.tier).min() ?? .max
        let inputs = KeyRunMergePlan.next(
            runs: snapshot.runs.filter { !$0.isLost && !taken.contains($0.entry.id) }.map(\.entry),
            belowTier: tier, outputBytesMaximum: max(room - min(takenBytes, room), 1 << 20))
        guard let inputs else { return underWay.last.map(advance) ?? false }
        let names = Set(inputs.map(\.id))
        let id = takeRunID()
        do throws(DiskError) {
            let merger = try KeyRunMerger(
                disk, directory: directory, identifier: identifier, id: id,
                inputs: snapshot.runs.filter { names.contains($0.entry.id) },
                floorOffset: snapshot.floorOffset, budget: options.indexBudget)
            monitor.withLock { upkeep.merging.append(MergingWork(merger: merger, inputs: inputs)) }
            return true
        } catch {
            failed(.keyRuns, "merging key runs", error)
            return false
        }
    }

    private func advance(_ work: MergingWork) -> Bool {
        let present = monitor.withLock { Set(runs.runs.map(\.entry)) }
        guard work.inputs.allSatisfy(present.contains) else {
            // One of them is gone or was written again.
            endMerge(work, isCancelled: true)
            return true
        }
        do throws(KeyRunError) {
            let progress = try work.merger.step(outputBytesMaximum: LogEngine.mergingStepBytes)
            guard case .done(var output) = progress else { return true }
            endMerge(work, isCancelled: false)
            if work.inputs[0].copies == 2 {
                output = try KeyRunCopies.write(
                    .second, of: try openRun(output), to: disk, directory: directory)
            }
            if exchange(work.inputs, for: [output], index: work.merger.takeIndex()) {
                monitor.withLock { counters.runsMerged += UInt64(work.inputs.count) }
            }
        } catch {
            endMerge(work, isCancelled: true)
            failed(.keyRuns, "merging key runs", error.diskError)
        }
        return true
    }

    private func endMerge(_ work: MergingWork, isCancelled: Bool) {
        if isCancelled { work.merger.cancel() }
        monitor.withLock { upkeep.merging.removeAll { $0.merger === work.merger } }
    }

    // MARK: - The horizon

    /// Lets go of runs whose keys were to be remembered for a while after their records, when that is
    /// over.
    private func forgetExpiredRuns() -> Bool {
        let horizon = options.retention.dedupeHorizonMilliseconds
        let expired = monitor.withLock { () -> [RunEntry] in
            let floor = keyFloorOffset
            if horizon == 0 { return runs.runs.map(\.entry).filter { $0.endOffset <= floor } }
            let now = upkeep.clock.nowMilliseconds
            return runs.runs.map(\.entry).filter {
                $0.endOffset <= firstOffset
                    && RetentionSituation.moment($0.newestTimeMilliseconds, plus: horizon) < now
            }
        }
        return !expired.isEmpty && exchange(expired, for: [])
    }

    /// Gives runs a second copy before the records are removed that they could be written again from.
    ///
    /// - Returns: false when that failed, or while keys of these records are still to be gathered.
    func areKeysKept(belowSegment count: Int) -> Bool {
        let (snapshot, first, end) = monitor.withLock {
            (runs, firstOffset, segments[min(count, segments.count - 1)].entry.baseOffset)
        }
        guard !snapshot.missing.contains(where: { $0.overlaps(first..<max(first, end)) }) else {
            return false
        }
        for run in snapshot.runs
        where run.entry.firstOffset < end && run.entry.copies == 1 && run.entry.entryCount > 0 {
            do throws(KeyRunError) {
                let entry = try KeyRunCopies.write(
                    .second, of: run, to: disk, directory: directory)
                guard exchange([run.entry], for: [entry]) else { return false }
            } catch {
                failed(.keyRuns, "key run copy", error.diskError)
                return false
            }
        }
        return true
    }

    /// Writes the damaged one of two copies again.
    private func repairCopies() -> Bool {
        let snapshot = monitor.withLock { runs }
        for run in snapshot.runs where run.entry.copies == 2 && !run.isLost {
            guard let copy = run.damagedCopies.first else { continue }
            do throws(KeyRunError) {
                let entry = try KeyRunCopies.write(copy, of: run, to: disk, directory: directory)
                return exchange([run.entry], for: [entry])
            } catch {
                failed(.keyRuns, "key run copy", error.diskError)
                return false
            }
        }
        return false
    }

    // MARK: - Writing again

    /// Takes lost runs out and gathers missing keys from the log again, a piece at a time.
    private func rebuildStep() -> Bool {
        let snapshot = monitor.withLock { runs }
        let lost = snapshot.runs.filter { $0.isLost || ($0.entry.copies == 1 && !$0.damagedCopies.isEmpty) }
        let first = monitor.withLock { firstOffset }
        if !lost.isEmpty {
            // Once the table does not name the run, only the flag remembers what is lost with it.
            let losesKeys =
                options.retention.dedupeHorizonMilliseconds > 0
                && lost.contains { $0.entry.entryCount > 0 && $0.entry.firstOffset < first }
            let isNew = losesKeys && !isHorizonLossKnown
            let isDone = exchange(
                lost.map(\.entry), for: [],
                missing: snapshot.missing + lost.map(\.entry.offsets).filter { !$0.isEmpty },
                flags: losesKeys ? LogState.Flags.dedupeHorizonLost : 0)
            if isDone, isNew { events.emit(.dedupeHorizonLost) }
            return isDone
        }
        // The safety profile takes nothing for new that it may have had, until somebody says so.
        let isHeld = options.profile == .silStrict && isHorizonLossKnown
        if !isHeld, let range = snapshot.missing.first(where: { $0.lowerBound < first }) {
            return loseHorizon(range, below: first, snapshot)
        }
        guard let range = snapshot.missing.first(where: { $0.upperBound > first }) else {
            return false
        }
        return rebuild(range, from: max(range.lowerBound, first), snapshot)
    }

    private var isHorizonLossKnown: Bool {
        monitor.withLock { pipeline.state.flags & LogState.Flags.dedupeHorizonLost != 0 }
    }

    /// Keys of records that are gone cannot be gathered again.
    private func loseHorizon(_ range: Range<UInt64>, below first: UInt64, _ snapshot: KeyRunSet)
        -> Bool
    {
        let isNew = !isHorizonLossKnown
        let rest = max(range.lowerBound, first)..<max(range.upperBound, first)
        let others = snapshot.missing.filter { $0 != range }
        let isAccepted = options.profile == .standard
        let isDone = exchange(
            [], for: [],
            missing: isAccepted ? others + (rest.isEmpty ? [] : [rest]) : snapshot.missing,
            flags: LogState.Flags.dedupeHorizonLost)
        if isDone, isNew { events.emit(.dedupeHorizonLost) }
        return isDone
    }

    /// Goes on after the keys of removed records were lost: what was known only there counts as new.
    func acceptDedupeHorizonLoss() throws(LogError) {
        let isDone = betweenCommits { [self] (writer) throws(DiskError) in
            let state = monitor.withLock {
                let first = firstOffset
                pipeline.changeSlotFacts { $0.flags &= ~LogState.Flags.dedupeHorizonLost }
                publish(
                    runs: runs.runs,
                    missing: runs.missing.compactMap {
                        let rest = max($0.lowerBound, first)..<max($0.upperBound, first)
                        return rest.isEmpty ? nil : rest
                    })
                return pipeline.state
            }
            try writer.writeStateSlot(state)
            try writer.writeStateSlot(state)
        }
        guard isDone else {
            throw monitor.withLock({ pipeline.poison }).map { .outcomeUnknown($0) } ?? .closed
        }
    }

    /// Gathers keys from an offset of a missing range on, as far as one segment and one run go.
    private func rebuild(_ missingRange: Range<UInt64>, from offset: UInt64, _ snapshot: KeyRunSet)
        -> Bool
    {
        let range = offset..<missingRange.upperBound
        let place: SegmentIndex? = monitor.withLock {
            segments.last { $0.entry.baseOffset <= range.lowerBound }
        }
        guard let place else { return false }
        do throws(DiskError) {
            let gathered = try gather(range, in: place)
            let covered = range.lowerBound..<max(gathered.endOffset, range.lowerBound + 1)
            let (entry, index) = try KeyRunWriter.write(
                gathered.keys,
                KeyRunCoverage(
                    offsets: covered,
                    newestTimeMilliseconds: place.entry.greatestTimeMilliseconds),
                to: disk, directory: directory, identifier: identifier, id: takeRunID(),
                budget: options.indexBudget)
            var missing = snapshot.missing.filter { $0 != missingRange }
            if missingRange.lowerBound < offset { missing.append(missingRange.lowerBound..<offset) }
            if covered.upperBound < range.upperBound {
                missing.append(covered.upperBound..<range.upperBound)
            }
            guard exchange([], for: [entry], index: index, missing: missing) else { return false }
            if missing.isEmpty { events.emit(.keyRunRebuilt) }
            return true
        } catch {
            failed(.keyRuns, "writing a key run again", error)
            return false
        }
    }

    /// Reads the keys of a segment's records in a range.
    private func gather(_ range: Range<UInt64>, in index: SegmentIndex) throws(DiskError) -> (
        keys: [KeyEntry], endOffset: UInt64
    ) {
        let file = try disk.open(files.path(index.entry.id), .read)
        let end = min(range.upperBound, index.endOffset)
        guard let header = try file.segmentHeader(uncached: false) else {
            // Nothing in it can be read: its keys are as lost as its records.
            return ([], end)
        }
        let walker = SegmentWalker(
            file: file, header: header, to: .init(position: index.endPosition), isUncached: false)
        var keys: [KeyEntry] = []
        walking: while true {
            switch try walker.next() {
            case .frame(let frame):
                guard frame.header.firstOffset < end else { break walking }
                guard frame.header.endOffset > range.lowerBound else { continue }
                _ = walker.records(of: frame) { item in
                    guard case .record(let record) = item, let key = record.key,
                        let content = record.content, record.offset >= range.lowerBound,
                        record.offset < end
                    else { return }
                    keys.append(KeyEntry(key: key, content: content, offset: record.offset))
                }
                if keys.count >= LogEngine.rebuiltKeyCountMaximum {
                    return (keys, min(end, frame.header.endOffset))
                }
            case .damage, .searching: break
            case .end: break walking
            }
        }
        return (keys, end)
    }
}

extension KeyRunSet {
    var isEmpty: Bool { members.isEmpty && missing.isEmpty }

    /// What the runs take on disk.
    var byteCount: UInt64 {
        members.reduce(0) { $0 + $1.run.entry.byteCount * UInt64($1.run.entry.copies) }
    }

    var entryCount: Int { members.reduce(0) { $0 + $1.run.entry.entryCount } }

    /// Opens the runs of a table; what they do not cover of the records before the checkpoint is
    /// missing.
    static func open(
        disk: any Disk, directory: String, table: SegmentTable, budget: KeyIndexBudget,
        keepsExpired: Bool
    ) -> KeyRunSet {
        var runs: [KeyRun] = []
        let first = table.segments[0].baseOffset
        var missing: [Range<UInt64>] = []
        for entry in table.runs {
            do throws(KeyRunError) {
                runs.append(
                    try KeyRun(
                        disk, directory: directory, identifier: table.identifier, entry: entry,
                        budget: budget))
            } catch {
                if keepsExpired, entry.entryCount > 0, entry.firstOffset < first {
                    missing.append(entry.firstOffset..<min(entry.endOffset, first))
                }
            }
        }
        var next = first
        for run in runs.map(\.entry).sorted(by: { $0.firstOffset < $1.firstOffset }) {
            if run.firstOffset > next { missing.append(next..<run.firstOffset) }
            next = max(next, run.endOffset)
        }
        if let checkpoint = table.checkpoint, checkpoint.nextOffset > next {
            missing.append(next..<checkpoint.nextOffset)
        }
        return KeyRunSet(
            runs: runs, floorOffset: keepsExpired ? 0 : first, missing: missing)
    }

    /// What the checkpoint at an offset attached to its run.
    func attachment(endingAt offset: UInt64) -> [UInt8]? {
        let run = members.first {
            $0.run.entry.endOffset == offset && $0.run.header.attachmentBytes > 0
        }
        return run.flatMap { try? $0.run.attachment() }
    }
}

extension KeyRunError {
    /// Damage as a failure to read, for what is told of derived work.
    var diskError: DiskError {
        switch self {
        case .disk(let error): error
        case .damaged(let damage): DiskError(.read, damage.path, code: EIO)
        }
    }
}
