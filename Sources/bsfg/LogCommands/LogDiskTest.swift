internal import ArgumentParser
internal import Glibc
internal import WriteAheadLog

struct LogDiskTest: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "disk-test",
        abstract: "Measures whether and how fast a disk makes writes durable.",
        discussion: """
            bsfg log disk-test DIR measures flushes in DIR (some seconds, 16 MiB, removed afterwards), \
            looks at the device below it and says what it would suspect. A suspicion is no verdict: only \
            pulled power proves a disk.

            With a second machine and a hand on the plug:
              second machine:  bsfg log disk-test --serve 9900
              disk under test: bsfg log disk-test DIR --remote SECOND:9900
              pull the plug, start the machine again, then
              disk under test: bsfg log disk-test DIR --check --remote SECOND:9900

            Exit status: 0 measured, or nothing acknowledged is missing; 1 failed, or the disk lost what it \
            had acknowledged; 2 wrong command line; 4 the second machine cannot be reached.
            """)

    @Argument(help: "A directory on the disk under test.")
    var directory: String?

    @Option(
        help: ArgumentHelp(
            "Listens on a port and keeps the numbers that were acknowledged.", valueName: "PORT"))
    var serve: UInt16?

    @Option(help: ArgumentHelp("The machine that listens.", valueName: "HOST:PORT"))
    var remote: String?

    @Flag(help: "After the power cut: compares the disk with what was acknowledged.")
    var check = false

    @Option(help: "Durable writes to measure by each way of writing, up to 4096.")
    var count = 1000

    @Flag(help: "Fills the file system for a moment too; for one that nobody else uses.")
    var fill = false

    @Flag(help: "The result as JSON.")
    var json = false

    func validate() throws {
        guard (serve != nil) != (directory != nil) else {
            throw ValidationError("Name a directory, or --serve PORT alone.")
        }
        guard serve == nil || (remote == nil && !check && !fill && !json) else {
            throw ValidationError("--serve goes alone.")
        }
        guard !check || remote != nil else {
            throw ValidationError("--check needs --remote HOST:PORT, where the numbers are.")
        }
        guard (1...4096).contains(count) else { throw ValidationError("--count is from 1 to 4096.") }
    }

    func run() throws {
        if let serve { try DiskTestListener(port: serve).run() }
        guard let directory else { return }
        if let remote {
            let honesty = DiskHonesty(directory: directory, remote: remote)
            if check { try honesty.check(json: json) } else { try honesty.write() }
            return
        }
        let report = try DiskError.wrap { () throws(DiskError) in
            try DiskTest(
                disk: LinuxDisk(), directory: directory, writeCount: count, fills: fill
            ).run()
        }
        if json { StandardOutput.json(Self.json(report)) } else { printTable(report) }
    }

    private func printTable(_ report: DiskTestReport) {
        var facts = Table("DISK", report.directory)
        facts.row(["device", report.device?.name ?? "none that the kernel shows"])
        facts.row(["volatile write cache", Self.word(report.device?.hasVolatileCache)])
        facts.row(["forced unit access", Self.word(report.device?.hasForcedUnitAccess)])
        facts.row(["rotational", Self.word(report.device?.isRotational)])
        facts.row([
            "blocks", "logical \(report.logicalBlockBytes), physical \(report.physicalBlockBytes) bytes",
        ])
        facts.row(["free", "\(report.freeBytes) bytes"])
        facts.row(["short writes are told", Self.word(report.reportsShortWrites)])
        facts.row(["a write without room is told", Self.word(report.reportsNoSpace, "not tried")])
        StandardOutput.line(facts.text + "\n")
        var writers = Table("WRITER (\(report.writeBytes) BYTES EACH)", "WRITES#", "P50 µS#", "P99 µS#", "MOST µS#")
        for (name, latency) in Self.latencies(report) {
            writers.row([
                name, String(latency.count), String(latency.median / 1000),
                String(latency.percentile99 / 1000), String(latency.greatest / 1000),
            ])
        }
        StandardOutput.line(writers.text)
        if report.direct == nil { StandardOutput.line("O_DIRECT: not on this file system") }
        StandardOutput.line("\nfaster here: \(Self.description(report.recommended))")
        for suspicion in report.suspicions {
            StandardOutput.line("suspicion: \(suspicion.sentence)")
        }
    }

    private static func description(_ writing: CommitWriting) -> String {
        switch writing {
        case .synchronised: "pwrite and fdatasync (synchronised)"
        case .direct: "O_DIRECT and O_DSYNC (direct)"
        }
    }

    private static func latencies(_ report: DiskTestReport) -> [(
        String, DiskTestReport.Latency
    )] {
        var found = [(description(.synchronised), report.synchronised)]
        if let direct = report.direct {
            found.append((description(.direct), direct))
        }
        return found
    }

    private static func word(_ flag: Bool?, _ absent: String = "unknown") -> String {
        flag.map { $0 ? "yes" : "no" } ?? absent
    }

    private static func json(_ report: DiskTestReport) -> JSONOutput {
        .object([
            ("directory", .text(report.directory)),
            ("device", report.device.map { .text($0.name) } ?? .null),
            ("volatile_write_cache", flag(report.device?.hasVolatileCache)),
            ("forced_unit_access", flag(report.device?.hasForcedUnitAccess)),
            ("rotational", flag(report.device?.isRotational)),
            ("logical_block_bytes", .integer(Int64(report.logicalBlockBytes))),
            ("physical_block_bytes", .integer(Int64(report.physicalBlockBytes))),
            ("free_bytes", .unsigned(report.freeBytes)),
            ("short_writes_told", .flag(report.reportsShortWrites)),
            ("no_room_told", flag(report.reportsNoSpace)),
            ("write_bytes", .integer(Int64(report.writeBytes))),
            ("synchronised", latency(report.synchronised)),
            ("direct", report.direct.map(latency) ?? .null),
            ("recommended", .text(report.recommended.rawValue)),
            ("suspicions", .list(report.suspicions.map { .text($0.sentence) })),
        ])
    }

    private static func flag(_ value: Bool?) -> JSONOutput { value.map { .flag($0) } ?? .null }

    private static func latency(_ latency: DiskTestReport.Latency) -> JSONOutput {
        .object([
            ("writes", .integer(Int64(latency.count))),
            ("p50_nanoseconds", .integer(latency.median)),
            ("p99_nanoseconds", .integer(latency.percentile99)),
            ("greatest_nanoseconds", .integer(latency.greatest)),
        ])
    }
}

extension DiskError {
    /// Runs a step on a disk; its error becomes the command's.
    static func wrap<Value>(_ body: () throws(DiskError) -> Value) throws(CommandFailure) -> Value {
        do throws(DiskError) { return try body() } catch {
            throw CommandFailure(.failure, error.sentence)
        }
    }
}
