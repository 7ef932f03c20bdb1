/// Why an append is refused before it has an offset. Nothing of it was kept.
enum AppendRefusal: Equatable, Sendable {
    /// `retryAfterMilliseconds` is a guess from 50 to 60,000.
    case backpressure(fill: Double, retryAfterMilliseconds: Int64)
    case noSpace(freeBytes: UInt64)
}

/// Decides whether new records are taken, with hysteresis. A log opens with the gate open and the
/// first `update` decides.
///
///     fill                    reject, silStrict     dropOldest
///     closes at               high watermark        the capacity: dropping cannot keep up
///     opens at                low watermark         high watermark
///
/// It also closes when the used bytes reach the capacity, whatever of it could be reclaimed, and then
/// opens only with less than the capacity used. Under `silStrict` closing raises an alarm that stays
/// until somebody acknowledges it; appends resume by themselves.
struct BackpressureGate: Sendable {
    static let retryDefaultMilliseconds: Int64 = 1000
    static let retryMillisecondsRange: ClosedRange<Int64> = 50...60_000

    private(set) var isClosed = false
    /// Stays until `acknowledgeAlarm`; kept in the state slot.
    private(set) var isAlarmLatched: Bool
    private(set) var fillBytes: UInt64 = 0

    private let capacityBytes: UInt64
    private var closingBytes: UInt64
    private var openingBytes: UInt64
    private let hasAlarm: Bool

    /// A reclaim later than this after the beginning of the measured time begins a new one.
    static let rateWindowMilliseconds: Int64 = 60_000

    /// Bytes that became reclaimable between the two moments while the gate was closed: how fast
    /// readers confirm when it matters.
    private var reclaimedBytes: UInt64 = 0
    private var reclaimSinceMilliseconds: Int64 = 0
    private var reclaimUntilMilliseconds: Int64 = 0

    /// - Parameter options: validated.
    init(
        options: RetentionOptions, policy: LogPolicy, capacityBytes: UInt64,
        isAlarmLatched: Bool = false
    ) {
        precondition(capacityBytes > 0, "a log has a capacity")
        self.capacityBytes = capacityBytes
        self.isAlarmLatched = isAlarmLatched
        (closingBytes, openingBytes) = Self.bounds(options, policy, capacityBytes)
        hasAlarm = policy.profile == .silStrict
    }

    /// The next `update` judges by the new watermarks; a gate that is closed stays so until then.
    ///
    /// - Parameter options: validated.
    mutating func change(options: RetentionOptions, policy: LogPolicy, capacityBytes: UInt64) {
        (closingBytes, openingBytes) = Self.bounds(options, policy, capacityBytes)
    }

    private static func bounds(
        _ options: RetentionOptions, _ policy: LogPolicy, _ capacityBytes: UInt64
    ) -> (closing: UInt64, opening: UInt64) {
        let high = UInt64(Double(capacityBytes) * options.highWatermark)
        let low = UInt64(Double(capacityBytes) * options.lowWatermark)
        if case .standard(let standard) = policy, standard.whenFull == .dropOldest {
            return (capacityBytes, high)
        }
        return (high, low)
    }

    /// Fill bytes ÷ capacity.
    var fill: Double { Double(fillBytes) / Double(capacityBytes) }

    /// Takes the fill as it is now. O(1).
    ///
    /// - Parameters:
    ///   - fillBytes: what the policy does not allow to be reclaimed now.
    ///   - usedBytes: everything, reclaimable or not.
    ///   - monotonicMilliseconds: of a clock that never jumps.
    /// - Returns: the events to emit.
    mutating func update(fillBytes: UInt64, usedBytes: UInt64, monotonicMilliseconds: Int64)
        -> [LogEvent]
    {
        if isClosed, fillBytes < self.fillBytes {
            if monotonicMilliseconds - reclaimSinceMilliseconds
                > BackpressureGate.rateWindowMilliseconds
            {
                reclaimSinceMilliseconds = reclaimUntilMilliseconds
                reclaimedBytes = 0
            }
            reclaimedBytes += self.fillBytes - fillBytes
            reclaimUntilMilliseconds = monotonicMilliseconds
        }
        self.fillBytes = fillBytes
        if !isClosed, fillBytes >= closingBytes || usedBytes >= capacityBytes {
            isClosed = true
            reclaimedBytes = 0
            reclaimSinceMilliseconds = monotonicMilliseconds
            reclaimUntilMilliseconds = monotonicMilliseconds
            guard hasAlarm, !isAlarmLatched else { return [.backpressureClosed(fill: fill)] }
            isAlarmLatched = true
            return [.backpressureClosed(fill: fill), .alarmRaised(fill: fill)]
        }
        if isClosed, fillBytes <= openingBytes, usedBytes < capacityBytes {
            isClosed = false
            return [.backpressureOpened(fill: fill)]
        }
        return []
    }

    /// What a new record is answered, nil when it is taken. O(1).
    var refusal: AppendRefusal? {
        guard isClosed else { return nil }
        return .backpressure(fill: fill, retryAfterMilliseconds: retryAfterMilliseconds)
    }

    /// How long the readers need, as they went since the gate closed, to confirm down to where it
    /// opens.
    private var retryAfterMilliseconds: Int64 {
        let elapsed = reclaimUntilMilliseconds - reclaimSinceMilliseconds
        guard reclaimedBytes > 0, elapsed > 0 else {
            return BackpressureGate.retryDefaultMilliseconds
        }
        let missing = fillBytes > openingBytes ? fillBytes - openingBytes : 0
        let wait = Double(missing) * Double(elapsed) / Double(reclaimedBytes)
        let range = BackpressureGate.retryMillisecondsRange
        // Compared before the conversion: a Double may exceed every Int64.
        guard wait < Double(range.upperBound) else { return range.upperBound }
        return max(range.lowerBound, Int64(wait))
    }

    /// Ends the alarm; the next closing raises it again.
    ///
    /// - Returns: the event to emit, nil when there was no alarm.
    mutating func acknowledgeAlarm(by who: String, reason: String) -> LogEvent? {
        guard isAlarmLatched else { return nil }
        isAlarmLatched = false
        return .alarmAcknowledged(by: who, reason: reason)
    }
}
