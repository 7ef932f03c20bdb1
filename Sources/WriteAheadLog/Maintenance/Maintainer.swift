/// The maintainer: everything that has to happen and not at once. One step at a time, each bounded, in
/// an order that gives first what appends may come to wait for:
///
///     checkpoint, retention, sealing, key runs, scrubbing
///
/// A thread of its own runs the steps; a log without threads is stepped by who runs it.
extension LogEngine {
    /// Does one piece of maintenance; false when there is none to do now. Without the lock.
    func maintain() -> Bool {
        guard monitor.withLock({ !isClosed && pipeline.poison == nil }) else { return false }
        lookAround()
        if checkpointStep() { return true }
        if retentionStep() { return true }
        return isAllowed(.sealing) && sealingStep() || isAllowed(.keyRuns) && keyRunStep()
            || isAllowed(.scrubbing) && scrubbingStep()
    }

    /// Something changed that may give the maintainer work. With the lock.
    func wantMaintenance() {
        upkeep.isWanted = true
        maintenance.broadcast()
    }

    func runMaintainer() {
        monitor.lock()
        while !isClosed {
            if upkeep.isWanted {
                upkeep.isWanted = false
                monitor.unlock()
                while maintain() {}
                monitor.lock()
                continue
            }
            guard let due = nextMaintenanceNanoseconds() else {
                monitor.wait(maintenance)
                continue
            }
            if environment.monotonicNanoseconds() >= due {
                upkeep.isWanted = true
            } else {
                _ = monitor.wait(maintenance, untilNanoseconds: due)
            }
        }
        cancelDerivedWork()
        upkeep.isEnded = true
        work.broadcast()
        monitor.unlock()
    }

    /// The next moment at which there is work that nothing else announces; nil when there is none, so
    /// that an idle log wakes up for nothing. With the lock.
    private func nextMaintenanceNanoseconds() -> Int64? {
        guard pipeline.poison == nil else { return nil }
        let now = environment.monotonicNanoseconds()
        var due: [Int64] = []
        due += upkeep.derivedRetryNanoseconds.values.filter { $0 > now }
        if let moment = upkeep.nextMomentNanoseconds { due.append(moment) }
        if options.retention.freeSpaceReserveBytes > 0,
            upkeep.wasWrittenSinceAsked || upkeep.freeSpace.isLow
        {
            due.append(
                max(upkeep.freeSpaceAskedNanoseconds, 0) + LogEngine.freeSpaceNanoseconds)
        }
        if let moment = nextScrubbingNanoseconds() {
            due.append(max(moment, upkeep.derivedRetryNanoseconds[.scrubbing] ?? .min))
        }
        return due.min()
    }

    /// Whether work that failed may be tried again by now. Without the lock.
    func isAllowed(_ work: DerivedWork) -> Bool {
        let now = environment.monotonicNanoseconds()
        return monitor.withLock { upkeep.derivedRetryNanoseconds[work].map { now >= $0 } ?? true }
    }

    /// Derived work failed: nothing is lost, it is told, and tried again after a while. Without the
    /// lock.
    func failed(_ work: DerivedWork, _ what: String, _ error: DiskError) {
        events.emit(.derivedWorkFailed(what: what, error))
        monitor.withLock {
            upkeep.derivedRetryNanoseconds[work] =
                environment.monotonicNanoseconds() + Upkeep.derivedRetryNanoseconds
        }
    }

    /// Work that is under way when the log is closed leaves nothing behind. With the lock.
    func cancelDerivedWork() {
        for work in upkeep.merging { work.merger.cancel() }
        upkeep.merging = []
        if case .repacking(let repacker)? = upkeep.sealing?.phase { repacker.discard() }
        upkeep.sealing = nil
    }
}
