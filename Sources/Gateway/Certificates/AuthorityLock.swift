internal import Glibc
internal import RPC

/// Lets one command at a time change a CA's directory: two that revoke at once would both go on from the same
/// CRL, and one of the revocations would be lost.
enum AuthorityLock {
    static let fileName = "lock"
    /// Beyond what signing takes, by far.
    private static let waitMillisecondsMaximum: UInt32 = 30_000
    private static let intervalMilliseconds: UInt32 = 20

    /// Waits for its turn. Blocks.
    static func hold<Value>(
        _ directory: String, _ body: () throws(CertificateError) -> Value
    ) throws(CertificateError) -> Value {
        let path = "\(directory)/\(fileName)"
        let descriptor = open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else { throw failure(path) }
        // Closing ends the lock, and so does the end of the process.
        defer { close(descriptor) }
        var waited: UInt32 = 0
        while flock(descriptor, LOCK_EX | LOCK_NB) != 0 {
            guard errno == EWOULDBLOCK || errno == EINTR else { throw failure(path) }
            guard waited < waitMillisecondsMaximum else {
                throw CertificateError(
                    "another bsfg ca command has been at work in \(directory) for "
                        + "\(waitMillisecondsMaximum / 1000) s; try again once it has ended")
            }
            usleep(intervalMilliseconds * 1000)
            waited += intervalMilliseconds
        }
        return try body()
    }

    private static func failure(_ path: String) -> CertificateError {
        CertificateError("\(path) cannot be locked: \(String(cString: strerror(errno)))")
    }
}
