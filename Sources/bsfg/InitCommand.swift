internal import ArgumentParser
internal import Gateway
internal import RPC

struct InitCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "init",
        abstract: "Writes a node's configuration and says what to run next.",
        discussion: """
            Writes bsfg.yaml, peers.yaml and cursors.yaml to DIR/config, with comments and one \
            stream. A file that is there is kept.
            """)

    @Option(help: ArgumentHelp("Where the node lives.", valueName: "DIR"))
    var root: String

    @Option(help: "The zone this node stands for, such as plant-a.")
    var zone: String

    @Option(help: "The name in its certificate, such as plant-a-bsfg.")
    var identity: String

    @Option(help: "A name or address it is called at; repeat it for more.")
    var address: [String]

    @Option(help: "The port it listens on.")
    var port = 9443

    func run() throws {
        try CommandFailure.wrap {
            let template: NodeTemplate
            do {
                template = try NodeTemplate(
                    root: root, zone: zone, identity: identity, addresses: address, port: port)
            } catch let error as CertificateError {
                throw CommandFailure(.usage, error.sentence)
            }
            if let difference = template.difference { throw CommandFailure(.failure, difference) }
            let result = try template.write()
            for path in result.written { StandardOutput.line("wrote \(path)") }
            for path in result.kept { StandardOutput.line("kept \(path), which was there") }
            StandardOutput.line("\nNext:")
            for command in template.nextCommands { StandardOutput.line("  \(command)") }
        }
    }
}
