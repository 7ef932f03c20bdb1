internal import Glibc

/// How a log is made and opened.
public struct LogOptions: Sendable {
    /// What the log promises and what it may do with unconfirmed records. The profile in it is kept
    /// for the life of the log: asking for another one later is an error.
    public var policy: LogPolicy
    /// What the log may fill, in bytes; decides the segment size. At least 8 segments. May change
    /// with every opening.
    public var capacityBytes: UInt64
    /// Bytes of a segment that is to be made, a multiple of 64 KiB from 1 MiB on; nil: capacity / 64
    /// within 16 MiB and 256 MiB. Smaller segments lower the limits of record and commit (half a
    /// segment).
    public var segmentBytes: UInt64?
    /// What the log keeps and when it refuses more.
    public var retention: RetentionOptions
    /// How blocks are stored that the log itself writes again, and those of `Log.makeBatch()`.
    public var compression = BlockCompression.none
    /// The memory for the index of keys; all logs of a process share one unless told otherwise.
    public var indexBudget = KeyIndexBudget.shared
    /// How commits are made durable. May change with every opening.
    public var writing = CommitWriting.synchronised
    /// How fast sealed segments are read again to find damage early, in bytes a second; 0: never.
    public var scrubBytesPerSecond: UInt64
    /// From one such pass to the next, in milliseconds from 1 second on.
    public var scrubIntervalMilliseconds: Int64

    /// Options that `Log.open` checks; what is wrong with them is its error.
    public init(
        policy: LogPolicy = .standard(StandardPolicy()), capacityBytes: UInt64 = 1 << 30,
        segmentBytes: UInt64? = nil, retention: RetentionOptions = RetentionOptions(),
        scrubBytesPerSecond: UInt64 = 16 << 20,
        scrubIntervalMilliseconds: Int64 = 24 * 3600 * 1000
    ) {
        self.policy = policy
        self.capacityBytes = capacityBytes
        self.segmentBytes = segmentBytes
        self.retention = retention
        self.scrubBytesPerSecond = scrubBytesPerSecond
        self.scrubIntervalMilliseconds = scrubIntervalMilliseconds
    }

    /// A profile with its default policy.
    public init(
        profile: Profile, capacityBytes: UInt64 = 1 << 30, segmentBytes: UInt64? = nil,
        retention: RetentionOptions = RetentionOptions()
    ) {
        self.init(
            policy: profile == .standard
                ? .standard(StandardPolicy()) : .silStrict(StrictPolicy()),
            capacityBytes: capacityBytes, segmentBytes: segmentBytes, retention: retention)
    }

    /// The profile of the policy.
    public var profile: Profile { policy.profile }

    /// - Returns: bytes of a segment.
    func validate() throws(LogError) -> UInt64 {
        try policy.validate()
        try retention.validate()
        guard scrubIntervalMilliseconds >= 1000 else {
            throw .rejected(
                .invalidOptions(
                    "sealed segments are read again every second at most, not every "
                        + "\(scrubIntervalMilliseconds) milliseconds"))
        }
        let segment = segmentBytes ?? FormatLimits.segmentBytes(capacityBytes: capacityBytes)
        guard segment >= FormatLimits.segmentBytesMinimum, segment % 65536 == 0,
            segment <= FormatLimits.segmentBytesMaximum
        else {
            throw .rejected(
                .invalidOptions(
                    "a segment has from 1 MiB to 4 GiB in steps of 64 KiB, not \(segment) bytes"))
        }
        guard capacityBytes >= segment * FormatLimits.segmentsPerCapacityMinimum else {
            throw .rejected(
                .invalidOptions(
                    "a capacity of \(capacityBytes) bytes is less than 8 segments of \(segment) "
                        + "bytes; raise the capacity or make segments smaller"))
        }
        return segment
    }
}

/// Time and randomness, injected as the disk is.
package struct LogEnvironment: Sendable {
    /// Milliseconds since 1970 by the wall clock.
    package var wallMilliseconds: @Sendable () -> Int64
    /// Nanoseconds of a clock that never jumps.
    package var monotonicNanoseconds: @Sendable () -> Int64
    package var random: @Sendable () -> UInt64
    /// Whether the kernel says that its clock follows a good one.
    package var isClockSynchronised: @Sendable () -> Bool
    /// Without threads nothing happens by itself: blocking calls commit on the caller's thread, and
    /// whoever runs the log calls its steps.
    package var threads: Bool

    package init(
        wallMilliseconds: @escaping @Sendable () -> Int64,
        monotonicNanoseconds: @escaping @Sendable () -> Int64,
        random: @escaping @Sendable () -> UInt64,
        isClockSynchronised: @escaping @Sendable () -> Bool = { true }, threads: Bool = true
    ) {
        self.wallMilliseconds = wallMilliseconds
        self.monotonicNanoseconds = monotonicNanoseconds
        self.random = random
        self.isClockSynchronised = isClockSynchronised
        self.threads = threads
    }

    package static let linux = LogEnvironment(
        wallMilliseconds: { now(CLOCK_REALTIME) / 1_000_000 },
        monotonicNanoseconds: { now(CLOCK_MONOTONIC) },
        random: { UInt64.random(in: 1...UInt64.max) },
        isClockSynchronised: { KernelClock.isSynchronised })

    private static func now(_ clock: clockid_t) -> Int64 {
        var time = timespec()
        clock_gettime(clock, &time)
        return Int64(time.tv_sec) * 1_000_000_000 + Int64(time.tv_nsec)
    }
}
