internal import Glibc
package import RPC

/// Writes certificates and keys: whole or not at all, and never over another by accident.
package enum CertificateFiles {
    package struct NewFile: Sendable {
        package var path: String
        package var bytes: [UInt8]
        package var mode: UInt32
        /// Whether it may take the place of a file; otherwise that one is kept and the new one refused.
        package var isReplacing: Bool
        package var owner: FileOwner

        package init(
            _ path: String, _ bytes: [UInt8], mode: UInt32, isReplacing: Bool,
            owner: FileOwner = .ofDirectory
        ) {
            self.path = path
            self.bytes = bytes
            self.mode = mode
            self.isReplacing = isReplacing
            self.owner = owner
        }
    }

    /// Glibc's module leaves O_PATH out; the number is that of x86-64 and arm64. A directory on the way has
    /// to be passed, not read.
    private static let passing: CInt = 0o10000000

    package static func exists(_ path: String) -> Bool { access(path, F_OK) == 0 }

    /// Whether it is not there, and not only out of reach for this user.
    static func isMissing(_ path: String) -> Bool {
        access(path, F_OK) != 0 && (errno == ENOENT || errno == ENOTDIR)
    }

    /// What is in a directory, in order; nothing where it cannot be read. Blocks.
    static func names(in directory: String) -> [String] {
        guard let stream = opendir(directory) else { return [] }
        defer { closedir(stream) }
        var found: [String] = []
        while let entry = readdir(stream) {
            withUnsafePointer(to: &entry.pointee.d_name) { name in
                name.withMemoryRebound(to: CChar.self, capacity: Int(NAME_MAX) + 1) {
                    found.append(String(cString: $0))
                }
            }
        }
        return found.sorted()
    }

    /// Makes a directory, and those above it.
    package static func makeDirectory(
        _ path: String, mode: UInt32 = 0o755, owner: FileOwner = .ofDirectory
    ) throws(CertificateError) {
        let isAbsolute = path.utf8.first == UInt8(ascii: "/")
        var above = open(isAbsolute ? "/" : ".", passing | O_DIRECTORY | O_CLOEXEC)
        defer { if above >= 0 { close(above) } }
        for part in path.split(separator: "/").map(String.init) {
            let isMade = above >= 0 && mkdirat(above, part, mode) == 0
            guard isMade || above >= 0 && errno == EEXIST else { throw failure(directory: path) }
            // A link in the place of what was just made is somebody else's.
            let how = isMade ? O_RDONLY | O_NOFOLLOW : passing
            let next = openat(above, part, how | O_DIRECTORY | O_CLOEXEC)
            guard next >= 0 else { throw failure(directory: path) }
            let isGiven = !isMade || owner.give(newDirectory: next, in: above)
            let code = errno
            close(above)
            above = next
            errno = code
            guard isGiven else { throw failure(directory: path) }
        }
    }

    /// Writes one file; durable when it returns. Blocks.
    package static func write(
        _ bytes: [UInt8], to path: String, mode: UInt32, force: Bool,
        owner: FileOwner = .ofDirectory
    ) throws(CertificateError) {
        try write([NewFile(path, bytes, mode: mode, isReplacing: force, owner: owner)])
    }

    /// Writes files that belong together: none takes its place before all are on the disk, so that a full
    /// disk leaves those before. Durable when it returns. Blocks.
    package static func write(_ files: [NewFile]) throws(CertificateError) {
        var staged: [StagedFile] = []
        for file in files { staged.append(try StagedFile(file)) }
        do throws(CertificateError) {
            for file in staged { try file.publish() }
        } catch {
            for file in staged { file.withdraw() }
            throw error
        }
        for file in staged { try file.synchronise() }
    }

    static func refusal(_ path: String) -> CertificateError {
        CertificateError("\(path) exists and is kept; say --force to replace it")
    }

    private static func failure(directory path: String) -> CertificateError {
        CertificateError("the directory \(path) cannot be made: \(String(cString: strerror(errno)))")
    }
}
