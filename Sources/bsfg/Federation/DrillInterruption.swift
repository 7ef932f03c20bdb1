internal import Gateway
internal import Glibc
internal import Synchronization

/// Ctrl-C, and what else ends a drill early: the gate that it closed is opened first.
enum DrillInterruption {
    /// - Returns: where the drill notes what it keeps closed.
    static func handled(peer: String) -> DrillClosure {
        let closure = DrillClosure()
        Interruption.handle {
            switch Opening(closure).wait() {
            case nil: StandardError.line("\nbsfg: interrupted; no gate was closed")
            case true?: StandardError.line("\nbsfg: interrupted; the gate to \(peer) is open again")
            case false?:
                StandardError.line(
                    "\nbsfg: interrupted, and the gate to \(peer) could not be opened; it opens by itself within 10 "
                        + "minutes, or with: bsfg admin reconcile --peer \(peer)")
            }
        }
        return closure
    }

    /// The thread that a signal wakes runs none of Swift's tasks: it waits for one.
    private final class Opening: Sendable {
        private let answer = Mutex<Bool??>(nil)

        init(_ closure: DrillClosure) {
            Task.detached { [self] in
                let isOpen = await closure.open()
                answer.withLock { $0 = .some(isOpen) }
            }
        }

        func wait() -> Bool? {
            while true {
                if let isOpen = answer.withLock({ $0 }) { return isOpen }
                usleep(10_000)
            }
        }
    }
}
