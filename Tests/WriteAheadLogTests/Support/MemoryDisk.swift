import Glibc

@testable import WriteAheadLog

/// A disk in memory that fails, tears and loses power on demand.
///
/// It keeps what a program sees apart from what survives a power cut: bytes until their file is
/// synced, names until their directory is. Call `hook` sees every call before it is done and can
/// fail it, or hold it up.
final class MemoryDisk: Disk, @unchecked Sendable {
    struct Call: Sendable {
        var number: Int
        var operation: DiskError.Operation
        var path: String
        var position: UInt64 = 0
        var byteCount = 0

        var isSegment: Bool { path.hasSuffix(".segment") }
        var isManifest: Bool { path.hasSuffix("/manifest") || path.hasSuffix("/manifest.new") }
    }

    enum Fault: Sendable {
        /// Nothing of the call happens.
        case error(Int32)
        /// A write leaves its first half behind, a sync makes the first half durable.
        case half(Int32)
        /// The call does everything and still answers with an error.
        case afterwards(Int32)
    }

    final class Node: @unchecked Sendable {
        var bytes: [UInt8]
        var durable: [UInt8]
        /// Written and not synced, in order.
        var unsynced: [Range<Int>] = []

        init(_ bytes: [UInt8] = []) {
            self.bytes = bytes
            durable = bytes
        }
    }

    private let monitor = Monitor()
    private var names: [String: Node] = [:]
    private var durableNames: [String: Node] = [:]
    private var locks: [String: Int] = [:]
    private var calls = 0
    private var freeSpace: UInt64 = 1 << 40
    private var refusesDirectWrites = false
    private var hook: (@Sendable (Call) -> Fault?)?
    let blocks: (logical: UInt32, physical: UInt32)

    init(
        blocks: (logical: UInt32, physical: UInt32) = (512, 4096), files: [String: [UInt8]] = [:]
    ) {
        self.blocks = blocks
        for (name, bytes) in files {
            let node = Node(bytes)
            names[name] = node
            durableNames[name] = node
        }
    }

    var callCount: Int { monitor.withLock { calls } }

    func setHook(_ hook: (@Sendable (Call) -> Fault?)?) { monitor.withLock { self.hook = hook } }

    /// What a program sees now, by path.
    var files: [String: [UInt8]] { monitor.withLock { names.mapValues(\.bytes) } }

    /// Without a copy of the bytes, which ThreadSanitizer would see shared with a writer.
    func byteCount(_ path: String) -> Int? { monitor.withLock { names[path]?.bytes.count } }

    func edit(_ path: String, _ change: (inout [UInt8]) -> Void) {
        monitor.withLock {
            change(&names[path]!.bytes)
            names[path]!.durable = names[path]!.bytes
        }
    }

    func put(_ path: String, _ bytes: [UInt8]) {
        monitor.withLock {
            names[path] = Node(bytes)
            durableNames[path] = names[path]
        }
    }

    /// Gives a file another name.
    func link(_ path: String, to other: String) {
        monitor.withLock {
            names[other] = names[path]
            durableNames[other] = names[path]
        }
    }

    /// The same bytes on a disk of its own: what the next process finds after a kill.
    func copy() -> MemoryDisk { MemoryDisk(blocks: blocks, files: files) }

    /// What the next process finds after a power cut: of the unsynced bytes any pieces of a sector
    /// are old, new, or with `garbage` anything; an unsynced name is there or not.
    func afterPowerCut(using chance: inout some RandomNumberGenerator, garbage: Bool = false)
        -> MemoryDisk
    {
        monitor.lock()
        defer { monitor.unlock() }
        var files: [String: [UInt8]] = [:]
        for path in Set(names.keys).union(durableNames.keys).sorted() {
            let now = names[path]
            let before = durableNames[path]
            guard let node = now === before || Bool.random(using: &chance) ? now : before else {
                continue
            }
            var bytes = node.durable
            for range in node.unsynced {
                if bytes.count < range.upperBound, Bool.random(using: &chance) {
                    bytes += [UInt8](repeating: 0, count: range.upperBound - bytes.count)
                }
                var start = range.lowerBound
                while start < range.upperBound {
                    let end = min((start / 512 + 1) * 512, range.upperBound)
                    if end <= bytes.count {
                        switch Int.random(in: 0..<(garbage ? 5 : 4), using: &chance) {
                        case 0, 1: bytes[start..<end] = node.bytes[start..<end]
                        case 4:
                            for place in start..<end {
                                bytes[place] = UInt8.random(in: 0...255, using: &chance)
                            }
                        default: break
                        }
                    }
                    start = end
                }
            }
            files[path] = bytes
        }
        return MemoryDisk(blocks: blocks, files: files)
    }

    // MARK: - Disk

    private func begin(
        _ operation: DiskError.Operation, _ path: String, position: UInt64 = 0, byteCount: Int = 0
    ) -> Fault? {
        monitor.lock()
        calls += 1
        let call = Call(
            number: calls, operation: operation, path: path, position: position,
            byteCount: byteCount)
        let hook = hook
        monitor.unlock()
        return hook?(call)
    }

    private func perform<Value>(
        _ operation: DiskError.Operation, _ path: String, position: UInt64 = 0, byteCount: Int = 0,
        _ body: (_ part: Int) throws(DiskError) -> Value
    ) throws(DiskError) -> Value {
        let fault = begin(operation, path, position: position, byteCount: byteCount)
        monitor.lock()
        defer { monitor.unlock() }
        switch fault {
        case nil: return try body(byteCount)
        case .error(let code): throw DiskError(operation, path, code: code)
        case .half(let code):
            switch operation {
            case .write, .synchronise: _ = try body(byteCount / 2)
            default: break
            }
            throw DiskError(operation, path, code: code)
        case .afterwards(let code):
            // A lock that nobody gets would be released at once, under the monitor.
            if operation != .lock { _ = try body(byteCount) }
            throw DiskError(operation, path, code: code)
        }
    }

    func createDirectory(_ path: String) throws(DiskError) {
        try perform(.createDirectory, path) { _ in }
    }

    func list(_ path: String) throws(DiskError) -> [String] {
        try perform(.list, path) { _ in
            names.keys.filter { $0.hasPrefix(path + "/") }.map { String($0.dropFirst(path.count + 1)) }
        }
    }

    /// Says that there are no descriptors left for files that are to be written past the page cache.
    func setRefusesDirectWrites(_ refuses: Bool) {
        monitor.withLock { refusesDirectWrites = refuses }
    }

    func openDirectSynchronous(_ path: String) throws(DiskError) -> any DiskFile {
        guard !monitor.withLock({ refusesDirectWrites }) else {
            throw DiskError(.open, path, code: EMFILE)
        }
        return SynchronousFile(try open(path, .readWrite))
    }

    func open(_ path: String, _ mode: DiskOpenMode) throws(DiskError) -> any DiskFile {
        try perform(.open, path) { (_) throws(DiskError) in
            switch (names[path], mode) {
            case (nil, .create):
                let node = Node()
                names[path] = node
                return MemoryFile(disk: self, path: path, node: node)
            case (nil, _): throw DiskError(.open, path, code: ENOENT)
            case (_, .create): throw DiskError(.open, path, code: EEXIST)
            case (let node?, _): return MemoryFile(disk: self, path: path, node: node)
            }
        }
    }

    func lock(_ path: String, exclusive: Bool) throws(DiskError) -> (any DiskLock)? {
        try perform(.lock, path) { _ in
            let held = locks[path, default: 0]
            guard held == 0 || (held > 0 && !exclusive) else { return nil }
            locks[path] = exclusive ? -1 : held + 1
            if names[path] == nil { names[path] = Node() }
            return MemoryLock { [self] in
                monitor.withLock {
                    locks[path] = exclusive ? 0 : max(0, locks[path, default: 0] - 1)
                }
            }
        }
    }

    func remove(_ path: String) throws(DiskError) {
        try perform(.remove, path) { (_) throws(DiskError) in
            guard names.removeValue(forKey: path) != nil else {
                throw DiskError(.remove, path, code: ENOENT)
            }
        }
    }

    func rename(_ path: String, to newPath: String) throws(DiskError) {
        try perform(.rename, path) { (_) throws(DiskError) in
            guard let node = names.removeValue(forKey: path) else {
                throw DiskError(.rename, path, code: ENOENT)
            }
            names[newPath] = node
        }
    }

    func synchroniseDirectory(_ path: String) throws(DiskError) {
        try perform(.synchroniseDirectory, path) { _ in
            durableNames = durableNames.filter { !$0.key.hasPrefix(path + "/") }
            for (name, node) in names where name.hasPrefix(path + "/") { durableNames[name] = node }
        }
    }

    func blockBytes(_ path: String) -> (logical: UInt32, physical: UInt32) { blocks }

    /// What `freeBytes` answers.
    var free: UInt64 {
        get { monitor.withLock { freeSpace } }
        set { monitor.withLock { freeSpace = newValue } }
    }

    func freeBytes(_ path: String) throws(DiskError) -> UInt64 {
        try perform(.freeSpace, path) { _ in freeSpace }
    }

    private final class MemoryFile: DiskFile {
        let disk: MemoryDisk
        let path: String
        let node: Node

        init(disk: MemoryDisk, path: String, node: Node) {
            self.disk = disk
            self.path = path
            self.node = node
        }

        func read(into buffer: UnsafeMutableRawBufferPointer, at position: UInt64)
            throws(DiskError) -> Int
        {
            try disk.perform(.read, path, position: position, byteCount: buffer.count) { _ in
                let start = min(Int(position), node.bytes.count)
                let count = min(buffer.count, node.bytes.count - start)
                node.bytes.withUnsafeBytes {
                    buffer.copyMemory(from: UnsafeRawBufferPointer(rebasing: $0[start..<start + count]))
                }
                return count
            }
        }

        func readUncached(into buffer: UnsafeMutableRawBufferPointer, at position: UInt64)
            throws(DiskError) -> Int
        {
            try read(into: buffer, at: position)
        }

        func write(_ bytes: UnsafeRawBufferPointer, at position: UInt64) throws(DiskError) {
            try disk.perform(.write, path, position: position, byteCount: bytes.count) { part in
                let range = Int(position)..<Int(position) + part
                if node.bytes.count < range.upperBound {
                    node.bytes += [UInt8](
                        repeating: 0, count: range.upperBound - node.bytes.count)
                }
                node.bytes.withUnsafeMutableBytes {
                    UnsafeMutableRawBufferPointer(rebasing: $0[range]).copyMemory(
                        from: UnsafeRawBufferPointer(rebasing: bytes[..<part]))
                }
                node.unsynced.append(range)
            }
        }

        func synchronise() throws(DiskError) {
            let isHalf = disk.monitor.withLock { node.unsynced.count }
            try disk.perform(.synchronise, path, byteCount: isHalf) { part in
                for range in node.unsynced.prefix(part) {
                    if node.durable.count < range.upperBound {
                        node.durable += [UInt8](
                            repeating: 0, count: range.upperBound - node.durable.count)
                    }
                    node.bytes.withUnsafeBytes { source in
                        node.durable.withUnsafeMutableBytes { target in
                            UnsafeMutableRawBufferPointer(rebasing: target[range]).copyMemory(
                                from: UnsafeRawBufferPointer(rebasing: source[range]))
                        }
                    }
                }
                node.unsynced.removeFirst(min(part, node.unsynced.count))
            }
        }

        func size() throws(DiskError) -> UInt64 {
            try disk.perform(.size, path) { _ in UInt64(node.bytes.count) }
        }

        func linkCount() throws(DiskError) -> Int {
            try disk.perform(.size, path) { _ in disk.names.values.filter { $0 === node }.count }
        }
    }

    private final class MemoryLock: DiskLock, @unchecked Sendable {
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
}
