internal import Buffers
internal import Facts
internal import Glibc
package import Logging
internal import RPC
internal import Synchronization
internal import WriteAheadLog

/// A running node: its logs, what it serves and what it pulls. Logs open first and close last.
package final class GatewayNode: Sendable {
    private let logs: StreamLogs
    private let pool: BlockingPool
    private let custody: NodeCustody
    private let pulls: Pulls
    private let server: RPCServer
    private let logger: Logger
    private let bound: BoundListeners
    private let waits = HeadWaits()
    private let watch: LogWatch
    private let driver: GateDriver
    private let reloader: Reloader
    private let certificateWatch: CertificateWatch
    private let notices: NoticeSender
    private let beginNotices: @Sendable () async -> Void
    private let artifacts: NodeArtifacts?

    /// How long calls in flight may take at the end, in seconds.
    private static let graceSeconds = 30.0
    private static let diskThreads = 4

    private final class BoundListeners: Sendable {
        let addresses = Mutex<[String]>([])
        let server = Mutex<RPCServer?>(nil)
    }

    /// Opens the logs and reads the certificates. Blocks.
    package init(
        _ configuration: NodeConfiguration, _ credentials: NodeCredentials, logger: Logger
    ) throws(NodeError) {
        self.logger = logger
        logs = try StreamLogs(configuration)
        custody = try NodeCustody(configuration, logger: logger)
        watch = LogWatch(logs, custody.faults, logger)
        pool = BlockingPool(name: "bsfg-disk", threadCount: GatewayNode.diskThreads)
        let bound = BoundListeners()
        self.bound = bound
        let now: @Sendable () -> Int64 = { GatewayNode.nowMilliseconds() }
        let parts = try NodeParts(
            configuration, credentials, logs: logs, pool: pool, waits: waits, watch: watch,
            custody: custody, logger: logger, now: now, server: { bound.server.withLock { $0 } })
        (pulls, driver, reloader) = (parts.pulls, parts.driver, parts.reloader)
        certificateWatch = parts.certificateWatch
        artifacts = parts.artifacts
        notices = parts.notices
        beginNotices = parts.beginNotices
        let access = parts.access
        let service = NodeService(
            access: access,
            append: AppendService(
                access: access, logs: logs, pool: pool,
                references: ArtifactReferenceCheck(store: parts.artifacts?.store)),
            fetch: FetchService(
                access: access, logs: logs, pool: pool, waits: waits, custody: custody),
            federation: FederationHandler(
                access: access, logs: logs, pool: pool, custody: custody, now: now),
            admin: AdminHandler(
                live: access.live, logs: logs, pulls: pulls, pool: pool, waits: waits,
                custody: custody, startedMilliseconds: GatewayNode.nowMilliseconds(), now: now,
                server: { bound.server.withLock { $0?.statistics } ?? RPCServerStatistics() },
                listeners: { bound.addresses.withLock { $0 } }, artifacts: parts.artifacts,
                reloader: parts.reloader),
            administration: parts.administration, notices: parts.noticeReceiver,
            artifacts: parts.artifacts?.service(access),
            streaming: parts.artifacts?.streaming(access))
        var listeners = configuration.listeners.map {
            RPCListener(
                .tcp(host: $0.address.host, port: $0.address.port, accept: $0.accept))
        }
        listeners.append(RPCListener(.unixSocket(path: configuration.adminSocketPath)))
        var settings = RPCServerConfiguration(listeners: listeners, tls: credentials.serverTLS)
        settings.limits = configuration.limits
        do throws(RPCServerError) {
            server = try RPCServer(
                configuration: settings, service: service, verifier: parts.verifier,
                logger: logger)
        } catch {
            throw NodeError(error.sentence)
        }
        bound.server.withLock { $0 = server }
        for log in logs.all { GatewayNode.tell(log, logger) }
        LogsOfDirectory(configuration.dataDirectory).warn(configuration, logger)
        if let problem = logs.zoneProblem {
            logger.warning(
                "\(problem.sentence); the next start tries again", metadata: ["event": "zone_not_kept"])
        }
    }

    /// Listens and begins to pull.
    /// - Returns: the addresses that it listens on.
    package func start() async throws -> [String] {
        let addresses = try await server.start().map { address in
            switch address {
            case .tcp(let host, let port): "\(host):\(port)"
            case .unixSocket(let path): path
            }
        }
        bound.addresses.withLock { $0 = addresses }
        await reloader.keepRevocations()
        certificateWatch.start()
        driver.start()
        await artifacts?.start()
        await pulls.start()
        await beginNotices()
        return addresses
    }

    /// Reads the configuration again and puts it in force, or says in the log why not.
    /// - Parameter caller: who asked for it.
    package func reload(by caller: String) async { _ = try? await reloader.reload(by: caller) }

    /// Waits for what the node cannot go on after; nil when the task is cancelled.
    package func failure() async -> NodeError? { await watch.failure() }

    /// Stops pulling, answers what is in flight, and closes the logs.
    package func stop() async {
        await certificateWatch.stop()
        await driver.stop()
        await notices.stop()
        await pulls.stop()
        await artifacts?.stop()
        waits.end()
        await server.stop(graceSeconds: GatewayNode.graceSeconds)
        bound.server.withLock { $0 = nil }
        pool.stop()
        artifacts?.close()
        custody.close()
        logs.close()
    }

    private static func tell(_ log: StreamLog, _ logger: Logger) {
        let report = log.log.recovery
        logger.info(
            "\(report.created ? "log created" : "log opened")",
            metadata: [
                "stream": "\(log.stream.name)", "origin": "\(log.origin)", "role": "\(log.role)",
                "uuid": "\(log.log.identifier.hexadecimal)", "head": "\(log.log.headOffset)",
                "end": "\(report.decision.rawValue)", "cut_bytes": "\(report.cutBytes)",
                "milliseconds": "\(report.durationMilliseconds)",
            ])
        // Before anybody could listen to the log's events.
        var events: [WriteAheadLog.LogEvent] = []
        if report.cutBytes > 0 { events.append(.tailCut(bytes: report.cutBytes)) }
        events += report.losses.map { .gapDeclared(Gap(offsets: $0, reasons: .corrupt, timeMilliseconds: nil)) }
        for event in events { LogEventLine(event).write(to: logger, about: log) }
    }

    static func nowMilliseconds() -> Int64 {
        var time = timespec()
        clock_gettime(CLOCK_REALTIME, &time)
        return Int64(time.tv_sec) * 1_000 + Int64(time.tv_nsec) / 1_000_000
    }
}
