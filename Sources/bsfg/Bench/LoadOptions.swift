internal import ArgumentParser
internal import Load
internal import RPC

extension LoadShape.HTTPVersion: ExpressibleByArgument {}

/// How a load is sent.
struct LoadOptions: ParsableArguments {
    @Option(help: ArgumentHelp("HTTP version, 1.1 or 2.", valueName: "VERSION"))
    var http: LoadShape.HTTPVersion = .http2

    @Option(
        help: ArgumentHelp(
            "Connections. Default: 1 with HTTP/2, 64 with HTTP/1.1.", valueName: "N"))
    var connections: Int?

    @Option(
        help: ArgumentHelp(
            "Calls not yet answered, over all connections: one on each with HTTP/1.1, at most 100 with HTTP/2.",
            valueName: "N"))
    var inFlight = 64

    @Option(help: ArgumentHelp("About how many bytes a fact's message has.", valueName: "BYTES"))
    var size = FactTemplate.messageBytesDefault

    @Option(help: ArgumentHelp("How long each load is measured.", valueName: "SECONDS"))
    var seconds = 10.0

    @Option(help: ArgumentHelp("How long it runs before that.", valueName: "SECONDS"))
    var warmUp = 2.0

    func validate() throws {
        guard (1...64).contains(connections ?? 1) else {
            throw ValidationError("--connections is between 1 and 64: a node takes no more of one client.")
        }
        guard (1...256).contains(inFlight) else {
            throw ValidationError("--in-flight is between 1 and 256: a node takes no more of one client.")
        }
        guard (1...1_000_000).contains(size) else {
            throw ValidationError("--size is between 1 and 1000000 bytes.")
        }
        guard (0.1...86_400).contains(seconds), (0...3_600).contains(warmUp) else {
            throw ValidationError("--seconds is between 0.1 and 86400, --warm-up between 0 and 3600.")
        }
    }

    var shape: LoadShape {
        LoadShape(
            version: http, connections: connections ?? (http == .http2 ? 1 : 64), inFlight: inFlight)
    }

    func schedule(_ pace: LoadSchedule.Pace, callsMaximum: Int = .max) -> LoadSchedule {
        LoadSchedule(
            pace: pace, startNanoseconds: Pacing.nanoseconds(), warmUpSeconds: warmUp,
            seconds: seconds, callsMaximum: callsMaximum)
    }
}
