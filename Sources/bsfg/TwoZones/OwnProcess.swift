internal import Glibc

/// A process of this program's own: a node, or the relay between two.
actor OwnProcess {
    let name: String
    private let arguments: [String]
    private let log: String
    private(set) var pid: pid_t = 0

    init(name: String, arguments: [String], log: String) {
        self.name = name
        self.arguments = arguments
        self.log = log
    }

    func start() throws {
        pid = try ChildProcesses.shared.start(arguments, log: log)
    }

    func killNow() { ChildProcesses.shared.killNow(pid) }
    func freeze() { ChildProcesses.shared.signal(pid, SIGSTOP) }
    func isRunning() -> Bool { ChildProcesses.shared.isRunning(pid) }
}
