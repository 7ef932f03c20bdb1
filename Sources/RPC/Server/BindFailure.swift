internal import Glibc
internal import NIOCore

/// Why an address cannot be listened on, by what the operating system says.
enum BindFailure {
    static func sentence(_ address: String, _ error: any Error) -> String {
        let head = "the node cannot listen on \(address): "
        guard let code = (error as? IOError)?.errnoCode else { return head + "\(error)" }
        switch code {
        case EADDRINUSE:
            return head + "another process listens there; stop that one (ss -ltnp shows it), or choose another port"
        case EADDRNOTAVAIL:
            return head + "this machine has no such address (ip address shows those it has); correct listen in "
                + "bsfg.yaml"
        case EACCES:
            return head + "a port below 1024 is not for every user; choose a higher one, or give the node the "
                + "capability CAP_NET_BIND_SERVICE"
        default: return head + String(cString: strerror(code))
        }
    }
}
