/// What an operator changes about a log's history after a restore or a copy went back.
extension Log {
    /// Begins a new epoch at the head: the log's history goes on as another one from here, so that what
    /// the log had beyond its head before it was restored is never taken for what it appends from now
    /// on. Durable when it returns. Appends that are under way may carry either epoch in their answer,
    /// so call it before the first. Beyond 64 epochs the oldest is forgotten. Blocks.
    ///
    /// - Parameter reason: at most 64 bytes of UTF-8.
    /// - Throws: `rejected(.nameTooLong)` for a longer reason; `closed`; `outcomeUnknown`.
    @discardableResult
    public func beginEpoch(reason: String) throws(LogError) -> EpochEntry {
        try engine.beginEpoch(reason: reason)
    }

    /// Begins a new epoch in a log that nobody has open, and does nothing else to it: it is opened without
    /// threads and without its node's options, so nothing may be removed, expire or be forgotten here.
    /// Blocks.
    ///
    /// - Throws: what `open` and `beginEpoch(reason:)` throw.
    package static func beginEpoch(
        directory: String, profile: Profile, reason: String, disk: any Disk = LinuxDisk(),
        environment: LogEnvironment = .linux
    ) throws(LogError) -> EpochEntry {
        var environment = environment
        environment.threads = false
        let policy: LogPolicy =
            switch profile {
            case .standard: .standard(StandardPolicy(unconfirmedLifetimeMilliseconds: nil))
            case .silStrict: .silStrict(StrictPolicy())
            }
        let options = LogOptions(
            policy: policy,
            retention: RetentionOptions(
                dedupeHorizonMilliseconds: RetentionOptions.durationMillisecondsRange.upperBound))
        let log = try Log.open(
            directory: directory, options: options, disk: disk, environment: environment)
        defer { log.close() }
        return try log.beginEpoch(reason: reason)
    }

    /// Puts `cursor` in the place of the one with its owner and name, which may go back: everything
    /// that it confirmed beyond is unconfirmed again, and what was removed meanwhile is a gap for it.
    /// Durable when it returns. Blocks.
    ///
    /// - Throws: `cursorNotFound`; `offsetOutOfRange` beyond the head; `epochMismatch` when the cursor
    ///   is not of the log's present epoch.
    public func replaceCursor(_ cursor: Cursor) throws(LogError) {
        try engine.options.policy.validate(cursor)
        try engine.setCursor { state, head in
            guard state.cursor(cursor.identity) != nil else {
                return .failure(.cursorNotFound(owner: cursor.owner, name: cursor.name))
            }
            guard cursor.nextOffset <= head else {
                return .failure(.offsetOutOfRange(offset: cursor.nextOffset, first: 0, head: head))
            }
            guard cursor.epoch == state.epoch else {
                return .failure(.epochMismatch(given: cursor.epoch, current: state.epoch))
            }
            return .success(cursor)
        }
    }

    /// Marks the log as one whose replication stopped for an operator, or ends that; tools show it.
    /// Durable when it returns. Blocks.
    public func setHalted(_ isHalted: Bool) throws(LogError) { try engine.setHalted(isHalted) }

    /// Whether the log is marked as halted.
    public var isHalted: Bool {
        engine.monitor.withLock { engine.pipeline.state.flags & LogState.Flags.halted != 0 }
    }
}
