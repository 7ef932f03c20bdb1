/// What a log keeps and when it refuses more. Fill is the share of the capacity that the policy does
/// not allow to be reclaimed now.
public struct RetentionOptions: Hashable, Sendable {
    /// The fill from which new records are refused or old ones dropped; 0.1 ... 0.95.
    public var highWatermark: Double
    /// The fill at which records are taken again; 0.1 ... 0.95 and below the high watermark.
    public var lowWatermark: Double
    /// The age at which confirmed records go even while there is room; nil: they stay until room is
    /// needed. At most 100 years, and not below the minimum retention.
    public var retentionMilliseconds: Int64?
    /// Confirmed records younger than this are not reclaimed to make room: they count as fill. 0 ...
    /// 100 years.
    public var minimumRetentionMilliseconds: Int64
    /// How long after its append a key is remembered when its record has gone; 0: keys live as long
    /// as their records. At most 100 years.
    public var dedupeHorizonMilliseconds: Int64
    /// The log has no readers: records count as confirmed once durable. Without it and without a
    /// cursor nothing is confirmed. A cursor that exists is waited for all the same.
    public var isTerminal: Bool
    /// Readers whose cursors are waited for before they exist; one that has its cursor is waited for as
    /// that says.
    public var awaitedReaders: [AwaitedReader]
    /// Free bytes of the file system below which appends are refused whatever the fill; they are
    /// taken again at a quarter more. 0: not watched.
    public var freeSpaceReserveBytes: UInt64

    /// Options that `Log.open` checks; what is wrong with them is its error.
    public init(
        highWatermark: Double = 0.8, lowWatermark: Double = 0.75,
        retentionMilliseconds: Int64? = nil, minimumRetentionMilliseconds: Int64 = 0,
        dedupeHorizonMilliseconds: Int64 = 0, isTerminal: Bool = false,
        awaitedReaders: [AwaitedReader] = [], freeSpaceReserveBytes: UInt64 = 64 << 20
    ) {
        self.highWatermark = highWatermark
        self.lowWatermark = lowWatermark
        self.retentionMilliseconds = retentionMilliseconds
        self.minimumRetentionMilliseconds = minimumRetentionMilliseconds
        self.dedupeHorizonMilliseconds = dedupeHorizonMilliseconds
        self.isTerminal = isTerminal
        self.awaitedReaders = awaitedReaders
        self.freeSpaceReserveBytes = freeSpaceReserveBytes
    }

    static let watermarkRange = 0.1...0.95
    /// Up to 100 years: sums of a time and a duration stay far from overflow.
    static let durationMillisecondsRange: ClosedRange<Int64> = 0...(100 * 365 * 24 * 3600 * 1000)
    static let freeSpaceReserveBytesMaximum: UInt64 = 1 << 50

    /// - Throws: `rejected(.invalidOptions)` with a sentence that names the rule and the way out.
    public func validate() throws(LogError) {
        for (name, value) in [("high", highWatermark), ("low", lowWatermark)]
        where !RetentionOptions.watermarkRange.contains(value) {
            throw .rejected(
                .invalidOptions(
                    "the \(name) watermark is a share of the capacity from 0.1 to 0.95, not \(value)"
                ))
        }
        guard lowWatermark < highWatermark else {
            throw .rejected(
                .invalidOptions(
                    "the low watermark \(lowWatermark) must be below the high watermark "
                        + "\(highWatermark), or the log would refuse and accept by turns; lower it"))
        }
        let durations = [
            ("retention", retentionMilliseconds ?? 0),
            ("minimum retention", minimumRetentionMilliseconds),
            ("dedupe horizon", dedupeHorizonMilliseconds),
        ]
        for (name, value) in durations
        where !RetentionOptions.durationMillisecondsRange.contains(value) {
            throw .rejected(
                .invalidOptions(
                    "the \(name) is from 0 to 100 years, not \(value) milliseconds; change it"))
        }
        if let retention = retentionMilliseconds, retention < minimumRetentionMilliseconds {
            throw .rejected(
                .invalidOptions(
                    "the retention of \(retention) milliseconds is shorter than the minimum "
                        + "retention of \(minimumRetentionMilliseconds); raise one or lower the other"
                ))
        }
        guard freeSpaceReserveBytes <= RetentionOptions.freeSpaceReserveBytesMaximum else {
            throw .rejected(
                .invalidOptions(
                    "a free space reserve of \(freeSpaceReserveBytes) bytes is above 1 PiB; lower it"))
        }
    }
}
