internal import ArgumentParser

struct BenchCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "bench",
        abstract: "What nodes on this machine can do: appends, replication, a backlog's drain.",
        discussion: """
            Each starts its own nodes in a temporary directory, over mutual TLS as always, and removes \
            them. Client and nodes share the machine, so figures of two machines do not compare; what \
            compares is a run with --null, where the same server stores nothing, beside one without, on \
            one machine. Measure on a machine with nothing else to do, and a release build.
            """,
        subcommands: [
            BenchAppend.self, BenchReplication.self, BenchDrain.self, BenchAnswer.self,
        ])
}
