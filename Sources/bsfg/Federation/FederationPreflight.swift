internal import ArgumentParser
internal import Gateway

struct FederationPreflight: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "preflight",
        abstract: "Checks every precondition of a federation on this side.",
        discussion: """
            Certificate, chain, usage, dates, CRLs, the key's mode, the clock, the node, its disk, the \
            configuration, and the way to the peer: each passed, failed or not checked, with what \
            puts it right. Exit status 1 when something stands in the way.
            """)

    @OptionGroup var sides: FederationOptions

    @Option(help: "The ticket or document that approves what is granted.")
    var approval: String?

    @Flag(help: "Measures the disk too: writes 16 MiB beside the logs and removes them.")
    var diskTest = false

    @OptionGroup var output: OutputOptions

    func run() async throws {
        let configuration = try sides.load()
        let theirs = try await sides.theirs()
        let evidence = await PreflightProbe(
            configuration: configuration, peer: sides.peer, theirs: theirs, approval: approval,
            measuresDisk: diskTest, callsPeer: true, refuser: Refuser(sides.theirSide, or: theirs)
        ).run()
        let criteria = PreflightCriteria.judge(evidence)
        CriterionOutput.show(criteria, output.format)
        if criteria.contains(where: \.isBlocking) { throw CommandFailure(.failure, "") }
    }
}
