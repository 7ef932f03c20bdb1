internal import Synchronization

/// How many lines of one kind a source can cause in our log: ten a minute for each stream of an origin, which are those
/// of the configuration.
final class StreamLineBudget: Sendable {
    private static let linesAMinute = 10

    private struct Minute {
        var beganMilliseconds: Int64
        var lines = 0
        /// What was not told of.
        var leftOut = 0
    }

    private let now: @Sendable () -> Int64
    /// By stream and origin.
    private let minutes = Mutex<[[String]: Minute]>([:])

    init(now: @escaping @Sendable () -> Int64) { self.now = now }

    /// - Parameter count: what the line would tell of.
    /// - Returns: how much was left out before, where a line may be written.
    func admits(_ count: Int = 1, stream: String, origin: String) -> Int? {
        let now = now()
        return minutes.withLock { minutes in
            var minute = minutes[[stream, origin]] ?? Minute(beganMilliseconds: now)
            defer { minutes[[stream, origin]] = minute }
            if now - minute.beganMilliseconds >= 60_000 {
                minute.beganMilliseconds = now
                minute.lines = 0
            }
            guard minute.lines < StreamLineBudget.linesAMinute else {
                minute.leftOut += count
                return nil
            }
            minute.lines += 1
            defer { minute.leftOut = 0 }
            return minute.leftOut
        }
    }
}
