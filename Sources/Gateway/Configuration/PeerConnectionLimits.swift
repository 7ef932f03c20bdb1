package import RPC

/// How soon a connection that this node made to a peer is given up when nothing comes back, as behind a
/// firewall that drops what it does not know any more: the last keys of `limits` of `bsfg.yaml`.
package struct PeerConnectionLimits: Sendable, Equatable {
    /// A connection on which nothing came for this long is asked with a PING.
    package var pingMilliseconds: Int
    /// The kernel gives up on what is not acknowledged for this long (TCP_USER_TIMEOUT).
    package var unacknowledgedMilliseconds: Int

    static var times: [(String, WritableKeyPath<PeerConnectionLimits, Int>)] {
        [("peer_ping", \.pingMilliseconds), ("peer_unacknowledged", \.unacknowledgedMilliseconds)]
    }

    package init() {
        let defaults = RPCClientConfiguration(host: "", port: 0)
        pingMilliseconds = defaults.pingIntervalMilliseconds
        unacknowledgedMilliseconds = defaults.userTimeoutMilliseconds
    }

    /// What is not given keeps its default.
    init(_ section: inout MappingReader) {
        self.init()
        for (key, path) in Self.times {
            if let time = section.milliseconds(key, 100...3_600_000) { self[keyPath: path] = time }
        }
    }

    func apply(to settings: inout RPCClientConfiguration) {
        settings.pingIntervalMilliseconds = pingMilliseconds
        settings.userTimeoutMilliseconds = unacknowledgedMilliseconds
    }
}
