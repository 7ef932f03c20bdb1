internal import ArgumentParser
internal import Gateway
internal import Load
internal import RPC

struct BenchReplication: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "replication",
        abstract: "Two nodes: facts that are appended in one zone and stand in the other's log.",
        discussion: """
            A producer appends batches at a rate; the other zone's node pulls them; a consumer there \
            waits for what is new. The lag counts from the time at which the batch was to be sent until \
            its last fact can be read in the other zone.
            """)

    @Option(help: ArgumentHelp("Facts a second, by an open loop.", valueName: "FACTS"))
    var rate = 50_000.0

    @Flag(help: "As fast as the source takes them, instead of a rate.")
    var closedLoop = false

    @Option(help: ArgumentHelp("Facts a call.", valueName: "N"))
    var batch = 100

    @OptionGroup var load: LoadOptions

    @Flag(help: "JSON instead of a table.")
    var json = false

    @Flag(help: "Keep the nodes' data and logs.")
    var keep = false

    private struct Result {
        var row: BenchFigures.Row
        var lags: Latencies
        var replicatedPerSecond: Double
        var catchUpSeconds: Double
        var receiverSeconds: Double
        var facts: UInt64
    }

    func validate() throws {
        guard rate > 0 else { throw ValidationError("--rate is above 0.") }
        guard (1...10_000).contains(batch) else {
            throw ValidationError("--batch is between 1 and 10000.")
        }
    }

    func run() async throws {
        let perSecond = closedLoop ? 500_000 : rate
        let facts = Int((load.seconds + load.warmUp) * perSecond) + batch
        try await OwnNodes.run(
            OwnNodes.settings(facts: facts, messageBytes: load.size), keep: keep
        ) { site in
            let nodes = NodePair(site)
            try await nodes.start()
            try await createConsumer(nodes.receiver)
            try report(try await measure(site, nodes))
        }
    }

    private func createConsumer(_ receiver: ZoneNode) async throws {
        var request = Bsfg_Admin_V1_CreateConsumerRequest()
        request.owner = TwoZoneSite.consumer
        request.name = HeadWatch.consumer
        request.stream = TwoZoneSite.stream
        request.origin = TwoZoneSite.source
        request.initMode = "full_backfill"
        let wanted = request
        _ = try await CommandFailure.calling { () async throws(RPCClientError) in
            try await receiver.admin.createConsumer(wanted)
        }
    }

    private func measure(_ site: TwoZoneSite, _ nodes: NodePair) async throws -> Result {
        let target = try LoadTarget.source(site)
        let template = try target.template(messageBytes: load.size, batch: batch)
        let client = try await target.client(load.shape, batch: batch)
        let schedule = load.schedule(
            closedLoop ? .closed : .open(callsPerSecond: rate / Double(batch)))
        let watch = try HeadWatch(
            site, window: schedule.measureFromNanoseconds..<schedule.endNanoseconds)
        let batch = batch
        let run = LoadRun(schedule, template) { watch.acknowledged($0, count: batch) }
        let following = Task { await watch.run() }
        let before = try await nodes.usage()
        await client.run(run)
        let end = Pacing.seconds()
        let head = try await nodes.waitUntilEqual(seconds: 600, everyMilliseconds: 20)
        let caughtUp = Pacing.seconds()
        let after = try await nodes.usage()
        try await Pacing.wait(seconds: 300, "the consumer did not see all: \(watch.failure ?? "")") {
            watch.head == head || watch.failure != nil
        }
        following.cancel()
        await following.value
        await watch.close()
        await client.close()
        if let failure = watch.failure { throw CommandFailure(.failure, failure) }
        return Result(
            row: BenchFigures.Row(
                figures: run.figures,
                nodeSeconds: after.source.cpuSeconds - before.source.cpuSeconds),
            lags: watch.lags, replicatedPerSecond: watch.factsPerSecond ?? 0,
            catchUpSeconds: caughtUp - end,
            receiverSeconds: after.receiver.cpuSeconds - before.receiver.cpuSeconds, facts: head)
    }

    private func report(_ result: Result) throws {
        let figures = result.row.figures
        let receiverMicroseconds = result.receiverSeconds * 1e6 / Double(max(1, result.facts))
        if json {
            StandardOutput.json(
                .object([
                    ("benchmark", .text("replication")),
                    ("batch", .integer(Int64(batch))),
                    ("message_bytes", .integer(Int64(load.size))),
                    ("machine", MachineDescription.here.json),
                    ("append", BenchFigures.json(result.row)),
                    ("replicated_facts_per_second", .number(result.replicatedPerSecond)),
                    ("lag", BenchFigures.json(result.lags)),
                    ("catch_up_seconds", .number(result.catchUpSeconds)),
                    ("receiver_microseconds_per_fact", .number(receiverMicroseconds)),
                    ("acknowledged_facts", .integer(Int64(figures.acknowledgedFacts))),
                    ("replicated_facts", .unsigned(result.facts)),
                ]))
        } else {
            StandardOutput.line(
                "AppendFacts of \(batch) facts of \(load.size) bytes in one zone, pulled by the other; "
                    + "\(MachineDescription.here.text)\n")
            StandardOutput.line(BenchFigures.table([result.row]))
            var table = Table("replicated", "facts/s#", "lag p50 ms#", "p99 ms#", "p99.9 ms#", "max ms#",
                "node µs/fact#", "caught up after s#")
            table.row(
                ["\(BenchFigures.count(Double(result.facts))) facts",
                    BenchFigures.count(result.replicatedPerSecond)]
                    + BenchFigures.percentiles.map {
                        BenchFigures.milliseconds(result.lags.percentile($0))
                    }
                    + [
                        BenchFigures.milliseconds(result.lags.maximumMicroseconds),
                        BenchFigures.decimal(receiverMicroseconds, 1),
                        BenchFigures.decimal(result.catchUpSeconds, 2),
                    ])
            StandardOutput.line("\n" + table.text)
        }
        StandardOutput.flush()
        if let failure = figures.failure { throw CommandFailure(.failure, "calls failed: \(failure)") }
        guard UInt64(figures.acknowledgedFacts) == result.facts else {
            throw CommandFailure(
                .failure,
                "\(figures.acknowledgedFacts) facts were acknowledged and \(result.facts) are there")
        }
    }
}
