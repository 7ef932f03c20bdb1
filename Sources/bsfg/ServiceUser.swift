internal import Gateway
internal import Glibc

/// Whose node it is. Root would make files in another user's directory that this user's node cannot open
/// afterwards.
enum ServiceUser {
    /// Why root is not to run the node, in one sentence; nil when it may. Blocks.
    static func refusal(_ configuration: NodeConfiguration) -> String? {
        guard geteuid() == 0, let (path, owner) = owner(of: configuration.dataDirectory), owner != 0 else {
            return nil
        }
        let user = UserName.of(owner)
        return "\(path) is \(user ?? "user \(owner)")'s, whose node could not open what root makes there; run it "
            + "as that user: sudo -u \(user ?? "'#\(owner)'") bsfg serve --config "
            + "\(shellQuoted(configuration.directory)); or give --as-root, in a container or for a node that is thrown "
            + "away"
    }

    /// Of the directory, or of the first one above it that is there: it would be made there.
    private static func owner(of directory: String) -> (path: String, user: uid_t)? {
        var path = directory
        var found = stat()
        while stat(path, &found) != 0 {
            guard errno == ENOENT, let slash = path.lastIndex(of: "/"), slash != path.startIndex else { return nil }
            path = String(path[..<slash])
        }
        return (path, found.st_uid)
    }
}
