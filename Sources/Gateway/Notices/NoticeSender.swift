internal import Buffers
internal import Facts
internal import Logging
internal import RPC
internal import WriteAheadLog

/// Tells peers whose entry says `notify: true` that there is something new for them, at most once a second,
/// and not while they wait for it in a long poll anyway. What cannot be told is left: they come by
/// themselves.
actor NoticeSender {
    private static let intervalMilliseconds: Int64 = 1_000
    private static let pauseAfterFailureMilliseconds: Int64 = 10_000
    private static let callMilliseconds = 5_000

    private struct Target: Sendable {
        var peer: PeerConfiguration
        var logs: [StreamLog]
        var connection: PeerConnection
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

    /// Begins anew with a configuration.
    func apply(_ configuration: NodeConfiguration, connect: Pulls.Connect) async {
        await stop()
        for peer in configuration.peers where peer.isNotified && peer.authorized {
            guard let endpoint = peer.endpoint,
                let connection = try? connect(peer, endpoint)
            else { continue }
            let granted = logs.all.filter { log in
                peer.streams.contains { $0.utf8.elementsEqual(log.stream.name.utf8) }
                    && peer.origins.contains { $0.utf8.elementsEqual(log.origin.utf8) }
            }
            let news = Wakeups()
            let target = Target(peer: peer, logs: granted, connection: connection, news: news)
            let observers = granted.map { log in (log, log.buffer.observeHead { _ in news.wakeAll() }) }
            let (gates, logger) = (gates, logger)
            running.append(
                Running(
                    target: target,
                    task: Task { await NoticeSender.run(target, gates, logger) },
                    observers: observers))
        }
    }

    func stop() async {
        let ending = running
        running = []
        for one in ending {
            for (log, number) in one.observers { log.buffer.removeObserver(number) }
            one.task.cancel()
            one.target.news.end()
            await one.target.connection.close()
            await one.task.value
        }
    }

    private static func run(_ target: Target, _ gates: PeerGates, _ logger: Logger) async {
        var told = Dictionary(uniqueKeysWithValues: target.logs.map { ($0.name, $0.log.headOffset) })
        while !Task.isCancelled {
            let seen = target.news.count
            var pause = intervalMilliseconds
            for log in target.logs {
                let head = log.log.headOffset
                guard head > told[log.name] ?? 0, !gates.isServing(target.peer.id),
                    gates.refusal(to: target.peer.id) == nil
                else { continue }
                told[log.name] = head
                do throws(RPCClientError) {
                    try await tell(target, log, head)
                    logger.debug(
                        "peer notified",
                        metadata: [
                            "event": "notify_available", "peer": "\(target.peer.id)",
                            "stream": "\(log.stream.name)", "origin": "\(log.origin)",
                        ])
                } catch {
                    pause = pauseAfterFailureMilliseconds
                }
            }
            try? await Task.sleep(for: .milliseconds(pause))
            await target.news.wait(after: seen, milliseconds: 3_600_000)
        }
    }

    private static func tell(_ target: Target, _ log: StreamLog, _ head: UInt64)
        async throws(RPCClientError)
    {
        var request = Bsfg_V1_NotifyAvailableRequest()
        request.stream = log.stream.name
        request.originZone = log.origin
        request.headOffset = head
        _ = try await target.connection.call(
            Procedure.notifyAvailable.rawValue, WireCodec.encode(request, .proto),
            callMilliseconds)
    }
}
