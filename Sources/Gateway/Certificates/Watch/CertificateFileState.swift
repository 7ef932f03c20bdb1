internal import Glibc

/// What can be seen of files without reading them: whoever changes one changes this.
struct CertificateFileState: Sendable, Equatable {
    private struct File: Sendable, Equatable {
        var device: UInt64 = 0
        var inode: UInt64 = 0
        var bytes: Int64 = -1
        var changedSeconds = 0
        var changedNanoseconds = 0
    }

    private var files: [String: File] = [:]
    /// The SHA-256 of the CRLs in force that have had their time: nobody changes a file for that.
    private var staleLists: Set<[UInt8]>

    /// Follows symbolic links, as readers do. Blocks.
    init(_ paths: [String], staleLists: Set<[UInt8]>) {
        self.staleLists = staleLists
        for path in paths {
            var information = stat()
            guard stat(path, &information) == 0 else {
                files[path] = File()
                continue
            }
            // The time of the last change of data or mode, which nobody can set back.
            files[path] = File(
                device: UInt64(information.st_dev), inode: UInt64(information.st_ino),
                bytes: Int64(information.st_size),
                changedSeconds: Int(information.st_ctim.tv_sec),
                changedNanoseconds: Int(information.st_ctim.tv_nsec))
        }
    }

    func with(staleLists: Set<[UInt8]>) -> CertificateFileState {
        var state = self
        state.staleLists = staleLists
        return state
    }

    /// What is not as it was: files, and the CRLs that have had their time.
    enum Difference: Sendable, Hashable {
        case file(String)
        case staleLists
    }

    func differences(from other: CertificateFileState) -> Set<Difference> {
        var found = Set(files.filter { other.files[$0.key] != $0.value }.map { Difference.file($0.key) })
        found.formUnion(other.files.keys.filter { files[$0] == nil }.map { .file($0) })
        if staleLists != other.staleLists { found.insert(.staleLists) }
        return found
    }
}
