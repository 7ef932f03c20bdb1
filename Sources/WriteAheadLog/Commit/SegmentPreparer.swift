internal import Synchronization

/// Makes the next segments' files ahead of need: zero-filled, synced, their names durable. A spare is
/// in no manifest; a crash leaves a file that opening finds and uses again.
///
/// A failure here is no failure of the log: nothing acknowledged lies in a spare. It is kept, told to
/// whoever needs a segment, and the next need tries again.
final class SegmentPreparer: @unchecked Sendable {
    struct Spare {
        var id: UInt64
        var file: any DiskFile
    }

    private let disk: any Disk
    private let directory: String
    private let segmentBytes: UInt64
    /// Commits go past the page cache, so zeros do too: nothing cached is in their way.
    private let isDirect: Bool
    let spareCount: Int
    private let monitor = Monitor()
    private let changed = Monitor.Condition()
    private var thread: EngineThread?

    // Guarded by `monitor`.
    private var spares: [Spare] = []
    /// Removed segments and leftovers of a crash: files to make spares of.
    private var recyclable: [UInt64]
    private var nextID: UInt64
    private var isMaking = false
    private var failure: DiskError?
    private var isStopping = false
    /// Somebody waits for a spare.
    private var isAwaited = false
    private var onFailure: (@Sendable (DiskError) -> Void)?

    private let committedBytes = Atomic<UInt64>(0)

    /// - Parameters:
    ///   - writing: how commits will be written into what is made here.
    ///   - spareCount: how many are kept ready.
    ///   - recyclable: ids of files with the segments' length that hold nothing any more.
    init(
        disk: any Disk, directory: String, segmentBytes: UInt64, writing: CommitWriting, spareCount: Int,
        nextID: UInt64, recyclable: [UInt64] = []
    ) {
        self.disk = disk
        self.directory = directory
        self.segmentBytes = segmentBytes
        isDirect = writing == .direct && segmentBytes % 4096 == 0
        self.spareCount = spareCount
        self.nextID = nextID
        self.recyclable = recyclable
    }

    /// - Parameter onFailure: called for each spare that could not be made.
    func start(threads: Bool, onFailure: @escaping @Sendable (DiskError) -> Void) {
        monitor.withLock { self.onFailure = onFailure }
        guard threads else { return }
        thread = EngineThread(name: "bsfg-prepare") { [self] in run() }
    }

    func stop() {
        monitor.withLock {
            isStopping = true
            changed.broadcast()
        }
        thread?.join()
        thread = nil
    }

    /// Tells of a commit: by them the making of spares is paced.
    func committed(bytes: UInt64) { committedBytes.wrappingAdd(bytes, ordering: .relaxed) }

    /// Bytes of spares and of files that become some.
    var preparedBytes: UInt64 {
        monitor.withLock {
            UInt64(spares.count + recyclable.count + (isMaking ? 1 : 0)) * segmentBytes
        }
    }

    /// Bytes of spares that are ready.
    var readyBytes: UInt64 { monitor.withLock { UInt64(spares.count) * segmentBytes } }

    /// Whether a file that is no longer needed would be kept as a spare.
    var wantsRecycled: Bool {
        monitor.withLock { spares.count + recyclable.count + (isMaking ? 1 : 0) < spareCount }
    }

    /// Takes the file of a removed segment, to be zeroed again under another name.
    func recycle(_ id: UInt64) {
        monitor.withLock {
            recyclable.append(id)
            changed.broadcast()
        }
    }

    /// Tries again after a failure: there may be room now.
    func retry() {
        monitor.withLock {
            failure = nil
            changed.broadcast()
        }
    }

    /// A name for a segment that is made elsewhere.
    func takeID() -> UInt64 {
        monitor.withLock {
            nextID += 1
            return nextID - 1
        }
    }

    /// A spare, waiting for it if it is being made; asks for the next one at once.
    func take() throws(DiskError) -> Spare {
        monitor.lock()
        defer {
            isAwaited = false
            monitor.unlock()
        }
        var asked = false
        while true {
            if !spares.isEmpty {
                changed.broadcast()
                return spares.removeFirst()
            }
            if asked, let failure { throw failure }
            asked = true
            failure = nil
            if thread == nil {
                makeOne()
            } else {
                isAwaited = true
                changed.broadcast()
                monitor.wait(changed)
            }
        }
    }

    /// Makes one spare when one is wanted; false when there are enough or the last attempt failed.
    func step() -> Bool {
        monitor.lock()
        defer { monitor.unlock() }
        guard spares.count < spareCount, failure == nil, !isMaking else { return false }
        makeOne()
        return true
    }

    private func run() {
        monitor.lock()
        defer { monitor.unlock() }
        while !isStopping {
            if spares.count < spareCount, failure == nil {
                makeOne(isPaced: true)
            } else {
                monitor.wait(changed)
            }
        }
    }

    /// Called and left with the lock, which is not held while the file is made.
    private func makeOne(isPaced: Bool = false) {
        let old = recyclable.popLast()
        let id = nextID
        nextID += 1
        isMaking = true
        monitor.unlock()
        let made = Result { () throws(DiskError) in try make(id: id, from: old, isPaced: isPaced) }
        monitor.lock()
        isMaking = false
        switch made {
        case .success(nil): break
        case .success(let spare?): spares.append(spare)
        case .failure(let error):
            failure = error
            onFailure?(error)
        }
        changed.broadcast()
    }

    /// - Returns: nil when the log is closed meanwhile.
    private func make(id: UInt64, from old: UInt64?, isPaced: Bool) throws(DiskError) -> Spare? {
        let path = directory + "/" + SegmentHeader.fileName(id: id)
        if let old {
            if let file = recycled(old, path, isPaced: isPaced) {
                try disk.synchroniseDirectory(directory)
                return Spare(id: id, file: file)
            }
            if isPaced, monitor.withLock({ isStopping }) { return nil }
        }
        let file = try disk.open(path, .create)
        do throws(DiskError) {
            guard try fill(file, path, isPaced: isPaced) else {
                try disk.remove(path)
                return nil
            }
            try disk.synchroniseDirectory(directory)
        } catch {
            // Its room is needed more than it is; a removal that fails leaves it to opening.
            try? disk.remove(path)
            throw error
        }
        return Spare(id: id, file: file)
    }

    /// The file of a removed segment, zero again and under its new name; nil when it cannot be used,
    /// and then it is gone, or when the log is closed meanwhile. It keeps its old name until it is zero:
    /// a crash in between leaves a file that opening knows as a removed segment.
    private func recycled(_ old: UInt64, _ path: String, isPaced: Bool) -> (any DiskFile)? {
        let oldPath = directory + "/" + SegmentHeader.fileName(id: old)
        do throws(DiskError) {
            let file = try disk.open(oldPath, .readWrite)
            if try file.size() == segmentBytes {
                guard try fill(file, oldPath, isPaced: isPaced) else { return nil }
                try disk.rename(oldPath, to: path)
                // Opened by its new name: a file knows the name that it was opened by.
                return try disk.open(path, .readWrite)
            }
        } catch {}
        try? disk.remove(oldPath)
        return nil
    }

    /// - Returns: false when the log is closed meanwhile: it does not wait for a spare that it will not use.
    private func fill(_ file: any DiskFile, _ path: String, isPaced: Bool) throws(DiskError) -> Bool {
        var target = file
        if isDirect, let direct = try? disk.openDirect(path) { target = direct }
        var pace = FillPace(committedBytes: committedBytes.load(ordering: .relaxed))
        return try ZeroFill.fill(target, byteCount: segmentBytes) { bytes in
            guard isPaced else { return true }
            if pace.pauses(
                after: bytes, committedBytes: committedBytes.load(ordering: .relaxed))
            {
                pause()
            }
            return monitor.withLock { !isStopping }
        }
    }

    /// Lets commits go first for a moment, unless the spare is waited for.
    private func pause() {
        // The kernel's clock, whatever the log's is: a condition is waited for by it.
        let end = LogEnvironment.linux.monotonicNanoseconds() + FillPace.pauseNanoseconds
        monitor.lock()
        defer { monitor.unlock() }
        while !isStopping, !isAwaited, monitor.wait(changed, untilNanoseconds: end) {}
    }
}
