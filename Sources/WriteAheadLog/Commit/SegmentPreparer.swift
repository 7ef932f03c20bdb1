/// Makes the next segment's file ahead of need: zero-filled, synced, its name durable. A spare is in
/// no manifest; a crash leaves a file that opening removes.
///
/// A failure here is no failure of the log: nothing acknowledged lies in a spare. It is kept, told to
/// whoever needs a segment, and the next need tries again.
final class SegmentPreparer: @unchecked Sendable {
    struct Spare {
        var id: UInt64
        var file: any DiskFile
    }

    private enum Status {
        case idle
        case wanted
        case ready(Spare)
        case failed(DiskError)
    }

    private let disk: any Disk
    private let directory: String
    private let segmentBytes: UInt64
    private let monitor = Monitor()
    private let changed = Monitor.Condition()
    private var status = Status.wanted
    private var nextID: UInt64
    private var isStopping = false
    private var thread: EngineThread?

    init(disk: any Disk, directory: String, segmentBytes: UInt64, nextID: UInt64) {
        self.disk = disk
        self.directory = directory
        self.segmentBytes = segmentBytes
        self.nextID = nextID
    }

    func start() {
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

    /// The spare, waiting for it if it is being made; asks for the next one at once.
    func take() throws(DiskError) -> Spare {
        monitor.lock()
        defer { monitor.unlock() }
        var asked = false
        while true {
            switch status {
            case .ready(let spare):
                status = .wanted
                changed.broadcast()
                return spare
            case .failed(let error) where asked:
                throw error
            case .idle, .failed:
                asked = true
                status = .wanted
                changed.broadcast()
            case .wanted:
                asked = true
                monitor.wait(changed)
            }
        }
    }

    /// Makes a spare on the calling thread, before the preparer's own thread runs.
    func prepareFirst() throws(DiskError) -> Spare { try make(id: takeID()) }

    private func run() {
        monitor.lock()
        defer { monitor.unlock() }
        while !isStopping {
            guard case .wanted = status else {
                monitor.wait(changed)
                continue
            }
            let id = nextID
            nextID += 1
            monitor.unlock()
            let made = Result { () throws(DiskError) in try make(id: id) }
            monitor.lock()
            switch made {
            case .success(let spare): status = .ready(spare)
            case .failure(let error): status = .failed(error)
            }
            changed.broadcast()
        }
    }

    private func takeID() -> UInt64 {
        monitor.withLock {
            nextID += 1
            return nextID - 1
        }
    }

    private func make(id: UInt64) throws(DiskError) -> Spare {
        let path = directory + "/" + SegmentHeader.fileName(id: id)
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
}
