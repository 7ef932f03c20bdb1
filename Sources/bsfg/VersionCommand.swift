internal import ArgumentParser

/// What this program is.
enum Release {
    static let version = "0.1.0"
}

struct VersionCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "version", abstract: "Prints the version.")

    @OptionGroup var output: OutputOptions

    func run() {
        switch output.format {
        case .table: StandardOutput.line("bsfg \(Release.version)")
        case .json: StandardOutput.json(.object([("version", .text(Release.version))]))
        }
    }
}
