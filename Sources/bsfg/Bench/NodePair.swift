internal import Gateway
internal import Glibc
internal import RPC

/// The two nodes of a benchmark and what they use.
struct NodePair: Sendable {
    struct Usage: Sendable {
        var source: ProcessUsage
        var receiver: ProcessUsage
    }

    let source: ZoneNode
    let receiver: ZoneNode

    init(_ site: TwoZoneSite) {
        source = ZoneNode(TwoZoneSite.source, site)
        receiver = ZoneNode(TwoZoneSite.receiver, site)
    }

    /// Both run, and the receiver pulls.
    func start() async throws {
        try await source.start()
        try await receiver.start()
        try await Pacing.wait(seconds: 300, "\(receiver.zone) does not pull; see \(receiver.log)") {
            await receiver.view()?.isPulling == true
        }
    }

    func usage() async throws -> Usage {
        guard let source = ProcessUsage(await source.process.pid),
            let receiver = ProcessUsage(await receiver.process.pid)
        else { throw CommandFailure(.failure, "a node has ended; see its log") }
        return Usage(source: source, receiver: receiver)
    }

    func forgetPeaks() async throws {
        for node in [source, receiver] {
            guard ProcessUsage.forgetPeak(await node.process.pid) else {
                throw CommandFailure(
                    .failure, "the kernel does not let the peak of memory be counted anew")
            }
        }
    }

    /// Stops the pulls, as an operator does.
    func partition() async throws {
        var request = Bsfg_Admin_V1_PartitionRequest()
        request.peer = TwoZoneSite.source
        request.reason = "a benchmark's backlog"
        let wanted = request
        _ = try await CommandFailure.calling { () async throws(RPCClientError) in
            try await receiver.admin.partition(wanted)
        }
    }

    func reconcile() async throws {
        var request = Bsfg_Admin_V1_ReconcileRequest()
        request.peer = TwoZoneSite.source
        let wanted = request
        _ = try await CommandFailure.calling { () async throws(RPCClientError) in
            try await receiver.admin.reconcile(wanted)
        }
    }

    /// Everything that the source has is in the receiver's log, and the source knows.
    func waitUntilEqual(seconds: Double, everyMilliseconds: Int) async throws -> UInt64 {
        var head: UInt64 = 0
        try await Pacing.wait(
            seconds: seconds, everyMilliseconds: everyMilliseconds,
            "\(receiver.zone) has not caught up in \(Int(seconds)) s; see \(receiver.log)"
        ) {
            guard let from = await source.view(), let to = await receiver.view() else {
                return false
            }
            if let blocked = to.blocked {
                throw CommandFailure(.failure, "\(receiver.zone) is blocked: \(blocked)")
            }
            head = from.storeHead
            return to.forwardHead == head && from.cursor == head
        }
        return head
    }
}
