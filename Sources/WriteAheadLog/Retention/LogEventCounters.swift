/// How often each kind of event happened since the log was opened.
public struct LogEventCounters: Hashable, Sendable {
    /// Of `LogEvent.poisoned`.
    public var poisoned: UInt64 = 0
    /// Of `LogEvent.backpressureClosed`.
    public var backpressureClosed: UInt64 = 0
    /// Of `LogEvent.backpressureOpened`.
    public var backpressureOpened: UInt64 = 0
    /// Of `LogEvent.alarmRaised`.
    public var alarmRaised: UInt64 = 0
    /// Of `LogEvent.alarmAcknowledged`.
    public var alarmAcknowledged: UInt64 = 0
    /// Of `LogEvent.gapDeclared`.
    public var gapDeclared: UInt64 = 0
    /// Of `LogEvent.expiryApproaching`.
    public var expiryApproaching: UInt64 = 0
    /// Of `LogEvent.expired`.
    public var expired: UInt64 = 0
    /// Of `LogEvent.truncated`.
    public var truncated: UInt64 = 0
    /// Of `LogEvent.cursorDetached`.
    public var cursorDetached: UInt64 = 0
    /// Of `LogEvent.lowSpace`.
    public var lowSpace: UInt64 = 0
    /// Of `LogEvent.spaceRecovered`.
    public var spaceRecovered: UInt64 = 0
    /// Of `LogEvent.spareFailed`.
    public var spareFailed: UInt64 = 0
    /// Of `LogEvent.derivedWorkFailed`.
    public var derivedWorkFailed: UInt64 = 0
    /// Of `LogEvent.segmentSealed`.
    public var segmentSealed: UInt64 = 0
    /// Of `LogEvent.corruptionFound`.
    public var corruptionFound: UInt64 = 0
    /// Of `LogEvent.keyRunRebuilt`.
    public var keyRunRebuilt: UInt64 = 0
    /// Of `LogEvent.dedupeHorizonLost`.
    public var dedupeHorizonLost: UInt64 = 0
    /// Of `LogEvent.clockSuspect`.
    public var clockSuspect: UInt64 = 0
    /// Of `LogEvent.clockTrusted`.
    public var clockTrusted: UInt64 = 0
    /// Of `LogEvent.tailCut`.
    public var tailCut: UInt64 = 0

    /// All zero.
    public init() {}

    mutating func count(_ event: LogEvent) {
        switch event {
        case .poisoned: poisoned += 1
        case .backpressureClosed: backpressureClosed += 1
        case .backpressureOpened: backpressureOpened += 1
        case .alarmRaised: alarmRaised += 1
        case .alarmAcknowledged: alarmAcknowledged += 1
        case .gapDeclared: gapDeclared += 1
        case .expiryApproaching: expiryApproaching += 1
        case .expired: expired += 1
        case .truncated: truncated += 1
        case .cursorDetached: cursorDetached += 1
        case .lowSpace: lowSpace += 1
        case .spaceRecovered: spaceRecovered += 1
        case .spareFailed: spareFailed += 1
        case .derivedWorkFailed: derivedWorkFailed += 1
        case .segmentSealed: segmentSealed += 1
        case .corruptionFound: corruptionFound += 1
        case .keyRunRebuilt: keyRunRebuilt += 1
        case .dedupeHorizonLost: dedupeHorizonLost += 1
        case .clockSuspect: clockSuspect += 1
        case .clockTrusted: clockTrusted += 1
        case .tailCut: tailCut += 1
        }
    }
}
