internal import ArgumentParser
internal import Load
internal import RPC

struct BenchAppend: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "append",
        abstract: "Appends of one fact a call, or of batches, each acknowledged when it is durable.",
        discussion: """
            Without --rate and --closed-loop: first a closed loop, which finds the highest rate, then an \
            open loop at half of it, which shows the latencies. In an open loop every call has its time \
            from the start, and its latency counts from then, however late it could be sent.
            """)

    @Flag(help: "The same server, answering with a constant and storing nothing.")
    var null = false

    @Option(help: ArgumentHelp("Facts a call, by AppendFacts. Default: one, by AppendFact.", valueName: "N"))
    var batch: Int?

    @Option(help: ArgumentHelp("An open loop with this many facts a second.", valueName: "FACTS"))
    var rate: Double?

    @Flag(help: "A closed loop alone: the highest rate.")
    var closedLoop = false

    @OptionGroup var load: LoadOptions
    @OptionGroup var target: TargetOptions

    @Flag(help: "JSON instead of a table.")
    var json = false

    @Flag(help: "Keep the node's data and log.")
    var keep = false

    func validate() throws {
        guard rate == nil || !closedLoop else {
            throw ValidationError("--rate and --closed-loop exclude each other.")
        }
        guard rate.map({ $0 > 0 }) ?? true else { throw ValidationError("--rate is above 0.") }
        guard (1...10_000).contains(batch ?? 1) else {
            throw ValidationError("--batch is between 1 and 10000.")
        }
        guard !null || target.endpoint == nil else {
            throw ValidationError("--null starts a server of its own; --endpoint names another.")
        }
    }

    func run() async throws {
        if let running = try await target.target() {
            return try await report(try await measure(running, usage: { nil }), factsInLog: nil)
        }
        // More than any machine of this size appends in the time.
        let facts = Int((load.seconds + load.warmUp) * 2 * (batch == nil ? 100_000 : 500_000))
        try await OwnNodes.run(
            OwnNodes.settings(facts: null ? 1 : facts, messageBytes: load.size), keep: keep
        ) { site in
            let target = try LoadTarget.source(site)
            if null {
                let process = OwnProcess(
                    name: TwoZoneSite.source,
                    arguments: [
                        "bench", "answer", "--config", site.configuration(TwoZoneSite.source),
                    ], log: site.log(TwoZoneSite.source))
                try await process.start()
                try await Pacing.wait(
                    seconds: 120, "the server did not come up; see \(site.log(TwoZoneSite.source))"
                ) { await target.answers() }
                let pid = await process.pid
                let rows = try await measure(target) { ProcessUsage(pid) }
                return try await report(rows, factsInLog: nil)
            }
            let node = ZoneNode(TwoZoneSite.source, site)
            try await node.start()
            let pid = await node.process.pid
            let rows = try await measure(target) { ProcessUsage(pid) }
            try await report(rows, factsInLog: await node.view()?.storeHead)
        }
    }

    private func measure(_ target: LoadTarget, usage: @Sendable () -> ProcessUsage?) async throws
        -> [BenchFigures.Row]
    {
        let template = try target.template(messageBytes: load.size, batch: batch)
        let client = try await target.client(load.shape, batch: batch)
        var rows: [BenchFigures.Row] = []
        var firstNumber = 0
        func run(_ pace: LoadSchedule.Pace) async {
            let run = LoadRun(load.schedule(pace), template, firstNumber: firstNumber)
            let before = usage()
            await client.run(run)
            let after = usage()
            let figures = run.figures
            firstNumber += figures.sentCalls
            let seconds = after.flatMap { after in
                before.map { after.cpuSeconds - $0.cpuSeconds }
            }
            rows.append(BenchFigures.Row(figures: figures, nodeSeconds: seconds))
        }
        if let rate {
            await run(.open(callsPerSecond: rate / Double(batch ?? 1)))
        } else {
            await run(.closed)
            let highest = rows[0].figures.callsPerSecond
            if !closedLoop, highest > 0 { await run(.open(callsPerSecond: highest / 2)) }
        }
        await client.close()
        return rows
    }

    private func report(_ rows: [BenchFigures.Row], factsInLog: UInt64?) async throws {
        let shape = load.shape
        let acknowledged = rows.reduce(0) { $0 + $1.figures.acknowledgedFacts }
        if json {
            StandardOutput.json(
                .object([
                    ("benchmark", .text("append")), ("null", .flag(null)),
                    ("http", .text(shape.version.rawValue)),
                    ("connections", .integer(Int64(shape.connections))),
                    ("in_flight", .integer(Int64(shape.inFlight))),
                    ("batch", batch.map { .integer(Int64($0)) } ?? .null),
                    ("message_bytes", .integer(Int64(load.size))),
                    ("machine", MachineDescription.here.json),
                    ("acknowledged_facts", .integer(Int64(acknowledged))),
                    ("facts_in_log", factsInLog.map { .unsigned($0) } ?? .null),
                    ("runs", .list(rows.map(BenchFigures.json))),
                ]))
        } else {
            let call = batch.map { "AppendFacts of \($0) facts" } ?? "AppendFact"
            StandardOutput.line(
                "\(call) of \(load.size) bytes, HTTP/\(shape.version.rawValue), \(shape.connections) "
                    + "connections, \(shape.inFlight) in flight"
                    + (null ? ", answered with a constant" : "")
                    + "; \(MachineDescription.here.text)\n")
            StandardOutput.line(BenchFigures.table(rows))
        }
        StandardOutput.flush()
        if let failure = rows.lazy.compactMap(\.figures.failure).first {
            throw CommandFailure(.failure, "calls failed: \(failure)")
        }
        if let factsInLog, factsInLog != UInt64(acknowledged) {
            throw CommandFailure(
                .failure,
                "\(acknowledged) facts were acknowledged and \(factsInLog) are in the node's log")
        }
    }
}
