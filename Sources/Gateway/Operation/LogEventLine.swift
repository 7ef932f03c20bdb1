internal import Logging
internal import WriteAheadLog

/// A log's event as a line of the node's own log: `event` is its stable name, `alert` the alert that
/// operators know it by, where there is one.
struct LogEventLine {
    var event: String
    var level: Logger.Level
    var alert: String?
    var sentence: String
    var metadata: Logger.Metadata

    init(_ logEvent: WriteAheadLog.LogEvent) {
        switch logEvent {
        case .poisoned(let cause):
            self.init(
                "log_poisoned", .critical, "AppendFailing",
                "the log stopped writing: \(cause.error.sentence)")
        case .backpressureClosed(let fill):
            self.init(
                "backpressure_closed", .warning, "StoreFillHigh", "new records are refused",
                ["fill": "\(fill)"])
        case .backpressureOpened(let fill):
            self.init(
                "backpressure_opened", .notice, nil, "new records are taken again",
                ["fill": "\(fill)"])
        case .alarmRaised(let fill):
            self.init(
                "alarm_raised", .critical, "StoreFillHigh",
                "the log was full; look at its readers, then run bsfg log alarm ack --reason",
                ["fill": "\(fill)"])
        case .alarmAcknowledged(let name, let reason):
            self.init(
                "alarm_acknowledged", .notice, nil, "the alarm was acknowledged",
                ["by": "\(name)", "reason": "\(reason)"])
        case .gapDeclared(let gap):
            self.init(
                "facts_dropped", .error, "FactsDropped", "unconfirmed records were lost",
                LogEventLine.offsets(gap.offsets))
            metadata["reasons"] = "\(gap.reasons.names.joined(separator: ","))"
        case .expiryApproaching(let offsets, let milliseconds):
            self.init(
                "unconfirmed_near_ttl", .warning, "UnconfirmedNearTtl",
                "unconfirmed records will expire", LogEventLine.offsets(offsets))
            metadata["at_unix_ms"] = "\(milliseconds)"
        case .expired(let offsets):
            self.init(
                "facts_expired", .error, "FactsDropped", "unconfirmed records expired",
                LogEventLine.offsets(offsets))
        case .truncated(let offsets):
            self.init(
                "log_truncated", .info, nil, "records were removed", LogEventLine.offsets(offsets))
        case .cursorDetached(let owner, let name, let reason):
            self.init(
                "cursor_detached", .warning, nil, "truncation no longer waits for a consumer",
                ["owner": "\(owner)", "consumer": "\(name)", "reason": "\(reason)"])
        case .lowSpace(let bytes):
            self.init(
                "low_space", .error, "StoreFull", "the file system has less room than the reserve",
                ["free_bytes": "\(bytes)"])
        case .spaceRecovered(let bytes):
            self.init(
                "space_recovered", .notice, nil, "the file system has room again",
                ["free_bytes": "\(bytes)"])
        case .spareFailed(let error):
            self.init(
                "segment_preparation_failed", .warning, nil,
                "no segment could be prepared in advance: \(error.sentence)")
        case .derivedWorkFailed(let what, let error):
            self.init(
                "derived_work_failed", .warning, nil,
                "\(what) failed and is tried again: \(error.sentence)")
        case .segmentSealed(let identifier, let digest):
            self.init(
                "segment_sealed", .debug, nil, "a segment was sealed",
                ["segment": "\(identifier)", "digest": "\(digest)"])
        case .corruptionFound(let place):
            self.init(
                "corruption_found", .critical, nil,
                "\(place.file) is damaged at byte \(place.position), from offset \(place.offset) "
                    + "on: \(place.reason)")
        case .keyRunRebuilt:
            self.init("key_run_rebuilt", .notice, nil, "a part of the key index was rebuilt")
        case .dedupeHorizonLost:
            self.init(
                "dedupe_horizon_lost", .error, nil,
                "keys of removed records were lost: a retry of one would be stored again")
        case .clockSuspect(let reason):
            self.init(
                "clock_suspect", .warning, "ClockSkew",
                "the clock cannot be believed, nothing unconfirmed expires: \(reason)")
        case .clockTrusted:
            self.init("clock_trusted", .notice, nil, "the clock is believed again")
        case .tailCut(let bytes):
            self.init(
                "tail_cut", .warning, nil, "opening cut a torn commit", ["bytes": "\(bytes)"])
        }
    }

    private init(
        _ event: String, _ level: Logger.Level, _ alert: String?, _ sentence: String,
        _ metadata: Logger.Metadata = [:]
    ) {
        self.event = event
        self.level = level
        self.alert = alert
        self.sentence = sentence
        self.metadata = metadata
    }

    /// First and last, both inclusive.
    private static func offsets(_ range: Range<UInt64>) -> Logger.Metadata {
        ["first_offset": "\(range.lowerBound)", "last_offset": "\(range.upperBound - 1)"]
    }

    func write(to logger: Logger, about log: StreamLog) {
        var all = metadata
        all["event"] = "\(event)"
        if let alert { all["alert"] = "\(alert)" }
        all["stream"] = "\(log.stream.name)"
        all["origin"] = "\(log.origin)"
        all["role"] = "\(log.role)"
        logger.log(level: level, "\(sentence)", metadata: all)
    }
}
