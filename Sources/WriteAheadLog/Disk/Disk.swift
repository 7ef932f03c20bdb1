/// What went wrong in one call to the operating system.
public struct DiskError: Error, Hashable, Sendable {
    /// What was asked of the file system.
    public enum Operation: String, Sendable {
        case createDirectory = "create directory"
        case list, open, read, write
        case synchronise = "sync"
        case synchroniseDirectory = "sync directory"
        case remove, rename, lock
        case size = "get the size"
        case freeSpace = "get the free space"
    }

    /// The call that failed.
    public var operation: Operation
    /// The file or directory that it was about.
    public var path: String
    /// errno of the call; 0 where it did less than asked without an error.
    public var code: Int32

    /// The failure of one call.
    public init(_ operation: Operation, _ path: String, code: Int32) {
        self.operation = operation
        self.path = path
        self.code = code
    }
}

/// The one seam to the operating system: everything that the engine does to a file goes through
/// here, so that a test or a simulation can stand in for the disk. One call is one I/O.
package protocol Disk: Sendable {
    /// Makes a directory; one that exists already is no error. Its parent is synced.
    func createDirectory(_ path: String) throws(DiskError)
    /// Names of the entries of a directory, without `.` and `..`, in no order.
    func list(_ path: String) throws(DiskError) -> [String]
    func open(_ path: String, _ mode: DiskOpenMode) throws(DiskError) -> any DiskFile
    /// Opens an existing file past the page cache, each write durable when it returns; the buffer's
    /// address, length and the position are multiples of 4,096. An error where the file system cannot.
    func openDirectSynchronous(_ path: String) throws(DiskError) -> any DiskFile
    /// Opens an existing file past the page cache, with the same multiples; a sync makes writes durable. An
    /// error where the file system cannot.
    func openDirect(_ path: String) throws(DiskError) -> any DiskFile
    /// Takes a lock on a file, made if absent, or returns nil when another process has it.
    func lock(_ path: String, exclusive: Bool) throws(DiskError) -> (any DiskLock)?
    func remove(_ path: String) throws(DiskError)
    func rename(_ path: String, to newPath: String) throws(DiskError)
    /// Makes names that were created, renamed or removed in a directory durable.
    func synchroniseDirectory(_ path: String) throws(DiskError)
    /// Bytes that a program may still fill on the file system under a path.
    func freeBytes(_ path: String) throws(DiskError) -> UInt64
    /// Logical and physical block size under a path, in bytes; 512 and 4,096 where unknown.
    func blockBytes(_ path: String) -> (logical: UInt32, physical: UInt32)
}

package enum DiskOpenMode: Sendable {
    case read
    case readWrite
    /// Fails when the file exists.
    case create
}

package protocol DiskFile: AnyObject, Sendable {
    /// Reads until the buffer is full or the file ends; returns the bytes read.
    func read(into buffer: UnsafeMutableRawBufferPointer, at position: UInt64) throws(DiskError)
        -> Int
    /// The same past the page cache where the file system can: what the device really holds. The
    /// buffer's address, length and the position are multiples of 4,096.
    func readUncached(into buffer: UnsafeMutableRawBufferPointer, at position: UInt64)
        throws(DiskError) -> Int
    /// Writes all bytes; less than all is an error.
    func write(_ bytes: UnsafeRawBufferPointer, at position: UInt64) throws(DiskError)
    /// Brings what was just written to the device and waits for it, so that a long file is written a
    /// little at a time beside commits and not in one go at its sync. Makes nothing durable.
    func writeBack(from position: UInt64, byteCount: Int)
    /// Begins to bring what was just written to the device. What has begun is to be waited for with
    /// `writeBack` before much more begins.
    func beginWriteBack(from position: UInt64, byteCount: Int)
    /// Makes everything written durable (data and the size).
    func synchronise() throws(DiskError)
    func size() throws(DiskError) -> UInt64
    /// How many names the file has: more than one when somebody keeps a hard link to it.
    func linkCount() throws(DiskError) -> Int
}

/// A disk that stands in for another makes a write durable by a sync behind it, and has no page cache.
extension Disk {
    package func openDirect(_ path: String) throws(DiskError) -> any DiskFile {
        try open(path, .readWrite)
    }

    package func openDirectSynchronous(_ path: String) throws(DiskError) -> any DiskFile {
        SynchronousFile(try open(path, .readWrite))
    }
}

extension DiskFile {
    package func writeBack(from position: UInt64, byteCount: Int) {}
    package func beginWriteBack(from position: UInt64, byteCount: Int) {}
}

final class SynchronousFile: DiskFile {
    private let file: any DiskFile

    init(_ file: any DiskFile) { self.file = file }

    func read(into buffer: UnsafeMutableRawBufferPointer, at position: UInt64) throws(DiskError)
        -> Int
    { try file.read(into: buffer, at: position) }

    func readUncached(into buffer: UnsafeMutableRawBufferPointer, at position: UInt64)
        throws(DiskError) -> Int
    { try file.readUncached(into: buffer, at: position) }

    func write(_ bytes: UnsafeRawBufferPointer, at position: UInt64) throws(DiskError) {
        precondition(
            bytes.count % 4096 == 0 && position % 4096 == 0
                && UInt(bitPattern: bytes.baseAddress) % 4096 == 0,
            "a direct write is of whole blocks")
        try file.write(bytes, at: position)
        try file.synchronise()
    }

    func synchronise() throws(DiskError) { try file.synchronise() }
    func size() throws(DiskError) -> UInt64 { try file.size() }
    func linkCount() throws(DiskError) -> Int { try file.linkCount() }
}

/// Held until it is released or dropped.
package protocol DiskLock: AnyObject, Sendable {
    func release()
}
