internal import NIOCore
internal import Synchronization

/// Has something done once in every period. What there was no room for is tried again soon, and not only when
/// the next period is over.
final class RegularWork: Sendable {
    private struct State {
        var next: Scheduled<Void>?
        var isCancelled = false
    }

    private let eventLoop: any EventLoop
    private let period: TimeAmount
    private let retry: TimeAmount
    /// False: there was no room for it.
    private let submit: @Sendable () -> Bool
    private let state = Mutex(State())

    init(
        on eventLoop: any EventLoop, every period: TimeAmount, retryAfter retry: TimeAmount,
        _ submit: @escaping @Sendable () -> Bool
    ) {
        self.eventLoop = eventLoop
        self.period = period
        self.retry = min(retry, period)
        self.submit = submit
    }

    func start() { schedule(in: period) }

    func cancel() {
        state.withLock { state in
            state.isCancelled = true
            state.next?.cancel()
            state.next = nil
        }
    }

    private func schedule(in delay: TimeAmount) {
        state.withLock { state in
            guard !state.isCancelled else { return }
            state.next = eventLoop.scheduleTask(in: delay) { [weak self] in
                if let self { schedule(in: submit() ? period : retry) }
            }
        }
    }
}
