internal import CPlatform
internal import Glibc

/// A mutex with conditions: what guards the commit path. `Synchronization.Mutex` has no condition to
/// sleep on.
package final class Monitor: @unchecked Sendable {
    private let mutex = UnsafeMutablePointer<pthread_mutex_t>.allocate(capacity: 1)

    package init() { pthread_mutex_init(mutex, nil) }

    deinit {
        pthread_mutex_destroy(mutex)
        mutex.deallocate()
    }

    package func lock() { pthread_mutex_lock(mutex) }
    package func unlock() { pthread_mutex_unlock(mutex) }

    package func withLock<Result>(_ body: () -> Result) -> Result {
        lock()
        defer { unlock() }
        return body()
    }

    package final class Condition: @unchecked Sendable {
        fileprivate let condition = UnsafeMutablePointer<pthread_cond_t>.allocate(capacity: 1)

        package init() {
            var attributes = pthread_condattr_t()
            pthread_condattr_init(&attributes)
            pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC)
            pthread_cond_init(condition, &attributes)
            pthread_condattr_destroy(&attributes)
        }

        deinit {
            pthread_cond_destroy(condition)
            condition.deallocate()
        }

        package func signal() { pthread_cond_signal(condition) }
        package func broadcast() { pthread_cond_broadcast(condition) }
    }

    /// Releases the lock, sleeps until the condition is signalled, takes the lock again.
    package func wait(_ condition: Condition) { pthread_cond_wait(condition.condition, mutex) }

    /// The same until a moment of the monotonic clock at the latest; false when that came first.
    package func wait(_ condition: Condition, untilNanoseconds deadline: Int64) -> Bool {
        var time = timespec(
            tv_sec: Int(deadline / 1_000_000_000), tv_nsec: Int(deadline % 1_000_000_000))
        return pthread_cond_timedwait(condition.condition, mutex, &time) == 0
    }
}

/// A value that is reached under its lock only. ThreadSanitizer sees this lock; it does not see that of
/// `Synchronization.Mutex`, and takes what that one guards for a race.
final class Guarded<Value>: @unchecked Sendable {
    private let monitor = Monitor()
    private var value: Value

    init(_ value: Value) { self.value = value }

    func withLock<Result, Failure>(_ body: (inout Value) throws(Failure) -> Result) throws(Failure)
        -> Result
    {
        monitor.lock()
        defer { monitor.unlock() }
        return try body(&value)
    }
}

/// A named thread of the engine; blocking I/O never runs anywhere else but on a caller's own thread.
package final class EngineThread: @unchecked Sendable {
    private final class Body {
        let name: String
        let run: @Sendable () -> Void
        init(name: String, run: @escaping @Sendable () -> Void) {
            self.name = name
            self.run = run
        }
    }

    private var handle = pthread_t()

    package init(name: String, _ run: @escaping @Sendable () -> Void) {
        let body = Unmanaged.passRetained(Body(name: name, run: run))
        let code = pthread_create(
            &handle, nil,
            { argument in
                let body = Unmanaged<Body>.fromOpaque(argument!).takeRetainedValue()
                bsfg_thread_name(body.name)
                // A thread of the engine sleeps on the disk or works behind those that do.
                bsfg_thread_yields_soon()
                body.run()
                return nil
            }, body.toOpaque())
        precondition(code == 0, "the system has no room for a thread")
    }

    package var isCurrent: Bool { pthread_equal(pthread_self(), handle) != 0 }

    /// It ends by itself, and nobody waits for it.
    package func letGo() { pthread_detach(handle) }

    /// Waits for its end; a thread that ends itself only lets go of it.
    package func join() {
        if isCurrent {
            pthread_detach(handle)
        } else {
            pthread_join(handle, nil)
        }
    }
}
