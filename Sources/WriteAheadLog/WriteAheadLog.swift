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
    public let directory: String
    public let identifier: LogIdentifier
    public let profile: Profile

    private let engine: LogEngine
    private let disk: any Disk
    private let files: SegmentFiles

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
        let log = Log(opened, opening)
        // Another process may write only when nothing here does any more.
        log.engine.start(atEnd: { lock.release() })
        return log
    }

    private init(_ opened: LogOpening.Opened, _ opening: LogOpening) {
        recovery = opened.report
        directory = opening.directory
        identifier = opened.writer.table.identifier
        profile = opened.writer.table.profile
        disk = opening.disk
        files = SegmentFiles(disk: opening.disk, directory: opening.directory)
        engine = LogEngine(opened, environment: opening.environment)
    }

    deinit { close() }

    /// Makes everything queued durable, records the state and ends. Later calls throw `closed`.
    public func close() { engine.close() }

    // MARK: - Append

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
    public var firstOffset: UInt64 {
        engine.monitor.withLock { engine.segments[0].entry.baseOffset }
    }

    /// One past the last durable offset.
    public var headOffset: UInt64 { engine.monitor.withLock { engine.headOffset } }

    public var epoch: UInt64 { engine.monitor.withLock { engine.pipeline.state.epoch } }

    public var epochs: [EpochEntry] { engine.monitor.withLock { engine.pipeline.state.epochs } }

    /// Gives durable records from `offset` on to `visit`, in order, until it answers false, the head
    /// is reached, `maximumCount` records were given, or the next payload would pass `maximumBytes`
    /// (the first record is always given). Every checksum is verified. Blocks.
    ///
    /// - Returns: the offset to go on from.
    /// - Throws: `offsetOutOfRange` below the first or above the head; `corrupt`; `disk`.
    @discardableResult
    public func read(
        from offset: UInt64, maximumCount: Int = .max, maximumBytes: Int = .max,
        _ visit: (LogRecord) -> Bool
    ) throws(LogError) -> UInt64 {
        var next = offset
        var count = 0
        var bytes = 0
        while count < maximumCount, let index = try engine.place(of: next) {
            let file = try files.file(index.entry.id)
            var reader = FrameReader(
                index: index, path: files.path(index.entry.id), file: file, profile: profile)
            defer { reader.close() }
            let more = try reader.read(from: next) { record in
                guard count < maximumCount else { return false }
                if count > 0, bytes + record.payload.count > maximumBytes { return false }
                count += 1
                bytes += record.payload.count
                next = record.offset + 1
                return visit(record)
            }
            guard more else { return next }
        }
        return next
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

    public func removeObserver(_ number: UInt64) { engine.removeObserver(number) }

    /// Where a durable key stands, and its content digest. O(1).
    public func lookUp(_ key: Digest256) -> (offset: UInt64, content: Digest256)? {
        engine.monitor.withLock {
            engine.pipeline.keys.durable[key].map { ($0.offset, $0.content) }
        }
    }

    /// The first offset whose record was appended at or after a time (milliseconds since 1970), or
    /// the head. Reads the segment in which it lies. Blocks.
    public func offset(atOrAfterMilliseconds time: Int64) throws(LogError) -> UInt64 {
        let (segments, head) = engine.monitor.withLock { (engine.segments, engine.headOffset) }
        guard let index = segments.first(where: { $0.entry.greatestTimeMilliseconds >= time }) else {
            return head
        }
        var found = index.endOffset
        try read(from: index.entry.baseOffset) { record in
            guard record.appendTimeMilliseconds < time else {
                found = record.offset
                return false
            }
            return true
        }
        return found
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

    public func cursors() -> [Cursor] {
        engine.monitor.withLock { engine.pipeline.state.cursors.map(\.cursor) }
    }

    public func cursor(owner: String, name: String) -> Cursor? {
        let identity = CursorIdentity(owner: owner, name: name)
        return engine.monitor.withLock { engine.pipeline.state.cursor(identity)?.cursor }
    }

    /// Makes a cursor durable. Blocks.
    ///
    /// - Throws: `cursorExists`; `offsetOutOfRange` when it would begin beyond the head.
    public func createCursor(_ cursor: Cursor) throws(LogError) {
        try engine.setCursor { state, head in
            if state.cursor(cursor.identity) != nil {
                return .failure(.cursorExists(owner: cursor.owner, name: cursor.name))
            }
            guard cursor.nextOffset <= head else {
                return .failure(.offsetOutOfRange(offset: cursor.nextOffset, first: 0, head: head))
            }
            return .success(cursor)
        }
    }

    /// Moves a cursor's frontier to `nextOffset`: everything below is confirmed. At or below where it
    /// stands nothing changes. Durable when it returns; takes no space in the log. Blocks.
    ///
    /// - Parameter digest: of the last record before `nextOffset`, with that record's offset.
    /// - Throws: `cursorNotFound`; `offsetOutOfRange` beyond the head.
    /// - Returns: the cursor as it stands durably.
    @discardableResult
    public func confirm(
        owner: String, name: String, nextOffset: UInt64,
        digest: (value: Digest256, offset: UInt64)? = nil
    ) throws(LogError) -> Cursor {
        let identity = CursorIdentity(owner: owner, name: name)
        try engine.setCursor { state, head in
            guard var cursor = state.cursor(identity)?.cursor else {
                return .failure(.cursorNotFound(owner: owner, name: name))
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

    /// Removes a cursor; truncation no longer waits for it. Blocks.
    public func deleteCursor(owner: String, name: String) throws(LogError) {
        let identity = CursorIdentity(owner: owner, name: name)
        try engine.setCursor(isDeleted: true) { state, _ in
            guard let cursor = state.cursor(identity)?.cursor else {
                return .failure(.cursorNotFound(owner: owner, name: name))
            }
            return .success(cursor)
        }
    }

    // MARK: - Statistics

    /// A view of the log's size and work. O(1).
    public func statistics() -> LogStatistics {
        engine.monitor.withLock {
            LogStatistics(
                firstOffset: engine.segments[0].entry.baseOffset, headOffset: engine.headOffset,
                segmentCount: engine.segments.count, usedBytes: engine.pipeline.usedBytes,
                capacityBytes: engine.pipeline.limits.capacityBytes,
                keyCount: engine.pipeline.keys.durable.count, poison: engine.pipeline.poison,
                counters: engine.counters)
        }
    }
}

/// The size and work of a log.
public struct LogStatistics: Hashable, Sendable {
    public var firstOffset: UInt64
    public var headOffset: UInt64
    public var segmentCount: Int
    public var usedBytes: UInt64
    public var capacityBytes: UInt64
    public var keyCount: Int
    /// The failure that stopped the log, or nil while it writes.
    public var poison: PoisonCause?
    public var counters: LogCounters

    /// Used bytes ÷ capacity.
    public var fill: Double { Double(usedBytes) / Double(capacityBytes) }
}
