extension LogEngine {
    /// Begins a new epoch at the head, between two commits: what was committed before keeps the epoch
    /// of its frame, everything after has the new one. Both slots, since with one only its damage would
    /// be a silent return to the epoch before.
    func beginEpoch(reason: String) throws(LogError) -> EpochEntry {
        guard reason.utf8.count <= FormatLimits.epochReasonBytesMaximum else {
            throw .rejected(
                .nameTooLong(name: reason, maximumBytes: FormatLimits.epochReasonBytesMaximum))
        }
        var begun: EpochEntry?
        try recordState { [self] in
            pipeline.changeSlotFacts { state in
                if state.epochs.count == FormatLimits.epochCountMaximum {
                    state.epochs.removeFirst()
                }
                state.epochs.append(
                    EpochEntry(
                        epoch: state.epoch + 1, firstOffset: headOffset,
                        beganMilliseconds: environment.wallMilliseconds(), reason: reason))
            }
            begun = pipeline.state.epochs.last
        }
        guard let begun else { preconditionFailure("the state was recorded with the new epoch") }
        return begun
    }

    /// Sets or ends the mark that tools show of a log whose replication stopped for an operator.
    func setHalted(_ isHalted: Bool) throws(LogError) {
        let isSet = monitor.withLock { pipeline.state.flags & LogState.Flags.halted != 0 }
        guard isSet != isHalted else { return }
        try recordState { [self] in
            pipeline.changeSlotFacts { state in
                if isHalted {
                    state.flags |= LogState.Flags.halted
                } else {
                    state.flags &= ~LogState.Flags.halted
                }
            }
        }
    }

    /// Makes `change`, which runs with the lock and while no commit is out, durable in both slots.
    private func recordState(_ change: @escaping () -> Void) throws(LogError) {
        let isDone = betweenCommits { [self] (writer) throws(DiskError) in
            let state = monitor.withLock {
                change()
                return pipeline.state
            }
            try writer.writeStateSlot(state)
            try writer.writeStateSlot(state)
        }
        guard isDone else {
            throw monitor.withLock({ pipeline.poison }).map { .outcomeUnknown($0) } ?? .closed
        }
    }
}
