import ArgumentParser

@main
struct Bsfg: AsyncParsableCommand {
    static let configuration = CommandConfiguration(commandName: "bsfg")
}
