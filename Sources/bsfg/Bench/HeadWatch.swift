internal import Facts
internal import Gateway
internal import Load
internal import RPC
internal import Synchronization

/// Follows the head of a forward log as its consumers see it: a long poll behind the head, answered when
/// the next facts are there.
final class HeadWatch: Sendable {
    static let consumer = "bench"

    private struct State {
        var tracker = LagTracker()
        var head: UInt64 = 0
        /// When the log reached which head.
        var firstInWindow: (head: UInt64, nanoseconds: UInt64)?
        var lastInWindow: (head: UInt64, nanoseconds: UInt64)?
        var failure: String?
    }

    private let client: RPCClient
    private let boundary: BoundaryClient
    private let window: Range<UInt64>
    private let state = Mutex(State())

    /// - Parameter window: the times between which the rate is counted.
    init(_ site: TwoZoneSite, window: Range<UInt64>) throws {
        self.window = window
        let path = site.client(TwoZoneSite.consumer)
        let expected = site.receiverCertificate
        let tls = RPCClientTLS(
            certificateChain: try SmallText.read("\(path).crt"),
            privateKey: try SmallText.read("\(path).key"),
            trustRoots: try SmallText.read(site.authorityFile))
        client = try CommandFailure.calling { () throws(RPCClientError) in
            try RPCClient(
                RPCClientConfiguration(host: "127.0.0.1", port: site.receiverPort), tls: tls
            ) { leaf in
                leaf == expected
                    ? nil
                    : ServiceRefusal(reason: "server_identity", sentence: "the server is not ours")
            }
        }
        boundary = BoundaryClient(client)
    }

    var head: UInt64 { state.withLock { $0.head } }
    var lags: Latencies { state.withLock { $0.tracker.lags } }
    var failure: String? { state.withLock { $0.failure } }

    /// Facts a second that came into the log within the window.
    var factsPerSecond: Double? {
        state.withLock { state in
            guard let first = state.firstInWindow, let last = state.lastInWindow,
                last.nanoseconds > first.nanoseconds
            else { return nil }
            return Double(last.head - first.head) / Double(last.nanoseconds - first.nanoseconds) * 1e9
        }
    }

    /// A batch that the source acknowledged.
    func acknowledged(_ acknowledgement: LoadRun.Acknowledgement, count: Int) {
        guard
            let response = try? WireCodec.decodeResponse(
                Bsfg_V1_AppendFactsResponse.self, acknowledgement.body, .proto),
            let last = response.outcomes.last, last.hasOffset
        else { return fail("the source's answer to a batch has no offsets") }
        state.withLock {
            $0.tracker.acknowledged(
                endOffset: last.offset + 1, count: count,
                scheduledNanoseconds: acknowledgement.call.scheduledNanoseconds,
                isMeasured: acknowledgement.call.isMeasured)
        }
    }

    /// Follows until it is cancelled or a call fails.
    func run() async {
        while !Task.isCancelled {
            var request = Bsfg_V1_FetchFactsRequest()
            request.consumerName = Self.consumer
            request.fromOffset = head
            request.limit = 1
            request.waitMs = 1_000
            do {
                let bytes = try await boundary.fetchFacts(request)
                let response = try WireCodec.decodeResponse(
                    Bsfg_V1_FetchFactsResponse.self, bytes, .proto)
                seen(response.headOffset)
            } catch {
                if !Task.isCancelled { fail("\(error)") }
                return
            }
        }
    }

    func close() async { await client.close() }

    private func seen(_ head: UInt64) {
        let now = Pacing.nanoseconds()
        state.withLock { state in
            state.tracker.seen(head: head, atNanoseconds: now)
            state.head = max(state.head, head)
            guard window.contains(now) else { return }
            if state.firstInWindow == nil { state.firstInWindow = (head, now) }
            state.lastInWindow = (head, now)
        }
    }

    private func fail(_ sentence: String) {
        state.withLock { if $0.failure == nil { $0.failure = sentence } }
    }
}
