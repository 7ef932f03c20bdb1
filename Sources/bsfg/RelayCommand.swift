internal import ArgumentParser
internal import Gateway
internal import Glibc

/// The link of the demo as a process of its own, so that it can be cut.
struct RelayCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "relay", abstract: "Carries TCP bytes from one address to another.",
        shouldDisplay: false)

    @Option(help: ArgumentHelp("Where to listen.", valueName: "host:port"))
    var listen: String

    @Option(help: ArgumentHelp("Where to carry the bytes to.", valueName: "host:port"))
    var connect: String

    @Option(
        help: ArgumentHelp("How long bytes are on their way, in each direction.", valueName: "ms"))
    var delay = 0

    func validate() throws {
        guard (0...10_000).contains(delay) else {
            throw ValidationError("--delay is between 0 and 10000 milliseconds.")
        }
    }

    func run() throws {
        guard let from = HostPort(listen), let to = HostPort(connect) else {
            throw CommandFailure(.usage, "--listen and --connect are host:port")
        }
        signal(SIGPIPE, SIG_IGN)
        var relay = try Relay(from: from, to: to, delayMilliseconds: Int64(delay))
        try relay.run()
    }
}
