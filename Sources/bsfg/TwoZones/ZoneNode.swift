internal import Facts
internal import Gateway

/// A node of the two and what it says of itself.
struct ZoneNode: Sendable {
    let zone: String
    let process: OwnProcess
    let admin: AdminClient
    let log: String

    init(_ zone: String, _ site: TwoZoneSite) {
        self.zone = zone
        log = site.log(zone)
        process = OwnProcess(
            name: zone, arguments: ["serve", "--as-root", "--config", site.configuration(zone)],
            log: log)
        admin = AdminClient(socketPath: site.socket(zone))
    }

    /// What the demo and the benchmarks look at.
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
            status.consumers.first { $0.owner == TwoZoneSite.nodeIdentity(TwoZoneSite.receiver) }?
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
        try await Pacing.wait(seconds: 120, "\(zone) did not come up; see \(log)") {
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
