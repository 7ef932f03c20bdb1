internal import NIOCore
internal import Synchronization

/// A caller with a connection that is open, and the certificate that it showed.
package struct LiveCaller: Sendable {
    package let caller: Caller
    package let leafDER: [UInt8]
}

/// What callers are known by changed: every connection looks whether its caller is still one.
struct TrustChanged: Sendable {}

/// The open connections whose callers are known by a certificate, so that each can be verified again when
/// trust changes. Safe from any thread.
final class LiveCallers: Sendable {
    private struct State {
        var nextNumber: UInt64 = 0
        var connections: [UInt64: (live: LiveCaller, channel: any Channel)] = [:]
    }

    private let state = Mutex(State())

    /// The entry is removed when the channel closes.
    func add(_ live: LiveCaller, _ channel: any Channel) {
        let number = state.withLock { state in
            state.nextNumber += 1
            state.connections[state.nextNumber] = (live, channel)
            return state.nextNumber
        }
        channel.closeFuture.whenComplete { [self] _ in
            state.withLock { $0.connections[number] = nil }
        }
    }

    /// One of each certificate.
    var distinct: [LiveCaller] {
        var seen: Set<String> = []
        return state.withLock { state in state.connections.values.map(\.live) }.filter {
            seen.insert($0.caller.certificate?.fingerprint ?? "").inserted
        }
    }

    func tell(_ event: TrustChanged) {
        for (_, channel) in state.withLock({ Array($0.connections.values) }) {
            channel.pipeline.fireUserInboundEventTriggered(event)
        }
    }
}
