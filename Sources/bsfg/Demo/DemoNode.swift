internal import Facts
internal import Gateway
internal import Glibc
internal import RPC

/// One of the demo's processes: a node, or the relay between them.
actor DemoProcess {
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

/// A node of the demo and what it says of itself.
struct DemoNode: Sendable {
    let zone: String
    let process: DemoProcess
    let admin: AdminClient
    let log: String

    init(_ zone: String, _ site: DemoSite) {
        self.zone = zone
        log = site.log(zone)
        process = DemoProcess(
            name: zone, arguments: ["serve", "--config", site.configuration(zone)], log: log)
        admin = AdminClient(socketPath: site.socket(zone))
    }

    /// What the demo looks at.
    struct View: Sendable {
        var storeHead: UInt64 = 0
        var forwardHead: UInt64 = 0
        /// The receiver's cursor at the source.
        var cursor: UInt64 = 0
        /// The receiver's durable position, and below which offset it knows all to be confirmed.
        var position: UInt64 = 0
        var confirmed: UInt64 = 0
        var fetched: UInt64 = 0
        var redelivered: UInt64 = 0
        var materialised: UInt64 = 0
        var isPulling = false
        var blocked: String?
    }

    func view() async -> View? {
        guard let status = try? await admin.status() else { return nil }
        var view = View()
        for stream in status.streams {
            if stream.role == "store" { view.storeHead = stream.headOffset }
            if stream.role == "forward" { view.forwardHead = stream.headOffset }
        }
        view.cursor =
            status.consumers.first { $0.owner == DemoSite.nodeIdentity(DemoSite.receiver) }?
            .nextOffset ?? 0
        if let pull = status.pulls.first {
            view.position = pull.hasNextOffset ? pull.nextOffset : 0
            view.confirmed = pull.hasConfirmedOffset ? pull.confirmedOffset + 1 : 0
            view.fetched = pull.fetched
            view.redelivered = pull.redelivered
            view.materialised = pull.materialised
            view.isPulling = pull.state == "pulling"
            if pull.state == "blocked" { view.blocked = pull.sentence }
        }
        return view
    }

    /// Starts it and waits until it answers.
    func start() async throws {
        try await process.start()
        try await DemoTime.wait(seconds: 30, "\(zone) did not come up; see \(log)") {
            if await view() != nil { return true }
            guard await process.isRunning() else {
                throw CommandFailure(.failure, "\(zone) ended while it started: \(lastLine())")
            }
            return false
        }
    }

    /// How many records the node found in its forward log when it was last opened, by its own log.
    func recoveredForwardHead() throws -> UInt64 {
        for line in try SmallText.read(log).split(separator: 0x0A).reversed() {
            guard case .object(let members)? = try? JSONTree.parse(Array(line)),
                members["message"] == .string("log opened"), members["role"] == .string("forward"),
                case .string(let head)? = members["head"], let number = UInt64(head)
            else { continue }
            return number
        }
        throw CommandFailure(.failure, "\(log) does not say what \(zone) found in its log")
    }

    private func lastLine() -> String {
        guard let bytes = try? SmallText.read(log) else { return "its log \(log) is missing" }
        return bytes.split(separator: 0x0A).last.map { String(decoding: $0, as: UTF8.self) }
            ?? "it said nothing"
    }
}

/// A file that is not long, as a whole.
enum SmallText {
    static func read(_ path: String) throws(RowError) -> [UInt8] {
        let input = try RowInput(path: path)
        var bytes: [UInt8] = []
        while bytes.count < 16 << 20 {
            let more = try input.read(256 << 10)
            if more.isEmpty { break }
            bytes += more
        }
        return bytes
    }
}

/// Time as the demo counts it.
enum DemoTime {
    static func seconds() -> Double {
        var time = timespec()
        clock_gettime(CLOCK_MONOTONIC, &time)
        return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
    }

    static func pause(milliseconds: Int) async {
        try? await Task.sleep(for: .milliseconds(milliseconds))
    }

    /// Asks again until it is true; after `seconds` the demo has failed.
    static func wait(
        seconds: Double, everyMilliseconds: Int = 20, _ failure: @autoclosure () -> String,
        _ condition: () async throws -> Bool
    ) async throws {
        let end = self.seconds() + seconds
        while true {
            if try await condition() { return }
            guard self.seconds() < end else { throw CommandFailure(.failure, failure()) }
            await pause(milliseconds: everyMilliseconds)
        }
    }
}
