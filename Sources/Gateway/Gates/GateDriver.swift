internal import Buffers
internal import Logging
internal import Replication
internal import Synchronization
internal import WriteAheadLog

/// Gives the gates what only time and the logs can tell: silence, progress, and the end of a partition that
/// the operator asked for until then.
final class GateDriver: Sendable {
    /// How often reconciling gates are looked at, and how often the others.
    private static let busyMilliseconds: Int64 = 100
    private static let idleMilliseconds: Int64 = 1_000

    private let live: LiveConfiguration
    private let gates: PeerGates
    private let pulls: Pulls
    private let logs: StreamLogs
    private let partitions: Partitions
    private let now: @Sendable () -> Int64
    private let task = Mutex<Task<Void, Never>?>(nil)

    init(
        live: LiveConfiguration, gates: PeerGates, pulls: Pulls, logs: StreamLogs,
        partitions: Partitions, now: @escaping @Sendable () -> Int64
    ) {
        self.live = live
        self.gates = gates
        self.pulls = pulls
        self.logs = logs
        self.partitions = partitions
        self.now = now
    }

    func start() {
        task.withLock { task in
            task = Task { [self] in
                while !Task.isCancelled {
                    let seen = gates.changes.count
                    await look()
                    // Changes come in crowds: each is seen within the shorter time all the same.
                    if gates.isReconciling {
                        try? await Task.sleep(for: .milliseconds(GateDriver.busyMilliseconds))
                    } else {
                        await gates.changes.wait(
                            after: seen, milliseconds: GateDriver.idleMilliseconds)
                    }
                }
            }
        }
    }

    func stop() async {
        let running = task.withLock { task in
            defer { task = nil }
            return task
        }
        running?.cancel()
        gates.changes.end()
        await running?.value
    }

    /// One look at everything.
    func look() async {
        for progress in await pulls.progress() {
            gates.progress(
                progress.peer, progress.stream, offset: progress.offset, blocked: progress.blocked)
        }
        for peer in live.current.peers { gates.reads(peer.id, reads(peer)) }
        gates.tick()
        await partitions.endThoseDue(at: now())
    }

    /// What a peer has cursors of here: one for each log, named as its receiver names it. One of an earlier name
    /// of the zone may still be there, and nobody moves it.
    private func reads(_ peer: PeerConfiguration) -> [PeerGates.ReadLog] {
        var found: [PeerGates.ReadLog] = []
        for log in logs.all {
            for cursor in log.cursors.cursors()
            where cursor.receiverUUID != nil
                && cursor.owner.utf8.elementsEqual(peer.identity.utf8)
                && cursor.name.utf8.elementsEqual("\(peer.id)/\(log.stream.name)/\(log.origin)".utf8)
            {
                found.append(
                    PeerGates.ReadLog(
                        stream: GateStream(stream: log.stream.name, origin: log.origin),
                        confirmedOffset: cursor.nextOffset, headOffset: log.log.headOffset,
                        blocked: cursor.detachReason == nil ? nil : "cursor_detached"))
            }
        }
        return found
    }
}
