internal import CPlatform
internal import Glibc
internal import Synchronization

/// The real disk. Durability is `fdatasync`; names are made durable by `fsync` of their directory.
package struct LinuxDisk: Disk {
    package init() {}

    package func createDirectory(_ path: String) throws(DiskError) {
        if mkdir(path, 0o750) == 0 {
            try synchroniseDirectory(LinuxDisk.parent(of: path))
            return
        }
        if errno == ENOENT, path != "/", path != "." {
            try createDirectory(LinuxDisk.parent(of: path))
            return try createDirectory(path)
        }
        var info = stat()
        let code = errno
        guard code == EEXIST, stat(path, &info) == 0, info.st_mode & S_IFMT == S_IFDIR else {
            throw DiskError(.createDirectory, path, code: code)
        }
    }

    package func list(_ path: String) throws(DiskError) -> [String] {
        guard let directory = opendir(path) else { throw DiskError(.list, path, code: errno) }
        defer { closedir(directory) }
        var names: [String] = []
        while true {
            errno = 0
            guard let entry = readdir(directory) else {
                guard errno == 0 else { throw DiskError(.list, path, code: errno) }
                return names
            }
            let name = withUnsafePointer(to: &entry.pointee.d_name) {
                String(cString: UnsafeRawPointer($0).assumingMemoryBound(to: CChar.self))
            }
            if name != ".", name != ".." { names.append(name) }
        }
    }

    package func open(_ path: String, _ mode: DiskOpenMode) throws(DiskError) -> any DiskFile {
        let flags =
            switch mode {
            case .read: O_RDONLY
            case .readWrite: O_RDWR
            case .create: O_RDWR | O_CREAT | O_EXCL
            }
        let descriptor = Glibc.open(path, flags | O_CLOEXEC, 0o640)
        guard descriptor >= 0 else { throw DiskError(.open, path, code: errno) }
        return LinuxFile(descriptor: descriptor, path: path)
    }

    package func openDirect(_ path: String) throws(DiskError) -> any DiskFile {
        let descriptor = bsfg_open_direct_writable(path)
        guard descriptor >= 0 else { throw DiskError(.open, path, code: errno) }
        return LinuxFile(descriptor: descriptor, path: path)
    }

    package func openDirectSynchronous(_ path: String) throws(DiskError) -> any DiskFile {
        let descriptor = bsfg_open_direct_synchronous(path)
        guard descriptor >= 0 else { throw DiskError(.open, path, code: errno) }
        return LinuxFile(descriptor: descriptor, path: path)
    }

    package func lock(_ path: String, exclusive: Bool) throws(DiskError) -> (any DiskLock)? {
        let descriptor = Glibc.open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0o640)
        guard descriptor >= 0 else { throw DiskError(.lock, path, code: errno) }
        if flock(descriptor, (exclusive ? LOCK_EX : LOCK_SH) | LOCK_NB) != 0 {
            let code = errno
            close(descriptor)
            if code == EWOULDBLOCK { return nil }
            throw DiskError(.lock, path, code: code)
        }
        return LinuxLock(descriptor: descriptor)
    }

    package func remove(_ path: String) throws(DiskError) {
        guard unlink(path) == 0 else { throw DiskError(.remove, path, code: errno) }
    }

    package func rename(_ path: String, to newPath: String) throws(DiskError) {
        guard Glibc.rename(path, newPath) == 0 else { throw DiskError(.rename, path, code: errno) }
    }

    package func synchroniseDirectory(_ path: String) throws(DiskError) {
        let descriptor = Glibc.open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard descriptor >= 0 else { throw DiskError(.synchroniseDirectory, path, code: errno) }
        defer { close(descriptor) }
        guard fsync(descriptor) == 0 else {
            throw DiskError(.synchroniseDirectory, path, code: errno)
        }
    }

    package func freeBytes(_ path: String) throws(DiskError) -> UInt64 {
        var information = statvfs()
        guard statvfs(path, &information) == 0 else {
            throw DiskError(.freeSpace, path, code: errno)
        }
        return UInt64(information.f_bavail) * UInt64(information.f_frsize)
    }

    package func blockBytes(_ path: String) -> (logical: UInt32, physical: UInt32) {
        let logical = bsfg_logical_block_bytes(path)
        let physical = bsfg_physical_block_bytes(path)
        return (logical == 0 ? 512 : logical, physical == 0 ? 4096 : physical)
    }

    private static func parent(of path: String) -> String {
        guard let slash = path.utf8.lastIndex(of: UInt8(ascii: "/")) else { return "." }
        return slash == path.startIndex ? "/" : String(path[..<slash])
    }
}

final class LinuxFile: DiskFile {
    private let descriptor: Int32
    private let path: String
    /// Past the page cache; negative where the file system cannot.
    private let direct = Mutex(LinuxFile.notOpened)
    private static let notOpened: Int32 = -2

    init(descriptor: Int32, path: String) {
        self.descriptor = descriptor
        self.path = path
    }

    deinit {
        close(descriptor)
        direct.withLock { if $0 >= 0 { close($0) } }
    }

    func read(into buffer: UnsafeMutableRawBufferPointer, at position: UInt64) throws(DiskError)
        -> Int
    {
        try read(descriptor, into: buffer, at: position)
    }

    private func read(
        _ descriptor: Int32, into buffer: UnsafeMutableRawBufferPointer, at position: UInt64
    ) throws(DiskError) -> Int {
        var done = 0
        while done < buffer.count {
            let count = pread(
                descriptor, buffer.baseAddress! + done, buffer.count - done,
                off_t(position) + off_t(done))
            if count > 0 {
                done += count
            } else if count == 0 {
                break
            } else if errno != EINTR {
                throw DiskError(.read, path, code: errno)
            }
        }
        return done
    }

    func readUncached(into buffer: UnsafeMutableRawBufferPointer, at position: UInt64)
        throws(DiskError) -> Int
    {
        let direct = direct.withLock { direct in
            if direct == LinuxFile.notOpened {
                direct = bsfg_open_direct(path)
                // Anything else may pass.
                if direct < 0, errno != EINVAL { direct = LinuxFile.notOpened }
            }
            return direct
        }
        if direct >= 0 { return try read(direct, into: buffer, at: position) }
        // A file system without O_DIRECT: asking it to forget the clean pages is the next best.
        posix_fadvise(descriptor, off_t(position), off_t(buffer.count), POSIX_FADV_DONTNEED)
        return try read(descriptor, into: buffer, at: position)
    }

    func write(_ bytes: UnsafeRawBufferPointer, at position: UInt64) throws(DiskError) {
        var done = 0
        while done < bytes.count {
            let count = pwrite(
                descriptor, bytes.baseAddress! + done, bytes.count - done,
                off_t(position) + off_t(done))
            if count > 0 {
                done += count
            } else if count == 0 || errno != EINTR {
                throw DiskError(.write, path, code: count == 0 ? 0 : errno)
            }
        }
    }

    func writeBack(from position: UInt64, byteCount: Int) {
        bsfg_write_back(descriptor, position, byteCount)
    }

    func beginWriteBack(from position: UInt64, byteCount: Int) {
        bsfg_begin_write_back(descriptor, position, byteCount)
    }

    func synchronise() throws(DiskError) {
        // Not repeated, whatever the error: a failed sync may have dropped the pages already.
        guard fdatasync(descriptor) == 0 else { throw DiskError(.synchronise, path, code: errno) }
    }

    func size() throws(DiskError) -> UInt64 { UInt64(try information().st_size) }

    func linkCount() throws(DiskError) -> Int { Int(try information().st_nlink) }

    private func information() throws(DiskError) -> stat {
        var information = stat()
        guard fstat(descriptor, &information) == 0 else {
            throw DiskError(.size, path, code: errno)
        }
        return information
    }
}

private final class LinuxLock: DiskLock {
    private let descriptor: Int32

    init(descriptor: Int32) { self.descriptor = descriptor }

    /// The kernel drops the lock with the last descriptor, whatever ends the process.
    deinit { close(descriptor) }

    func release() { flock(descriptor, LOCK_UN) }
}
