internal import CPlatform
internal import Glibc

/// The administration socket's file.
enum UnixSocket {
    /// A bound socket with mode 0600 from its first moment. A file that nobody listens on is
    /// removed, one with a listener is left alone.
    static func bind(_ path: String) throws(RPCServerError) -> CInt {
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        let bytes = Array(path.utf8)
        guard bytes.count < MemoryLayout.size(ofValue: address.sun_path) else {
            throw RPCServerError(
                "The socket path \(path) has \(bytes.count) bytes and the system takes 107; use a "
                    + "shorter one.")
        }
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: bytes) }
        try removeStale(path, address)
        let descriptor = socket(
            AF_UNIX, CInt(SOCK_STREAM.rawValue) | CInt(SOCK_CLOEXEC.rawValue), 0)
        guard descriptor >= 0 else { throw failure("The socket \(path) cannot be made") }
        // On Linux the file takes its mode from the socket, so there is no moment with another.
        guard fchmod(descriptor, 0o600) == 0,
            withSocketAddress(address, { Glibc.bind(descriptor, $0, $1) }) == 0
        else {
            let error = failure("The socket \(path) cannot be made")
            close(descriptor)
            throw error
        }
        return descriptor
    }

    private static func removeStale(
        _ path: String, _ address: sockaddr_un
    ) throws(RPCServerError) {
        var information = stat()
        guard lstat(path, &information) == 0 else { return }
        guard information.st_mode & S_IFMT == S_IFSOCK else {
            throw RPCServerError(
                "\(path) exists and is not a socket; remove it or configure another path.")
        }
        // Without waiting: the queue of who listens may be full for good.
        let kind =
            CInt(SOCK_STREAM.rawValue) | CInt(SOCK_CLOEXEC.rawValue) | CInt(SOCK_NONBLOCK.rawValue)
        let probe = socket(AF_UNIX, kind, 0)
        guard probe >= 0 else { throw failure("The socket \(path) cannot be tried") }
        defer { close(probe) }
        let isTaken = withSocketAddress(address, { connect(probe, $0, $1) }) == 0
        switch isTaken ? 0 : errno {
        case ECONNREFUSED:
            guard unlink(path) == 0 || errno == ENOENT else {
                throw failure("The stale socket \(path) stays")
            }
        case ENOENT: return
        case 0, EAGAIN, EPROTOTYPE:
            throw RPCServerError(
                "Another process listens on \(path); stop it or configure another path.")
        default: throw failure("Whether anybody listens on the socket \(path) cannot be told")
        }
    }

    private static func withSocketAddress<Value>(
        _ address: sockaddr_un, _ body: (UnsafePointer<sockaddr>, socklen_t) -> Value
    ) -> Value {
        withUnsafePointer(to: address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                body($0, socklen_t(MemoryLayout<sockaddr_un>.size))
            }
        }
    }

    private static func failure(_ what: String) -> RPCServerError {
        RPCServerError("\(what) (\(String(cString: strerror(errno)))); check its directory.")
    }
}
