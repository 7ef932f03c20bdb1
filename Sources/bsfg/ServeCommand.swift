internal import ArgumentParser
internal import Gateway
internal import Logging

struct ServeCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "serve",
        abstract: "Run the node of a configuration directory until SIGTERM or SIGINT.",
        discussion: """
            Logs to standard error, one JSON object a line. Prints the addresses it listens on to \
            standard output once it does.
            """)

    @OptionGroup var directory: ConfigCommand.Directory

    @Flag(help: "Run as root in another user's directory, as in a container: no other user can run it afterwards.")
    var asRoot = false

    func run() async throws {
        let reloads = await ReloadSignals.trap()
        let configuration = try directory.load()
        if !asRoot, let refusal = ServiceUser.refusal(configuration) {
            throw CommandFailure(.usage, refusal)
        }
        let credentials = try CommandFailure.wrap { try NodeCredentials.load(configuration) }
        let level = Logger.Level(rawValue: configuration.logLevel.rawValue) ?? .info
        LoggingSystem.bootstrap { JSONLogHandler(label: $0, level: level) }
        var logger = Logger(label: "bsfg")
        logger[metadataKey: "zone"] = "\(configuration.zone)"
        credentials.warn(logger)
        do {
            try await NodeServing.run(
                configuration, credentials, reloads: reloads, logger: logger
            ) { addresses in
                for address in addresses { StandardOutput.line("listening on \(address)") }
                StandardOutput.flush()
            }
        } catch let error as NodeError {
            throw CommandFailure(.failure, error.sentence)
        }
    }
}
