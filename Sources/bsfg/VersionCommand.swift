internal import ArgumentParser
internal import Gateway

/// What this program is.
enum Release {
    static let version = NodeRelease.name
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
