internal import Glibc
package import RPC

/// Writes certificates and keys: whole or not at all, and never over another by accident.
package enum CertificateFiles {
    package static func exists(_ path: String) -> Bool { access(path, F_OK) == 0 }

    /// Makes a directory, and those above it.
    package static func makeDirectory(
        _ path: String, mode: UInt32 = 0o755, owner: FileOwner = .ofDirectory
    ) throws(CertificateError) {
        var built = path.utf8.first == UInt8(ascii: "/") ? "/" : ""
        for part in path.split(separator: "/") {
            built += built.isEmpty || built == "/" ? String(part) : "/\(part)"
            let isMade = mkdir(built, mode) == 0 && owner.give(directory: built)
            if !isMade && errno != EEXIST {
                throw CertificateError(
                    "the directory \(built) cannot be made: \(String(cString: strerror(errno)))")
            }
        }
    }

    /// Owner and mode are set before the first byte is written. Without `force` an existing file is kept
    /// and refused; with it the new one takes its place in one step.
    package static func write(
        _ bytes: [UInt8], to path: String, mode: UInt32, force: Bool,
        owner: FileOwner = .ofDirectory
    ) throws(CertificateError) {
        let temporary = "\(path).new-\(getpid())"
        unlink(temporary)
        let descriptor = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode)
        guard descriptor >= 0 else { throw failure("made", temporary) }
        defer { unlink(temporary) }
        var done =
            fchmod(descriptor, mode) == 0
            && owner.give(descriptor, in: FileOwner.parent(of: path))
        var count = 0
        while done && count < bytes.count {
            let wrote = bytes.withUnsafeBytes { buffer in
                Glibc.write(descriptor, buffer.baseAddress! + count, buffer.count - count)
            }
            if wrote < 0 && errno == EINTR { continue }
            done = wrote > 0
            count += max(0, wrote)
        }
        done = done && fsync(descriptor) == 0
        let code = errno
        close(descriptor)
        errno = code
        guard done else { throw failure("written", temporary) }
        if force {
            guard rename(temporary, path) == 0 else { throw failure("written", path) }
        } else {
            guard link(temporary, path) == 0 else {
                if errno == EEXIST { throw refusal(path) }
                throw failure("written", path)
            }
        }
    }

    static func refusal(_ path: String) -> CertificateError {
        CertificateError("\(path) exists and is kept; say --force to replace it")
    }

    private static func failure(_ done: String, _ path: String) -> CertificateError {
        CertificateError("\(path) cannot be \(done): \(String(cString: strerror(errno)))")
    }
}
