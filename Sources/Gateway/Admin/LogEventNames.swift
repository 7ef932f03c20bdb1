internal import WriteAheadLog

/// The counters of a log's events by the names that its log lines have.
enum LogEventNames {
    /// Those that happened.
    static func counts(_ all: LogEventCounters) -> [String: UInt64] {
        let named: KeyValuePairs<String, UInt64> = [
            "log_poisoned": all.poisoned, "backpressure_closed": all.backpressureClosed,
            "backpressure_opened": all.backpressureOpened, "alarm_raised": all.alarmRaised,
            "alarm_acknowledged": all.alarmAcknowledged, "facts_dropped": all.gapDeclared,
            "unconfirmed_near_ttl": all.expiryApproaching, "facts_expired": all.expired,
            "log_truncated": all.truncated, "cursor_detached": all.cursorDetached,
            "low_space": all.lowSpace, "space_recovered": all.spaceRecovered,
            "segment_preparation_failed": all.spareFailed,
            "derived_work_failed": all.derivedWorkFailed, "segment_sealed": all.segmentSealed,
            "corruption_found": all.corruptionFound, "key_run_rebuilt": all.keyRunRebuilt,
            "dedupe_horizon_lost": all.dedupeHorizonLost, "clock_suspect": all.clockSuspect,
            "clock_trusted": all.clockTrusted, "tail_cut": all.tailCut,
        ]
        var counts: [String: UInt64] = [:]
        for (name, count) in named where count > 0 { counts[name] = count }
        return counts
    }
}
