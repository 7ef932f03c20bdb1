/// A durable, append-only log in a directory.
///
/// What it promises (docs/contract.md has the words, each with a test):
/// an append that returned survives power loss; readers see durable records only; offsets begin at 0
/// and are dense; a key is materialised once; any write or sync error stops the log for good.
///
/// All methods may be called from any thread. Those that say so block on the disk: call them on
/// threads of your own, never on an event loop or the cooperative pool.
public final class Log: Sendable {
    /// What opening found and did.
    public let recovery: RecoveryReport
    /// The directory that it was opened in, as it was given.
    public let directory: String
    /// Tells this log from every other; made with it, and copied with its files.
    public let identifier: LogIdentifier
    /// Kept for the life of the log.
    public let profile: Profile

    let engine: LogEngine

    /// Opens the log in `directory` for writing, making it when the directory is empty or absent.
    ///
    /// Blocks: reads the log, past the page cache for the last segment.
    ///
    /// - Throws: `locked` when another process has it; `corrupt` when bytes that were proven durable
    ///   are not there; `profileMismatch`, `unsupportedFormat`, `notALog`, `disk`.
    public static func open(directory: String, options: LogOptions = LogOptions()) throws(LogError)
        -> Log
    {
        try open(directory: directory, options: options, disk: LinuxDisk(), environment: .linux)
    }

    package static func open(
        directory: String, options: LogOptions, disk: any Disk, environment: LogEnvironment
    ) throws(LogError) -> Log {
        let opening = LogOpening(disk: disk, directory: directory, environment: environment)
        _ = try options.validate()
        let lock = try opening.onDisk { () throws(DiskError) in
            try disk.createDirectory(directory)
            return try disk.lock(directory + "/lock", exclusive: true)
        }
        guard let lock else { throw .locked(directory: directory) }
        // The file that other processes lock while they look into the log.
        _ = try opening.onDisk { () throws(DiskError) in
            try disk.lock(directory + "/" + LogInspector.lockName, exclusive: false)
        }
        let opened = try opening.open(options)
        let log = Log(opened, opening, options)
        // Another process may write only when nothing here does any more.
        log.engine.start(atEnd: { lock.release() })
        return log
    }

    private init(_ opened: LogOpening.Opened, _ opening: LogOpening, _ options: LogOptions) {
        recovery = opened.report
        directory = opening.directory
        identifier = opened.writer.table.identifier
        profile = opened.writer.table.profile
        engine = LogEngine(opened, opening, options: options)
    }

    deinit { close() }

    /// Makes everything queued durable, records the state and ends. Later calls throw `closed`.
    ///
    /// In a completion, or in a task that runs behind a commit (`AppendExecutor`), it only begins to: the log
    /// ends after that, and until then its directory is locked.
    public func close() { engine.close() }

    // MARK: - Append

    /// An empty batch that compresses as the log's options say.
    public func makeBatch(capacityBytes: Int = 1024) -> AppendBatch {
        AppendBatch(capacityBytes: capacityBytes, compression: engine.options.compression)
    }

    /// Appends a batch as one commit and returns when it is durable. Blocks.
    ///
    /// Keys that are there already are answered, not written; `registers` change with the records or
    /// not at all.
    public func append(_ batch: AppendBatch, registers: [RegisterUpdate] = []) throws(LogError)
        -> AppendReceipt
    {
        try engine.append(batch, registers: registers)
    }

    /// The same without blocking: the completion runs when the batch is durable or has failed, on
    /// the committing thread, which must not be held up. The batch must not be touched before.
    public func append(
        _ batch: AppendBatch, registers: [RegisterUpdate] = [],
        completion: @escaping @Sendable (Result<AppendReceipt, LogError>) -> Void
    ) {
        engine.append(batch, registers: registers, completion: completion)
    }

    /// The same for tasks.
    public func append(_ batch: AppendBatch, registers: [RegisterUpdate] = []) async throws(LogError)
        -> AppendReceipt
    {
        let result: Result<AppendReceipt, LogError> = await withUnsafeContinuation { continuation in
            engine.append(batch, registers: registers) { continuation.resume(returning: $0) }
        }
        return try result.get()
    }

    /// Reserves the keys of a batch and tells what each record would become, so that the caller can
    /// decide before anything is written. Waits while another caller has one of the keys reserved,
    /// holding none itself. Blocks.
    public func prepare(_ batch: AppendBatch) throws(LogError) -> PreparedBatch {
        try engine.prepare(batch)
    }

    /// Commits a prepared batch as one frame and returns when it is durable. Blocks.
    public func commit(_ prepared: PreparedBatch, registers: [RegisterUpdate] = []) throws(LogError)
        -> AppendReceipt
    {
        try engine.commit(prepared, registers: registers)
    }

    // MARK: - Read

    /// The first offset that the log holds.
    public var firstOffset: UInt64 { engine.monitor.withLock { engine.firstOffset } }

    /// One past the last durable offset.
    public var headOffset: UInt64 { engine.monitor.withLock { engine.headOffset } }

    /// The present epoch, from 1 on; a restore begins a new one. O(1).
    public var epoch: UInt64 { engine.monitor.withLock { engine.pipeline.state.epoch } }

    /// Every epoch that is remembered, oldest first.
    public var epochs: [EpochEntry] { engine.monitor.withLock { engine.pipeline.state.epochs } }

    /// Gives durable records from `offset` on to `visit`, in order, until it answers false, the head
    /// or a gap is reached, `maximumCount` records were given, or the next payload would pass
    /// `maximumBytes` (the first record is always given). Every checksum is verified. Blocks.
    /// O(log segments) and one bounded read to the first record.
    ///
    /// - Returns: the offset to go on from.
    /// - Throws: `gap` when `offset` is no longer in the log: go on at its end; `offsetOutOfRange`
    ///   above the head; `corrupt`; `disk`.
    @discardableResult
    public func read(
        from offset: UInt64, maximumCount: Int = .max, maximumBytes: Int = .max,
        _ visit: (LogRecord) -> Bool
    ) throws(LogError) -> UInt64 {
        var next = offset
        var count = 0
        var bytes = 0
        while count < maximumCount {
            let place: LogEngine.Place?
            do throws(LogError) { place = try engine.place(of: next) } catch {
                if case .gap = error, count > 0 { return next }
                throw error
            }
            guard let place else { return next }
            defer { engine.giveBack(place) }
            let index = engine.files.indexed(place.index)
            do throws(LogError) {
                let more = try scan(
                    index, from: next, startingAt: index.position(of: next), until: place.gapOffset
                ) { record in
                    guard count < maximumCount else { return false }
                    if count > 0, bytes + record.payload.count > maximumBytes { return false }
                    count += 1
                    bytes += record.payload.count
                    next = record.offset + 1
                    return visit(record)
                }
                guard more else { return next }
            } catch {
                // Its file may have been removed since the place was found: with its records, or
                // because a dense copy has taken its place, which is asked now.
                guard let gap = gap(at: next) else {
                    guard engine.holds(place) else { continue }
                    throw error
                }
                guard count > 0 else { throw .gap(gap) }
                return next
            }
        }
        return next
    }

    private func scan(
        _ index: SegmentIndex, from offset: UInt64, startingAt position: UInt64, until end: UInt64,
        passesOverDamage: Bool = false, _ visit: (LogRecord) -> Bool
    ) throws(LogError) -> Bool {
        let id = index.entry.id
        var reader = FrameReader(
            index: index, path: engine.files.path(id), file: try engine.files.file(id),
            profile: profile)
        defer { reader.close() }
        do throws(LogError) {
            return try reader.read(
                from: offset, startingAt: position, until: end, passesOverDamage: passesOverDamage,
                visit)
        } catch {
            if case .corrupt = error { engine.suspect(id) }
            throw error
        }
    }

    /// What the log no longer has from `offset` on, up to the next record that it holds; nil when
    /// `offset` is there or at the head. O(declared losses).
    ///
    /// - Parameter isDetached: the asking cursor is detached, so that truncation did not wait for it.
    public func gap(at offset: UInt64, isDetached: Bool = false) -> Gap? {
        engine.monitor.withLock {
            engine.pipeline.state.losses.gap(
                at: offset, firstOffset: engine.firstOffset, isDetached: isDetached)
        }
    }

    /// Sleeps until there is a durable record at `offset`; false when the time was over first or the
    /// log was closed. Blocks.
    public func waitForRecords(at offset: UInt64, timeoutMilliseconds: Int) -> Bool {
        engine.waitForRecords(at: offset, timeoutMilliseconds: timeoutMilliseconds)
    }

    /// Calls `handler` with the head after each commit, on the committing thread, until the number
    /// that is returned is given to `removeObserver`.
    public func observeHead(_ handler: @escaping @Sendable (UInt64) -> Void) -> UInt64 {
        engine.observe(handler)
    }

    /// Ends the calls of `observeHead`; one that is under way may still end.
    public func removeObserver(_ number: UInt64) { engine.removeObserver(number) }

    /// Where a durable key stands, and its content digest. O(key runs); reads a page of one when the
    /// key is not recent. Blocks.
    ///
    /// - Throws: `rejected(.indexRebuilding)` when a damaged part of the index may have it.
    public func lookUp(_ key: Digest256) throws(LogError) -> (offset: UInt64, content: Digest256)? {
        try engine.lookUp(key).map { ($0.offset, $0.content) }
    }

    /// The first offset whose record was appended at or after a time (milliseconds since 1970), or
    /// the head. O(log segments) and one bounded read. Blocks.
    public func offset(atOrAfterMilliseconds time: Int64) throws(LogError) -> UInt64 {
        while true {
            guard let place = engine.place(atOrAfterMilliseconds: time) else { return headOffset }
            defer { engine.giveBack(place) }
            do throws(LogError) {
                return try offset(atOrAfterMilliseconds: time, in: place.index)
            } catch {
                // Its file may have been removed since the place was found.
                guard engine.holds(place) else { continue }
                throw error
            }
        }
    }

    private func offset(atOrAfterMilliseconds time: Int64, in index: SegmentIndex) throws(LogError)
        -> UInt64
    {
        let index = engine.files.indexed(index)
        var found = index.endOffset
        _ = try scan(
            index, from: index.entry.baseOffset,
            startingAt: index.position(atOrAfterMilliseconds: time), until: .max,
            passesOverDamage: profile == .standard
        ) { record in
            guard record.appendTimeMilliseconds < time else {
                found = record.offset
                return false
            }
            return true
        }
        return found
    }

    /// The time by which the log judges age, in milliseconds since 1970: the wall clock, guarded against
    /// jumps.
    public var clockMilliseconds: Int64 {
        engine.monitor.withLock {
            engine.upkeep.clock.now(
                monotonicNanoseconds: engine.environment.monotonicNanoseconds())
        }
    }

    /// Changes what the log keeps and when it refuses more, while it is open. The dedupe horizon, the
    /// free space reserve and the profile stay as they were opened.
    ///
    /// - Throws: `rejected(.invalidOptions)`, and nothing changed.
    public func changeRetention(_ retention: RetentionOptions, policy: LogPolicy) throws(LogError) {
        try engine.changeRetention(retention, policy)
    }

    // MARK: - Registers

    /// The durable value of a register.
    public func register(_ name: String) -> [UInt8]? {
        engine.monitor.withLock { engine.pipeline.state.register(Array(name.utf8))?.value }
    }

    /// Replaces registers without records; takes no space in the log. Blocks.
    public func setRegisters(_ updates: [RegisterUpdate]) throws(LogError) {
        try engine.set(registers: updates)
    }

    // MARK: - Cursors

    /// Every cursor as it stands durably, in no particular order.
    public func cursors() -> [Cursor] {
        engine.monitor.withLock { engine.pipeline.state.cursors.map(\.cursor) }
    }

    /// One cursor as it stands durably, or nil. O(cursors).
    public func cursor(owner: String, name: String) -> Cursor? {
        let identity = CursorIdentity(owner: owner, name: name)
        return engine.monitor.withLock { engine.pipeline.state.cursor(identity)?.cursor }
    }

    /// Makes a cursor durable. Blocks.
    ///
    /// - Parameter notBelowFirst: it must begin at or after the first retained record, also after a
    ///   removal that is under way: once it is made truncation waits for it, so it meets no gap that was
    ///   there before it.
    /// - Throws: `cursorExists`; `offsetOutOfRange` when it would begin beyond the head, or below the
    ///   first record that it may begin at; `rejected(.invalidOptions)` for one that is not required,
    ///   under profile `silStrict`.
    public func createCursor(_ cursor: Cursor, notBelowFirst: Bool = false) throws(LogError) {
        try engine.options.policy.validate(cursor)
        try engine.setCursor { [engine] state, head in
            let first = max(engine.firstOffset, engine.upkeep.removingBelow)
            if notBelowFirst, cursor.nextOffset < first {
                return .failure(
                    .offsetOutOfRange(offset: cursor.nextOffset, first: first, head: head))
            }
            if state.cursor(cursor.identity) != nil {
                return .failure(.cursorExists(owner: cursor.owner, name: cursor.name))
            }
            guard cursor.nextOffset <= head else {
                return .failure(.offsetOutOfRange(offset: cursor.nextOffset, first: 0, head: head))
            }
            guard cursor.epoch <= state.epoch else {
                return .failure(.epochMismatch(given: cursor.epoch, current: state.epoch))
            }
            return .success(cursor)
        }
    }

    /// Moves a cursor's frontier to `nextOffset`: everything below is confirmed. At or below where it
    /// stands nothing changes. Gaps below it count as confirmed. Durable when it returns; takes no
    /// space in the log. Blocks.
    ///
    /// - Parameters:
    ///   - digest: of the last record before `nextOffset`, with that record's offset.
    ///   - epoch: the one that `nextOffset` is of; nil: the present one.
    /// - Throws: `cursorNotFound`; `cursorDetached`; `offsetOutOfRange` beyond the head;
    ///   `epochMismatch` when the log is in another epoch by now.
    /// - Returns: the cursor as it stands durably; `gaps(in:)` names the losses that it passed.
    @discardableResult
    public func confirm(
        owner: String, name: String, nextOffset: UInt64,
        digest: (value: Digest256, offset: UInt64)? = nil, epoch: UInt64? = nil
    ) throws(LogError) -> Cursor {
        let identity = CursorIdentity(owner: owner, name: name)
        try engine.setCursor { state, head in
            if let epoch, epoch != state.epoch {
                return .failure(.epochMismatch(given: epoch, current: state.epoch))
            }
            guard var cursor = state.cursor(identity)?.cursor else {
                return .failure(.cursorNotFound(owner: owner, name: name))
            }
            if let reason = cursor.detachReason {
                return .failure(.cursorDetached(owner: owner, name: name, reason: reason))
            }
            guard nextOffset <= head else {
                return .failure(.offsetOutOfRange(offset: nextOffset, first: 0, head: head))
            }
            guard nextOffset > cursor.nextOffset else { return .success(nil) }
            cursor.nextOffset = nextOffset
            cursor.epoch = state.epoch
            cursor.digest = digest?.value
            cursor.digestOffset = digest?.offset
            return .success(cursor)
        }
        guard let cursor = cursor(owner: owner, name: name) else {
            throw .cursorNotFound(owner: owner, name: name)
        }
        return cursor
    }

    /// Records that were lost unconfirmed in a range of offsets, exact and in order. O(declared losses).
    public func gaps(in offsets: Range<UInt64>) -> [Gap] {
        engine.monitor.withLock { engine.pipeline.state.losses.gaps(in: offsets) }
    }

    /// Lets truncation go on without a cursor. It keeps its place and cannot be moved until it is
    /// attached again; what is removed meanwhile is a gap for it. Durable when it returns. Blocks.
    public func detachCursor(owner: String, name: String, reason: String) throws(LogError) {
        try engine.detach(owner: owner, name: name, reason: reason)
    }

    /// Lets truncation wait for a detached cursor again, from `nextOffset` on. Durable when it returns. Blocks.
    ///
    /// For one that is not required, until the log is closed, truncation waits and its lag counts from the
    /// present head on: what is below stays for it while there is room.
    ///
    /// - Throws: `cursorNotFound`; `offsetOutOfRange` beyond the head.
    public func attachCursor(owner: String, name: String, nextOffset: UInt64) throws(LogError) {
        let identity = CursorIdentity(owner: owner, name: name)
        // First, since retention may look as soon as it is attached.
        engine.monitor.withLock {
            guard engine.pipeline.state.cursor(identity)?.cursor.detachReason != nil else { return }
            engine.upkeep.attachedAt[identity] = engine.headOffset
        }
        try engine.setCursor { state, head in
            guard var cursor = state.cursor(identity)?.cursor else {
                return .failure(.cursorNotFound(owner: owner, name: name))
            }
            guard nextOffset <= head else {
                return .failure(.offsetOutOfRange(offset: nextOffset, first: 0, head: head))
            }
            guard cursor.detachReason != nil else { return .success(nil) }
            cursor.detachReason = nil
            cursor.nextOffset = nextOffset
            cursor.epoch = state.epoch
            cursor.digest = nil
            cursor.digestOffset = nil
            return .success(cursor)
        }
    }

    /// Changes whether and how long truncation waits for a cursor; its place stays. Durable when it
    /// returns. Blocks.
    ///
    /// - Throws: `cursorNotFound`; `rejected(.invalidOptions)` for a cursor that is not required, under
    ///   profile `silStrict`.
    public func changeCursor(
        owner: String, name: String, required: Bool, maximumLagBytes: UInt64? = nil,
        maximumLagMilliseconds: Int64? = nil
    ) throws(LogError) {
        let identity = CursorIdentity(owner: owner, name: name)
        let policy = engine.options.policy
        try engine.setCursor { state, _ in
            guard var cursor = state.cursor(identity)?.cursor else {
                return .failure(.cursorNotFound(owner: owner, name: name))
            }
            cursor.required = required
            cursor.maximumLagBytes = maximumLagBytes
            cursor.maximumLagMilliseconds = maximumLagMilliseconds
            do throws(LogError) { try policy.validate(cursor) } catch { return .failure(error) }
            return .success(cursor)
        }
    }

    /// Removes a cursor; truncation no longer waits for it. Blocks.
    public func deleteCursor(owner: String, name: String) throws(LogError) {
        let identity = CursorIdentity(owner: owner, name: name)
        try engine.setCursor(isDeleted: true) { state, _ in
            guard let cursor = state.cursor(identity)?.cursor else {
                return .failure(.cursorNotFound(owner: owner, name: name))
            }
            return .success(cursor)
        }
        engine.monitor.withLock { _ = engine.upkeep.attachedAt.removeValue(forKey: identity) }
    }

    // MARK: - Statistics

    /// A view of the log's size and work. O(1).
    public func statistics() -> LogStatistics {
        engine.monitor.withLock {
            LogStatistics(
                firstOffset: engine.firstOffset, headOffset: engine.headOffset,
                segmentCount: engine.segments.count, preparedBytes: engine.preparer.readyBytes,
                fillBytes: engine.pipeline.fillBytes,
                capacityBytes: engine.pipeline.limits.capacityBytes,
                keyCount: engine.pipeline.keys.count + engine.runs.entryCount,
                isAlarmRaised: engine.upkeep.gate.isAlarmLatched,
                isAcceptingRecords: engine.pipeline.gate == .open && engine.pipeline.poison == nil,
                poison: engine.pipeline.poison, counters: engine.counters,
                events: engine.events.counters)
        }
    }

    /// What happens in the log from now on, beside appends and reads; ends when the log is closed. A
    /// listener that is slow misses the oldest.
    public func events() -> AsyncStream<LogEvent> { engine.events.events() }

    /// Ends the alarm that stays after a log of profile `silStrict` was full. Durable when it returns.
    /// Blocks.
    ///
    /// - Returns: false when there is no alarm.
    @discardableResult
    public func acknowledgeAlarm(by name: String, reason: String) throws(LogError) -> Bool {
        try engine.acknowledgeAlarm(by: name, reason: reason)
    }

    /// Goes on after keys of removed records were lost with both copies of their run: from now on such
    /// a key counts as new. Durable when it returns. Blocks.
    public func acceptDedupeHorizonLoss() throws(LogError) { try engine.acceptDedupeHorizonLoss() }

    // MARK: - Without threads

    /// One past the last record that the state slot has recorded. While nothing is being committed.
    package var recordedHeadOffset: UInt64 { engine.writer.recordedHeadOffset }

    /// One commit of what is queued; false when nothing was.
    package func stepCommit() -> Bool { engine.stepCommit() }

    /// What a log does that was idle for a second: its state slot records the last commit.
    package func stepIdle() { engine.stepIdle() }

    /// One step of maintenance; false when there is none to do now.
    package func stepMaintainer() -> Bool { engine.maintain() }

    /// One spare segment; false when there are enough.
    package func stepPreparer() -> Bool { engine.preparer.step() }
}

/// The size and work of a log.
public struct LogStatistics: Hashable, Sendable {
    /// The first offset that the log holds.
    public var firstOffset: UInt64
    /// One past the last durable offset.
    public var headOffset: UInt64
    /// Segments that hold records, with the active one.
    public var segmentCount: Int
    /// Bytes of spare segments that are zero-filled and ready: as much is written without making any.
    public var preparedBytes: UInt64
    /// Bytes that may not be reclaimed now.
    public var fillBytes: UInt64
    /// What the log may fill, as it was opened.
    public var capacityBytes: UInt64
    /// Keys that are remembered.
    public var keyCount: Int
    /// The alarm of a full log of profile `silStrict`, until somebody acknowledges it.
    public var isAlarmRaised: Bool
    /// Whether a new record would be taken now.
    public var isAcceptingRecords: Bool
    /// The failure that stopped the log, or nil while it writes.
    public var poison: PoisonCause?
    /// Work done since it was opened.
    public var counters: LogCounters
    /// How often each kind of event was.
    public var events: LogEventCounters

    /// Fill bytes ÷ capacity.
    public var fill: Double { Double(fillBytes) / Double(capacityBytes) }
}
