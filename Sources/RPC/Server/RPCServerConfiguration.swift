/// Where a server listens and whom it takes there.
package struct RPCListener: Sendable {
    /// Which kinds of caller a TCP listener serves.
    package enum Acceptance: String, Sendable {
        case all, peers, clients
    }

    package enum Address: Sendable {
        /// TCP with mutual TLS. Port 0 lets the system choose.
        case tcp(host: String, port: Int, accept: Acceptance)
        /// A unix socket without TLS, mode 0600: the administration socket.
        case unixSocket(path: String)

        var text: String {
            switch self {
            case .tcp(let host, let port, _): "\(host):\(port)"
            case .unixSocket(let path): path
            }
        }
    }

    package var address: Address

    package init(_ address: Address) {
        self.address = address
    }
}

/// What a TLS listener shows and trusts. No files: every context is made of what was read and checked
/// together, also when others are in the files by then.
package struct RPCServerTLS: Sendable {
    /// The node's leaf, then any issuing CA; never empty.
    package let certificateChain: [X509Certificate]
    /// The key of the leaf, PEM without a password.
    package let privateKey: [UInt8]
    /// Roots and every issuing CA that callers may chain to.
    package let trustRoots: [X509Certificate]

    package init(
        certificateChain: [X509Certificate], privateKey: [UInt8], trustRoots: [X509Certificate]
    ) {
        precondition(!certificateChain.isEmpty, "a listener shows a certificate")
        self.certificateChain = certificateChain
        self.privateKey = privateKey
        self.trustRoots = trustRoots
    }
}

/// Limits on everything that a connection can make the server hold.
package struct RPCServerLimits: Sendable {
    package var connections = 512
    package var connectionsPerIdentity = 64
    package var unauthenticatedConnections = 64
    package var unauthenticatedConnectionsPerAddress = 8
    package var administrationConnections = 64

    package var handshakeMilliseconds = 10_000
    package var headMilliseconds = 10_000
    package var writeStallMilliseconds = 30_000
    package var idleMilliseconds = 120_000
    /// How long a refused request's body is read and thrown away before the connection closes.
    package var discardMilliseconds = 2_000
    package var discardBytes = 1 << 20

    package var headBytes = 32 << 10
    package var fieldBytes = 16 << 10
    package var fields = 64

    package var http2 = HTTP2Limits()

    package var bodyBytes = 12 << 20
    /// A body may be slow for this long before its rate counts.
    package var bodyGraceMilliseconds = 10_000
    package var bodyBytesPerSecond = 1 << 10
    /// What the bodies of all requests and answers may hold together.
    package var bodyBudgetBytes = 64 << 20
    /// Of the budget, what the requests and answers of one identity may hold together.
    package var bodyBudgetBytesPerIdentity = 32 << 20

    package var inFlightPerIdentity = 256
    package var inFlight = 1_024

    package var defaultTimeoutMilliseconds = 30_000
    package var maximumTimeoutMilliseconds = 60_000

    /// Certificates waiting for their verification.
    package var verificationQueue = 64
    /// Bodies waiting to be inflated or deflated.
    package var codingQueue = 256

    package init() {}
}

package struct RPCServerConfiguration: Sendable {
    package var listeners: [RPCListener]
    /// Required by TCP listeners.
    package var tls: RPCServerTLS?
    package var limits = RPCServerLimits()
    /// One loop beside the committer beat two where it was measured.
    package var eventLoopThreads = 1
    /// A new TLS context this often ends the session tickets of the one before.
    package var contextLifetimeSeconds = 3_600

    package init(listeners: [RPCListener], tls: RPCServerTLS?) {
        self.listeners = listeners
        self.tls = tls
    }
}
