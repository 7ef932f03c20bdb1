/// How fast a spare is filled with zeros beside commits: four times as fast as they use their segment up, so
/// that it is ready long before it is needed, and at least 256 KiB each pause (12 MiB/s). While nothing is
/// committed there is no pause.
struct FillPace {
    static let pauseNanoseconds: Int64 = 20_000_000
    private static let lead: UInt64 = 4

    private let beganAt: UInt64
    private var seen: UInt64
    private var filledBytes: UInt64 = 0

    /// - Parameter committedBytes: a count that only grows.
    init(committedBytes: UInt64) {
        beganAt = committedBytes
        seen = committedBytes
    }

    /// Whether the next piece is to wait.
    mutating func pauses(after bytes: Int, committedBytes: UInt64) -> Bool {
        filledBytes += UInt64(bytes)
        let isIdle = committedBytes == seen
        seen = committedBytes
        return !isIdle && filledBytes > FillPace.lead * (committedBytes - beganAt)
    }
}
