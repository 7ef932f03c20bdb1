internal import Metrics
internal import Synchronization

/// What a server has counted since it was made.
package struct RPCServerStatistics: Sendable {
    package var connectionsAccepted: UInt64 = 0
    /// Connections closed at once, by the limit they met.
    package var connectionsRefused: [String: UInt64] = [:]
    /// Connections that ended before the first byte of a ClientHello: health checks and scanners.
    package var endedBeforeClientHello: UInt64 = 0
    /// Handshakes that failed, by reason.
    package var handshakeFailures: [String: UInt64] = [:]
    /// Certificates that passed the handshake and were refused after it, by error reason.
    package var callersRefused: [String: UInt64] = [:]
    package var requests: UInt64 = 0
    /// Requests answered with an error, by error reason.
    package var errors: [String: UInt64] = [:]
    package var openConnections = 0
    package var requestsInFlight = 0
    /// Of the memory for bodies, in steps of 64 KiB: requests, answers being made, answers being written.
    package var bodyBytesHeld = 0

    package init() {}
}

/// The counters behind the statistics, mirrored into swift-metrics. Every label is one of a fixed
/// set, so a stranger cannot make the series grow.
final class ServerCounters: Sendable {
    private let state = Mutex(RPCServerStatistics())
    private let requests = Atomic<UInt64>(0)

    func accepted() {
        state.withLock { $0.connectionsAccepted += 1 }
    }

    func refusedConnection(_ reason: String) {
        state.withLock { $0.connectionsRefused[reason, default: 0] += 1 }
        count("bsfg_connections_refused_total", reason)
    }

    func endedBeforeClientHello() {
        state.withLock { $0.endedBeforeClientHello += 1 }
        Counter(label: "bsfg_tls_connections_without_hello_total").increment()
    }

    func handshakeFailed(_ reason: HandshakeFailure) {
        state.withLock { $0.handshakeFailures[reason.rawValue, default: 0] += 1 }
        count("bsfg_tls_handshake_failures_total", reason.rawValue)
    }

    func refusedCaller(_ reason: String) {
        state.withLock { $0.callersRefused[reason, default: 0] += 1 }
        count("bsfg_tls_refused_total", reason)
    }

    func request() {
        requests.add(1, ordering: .relaxed)
    }

    func failed(_ reason: String) {
        state.withLock { $0.errors[reason, default: 0] += 1 }
        count("bsfg_rpc_errors_total", reason)
    }

    private func count(_ label: String, _ reason: String) {
        Counter(label: label, dimensions: [("reason", reason)]).increment()
    }

    func snapshot(_ admission: Admission) -> RPCServerStatistics {
        var statistics = state.withLock { $0 }
        statistics.requests = requests.load(ordering: .relaxed)
        statistics.openConnections = admission.openConnections
        statistics.requestsInFlight = admission.requestsInFlight
        statistics.bodyBytesHeld = admission.bodyBytesHeld
        return statistics
    }
}
