internal import Synchronization

/// Lets tasks wait for a moment that may come, without holding a thread. A wake-up between looking and
/// waiting is not lost: who waits says which one it has seen.
final class Wakeups: Sendable {
    private struct State {
        var count: UInt64 = 0
        var isEnded = false
        var next: UInt64 = 0
        var waiting: [UInt64: AsyncStream<Void>.Continuation] = [:]
    }

    private let state = Mutex(State())

    /// The number of wake-ups so far.
    var count: UInt64 { state.withLock { $0.count } }

    /// Returns after the time, at the next wake-up after `seen`, at the end, or when the task is cancelled.
    func wait(after seen: UInt64, milliseconds: Int64) async {
        let (stream, continuation) = AsyncStream<Void>.makeStream(
            bufferingPolicy: .bufferingNewest(1))
        let number = state.withLock { state -> UInt64? in
            guard !state.isEnded, state.count == seen else { return nil }
            defer { state.next += 1 }
            state.waiting[state.next] = continuation
            return state.next
        }
        guard let number else { return }
        defer { state.withLock { _ = $0.waiting.removeValue(forKey: number) } }
        let timer = Task {
            try? await Task.sleep(for: .milliseconds(max(1, milliseconds)))
            continuation.finish()
        }
        defer { timer.cancel() }
        for await _ in stream { return }
    }

    func wakeAll() { wake { $0.count += 1 } }

    /// Ends every wait, and those that come.
    func end() {
        wake {
            $0.isEnded = true
            $0.count += 1
        }
    }

    private func wake(_ change: (inout sending State) -> Void) {
        let waiting = state.withLock { state in
            change(&state)
            defer { state.waiting = [:] }
            return Array(state.waiting.values)
        }
        for continuation in waiting { continuation.finish() }
    }
}
