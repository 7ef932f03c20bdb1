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
    private var onFailure: (@Sendable (DiskError) -> Void)?

    /// - Parameters:
    ///   - spareCount: how many are kept ready.
    ///   - recyclable: ids of files with the segments' length that hold nothing any more.
    init(
        disk: any Disk, directory: String, segmentBytes: UInt64, spareCount: Int, nextID: UInt64,
        recyclable: [UInt64] = []
    ) {
        self.disk = disk
        self.directory = directory
        self.segmentBytes = segmentBytes
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

    /// Bytes of spares and of files that become some.
    var preparedBytes: UInt64 {
        monitor.withLock {
            UInt64(spares.count + recyclable.count + (isMaking ? 1 : 0)) * segmentBytes
        }
    }

    /// Bytes of spares that are ready.
    var readyBytes: UInt64 { monitor.withLock { UInt64(spares.count) * segmentBytes } }

    /// Whether a file that is no longer needed would be kept as a spare.
    var wantsRecycled: Bool { monitor.withLock { spares.count + recyclable.count < spareCount } }

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
        defer { monitor.unlock() }
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
                makeOne()
            } else {
                monitor.wait(changed)
            }
        }
    }

    /// Called and left with the lock, which is not held while the file is made.
    private func makeOne() {
        let old = recyclable.popLast()
        let id = nextID
        nextID += 1
        isMaking = true
        monitor.unlock()
        let made = Result { () throws(DiskError) in try make(id: id, from: old) }
        monitor.lock()
        isMaking = false
        switch made {
        case .success(let spare): spares.append(spare)
        case .failure(let error):
            failure = error
            onFailure?(error)
        }
        changed.broadcast()
    }

    private func make(id: UInt64, from old: UInt64?) throws(DiskError) -> Spare {
        let path = directory + "/" + SegmentHeader.fileName(id: id)
        if let old, let file = recycled(old, path) {
            try disk.synchroniseDirectory(directory)
            return Spare(id: id, file: file)
        }
        let file = try disk.open(path, .create)
        do throws(DiskError) {
            try ZeroFill.fill(file, byteCount: segmentBytes)
            try disk.synchroniseDirectory(directory)
        } catch {
            // Its room is needed more than it is; a removal that fails leaves it to opening.
            try? disk.remove(path)
            throw error
        }
        return Spare(id: id, file: file)
    }

    /// The file of a removed segment, zero again and under its new name; nil when it cannot be used,
    /// and then it is gone. It keeps its old name until it is zero: a crash in between leaves a file
    /// that opening knows as a removed segment.
    private func recycled(_ old: UInt64, _ path: String) -> (any DiskFile)? {
        let oldPath = directory + "/" + SegmentHeader.fileName(id: old)
        do throws(DiskError) {
            let file = try disk.open(oldPath, .readWrite)
            if try file.size() == segmentBytes {
                try ZeroFill.fill(file, byteCount: segmentBytes)
                try disk.rename(oldPath, to: path)
                // Opened by its new name: a file knows the name that it was opened by.
                return try disk.open(path, .readWrite)
            }
        } catch {}
        try? disk.remove(oldPath)
        return nil
    }
}
