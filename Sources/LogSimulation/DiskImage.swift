/// What a simulated disk holds at one moment: what programs see, what the device has, and what lies
/// between the two. A value: copies share pages until one changes.
package struct DiskImage: Sendable {
    /// A write that no sync has covered yet.
    struct UnsyncedWrite {
        var position: Int
        /// Nil when all of it is zeros.
        var bytes: [UInt8]?
        var byteCount: Int

        var range: Range<Int> { position..<position + byteCount }
    }

    struct File {
        /// What survives when the power goes at this moment and no unsynced write reached it.
        var device = PagedBytes()
        /// What programs read.
        var cache = PagedBytes()
        /// In the order in which they were made.
        var unsynced: [UnsyncedWrite] = []

        var isSynced: Bool { unsynced.isEmpty && device.count == cache.count }
    }

    /// A change of names that no sync of their directory has covered yet. A rename is one change: it
    /// happened or it did not.
    enum NameChange {
        case created(String, file: Int)
        case removed(String)
        case renamed(String, to: String, file: Int)

        var path: String {
            switch self {
            case .created(let path, _), .removed(let path), .renamed(_, let path, _): path
            }
        }
    }

    var files: [File] = []
    var names: [String: Int] = [:]
    var durableNames: [String: Int] = [:]
    var unsyncedNames: [NameChange] = []

    package init() {}

    /// Whether a power cut at this moment could lose anything.
    package var isSynced: Bool { unsyncedNames.isEmpty && files.allSatisfy(\.isSynced) }

    package var paths: [String] { names.keys.sorted() }

    package func byteCount(_ path: String) -> Int? { names[path].map { files[$0].cache.count } }

    /// Bytes as a program reads them.
    package func bytes(_ path: String, _ range: Range<Int>) -> [UInt8]? {
        names[path].map { files[$0].cache.bytes(range) }
    }

    /// Changes bytes on the device and in the cache, as damage to a resting disk does.
    package mutating func damage(_ path: String, at position: Int, _ bytes: [UInt8]) {
        guard let number = names[path] else { return }
        files[number].device.write(bytes, at: position)
        files[number].cache.write(bytes, at: position)
    }

    /// Cuts a file short on the device and in the cache.
    package mutating func truncate(_ path: String, to byteCount: Int) {
        guard let number = names[path] else { return }
        files[number].device.resize(to: byteCount)
        files[number].cache.resize(to: byteCount)
    }

    /// Bytes that files with names take.
    var usedBytes: Int {
        Set(names.values).reduce(0) { $0 + files[$1].cache.count }
    }

    mutating func apply(_ change: NameChange, to keyPath: WritableKeyPath<DiskImage, [String: Int]>) {
        switch change {
        case .created(let name, let file): self[keyPath: keyPath][name] = file
        case .removed(let name): self[keyPath: keyPath][name] = nil
        case .renamed(let name, let newName, let file):
            if self[keyPath: keyPath][name] == file { self[keyPath: keyPath][name] = nil }
            self[keyPath: keyPath][newName] = file
        }
    }

    mutating func write(_ bytes: UnsafeRawBufferPointer, at position: Int, file: Int, isZero: Bool) {
        files[file].cache.write(bytes, at: position)
        files[file].unsynced.append(
            UnsyncedWrite(
                position: position, bytes: isZero ? nil : Array(bytes), byteCount: bytes.count))
    }

    mutating func synchronise(file: Int) {
        for write in files[file].unsynced {
            files[file].device.takePages(of: write.range, from: files[file].cache)
        }
        files[file].device.resize(to: files[file].cache.count)
        files[file].unsynced.removeAll(keepingCapacity: true)
    }

    /// Makes the names of one directory durable.
    mutating func synchroniseNames(of directory: String) {
        let changes = unsyncedNames
        unsyncedNames = []
        for change in changes {
            if DiskImage.parent(of: change.path) == directory {
                apply(change, to: \.durableNames)
            } else {
                unsyncedNames.append(change)
            }
        }
    }

    private static func parent(of path: String) -> Substring {
        path.utf8.lastIndex(of: UInt8(ascii: "/")).map { path[..<$0] } ?? ""
    }

    /// What a read past the page cache finds: the device, with what the cache still has to give it.
    func readUncached(
        file: Int, into buffer: UnsafeMutableRawBufferPointer, at position: Int
    ) -> Int {
        let file = files[file]
        guard !file.unsynced.isEmpty || file.device.count != file.cache.count else {
            return file.device.read(into: buffer, at: position)
        }
        var merged = file.device
        for write in file.unsynced { merged.takePages(of: write.range, from: file.cache) }
        merged.resize(to: file.cache.count)
        return merged.read(into: buffer, at: position)
    }
}
