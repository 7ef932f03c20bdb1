internal import Glibc

/// A user of this machine by name.
package enum UserName {
    /// Nil where the user has no name.
    package static func of(_ user: UInt32) -> String? {
        guard let entry = getpwuid(user), let name = entry.pointee.pw_name else { return nil }
        return String(cString: name)
    }

    /// Whoever runs this, as `chown` takes it: with the group of the same name where there is one.
    static var own: String { of(geteuid()).map { "\($0):" } ?? "\(geteuid())" }
}
