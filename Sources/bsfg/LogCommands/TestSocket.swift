internal import Glibc

/// A plain TCP connection of the disk test that carries lines.
final class TestSocket {
    private static let silenceSeconds = 10

    private let descriptor: Int32
    private var reader: LineReader

    private init(_ descriptor: Int32) {
        self.descriptor = descriptor
        reader = LineReader(descriptor: descriptor, lineBytesMaximum: 256)
        // An acknowledgement must be on its way before the plug is out.
        var on: Int32 = 1
        setsockopt(
            descriptor, Int32(IPPROTO_TCP), TCP_NODELAY, &on, socklen_t(MemoryLayout<Int32>.size))
    }

    deinit { close(descriptor) }

    /// - Parameter address: `HOST:PORT`, or `[IPV6]:PORT`.
    static func connect(to address: String) throws(CommandFailure) -> TestSocket {
        guard let colon = address.lastIndex(of: ":"),
            let port = UInt16(address[address.index(after: colon)...])
        else { throw CommandFailure(.usage, "\(address) is not HOST:PORT") }
        var host = String(address[..<colon])
        if host.hasPrefix("["), host.hasSuffix("]") { host = String(host.dropFirst().dropLast()) }
        var hints = addrinfo()
        hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
        var found: UnsafeMutablePointer<addrinfo>?
        let code = getaddrinfo(host, String(port), &hints, &found)
        guard code == 0 else {
            throw CommandFailure(
                .unavailable, "cannot find \(host): \(String(cString: gai_strerror(code)))")
        }
        defer { freeaddrinfo(found) }
        var next = found
        var lastError: Int32 = 0
        while let candidate = next {
            let descriptor = socket(
                candidate.pointee.ai_family, candidate.pointee.ai_socktype,
                candidate.pointee.ai_protocol)
            if descriptor >= 0 {
                if Glibc.connect(
                    descriptor, candidate.pointee.ai_addr, candidate.pointee.ai_addrlen) == 0
                {
                    return TestSocket(descriptor)
                }
                lastError = errno
                close(descriptor)
            }
            next = candidate.pointee.ai_next
        }
        throw CommandFailure(
            .unavailable, "cannot reach \(address): \(String(cString: strerror(lastError)))")
    }

    /// A socket that listens on all addresses of the machine.
    static func listen(port: UInt16) throws(CommandFailure) -> Int32 {
        let descriptor = socket(AF_INET6, Int32(SOCK_STREAM.rawValue), 0)
        guard descriptor >= 0 else { throw failure("open a socket", errno) }
        var on: Int32 = 1
        let size = socklen_t(MemoryLayout<Int32>.size)
        setsockopt(descriptor, SOL_SOCKET, SO_REUSEADDR, &on, size)
        // IPv4 too, as addresses of its own kind.
        var off: Int32 = 0
        setsockopt(descriptor, Int32(IPPROTO_IPV6), IPV6_V6ONLY, &off, size)
        var address = sockaddr_in6()
        address.sin6_family = sa_family_t(AF_INET6)
        address.sin6_port = port.bigEndian
        let bound = withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in6>.size))
            }
        }
        guard bound == 0, Glibc.listen(descriptor, 8) == 0 else {
            let code = errno
            close(descriptor)
            throw failure("listen on port \(port)", code)
        }
        return descriptor
    }

    /// A connection that is taken to be over when it says nothing for 10 seconds.
    static func accept(_ listener: Int32) throws(CommandFailure) -> TestSocket {
        while true {
            let descriptor = Glibc.accept(listener, nil, nil)
            if descriptor >= 0 {
                // A machine without power ends no connection.
                var limit = timeval(tv_sec: silenceSeconds, tv_usec: 0)
                setsockopt(
                    descriptor, SOL_SOCKET, SO_RCVTIMEO, &limit,
                    socklen_t(MemoryLayout<timeval>.size))
                return TestSocket(descriptor)
            }
            guard errno == EINTR || errno == ECONNABORTED else {
                throw failure("take a connection", errno)
            }
        }
    }

    /// The next line; nil when the other side is gone.
    func line() -> String? {
        guard let line = try? reader.next() else { return nil }
        return String(decoding: line, as: UTF8.self)
    }

    /// - Returns: false when the other side is gone.
    func send(_ line: String) -> Bool {
        let bytes = Array((line + "\n").utf8)
        var done = 0
        while done < bytes.count {
            let count = bytes.withUnsafeBytes {
                Glibc.send(
                    descriptor, $0.baseAddress! + done, bytes.count - done, Int32(MSG_NOSIGNAL))
            }
            guard count > 0 || errno == EINTR else { return false }
            done += max(0, count)
        }
        return true
    }

    private static func failure(_ what: String, _ code: Int32) -> CommandFailure {
        CommandFailure(.failure, "cannot \(what): \(String(cString: strerror(code)))")
    }
}
