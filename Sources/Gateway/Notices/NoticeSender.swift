internal import Buffers
internal import Facts
internal import Logging
internal import RPC
internal import Synchronization
internal import WriteAheadLog

/// Tells peers whose entry says `notify: true` that there is something new for them, at most once a second,
/// and not while they wait for it in a long poll anyway. What cannot be told is left: they come by
/// themselves.
actor NoticeSender {
    private static let intervalMilliseconds: Int64 = 1_000
    private static let pauseAfterFailureMilliseconds: Int64 = 10_000
    private static let callMilliseconds = 5_000
    /// What a notice that is under way to a peer gets when its connection is replaced.
    private static let graceMilliseconds: Int64 = 1_000

    /// The head of each log that a peer was told of.
    private final class Told: Sendable {
        private let heads: Mutex<[StreamLog.Name: UInt64]>

        init(_ heads: [StreamLog.Name: UInt64]) { self.heads = Mutex(heads) }

        func head(_ log: StreamLog) -> UInt64? { heads.withLock { $0[log.name] } }

        func set(_ log: StreamLog, _ head: UInt64) { heads.withLock { $0[log.name] = head } }
    }

    private struct Target: Sendable {
        var peer: PeerConfiguration
        var logs: [StreamLog]
        var connection: PeerConnection
        var told: Told
        var news: Wakeups
    }

    private struct Running {
        var target: Target
        var task: Task<Void, Never>
        var observers: [(StreamLog, UInt64)]
    }

    private let logs: StreamLogs
    private let gates: PeerGates
    private let logger: Logger
    private var running: [Running] = []

    init(logs: StreamLogs, gates: PeerGates, logger: Logger) {
        self.logs = logs
        self.gates = gates
        self.logger = logger
    }

    /// Puts a configuration in force. A peer that is what it was, and is granted the same logs, notices nothing;
    /// for another the new connection is there before the old one ends, with what the peer was not told yet.
    func apply(
        _ configuration: NodeConfiguration, changedPeers: Set<String>, connect: Pulls.Connect
    ) async {
        let before = running
        running = []
        var staying: Set<String> = []
        for peer in configuration.peers where peer.isNotified && peer.authorized {
            guard let endpoint = peer.endpoint else { continue }
            let granted = granted(to: peer)
            let known = before.first { $0.target.peer.id == peer.id }
            if let known, !changedPeers.contains(peer.id),
                known.target.logs.elementsEqual(granted, by: ===)
            {
                staying.insert(peer.id)
                running.append(known)
                continue
            }
            guard let connection = try? connect(peer, endpoint) else { continue }
            begin(peer, granted, connection, known?.target.told)
        }
        await end(
            before.filter { !staying.contains($0.target.peer.id) },
            graceMilliseconds: Self.graceMilliseconds)
    }

    func stop() async {
        let ending = running
        running = []
        await end(ending, graceMilliseconds: 0)
    }

    private func granted(to peer: PeerConfiguration) -> [StreamLog] {
        logs.all.filter { log in
            peer.streams.contains { $0.utf8.elementsEqual(log.stream.name.utf8) }
                && peer.origins.contains { $0.utf8.elementsEqual(log.origin.utf8) }
        }
    }

    private func begin(
        _ peer: PeerConfiguration, _ granted: [StreamLog], _ connection: PeerConnection, _ told: Told?
    ) {
        let news = Wakeups()
        let observers = granted.map { log in (log, log.buffer.observeHead { _ in news.wakeAll() }) }
        // What was there before the peer was to be told it finds by itself.
        var heads: [StreamLog.Name: UInt64] = [:]
        for log in granted { heads[log.name] = told?.head(log) ?? log.log.headOffset }
        let target = Target(
            peer: peer, logs: granted, connection: connection, told: Told(heads), news: news)
        let (gates, logger) = (gates, logger)
        running.append(
            Running(
                target: target, task: Task { await NoticeSender.run(target, gates, logger) },
                observers: observers))
    }

    private func end(_ all: [Running], graceMilliseconds: Int64) async {
        for one in all {
            for (log, number) in one.observers { log.buffer.removeObserver(number) }
            // Ends its waits, and not the notice that is under way.
            one.task.cancel()
            one.target.news.end()
        }
        await withTaskGroup(of: Void.self) { group in
            for one in all {
                let (task, connection) = (one.task, one.target.connection)
                group.addTask {
                    let closing = Task {
                        try? await Task.sleep(for: .milliseconds(graceMilliseconds))
                        await connection.close()
                    }
                    await task.value
                    closing.cancel()
                    await closing.value
                }
            }
        }
    }

    private static func run(_ target: Target, _ gates: PeerGates, _ logger: Logger) async {
        while !Task.isCancelled {
            let seen = target.news.count
            var pause = intervalMilliseconds
            for log in target.logs where !Task.isCancelled {
                let head = log.log.headOffset
                guard head > target.told.head(log) ?? 0, !gates.isServing(target.peer.id),
                    gates.refusal(to: target.peer.id) == nil
                else { continue }
                target.told.set(log, head)
                if await tell(target, log, head) {
                    logger.debug(
                        "peer notified",
                        metadata: [
                            "event": "notify_available", "peer": "\(target.peer.id)",
                            "stream": "\(log.stream.name)", "origin": "\(log.origin)",
                        ])
                } else {
                    pause = pauseAfterFailureMilliseconds
                }
            }
            try? await Task.sleep(for: .milliseconds(pause))
            await target.news.wait(after: seen, milliseconds: 3_600_000)
        }
    }

    private static func tell(_ target: Target, _ log: StreamLog, _ head: UInt64) async -> Bool {
        var request = Bsfg_V1_NotifyAvailableRequest()
        request.stream = log.stream.name
        request.originZone = log.origin
        request.headOffset = head
        let body = WireCodec.encode(request, .proto)
        // A task of its own: it is not cancelled with the loop.
        return await Task {
            do throws(RPCClientError) {
                _ = try await target.connection.call(
                    Procedure.notifyAvailable.rawValue, body, callMilliseconds)
                return true
            } catch {
                return false
            }
        }.value
    }
}
