internal import ArgumentParser

@main
struct Bsfg: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "bsfg",
        abstract: "Carries facts between zones: durable on both sides, exactly once.",
        discussion: ExitStatus.help,
        version: Release.version,
        subcommands: [
            InitCommand.self,
            CACommand.self,
            CertCommand.self,
            ServeCommand.self,
            LogCommand.self,
            ConsumerCommand.self,
            ArtifactCommand.self,
            StatusCommand.self,
            FactCommand.self,
            FetchCommand.self,
            PeerCommand.self,
            CursorCommand.self,
            FederationCommand.self,
            DoctorCommand.self,
            QuarantineCommand.self,
            AdminCommand.self,
            ConfigCommand.self,
            StreamCommand.self,
            IngestCommand.self,
            DemoCommand.self,
            BenchCommand.self,
            RelayCommand.self,
            VersionCommand.self,
        ])

    static func main() async {
        do {
            if let problem = CommandWords.problem(CommandLine.arguments.dropFirst(), self) {
                throw CommandFailure(.usage, problem)
            }
            var command = try parseAsRoot()
            if var asynchronous = command as? any AsyncParsableCommand {
                try await asynchronous.run()
            } else {
                try command.run()
            }
            ExitStatus.exit(.success)
        } catch {
            finish(error)
        }
    }

    /// One sentence on standard error and the documented exit status. Help goes where
    /// argument-parser sends it.
    private static func finish(_ error: any Error) -> Never {
        if let failure = error as? CommandFailure {
            if !failure.message.isEmpty { StandardError.line("bsfg: \(failure.message)") }
            ExitStatus.exit(failure.status)
        }
        let code = exitCode(for: error)
        if code == .success || code == .validationFailure {
            let text = fullMessage(for: error)
            if code == .success { StandardOutput.line(text) } else { StandardError.line(text) }
            ExitStatus.exit(code == .success ? .success : .usage)
        }
        if let exit = error as? ExitCode {
            ExitStatus.exit(rawValue: exit.rawValue)
        }
        StandardError.line("bsfg: \(message(for: error))")
        ExitStatus.exit(.failure)
    }
}
