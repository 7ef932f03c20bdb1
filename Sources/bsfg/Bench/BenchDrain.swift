internal import ArgumentParser
internal import Load
internal import RPC

struct BenchDrain: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "drain",
        abstract: "Two nodes: a backlog from a partition, how fast it drains and what memory it takes.",
        discussion: """
            The operator partitions the receiver from its source, the facts are appended meanwhile, the \
            operator reconciles, and the receiver catches up. Memory is what each process has resident at \
            most, counted anew from the moment of reconciling, beside what it had before the first fact.
            """)

    @Option(help: ArgumentHelp("The backlog.", valueName: "N"))
    var facts = 1_000_000

    @Option(help: ArgumentHelp("Facts a call.", valueName: "N"))
    var batch = 500

    @Option(help: ArgumentHelp("About how many bytes a fact's message has.", valueName: "BYTES"))
    var size = FactTemplate.messageBytesDefault

    @Option(help: ArgumentHelp("Calls not yet answered.", valueName: "N"))
    var inFlight = 8

    @Option(help: ArgumentHelp("Memory for the key indexes of each node, as in 64MiB.", valueName: "SIZE"))
    var indexBudget: String?

    @Flag(help: "JSON instead of a table.")
    var json = false

    @Flag(help: "Keep the nodes' data and logs.")
    var keep = false

    private struct Result {
        var facts: UInt64
        var produceSeconds: Double
        var drainSeconds: Double
        var redelivered: UInt64
        var idle: NodePair.Usage
        /// With the backlog, before it drains.
        var full: NodePair.Usage
        var drained: NodePair.Usage
        var failure: String?
    }

    func validate() throws {
        guard (1...1_000_000_000).contains(facts) else {
            throw ValidationError("--facts is between 1 and 1000000000.")
        }
        guard (1...10_000).contains(batch) else {
            throw ValidationError("--batch is between 1 and 10000.")
        }
        guard (1...1_000_000).contains(size) else {
            throw ValidationError("--size is between 1 and 1000000 bytes.")
        }
        guard (1...256).contains(inFlight) else {
            throw ValidationError("--in-flight is between 1 and 256.")
        }
    }

    func run() async throws {
        let calls = (facts + batch - 1) / batch
        var settings = OwnNodes.settings(facts: calls * batch, messageBytes: size)
        settings.indexBudget = indexBudget
        try await OwnNodes.run(settings, keep: keep) { site in
            let nodes = NodePair(site)
            try await nodes.start()
            try await nodes.partition()
            let idle = try await nodes.usage()
            let figures = try await produce(site, calls)
            let full = try await nodes.usage()
            try await nodes.forgetPeaks()
            let began = Pacing.seconds()
            try await nodes.reconcile()
            let head = try await nodes.waitUntilEqual(seconds: 3_600, everyMilliseconds: 100)
            let ended = Pacing.seconds()
            let view = await nodes.receiver.view()
            try report(
                Result(
                    facts: head, produceSeconds: figures.seconds, drainSeconds: ended - began,
                    redelivered: view?.redelivered ?? 0, idle: idle, full: full,
                    drained: try await nodes.usage(), failure: figures.failure))
            guard head == UInt64(figures.acknowledgedFacts) else {
                throw CommandFailure(
                    .failure,
                    "\(figures.acknowledgedFacts) facts were acknowledged and \(head) are there")
            }
        }
    }

    private func produce(_ site: TwoZoneSite, _ calls: Int) async throws -> LoadFigures {
        let target = try LoadTarget.source(site)
        let client = try await target.client(
            LoadShape(version: .http2, connections: 1, inFlight: inFlight), batch: batch)
        let run = LoadRun(
            LoadSchedule(
                pace: .closed, startNanoseconds: Pacing.nanoseconds(), warmUpSeconds: 0,
                seconds: 86_400, callsMaximum: calls),
            try target.template(messageBytes: size, batch: batch))
        await client.run(run)
        await client.close()
        return run.figures
    }

    private func report(_ result: Result) throws {
        let rate = Double(result.facts) / result.drainSeconds
        let rows: [(String, KeyPath<NodePair.Usage, ProcessUsage>)] = [
            (TwoZoneSite.source, \.source), (TwoZoneSite.receiver, \.receiver),
        ]
        if json {
            func memory(_ path: KeyPath<NodePair.Usage, ProcessUsage>) -> JSONOutput {
                .object([
                    ("idle_bytes", .integer(Int64(result.idle[keyPath: path].residentBytes))),
                    ("before_drain_bytes", .integer(Int64(result.full[keyPath: path].residentBytes))),
                    ("produce_peak_bytes", .integer(Int64(result.full[keyPath: path].peakBytes))),
                    ("drain_peak_bytes", .integer(Int64(result.drained[keyPath: path].peakBytes))),
                    ("drain_cpu_seconds", .number(cpu(result, path))),
                ])
            }
            StandardOutput.json(
                .object([
                    ("benchmark", .text("drain")), ("facts", .unsigned(result.facts)),
                    ("message_bytes", .integer(Int64(size))),
                    ("index_budget", indexBudget.map { .text($0) } ?? .null),
                    ("machine", MachineDescription.here.json),
                    ("produce_seconds", .number(result.produceSeconds)),
                    ("drain_seconds", .number(result.drainSeconds)),
                    ("drain_facts_per_second", .number(rate)),
                    ("redelivered", .unsigned(result.redelivered)),
                    ("source", memory(\.source)), ("receiver", memory(\.receiver)),
                ]))
        } else {
            StandardOutput.line(
                "\(BenchFigures.count(Double(result.facts))) facts of \(size) bytes: appended in "
                    + "\(BenchFigures.decimal(result.produceSeconds, 1)) s while partitioned, drained in "
                    + "\(BenchFigures.decimal(result.drainSeconds, 1)) s, "
                    + "\(BenchFigures.count(rate)) facts/s; \(MachineDescription.here.text)\n")
            var table = Table(
                "node", "idle MiB#", "with backlog MiB#", "peak before MiB#", "peak draining MiB#",
                "above idle MiB#", "µs/fact#")
            for (name, path) in rows {
                let idle = result.idle[keyPath: path].residentBytes
                let peak = result.drained[keyPath: path].peakBytes
                table.row([
                    name, BenchFigures.mebibytes(idle),
                    BenchFigures.mebibytes(result.full[keyPath: path].residentBytes),
                    BenchFigures.mebibytes(result.full[keyPath: path].peakBytes),
                    BenchFigures.mebibytes(peak), BenchFigures.mebibytes(max(0, peak - idle)),
                    BenchFigures.decimal(cpu(result, path) * 1e6 / Double(max(1, result.facts)), 1),
                ])
            }
            StandardOutput.line(table.text)
        }
        StandardOutput.flush()
        if let failure = result.failure { throw CommandFailure(.failure, "calls failed: \(failure)") }
    }

    private func cpu(_ result: Result, _ path: KeyPath<NodePair.Usage, ProcessUsage>) -> Double {
        result.drained[keyPath: path].cpuSeconds - result.full[keyPath: path].cpuSeconds
    }
}
