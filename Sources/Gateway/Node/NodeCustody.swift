internal import Buffers
internal import Logging
internal import Replication

/// What a node's parts share about facts and histories that cannot simply go on: where facts wait for a
/// decision, which receivers were refused, and where tests stop the process.
struct NodeCustody: Sendable {
    let quarantine: LogQuarantine
    let refusals = HistoryRefusals()
    let faults: FaultPoints
    let logger: Logger
    private let redelivery: RedeliveryWatch

    /// Opens the quarantine of the data directory. Blocks.
    init(_ configuration: NodeConfiguration, logger: Logger) throws(NodeError) {
        self.logger = logger
        redelivery = RedeliveryWatch(logger: logger)
        faults = try FaultPoints.fromEnvironment(isStrict: configuration.isStrict)
        do throws(BufferError) {
            quarantine = try LogQuarantine(
                directory: "\(configuration.dataDirectory)/quarantine",
                capacityBytes: UInt64(configuration.quarantineBytes))
        } catch {
            throw NodeError("the quarantine cannot be opened: \(error.sentence)")
        }
        QuarantineWatch(logger: logger).tellWaiting(quarantine.size)
        QuarantineWatch(logger: logger).tellLost(quarantine.losses)
    }

    func close() { quarantine.close() }

    /// How pages of another zone's facts come into their log.
    func materialisation(_ buffer: LogForwardBuffer, _ log: StreamLog, _ origin: String)
        -> PageMaterialisation
    {
        PageMaterialisation(
            buffer: buffer, quarantine: quarantine, stream: log.stream.name, origin: origin,
            keyedBy: log.stream.idempotency == .content ? .content : .identifier,
            halts: log.stream.profile == .silStrict, now: { GatewayNode.nowMilliseconds() },
            quarantined: { [logger] facts in QuarantineWatch(logger: logger).tell(facts) },
            reached: { [faults] step in faults.reached(FaultPoints.Step(step)) },
            altered: { [redelivery] entries in
                redelivery.tell(entries, stream: log.stream.name, origin: origin)
            })
    }

    /// What an operator decided, for those who come after.
    /// - Parameter reason: nil where none is asked for.
    func audit(
        _ event: String, by caller: String, reason: String? = nil, _ metadata: Logger.Metadata
    ) {
        var all = metadata
        all["event"] = "\(event)"
        all["by"] = "\(caller)"
        if let reason { all["reason"] = "\(reason)" }
        logger.notice("\(event.split(separator: "_").joined(separator: " "))", metadata: all)
    }
}
