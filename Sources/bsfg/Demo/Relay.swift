internal import Gateway
internal import Glibc

/// A TCP relay in one thread around poll(2). What is on its way when one end goes is lost, as it is
/// when a machine dies or a cable is cut.
struct Relay {
    /// Bytes on their way in one direction; more are left in the socket.
    private static let wayBytesMaximum = 4 << 20
    private static let readBytes = 64 << 10
    private static let connectionsMaximum = 256

    private struct Chunk {
        var dueMilliseconds: Int64
        var bytes: [UInt8]
        var sent = 0
    }

    /// One direction of a connection.
    private struct Way {
        var source: Int32
        var target: Int32
        var chunks: [Chunk] = []
        var byteCount = 0
        var isBroken = false
    }

    private struct Connection {
        var ways: [Way]
    }

    private let listener: Int32
    private let target: sockaddr_in
    private let delayMilliseconds: Int64
    private var connections: [Connection] = []
    private var scratch = [UInt8](repeating: 0, count: Relay.readBytes)

    init(from: HostPort, to: HostPort, delayMilliseconds: Int64) throws {
        self.delayMilliseconds = delayMilliseconds
        target = try Relay.address(to)
        listener = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        var on: Int32 = 1
        setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, socklen_t(MemoryLayout<Int32>.size))
        var own = try Relay.address(from)
        let isBound = Relay.withAddress(&own) { bind(listener, $0, $1) } == 0
        guard isBound, Glibc.listen(listener, 64) == 0 else {
            throw CommandFailure(
                .failure, "\(from) cannot be listened on: \(String(cString: strerror(errno)))")
        }
    }

    mutating func run() throws {
        while true {
            // One look at the clock: what is not yet due for writing is waited for.
            let now = Relay.now()
            var entries = [pollfd(fd: listener, events: Int16(POLLIN), revents: 0)]
            for connection in connections {
                for way in connection.ways { entries.append(wish(of: way, connection, now)) }
            }
            guard poll(&entries, nfds_t(entries.count), patience(now)) >= 0 || errno == EINTR
            else {
                throw CommandFailure(.failure, "poll failed: \(String(cString: strerror(errno)))")
            }
            for index in connections.indices {
                for way in 0..<2 {
                    let events = entries[1 + index * 2 + way].revents
                    if events != 0 { receive(index, way) }
                }
                for way in 0..<2 { send(index, way) }
            }
            connections.removeAll { connection in
                guard connection.ways.contains(where: \.isBroken) else { return false }
                close(connection.ways[0].source)
                close(connection.ways[0].target)
                return true
            }
            if entries[0].revents != 0 { take() }
        }
    }

    /// Each socket is asked for once: whether it has bytes for its way, and whether it takes those
    /// of the other.
    private func wish(of way: Way, _ connection: Connection, _ now: Int64) -> pollfd {
        var events = way.byteCount < Relay.wayBytesMaximum ? POLLIN : 0
        let other = connection.ways.first { $0.target == way.source }
        if let chunk = other?.chunks.first, chunk.dueMilliseconds <= now {
            events |= POLLOUT
        }
        return pollfd(fd: way.source, events: Int16(events), revents: 0)
    }

    /// Until the next bytes are due; those that are due already wait for their socket.
    private func patience(_ now: Int64) -> Int32 {
        let next = connections.flatMap(\.ways).compactMap { $0.chunks.first?.dueMilliseconds }
            .filter { $0 > now }.min()
        return next.map { Int32($0 - now) } ?? -1
    }

    private mutating func receive(_ index: Int, _ way: Int) {
        guard connections[index].ways[way].byteCount < Relay.wayBytesMaximum else { return }
        let count = recv(
            connections[index].ways[way].source, &scratch, scratch.count, Int32(MSG_DONTWAIT))
        if count > 0 {
            connections[index].ways[way].chunks.append(
                Chunk(
                    dueMilliseconds: Relay.now() + delayMilliseconds,
                    bytes: Array(scratch[..<count])))
            connections[index].ways[way].byteCount += count
        } else if count == 0 || (errno != EAGAIN && errno != EINTR) {
            connections[index].ways[way].isBroken = true
        }
    }

    private mutating func send(_ index: Int, _ way: Int) {
        while let chunk = connections[index].ways[way].chunks.first,
            chunk.dueMilliseconds <= Relay.now()
        {
            let count = chunk.bytes.withUnsafeBytes { bytes in
                Glibc.send(
                    connections[index].ways[way].target, bytes.baseAddress! + chunk.sent,
                    bytes.count - chunk.sent, Int32(MSG_DONTWAIT) | Int32(MSG_NOSIGNAL))
            }
            guard count >= 0 else {
                if errno != EAGAIN && errno != EINTR {
                    connections[index].ways[way].isBroken = true
                }
                return
            }
            connections[index].ways[way].byteCount -= count
            connections[index].ways[way].chunks[0].sent += count
            if connections[index].ways[way].chunks[0].sent == chunk.bytes.count {
                connections[index].ways[way].chunks.removeFirst()
            }
        }
    }

    private mutating func take() {
        let near = accept(listener, nil, nil)
        guard near >= 0 else { return }
        let far = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        var address = target
        // Loopback answers at once, one way or the other.
        guard connections.count < Relay.connectionsMaximum, far >= 0,
            Relay.withAddress(&address, { Glibc.connect(far, $0, $1) }) == 0
        else {
            close(near)
            close(far)
            return
        }
        var on: Int32 = 1
        for descriptor in [near, far] {
            setsockopt(
                descriptor, Int32(IPPROTO_TCP), TCP_NODELAY, &on,
                socklen_t(MemoryLayout<Int32>.size))
        }
        connections.append(
            Connection(ways: [Way(source: near, target: far), Way(source: far, target: near)]))
    }

    private static func address(_ place: HostPort) throws -> sockaddr_in {
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = in_port_t(place.port).bigEndian
        guard inet_pton(AF_INET, place.host, &address.sin_addr) == 1 else {
            throw CommandFailure(.usage, "\(place.host) is no IPv4 address")
        }
        return address
    }

    private static func withAddress<Result>(
        _ address: inout sockaddr_in, _ body: (UnsafePointer<sockaddr>, socklen_t) -> Result
    ) -> Result {
        let size = socklen_t(MemoryLayout<sockaddr_in>.size)
        return withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { body($0, size) }
        }
    }

    private static func now() -> Int64 {
        var time = timespec()
        clock_gettime(CLOCK_MONOTONIC, &time)
        return Int64(time.tv_sec) * 1_000 + Int64(time.tv_nsec) / 1_000_000
    }
}
