internal import Glibc

/// Whose a new file is. What root writes into another user's directory is that user's: a node runs as a user
/// of its own and has to read its key, which nobody else may.
package enum FileOwner: Sendable {
    case ofDirectory
    /// Whoever calls; root's stay root's.
    case caller

    /// Gives a file that was just made, by its descriptor, to its owner. False with `errno` set.
    func give(_ descriptor: CInt, in directory: String) -> Bool {
        guard let (user, group) = owner(of: directory) else { return true }
        return fchown(descriptor, user, group) == 0
    }

    /// The same for a directory that was just made.
    func give(directory path: String) -> Bool {
        guard let (user, group) = owner(of: FileOwner.parent(of: path)) else { return true }
        return chown(path, user, group) == 0
    }

    /// Nil where nothing has to change.
    private func owner(of directory: String) -> (uid_t, gid_t)? {
        var found = stat()
        guard self == .ofDirectory, geteuid() == 0, stat(directory, &found) == 0, found.st_uid != 0
        else { return nil }
        return (found.st_uid, found.st_gid)
    }

    static func parent(of path: String) -> String {
        guard let slash = path.lastIndex(of: "/") else { return "." }
        return slash == path.startIndex ? "/" : String(path[..<slash])
    }
}
