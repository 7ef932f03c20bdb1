internal import Glibc

/// Seconds on the monotonic clock, and waiting for what should happen.
enum Pacing {
    static func nanoseconds() -> UInt64 {
        var time = timespec()
        clock_gettime(CLOCK_MONOTONIC, &time)
        return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
    }

    static func unixMilliseconds() -> Int64 {
        var time = timespec()
        clock_gettime(CLOCK_REALTIME, &time)
        return Int64(time.tv_sec) * 1_000 + Int64(time.tv_nsec) / 1_000_000
    }

    static func seconds() -> Double {
        var time = timespec()
        clock_gettime(CLOCK_MONOTONIC, &time)
        return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
    }

    static func pause(milliseconds: Int) async {
        try? await Task.sleep(for: .milliseconds(milliseconds))
    }

    /// Asks again until it is true; after `seconds`, or when its task is cancelled, it has failed.
    static func wait(
        seconds: Double, everyMilliseconds: Int = 20, _ failure: @autoclosure () -> String,
        _ condition: () async throws -> Bool
    ) async throws {
        let end = self.seconds() + seconds
        while true {
            try Task.checkCancellation()
            if try await condition() { return }
            guard self.seconds() < end else { throw CommandFailure(.failure, failure()) }
            await pause(milliseconds: everyMilliseconds)
        }
    }
}
