/// What a load client does next.
package enum LoadStep: Sendable, Equatable {
    /// Send this call; `number` comes back with its answer.
    case send(number: Int, body: [UInt8])
    /// Nothing before this time (CLOCK_MONOTONIC). Answers are told meanwhile.
    case wait(untilNanoseconds: UInt64)
    /// No more calls; the run ends with the last answer.
    case finished
}

/// Decides what a load client sends, and takes the answers. Called on the client's event loop only; must
/// not block.
package protocol LoadDriver: AnyObject, Sendable {
    /// Asked whenever a call could be sent.
    func next(nowNanoseconds: UInt64) -> LoadStep

    /// The answer's body, or why there is none.
    func answered(
        number: Int, _ result: Result<[UInt8], RPCClientError>, nowNanoseconds: UInt64)
}

/// How a load client spreads its calls.
package struct LoadShape: Sendable {
    package enum HTTPVersion: String, Sendable, CaseIterable {
        case http1 = "1.1"
        case http2 = "2"
    }

    package var version: HTTPVersion
    package var connections: Int
    /// Calls not yet answered, over all connections. HTTP/1.1 has one on a connection, HTTP/2 a hundred.
    package var inFlight: Int

    package init(version: HTTPVersion, connections: Int, inFlight: Int) {
        precondition(connections > 0 && inFlight > 0, "a load needs a connection and a call")
        self.version = version
        self.connections = connections
        let limit =
            switch version {
            case .http1: HTTP1LoadCodec.concurrentCalls
            case .http2: HTTP2LoadCodec.concurrentCalls
            }
        self.inFlight = min(inFlight, connections * limit)
    }
}
