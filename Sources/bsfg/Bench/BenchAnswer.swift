internal import ArgumentParser
internal import Gateway
internal import Logging

/// The server of `bench append --null` as a process of its own.
struct BenchAnswer: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "answer",
        abstract: "Answer appends with a constant, as the node of a configuration, storing nothing.",
        shouldDisplay: false)

    @Option(help: "The directory with bsfg.yaml, peers.yaml and cursors.yaml.")
    var config: String

    func run() async throws {
        let configuration = try CommandFailure.wrap {
            try NodeConfiguration.load(directory: config)
        }
        let credentials = try CommandFailure.wrap { try NodeCredentials.load(configuration) }
        LoggingSystem.bootstrap { JSONLogHandler(label: $0, level: .warning) }
        do {
            try await ConstantServing.run(
                configuration, credentials, logger: Logger(label: "bsfg")
            ) {
                StandardOutput.line("answering")
                StandardOutput.flush()
            }
        } catch let error as NodeError {
            throw CommandFailure(.failure, error.sentence)
        }
    }
}
