/// Where a client connects to, and its limits.
package struct RPCClientConfiguration: Sendable {
    package var host: String
    package var port: Int
    package var connectTimeoutMilliseconds = 5_000
    /// From the TCP connection until the server is verified and speaks HTTP/2.
    package var handshakeTimeoutMilliseconds = 10_000
    package var callTimeoutMilliseconds = 30_000
    /// A connection on which nothing came for this long is asked with a PING, and given up when
    /// another such time passes without an answer.
    package var pingIntervalMilliseconds = 10_000
    /// The kernel gives up on a connection whose bytes are not acknowledged for this long.
    package var userTimeoutMilliseconds = 20_000
    /// The largest answer taken, inflated, where a call has no limit of its own.
    package var responseBytes = 13 << 20
    /// Calls not yet answered, on the wire or waiting for the connection.
    package var outstandingCalls = 1024
    /// Asks for gzip answers: for slow links, since inflating costs more than it saves on fast
    /// ones.
    package var acceptsGzip = false
    /// Takes LZ4 answers: another node may send large ones so, where both are told to.
    package var acceptsLZ4 = false
    package var http2 = HTTP2Limits()

    package init(host: String, port: Int) {
        self.host = host
        self.port = port
    }

    /// Host and port as in a URL.
    package var authority: String {
        host.utf8.contains(UInt8(ascii: ":")) ? "[\(host)]:\(port)" : "\(host):\(port)"
    }
}
