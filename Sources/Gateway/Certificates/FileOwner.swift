internal import Glibc
package import RPC

/// Whose a new file is. What root writes into another user's directory is that user's: a node runs as a user
/// of its own and has to read its key, which nobody else may.
///
/// That user may turn any name in its directories to another file meanwhile, so that everything is given by
/// descriptor and never by path.
package enum FileOwner: Sendable {
    case ofDirectory
    /// Whoever calls; root's stay root's.
    case caller

    /// Gives a file that was just made to its owner. False with `errno` set.
    func give(_ descriptor: CInt, in directory: CInt) -> Bool {
        guard let (user, group) = owner(of: directory) else { return true }
        return fchown(descriptor, user, group) == 0
    }

    /// The same for a directory that was just made. One that is not empty was put in its place, such as the
    /// CA's, which is root's alone.
    func give(newDirectory descriptor: CInt, in directory: CInt) -> Bool {
        guard let (user, group) = owner(of: directory) else { return true }
        var found = stat()
        guard fstat(descriptor, &found) == 0 else { return false }
        guard found.st_uid == geteuid(), FileOwner.names(in: descriptor)?.isEmpty == true else {
            errno = EEXIST
            return false
        }
        return fchown(descriptor, user, group) == 0
    }

    /// Nil where nothing has to change.
    private func owner(of directory: CInt) -> (uid_t, gid_t)? {
        var found = stat()
        guard self == .ofDirectory, geteuid() == 0, fstat(directory, &found) == 0, found.st_uid != 0
        else { return nil }
        return (found.st_uid, found.st_gid)
    }

    static func parent(of path: String) -> String {
        guard let slash = path.lastIndex(of: "/") else { return "." }
        return slash == path.startIndex ? "/" : String(path[..<slash])
    }
}

extension FileOwner {
    /// A log's directory has copies one level below.
    private static let levelsMaximum = 2

    /// Gives what root made in another user's directory to that user: files, and directories with what is
    /// in them. Links, and files with a second name elsewhere, stay whose they are. Blocks.
    package static func giveContents(of directory: String) throws(CertificateError) {
        guard geteuid() == 0 else { return }
        let descriptor = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard descriptor >= 0 else { throw failure(directory) }
        defer { close(descriptor) }
        guard let (user, group) = FileOwner.ofDirectory.owner(of: descriptor) else { return }
        guard giveContents(of: descriptor, to: user, group, levels: levelsMaximum) else {
            throw failure(directory)
        }
    }

    private static func giveContents(
        of directory: CInt, to user: uid_t, _ group: gid_t, levels: Int
    ) -> Bool {
        guard let names = names(in: directory) else { return false }
        for name in names {
            // Without waiting: somebody may have put a pipe there.
            let descriptor = openat(directory, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC)
            if descriptor < 0 && (errno == ELOOP || errno == ENOENT || errno == ENXIO) { continue }
            guard descriptor >= 0 else { return false }
            defer { close(descriptor) }
            var found = stat()
            guard fstat(descriptor, &found) == 0 else { return false }
            guard found.st_uid == 0 else { continue }
            switch found.st_mode & S_IFMT {
            case S_IFREG where found.st_nlink == 1:
                guard fchown(descriptor, user, group) == 0 else { return false }
            case S_IFDIR where levels > 1:
                guard giveContents(of: descriptor, to: user, group, levels: levels - 1),
                    fchown(descriptor, user, group) == 0
                else { return false }
            default: continue
            }
        }
        return true
    }

    /// Nil with `errno` set.
    private static func names(in directory: CInt) -> [String]? {
        let copy = openat(directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard copy >= 0 else { return nil }
        guard let stream = fdopendir(copy) else {
            close(copy)
            return nil
        }
        defer { closedir(stream) }
        var names: [String] = []
        while let entry = readdir(stream) {
            let name = withUnsafePointer(to: &entry.pointee.d_name) { pointer in
                pointer.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
            }
            if name != "." && name != ".." { names.append(name) }
        }
        return names
    }

    private static func failure(_ directory: String) -> CertificateError {
        CertificateError(
            "what was made in \(directory) cannot be given to that directory's owner "
                + "(\(String(cString: strerror(errno)))); give it by chown before the node starts")
    }
}
