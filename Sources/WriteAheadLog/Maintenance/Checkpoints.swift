/// What a checkpoint records: taken between two commits, written while others go on.
struct CheckpointCapture {
    var checkpoint: Checkpoint
    /// Where the checkpoint before it stood.
    var firstOffset: UInt64
    var keys: KeySlots
    var points: [UInt8]
    var uncheckpointedBytes: UInt64
}

/// Checkpoints: opening reads frames from the last one on, and the keys before it are in runs.
extension LogEngine {
    /// Takes a checkpoint when one is due; false when none is.
    func checkpointStep() -> Bool {
        let isDue = monitor.withLock {
            isCheckpointDue || upkeep.capture != nil
        }
        return isDue && isAllowed(.checkpoint) && takeCheckpoint()
    }

    /// With the lock.
    var isCheckpointDue: Bool {
        upkeep.uncheckpointedBytes >= upkeep.checkpointBytes
            || pipeline.keys.recentCount >= Upkeep.checkpointKeyCount
    }

    /// - Returns: false when it could not be taken; it is tried again later.
    func takeCheckpoint() -> Bool {
        guard capture(), let capture = monitor.withLock({ upkeep.capture }) else { return false }
        let id = takeRunID()
        let entry: RunEntry
        let index: KeyRunIndex?
        do throws(DiskError) {
            (entry, index) = try KeyRunWriter.write(
                capture.keys.entries,
                KeyRunCoverage(
                    offsets: capture.firstOffset..<capture.checkpoint.nextOffset,
                    newestTimeMilliseconds: capture.checkpoint.greatestTimeMilliseconds),
                attachment: capture.points, to: disk, directory: directory,
                identifier: identifier, id: id, budget: options.indexBudget)
        } catch {
            checkpointFailed()
            failed(.checkpoint, "checkpoint", error)
            return false
        }
        let run: KeyRun
        do throws(KeyRunError) { run = try openRun(entry) } catch {
            checkpointFailed()
            try? disk.remove(directory + "/" + KeyRunLayout.fileName(id: id))
            failed(.checkpoint, "checkpoint", error.diskError)
            return false
        }
        let loaded = loaded(run, index)
        var isFull = false
        let isWritten = betweenCommits { [self] (writer) throws(DiskError) in
            isFull = writer.table.runs.count >= FormatLimits.runCountMaximum
            guard !isFull else { return }
            // Changes of the state in frames before the checkpoint are read by nobody any more: the
            // slot has them first.
            try writer.writeStateSlot(monitor.withLock { pipeline.state })
            var checkpoint = capture.checkpoint
            checkpoint.stateGeneration = writer.stateGeneration
            // While an earlier attempt waited for room, truncation may have taken the segment: a
            // checkpoint in it would name nothing, and the log could not be opened.
            let isListed = writer.table.segments.contains { $0.id == checkpoint.segmentID }
            try writer.changeTable { table in
                table.runs.append(entry)
                if isListed { table.checkpoint = checkpoint }
            }
            monitor.withLock {
                publish(runs: runs.runs + [run], loaded: loaded, missing: runs.missing)
                pipeline.keys.endFlush()
                upkeep.capture = nil
                upkeep.checkpointOffset = capture.checkpoint.nextOffset
                if isListed {
                    upkeep.checkpointSegmentID = capture.checkpoint.segmentID
                    upkeep.uncheckpointedBytes -= capture.uncheckpointedBytes
                }
                upkeep.isCheckpointFailing = false
                upkeep.isPlanStale = true
                counters.checkpoints += 1
                judgeGate()
            }
        }
        if isFull {
            removeRunFiles([entry])
            checkpointFailed()
            failed(.checkpoint, "checkpoint", runTableIsFull)
            return false
        }
        guard isWritten else { return false }
        capture.keys.removeAll()
        monitor.withLock { pipeline.keys.reuse(capture.keys) }
        return true
    }

    /// Sets apart what the checkpoint holds, unless an earlier attempt did.
    private func capture() -> Bool {
        guard monitor.withLock({ upkeep.capture == nil }) else { return true }
        return betweenCommits { [self] (writer) throws(DiskError) in
            monitor.withLock {
                upkeep.capture = CheckpointCapture(
                    checkpoint: writer.checkpoint,
                    firstOffset: upkeep.checkpointOffset,
                    keys: pipeline.keys.beginFlush(),
                    points: segments[segments.count - 1].encodePoints(),
                    uncheckpointedBytes: upkeep.uncheckpointedBytes)
            }
        }
    }

    private func checkpointFailed() {
        monitor.withLock {
            upkeep.isCheckpointFailing = true
            judgeGate()
        }
    }

    func takeRunID() -> UInt64 {
        monitor.withLock {
            upkeep.nextRunID += 1
            return upkeep.nextRunID - 1
        }
    }
}
