internal import NIOCore

/// A deadline that is moved often and reached rarely: moving it later costs a store, since the
/// scheduled task looks at the deadline when it runs and sleeps on. Confined to its event loop.
final class LazyTimer {
    private let eventLoop: any EventLoop
    private let action: () -> Void
    private var deadline: NIODeadline?
    private var scheduled: (at: NIODeadline, task: Scheduled<Void>)?

    init(_ eventLoop: any EventLoop, _ action: @escaping () -> Void) {
        self.eventLoop = eventLoop
        self.action = action
    }

    var isArmed: Bool { deadline != nil }

    /// The action runs once, this much later, unless the timer is armed again or disarmed.
    func arm(milliseconds: Int) {
        let deadline = NIODeadline.now() + .milliseconds(Int64(milliseconds))
        self.deadline = deadline
        guard let scheduled else { return schedule(deadline) }
        if scheduled.at > deadline {
            scheduled.task.cancel()
            schedule(deadline)
        }
    }

    func disarm() {
        deadline = nil
    }

    /// Disarms and lets go of the event loop's task.
    func cancel() {
        deadline = nil
        scheduled?.task.cancel()
        scheduled = nil
    }

    private func schedule(_ at: NIODeadline) {
        let task = eventLoop.assumeIsolated().scheduleTask(deadline: at) { [weak self] in
            guard let self else { return }
            self.wake()
        }
        scheduled = (at, task)
    }

    private func wake() {
        scheduled = nil
        guard let deadline else { return }
        if deadline > NIODeadline.now() { return schedule(deadline) }
        self.deadline = nil
        action()
    }
}
