/// Hands events to streams and handlers and counts them. All methods may be called from any thread.
final class LogEventHub: Sendable {
    /// A stream that nobody empties keeps this many events, the newest.
    static let bufferedEventsMaximum = 1024

    private struct State {
        var counters = LogEventCounters()
        var isFinished = false
        var next: UInt64 = 0
        var streams: [UInt64: AsyncStream<LogEvent>.Continuation] = [:]
        var handlers: [UInt64: @Sendable (LogEvent) -> Void] = [:]
    }

    private let state = Guarded(State())

    var counters: LogEventCounters { state.withLock { $0.counters } }

    /// Events from now on, one stream for each call; it ends when the hub does or its reader drops
    /// it.
    func events() -> AsyncStream<LogEvent> {
        AsyncStream(bufferingPolicy: .bufferingNewest(LogEventHub.bufferedEventsMaximum)) {
            continuation in
            let number = state.withLock { state -> UInt64? in
                guard !state.isFinished else { return nil }
                state.next += 1
                state.streams[state.next] = continuation
                return state.next
            }
            guard let number else {
                continuation.finish()
                return
            }
            continuation.onTermination = { [weak self] _ in
                _ = self?.state.withLock { $0.streams.removeValue(forKey: number) }
            }
        }
    }

    /// Calls `handler` for every event on the thread where it happens, which must not be held up;
    /// until the number that is returned is given to `removeHandler`.
    func addHandler(_ handler: @escaping @Sendable (LogEvent) -> Void) -> UInt64 {
        state.withLock { state in
            state.next += 1
            state.handlers[state.next] = handler
            return state.next
        }
    }

    /// A handler that runs on another thread at this moment may still run to its end.
    func removeHandler(_ number: UInt64) {
        _ = state.withLock { $0.handlers.removeValue(forKey: number) }
    }

    /// Counts and delivers an event. Never under a lock that a handler might take.
    func emit(_ event: LogEvent) {
        let (streams, handlers) = state.withLock { state in
            state.counters.count(event)
            return (Array(state.streams.values), Array(state.handlers.values))
        }
        for stream in streams { stream.yield(event) }
        for handler in handlers { handler(event) }
    }

    /// Ends all streams; later ones are empty.
    func finish() {
        let streams = state.withLock { state in
            state.isFinished = true
            defer { state.streams.removeAll() }
            return Array(state.streams.values)
        }
        for stream in streams { stream.finish() }
    }
}
