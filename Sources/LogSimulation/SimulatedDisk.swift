internal import CPlatform
internal import Glibc
package import WriteAheadLog

/// A disk in memory that fails, lies and loses power on demand.
///
/// It keeps what a program sees apart from what survives a power cut: bytes until their file is
/// synced, names until their directory is.
package final class SimulatedDisk: Disk, @unchecked Sendable {
    private let monitor = Monitor()
    private var image: DiskImage
    private var locks: [String: Int] = [:]
    private var random: SimulationRandom
    private var triggers: [FaultTrigger]
    private var calls = 0
    private var firedCounts: [DiskFault: Int] = [:]
    private var observer: ((DiskCall, DiskImage) -> Void)?
    private var capacity = Int.max
    private let blocks: (logical: UInt32, physical: UInt32)

    package init(
        _ image: DiskImage = DiskImage(), seed: UInt64 = 0, faults: [FaultTrigger] = [],
        blocks: (logical: UInt32, physical: UInt32) = (512, 4096)
    ) {
        self.image = image
        self.blocks = blocks
        random = SimulationRandom(seed: seed)
        triggers = faults
    }

    /// What it holds now: what the next process finds after this one was killed.
    package var snapshot: DiskImage { monitor.withLock { image } }

    /// Reads and changes so far.
    package var callCount: Int { monitor.withLock { calls } }

    package var firedFaults: [DiskFault: Int] { monitor.withLock { firedCounts } }

    /// Called before each read and change with what the disk holds; must not call the disk.
    package func observe(_ observer: ((DiskCall, DiskImage) -> Void)?) {
        monitor.withLock { self.observer = observer }
    }

    package func setFaults(_ faults: [FaultTrigger]) { monitor.withLock { triggers = faults } }

    /// How many bytes all files together may take.
    package func setCapacity(bytes: Int) { monitor.withLock { capacity = bytes } }

    // MARK: - Calls

    /// Counts a call, tells the observer, and takes the fault that is due. Called with the lock.
    private func begin(
        _ operation: DiskCall.Operation, _ path: String, position: Int = 0, byteCount: Int = 0
    ) -> DiskFault? {
        calls += 1
        observer?(
            DiskCall(
                number: calls, operation: operation, path: path, position: position,
                byteCount: byteCount), image)
        for index in triggers.indices {
            let trigger = triggers[index]
            guard trigger.fault.applies(to: operation) else { continue }
            if let suffix = trigger.pathSuffix, !path.hasSuffix(suffix) { continue }
            switch trigger.moment {
            case .always: break
            case .oneIn(let count):
                guard random.oneIn(count) else { continue }
            case .call(let left):
                triggers[index].moment = .call(left - 1)
                guard left == 1 else { continue }
            }
            firedCounts[trigger.fault, default: 0] += 1
            return trigger.fault
        }
        return nil
    }

    private func withLock<Value>(_ body: () throws(DiskError) -> Value) throws(DiskError) -> Value {
        monitor.lock()
        defer { monitor.unlock() }
        return try body()
    }

    // MARK: - Names

    package func createDirectory(_ path: String) throws(DiskError) {}

    package func list(_ path: String) throws(DiskError) -> [String] {
        monitor.withLock {
            // A directory is there as long as something is in it.
            Set(
                image.names.keys.filter { $0.hasPrefix(path + "/") }.map {
                    String($0.dropFirst(path.count + 1).prefix { $0 != "/" })
                }
            ).sorted()
        }
    }

    package func open(_ path: String, _ mode: DiskOpenMode) throws(DiskError) -> any DiskFile {
        try withLock { () throws(DiskError) in
            switch (image.names[path], mode) {
            case (nil, .create):
                if begin(.create, path) != nil { throw DiskError(.open, path, code: EIO) }
                return SimulatedFile(self, path, makeFile(path))
            case (nil, _): throw DiskError(.open, path, code: ENOENT)
            case (_, .create): throw DiskError(.open, path, code: EEXIST)
            case (let number?, _): return SimulatedFile(self, path, number)
            }
        }
    }

    private func makeFile(_ path: String) -> Int {
        let number = image.files.count
        image.files.append(DiskImage.File())
        change(.created(path, file: number))
        return number
    }

    private func change(_ change: DiskImage.NameChange) {
        image.apply(change, to: \.names)
        image.unsyncedNames.append(change)
    }

    package func lock(_ path: String, exclusive: Bool) throws(DiskError) -> (any DiskLock)? {
        monitor.withLock {
            let held = locks[path, default: 0]
            guard held == 0 || (held > 0 && !exclusive) else { return nil }
            locks[path] = exclusive ? -1 : held + 1
            if image.names[path] == nil { _ = makeFile(path) }
            return SimulatedLock { [self] in
                monitor.withLock {
                    locks[path] = exclusive ? 0 : max(0, locks[path, default: 0] - 1)
                }
            }
        }
    }

    package func remove(_ path: String) throws(DiskError) {
        try withLock { () throws(DiskError) in
            if begin(.remove, path) != nil { throw DiskError(.remove, path, code: EIO) }
            guard image.names[path] != nil else { throw DiskError(.remove, path, code: ENOENT) }
            change(.removed(path))
        }
    }

    package func rename(_ path: String, to newPath: String) throws(DiskError) {
        try withLock { () throws(DiskError) in
            if begin(.rename, path) != nil { throw DiskError(.rename, path, code: EIO) }
            guard let number = image.names[path] else {
                throw DiskError(.rename, path, code: ENOENT)
            }
            change(.renamed(path, to: newPath, file: number))
        }
    }

    package func synchroniseDirectory(_ path: String) throws(DiskError) {
        try withLock { () throws(DiskError) in
            if begin(.synchroniseDirectory, path) != nil {
                throw DiskError(.synchroniseDirectory, path, code: EIO)
            }
            image.synchroniseNames(of: path)
        }
    }

    package func freeBytes(_ path: String) throws(DiskError) -> UInt64 {
        monitor.withLock {
            capacity == .max
                ? UInt64(1) << 40 : UInt64(max(0, capacity - image.usedBytes))
        }
    }

    package func blockBytes(_ path: String) -> (logical: UInt32, physical: UInt32) { blocks }

    // MARK: - Bytes

    fileprivate func read(
        _ file: SimulatedFile, into buffer: UnsafeMutableRawBufferPointer, at position: UInt64,
        uncached: Bool
    ) throws(DiskError) -> Int {
        try withLock { () throws(DiskError) in
            let fault = begin(
                .read, file.path, position: Int(position), byteCount: buffer.count)
            if fault != nil { throw DiskError(.read, file.path, code: EIO) }
            return uncached
                ? image.readUncached(file: file.number, into: buffer, at: Int(position))
                : image.files[file.number].cache.read(into: buffer, at: Int(position))
        }
    }

    fileprivate func write(
        _ file: SimulatedFile, _ bytes: UnsafeRawBufferPointer, at position: UInt64
    ) throws(DiskError) {
        try withLock { () throws(DiskError) in
            let place = Int(position)
            let fault = begin(.write, file.path, position: place, byteCount: bytes.count)
            let growth = place + bytes.count - image.files[file.number].cache.count
            if growth > 0, capacity != .max, image.usedBytes + growth > capacity {
                throw DiskError(.write, file.path, code: ENOSPC)
            }
            switch fault {
            case nil: apply(bytes, at: place, file.number)
            case .noSpace: throw DiskError(.write, file.path, code: ENOSPC)
            case .shortWrite:
                apply(half(bytes), at: place, file.number)
                throw DiskError(.write, file.path, code: 0)
            case .writeError:
                // How much of it was taken before the error is anybody's guess.
                if random.oneIn(2) { apply(half(bytes), at: place, file.number) }
                throw DiskError(.write, file.path, code: EIO)
            case .lostWrite:
                image.files[file.number].cache.write(bytes, at: place)
                image.files[file.number].device.resize(
                    to: image.files[file.number].cache.count)
            case .tornWrite:
                let sectors = (bytes.count + 511) / 512
                let kept = min(bytes.count, 512 * random.below(max(1, sectors)))
                image.files[file.number].cache.write(bytes, at: place)
                image.files[file.number].device.write(
                    UnsafeRawBufferPointer(rebasing: bytes[..<kept]), at: place)
                image.files[file.number].device.resize(
                    to: image.files[file.number].cache.count)
            case .misdirectedWrite: misdirect(bytes, at: place, file.number)
            case .bitRot:
                apply(bytes, at: place, file.number)
                rot(place + random.below(bytes.count), file.number)
            default: preconditionFailure("a write met a fault that is none of a write")
            }
        }
    }

    private func half(_ bytes: UnsafeRawBufferPointer) -> UnsafeRawBufferPointer {
        UnsafeRawBufferPointer(rebasing: bytes[..<(bytes.count / 2)])
    }

    private func apply(_ bytes: UnsafeRawBufferPointer, at position: Int, _ number: Int) {
        guard bytes.count > 0 else { return }
        image.write(
            bytes, at: position, file: number,
            isZero: bsfg_all_zero(bytes.baseAddress!, bytes.count) != 0)
    }

    /// The bytes reach the device some sectors away, over what lies there.
    private func misdirect(_ bytes: UnsafeRawBufferPointer, at position: Int, _ number: Int) {
        image.files[number].cache.write(bytes, at: position)
        let size = image.files[number].cache.count
        image.files[number].device.resize(to: size)
        let wrong = random.below(max(1, (size - bytes.count) / 512)) * 512
        let target = wrong == position ? (wrong + 512) % max(512, size) : wrong
        image.files[number].device.write(
            UnsafeRawBufferPointer(rebasing: bytes[..<min(bytes.count, max(0, size - target))]),
            at: target)
    }

    /// Flips one bit once the bytes have reached the device.
    private func rot(_ position: Int, _ number: Int) {
        image.synchronise(file: number)
        var byte = image.files[number].device.bytes(position..<position + 1)
        byte[0] ^= 1 << UInt8(random.below(8))
        image.files[number].device.write(byte, at: position)
    }

    fileprivate func synchronise(_ file: SimulatedFile) throws(DiskError) {
        try withLock { () throws(DiskError) in
            let number = file.number
            switch begin(.synchronise, file.path) {
            case nil: image.synchronise(file: number)
            case .lyingFlush: break
            case .syncErrorCleanPages:
                let cache = image.files[number].cache
                loseUnsynced(number)
                image.files[number].cache = cache
                image.files[number].device.resize(to: cache.count)
                throw DiskError(.synchronise, file.path, code: EIO)
            case .syncErrorReverted:
                loseUnsynced(number)
                image.files[number].cache = image.files[number].device
                throw DiskError(.synchronise, file.path, code: EIO)
            case .syncErrorKeptDirty: throw DiskError(.synchronise, file.path, code: EIO)
            default: preconditionFailure("a sync met a fault that is none of a sync")
            }
        }
    }

    /// Some of what is unsynced reached the device, the rest never will.
    private func loseUnsynced(_ number: Int) {
        var single = DiskImage()
        single.files = [image.files[number]]
        single.durableNames = ["": 0]
        image.files[number] = PowerCut(garbage: false).draw(from: single, using: &random).files[0]
    }

    fileprivate func size(_ file: SimulatedFile) -> UInt64 {
        monitor.withLock { UInt64(image.files[file.number].cache.count) }
    }

    fileprivate func linkCount(_ file: SimulatedFile) -> Int {
        monitor.withLock { image.names.values.filter { $0 == file.number }.count }
    }
}

private final class SimulatedFile: DiskFile {
    let disk: SimulatedDisk
    let path: String
    let number: Int

    init(_ disk: SimulatedDisk, _ path: String, _ number: Int) {
        self.disk = disk
        self.path = path
        self.number = number
    }

    func read(into buffer: UnsafeMutableRawBufferPointer, at position: UInt64) throws(DiskError)
        -> Int
    {
        try disk.read(self, into: buffer, at: position, uncached: false)
    }

    func readUncached(into buffer: UnsafeMutableRawBufferPointer, at position: UInt64)
        throws(DiskError) -> Int
    {
        try disk.read(self, into: buffer, at: position, uncached: true)
    }

    func write(_ bytes: UnsafeRawBufferPointer, at position: UInt64) throws(DiskError) {
        try disk.write(self, bytes, at: position)
    }

    func synchronise() throws(DiskError) { try disk.synchronise(self) }

    func size() throws(DiskError) -> UInt64 { disk.size(self) }

    func linkCount() throws(DiskError) -> Int { disk.linkCount(self) }
}

private final class SimulatedLock: DiskLock, @unchecked Sendable {
    private let monitor = Monitor()
    private var action: (() -> Void)?

    init(_ action: @escaping () -> Void) { self.action = action }

    deinit { release() }

    func release() {
        monitor.lock()
        let action = action
        self.action = nil
        monitor.unlock()
        action?()
    }
}
