internal import Buffers
internal import Facts
internal import Glibc
internal import RPC

/// A file on this side of `artifact put` and `artifact fetch`, read and written piece by piece on a
/// thread of its own.
final class ArtifactFile: @unchecked Sendable {
    // Sendable by hand: one piece at a time.

    private static let pieceBytes = 1 << 20

    private let path: String
    private let descriptor: Int32
    private let pool = BlockingPool(name: "bsfg-file", threadCount: 1)
    /// Bytes.
    private(set) var size: UInt64
    private var position: UInt64 = 0
    private var hasBegun = false

    private init(_ path: String, _ descriptor: Int32, size: UInt64) {
        self.path = path
        self.descriptor = descriptor
        self.size = size
    }

    private convenience init(_ path: String, _ flags: Int32) throws {
        func failure(_ why: String) -> CommandFailure {
            CommandFailure(.failure, "\(path) cannot be opened: \(why)")
        }
        let descriptor = open(path, flags | O_CLOEXEC, 0o640)
        guard descriptor >= 0 else { throw failure(String(cString: strerror(errno))) }
        var status = stat()
        guard fstat(descriptor, &status) == 0, status.st_mode & S_IFMT == S_IFREG else {
            close(descriptor)
            throw failure("it is no regular file")
        }
        self.init(path, descriptor, size: UInt64(status.st_size))
    }

    deinit {
        pool.stop()
        close(descriptor)
    }

    convenience init(reading path: String) throws { try self.init(path, O_RDONLY) }

    /// What an interrupted fetch has left is kept, to be gone on with.
    convenience init(continuing path: String) throws { try self.init(path, O_RDWR | O_CREAT) }

    // MARK: Reading

    /// Of the whole file. Blocks.
    func digest() throws -> Digest {
        var hash = SHA256()
        var place: UInt64 = 0
        while true {
            let bytes = try failing { () throws(RPCClientError) in
                try read(Self.pieceBytes, at: place)
            }
            if bytes.isEmpty { return hash.finish() }
            hash.update(bytes)
            place += UInt64(bytes.count)
        }
    }

    /// The file as a request's body.
    func upload() -> RPCUpload {
        RPCUpload(length: size) { [self] count async throws(RPCClientError) in
            try await onThread { [self] () throws(RPCClientError) in
                let bytes = try read(count, at: position)
                position += UInt64(bytes.count)
                return bytes
            }
        }
    }

    private func read(_ count: Int, at place: UInt64) throws(RPCClientError) -> [UInt8] {
        var got = 0
        let bytes = [UInt8](unsafeUninitializedCapacity: count) { buffer, initialised in
            repeat {
                got = pread(descriptor, buffer.baseAddress, count, Int(place))
            } while got < 0 && errno == EINTR
            initialised = max(0, got)
        }
        guard got >= 0 else { throw failure("read") }
        return bytes
    }

    // MARK: Writing

    /// The next bytes of a fetch; where the other side began anew, what was there goes.
    func take(_ bytes: [UInt8], continues: Bool) async throws(RPCClientError) {
        try await onThread { [self] () throws(RPCClientError) in
            if !hasBegun, !continues {
                size = 0
                guard ftruncate(descriptor, 0) == 0 else { throw failure("written") }
            }
            hasBegun = true
            var written = 0
            while written < bytes.count {
                let count = bytes.withUnsafeBytes {
                    pwrite(descriptor, $0.baseAddress! + written, bytes.count - written, Int(size))
                }
                guard count > 0 || errno == EINTR else { throw failure("written") }
                written += max(0, count)
                size += UInt64(max(0, count))
            }
        }
    }

    /// Gives the file its name, durably. Blocks.
    func finish(as name: String) throws {
        guard fsync(descriptor) == 0, rename(path, name) == 0 else {
            throw CommandFailure(
                .failure, "\(name) cannot be written: \(String(cString: strerror(errno)))")
        }
        let slash = name.lastIndex(of: "/")
        let directory = slash.map { name[...$0] } ?? "."
        let parent = open(String(directory), O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        defer { if parent >= 0 { close(parent) } }
        guard parent >= 0, fsync(parent) == 0 else {
            throw CommandFailure(
                .failure,
                "\(name) is whole but may lose its name when the power fails, its directory cannot be "
                    + "synchronised: \(String(cString: strerror(errno)))")
        }
    }

    func remove() { unlink(path) }

    /// A file that nothing was written to is of no use to the next fetch.
    func removeIfEmpty() {
        if size == 0 { unlink(path) }
    }

    // MARK: Parts

    private func failure(_ what: String) -> RPCClientError {
        .transport(
            kind: .malformed,
            sentence: "\(path) cannot be \(what): \(String(cString: strerror(errno)))")
    }

    private func failing<Value>(_ body: () throws(RPCClientError) -> Value) throws -> Value {
        try CommandFailure.calling(body)
    }

    private func onThread<Value: Sendable>(
        _ body: @escaping @Sendable () throws(RPCClientError) -> Value
    ) async throws(RPCClientError) -> Value {
        let result: Result<Value, RPCClientError> = await withCheckedContinuation { continuation in
            let isTaken = pool.submit {
                continuation.resume(returning: Result { () throws(RPCClientError) in try body() })
            }
            precondition(isTaken, "one piece at a time always has room")
        }
        return try result.get()
    }
}
