internal import Glibc
internal import RPC

/// A file that is written under another name and then takes its place in one step, or never.
///
/// Everything happens by the descriptor of its directory: whoever owns a directory above may turn the path to
/// another one at any time.
final class StagedFile {
    private let file: CertificateFiles.NewFile
    private let name: String
    private let temporary: String
    private let directory: CInt
    private var isLinked = false

    /// Owner and mode are set before the first byte is written; durable when it returns. Blocks.
    init(_ file: CertificateFiles.NewFile) throws(CertificateError) {
        self.file = file
        name = file.path.split(separator: "/").last.map(String.init) ?? file.path
        temporary = "\(name).new-\(getpid())"
        directory = open(FileOwner.parent(of: file.path), O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard directory >= 0 else { throw failure("made") }
        try write()
    }

    deinit {
        guard directory >= 0 else { return }
        unlinkat(directory, temporary, 0)
        close(directory)
    }

    private func write() throws(CertificateError) {
        unlinkat(directory, temporary, 0)
        let descriptor = openat(
            directory, temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, file.mode)
        guard descriptor >= 0 else { throw failure("made") }
        defer { close(descriptor) }
        guard fchmod(descriptor, file.mode) == 0, file.owner.give(descriptor, in: directory) else {
            throw failure("written")
        }
        var count = 0
        while count < file.bytes.count {
            let wrote = file.bytes.withUnsafeBytes { buffer in
                Glibc.write(descriptor, buffer.baseAddress! + count, buffer.count - count)
            }
            if wrote < 0 && errno == EINTR { continue }
            guard wrote > 0 else { throw failure("written") }
            count += wrote
        }
        guard fsync(descriptor) == 0 else { throw failure("written") }
    }

    /// Gives the file its name; durable after `synchronise`.
    func publish() throws(CertificateError) {
        if file.isReplacing {
            guard renameat(directory, temporary, directory, name) == 0 else { throw failure("written") }
        } else {
            guard linkat(directory, temporary, directory, name, 0) == 0 else {
                if errno == EEXIST { throw CertificateFiles.refusal(file.path) }
                throw failure("written")
            }
            isLinked = true
        }
    }

    /// A rename is forgotten by a power cut until its directory is on the disk.
    func synchronise() throws(CertificateError) {
        guard fsync(directory) == 0 else { throw failure("written") }
    }

    /// Takes a new file back, where one that belongs to it could not be published.
    func withdraw() {
        if isLinked { unlinkat(directory, name, 0) }
    }

    private func failure(_ done: String) -> CertificateError {
        CertificateError("\(file.path) cannot be \(done): \(String(cString: strerror(errno)))")
    }
}
