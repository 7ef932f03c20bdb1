internal import Glibc
internal import Synchronization

/// The processes that this one started and has not seen end. Everything that stops one goes through
/// here, so that no process id is used after its process is gone.
final class ChildProcesses: Sendable {
    static let shared = ChildProcesses()

    private struct State {
        var running: Set<pid_t> = []
        var isClosed = false
    }

    private let state = Mutex(State())

    /// Starts this program with other arguments; its output goes to the end of a file.
    func start(_ arguments: [String], log: String) throws -> pid_t {
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0)
        posix_spawn_file_actions_addopen(
            &actions, STDOUT_FILENO, log, O_WRONLY | O_CREAT | O_APPEND, 0o644)
        posix_spawn_file_actions_adddup2(&actions, STDOUT_FILENO, STDERR_FILENO)
        var attributes = posix_spawnattr_t()
        posix_spawnattr_init(&attributes)
        defer { posix_spawnattr_destroy(&attributes) }
        // A group of its own: Ctrl-C is for this program, which stops the others in order.
        posix_spawnattr_setpgroup(&attributes, 0)
        // Threads of ours block signals, and a blocked SIGTERM would outlive exec.
        var none = sigset_t()
        sigemptyset(&none)
        posix_spawnattr_setsigmask(&attributes, &none)
        posix_spawnattr_setflags(
            &attributes, Int16(POSIX_SPAWN_SETPGROUP) | Int16(POSIX_SPAWN_SETSIGMASK))
        let words = (["bsfg"] + arguments).map { strdup($0) } + [nil]
        defer { for word in words { free(word) } }
        let result: (code: Int32, pid: pid_t)? = state.withLock { state in
            guard !state.isClosed else { return nil }
            var pid: pid_t = 0
            let code = posix_spawn(&pid, "/proc/self/exe", &actions, &attributes, words, environ)
            if code == 0 { state.running.insert(pid) }
            return (code, pid)
        }
        guard let result else { throw CommandFailure(.failure, "this program is being stopped") }
        guard result.code == 0 else {
            throw CommandFailure(
                .failure,
                "bsfg \(arguments.first ?? "") cannot be started: "
                    + String(cString: strerror(result.code)))
        }
        return result.pid
    }

    /// Sends a signal to a process that is not known to have ended.
    func signal(_ pid: pid_t, _ number: Int32) {
        state.withLock { state in
            if state.running.contains(pid) { kill(pid, number) }
        }
    }

    /// Kills with SIGKILL and returns when the process is gone.
    func killNow(_ pid: pid_t) {
        state.withLock { state in
            guard state.running.remove(pid) != nil else { return }
            kill(pid, SIGKILL)
            ChildProcesses.reap(pid)
        }
    }

    /// Whether it still runs.
    func isRunning(_ pid: pid_t) -> Bool {
        state.withLock { state in
            guard state.running.contains(pid) else { return false }
            var status: Int32 = 0
            guard waitpid(pid, &status, WNOHANG) == pid else { return true }
            state.running.remove(pid)
            return false
        }
    }

    /// Kills all and starts no more.
    func closeAll() {
        state.withLock { state in
            state.isClosed = true
            for pid in state.running { kill(pid, SIGKILL) }
            for pid in state.running { ChildProcesses.reap(pid) }
            state.running = []
        }
    }

    /// Leaves what runs to itself.
    func release() { state.withLock { $0.running = [] } }

    private static func reap(_ pid: pid_t) {
        var status: Int32 = 0
        while waitpid(pid, &status, 0) < 0 && errno == EINTR {}
    }
}
