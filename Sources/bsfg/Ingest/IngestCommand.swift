internal import ArgumentParser
internal import Facts
internal import Gateway
internal import Glibc
internal import RPC

struct IngestCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "ingest",
        abstract: "Makes facts of the rows of a file: CSV or JSON Lines, plain or gzip.",
        discussion: """
            Each row becomes one fact. Its object has a member for each column of CSV, a number \
            where the cell is one in JSON and loses no digit, null where it is empty, else text; a \
            line of JSON Lines is the object.

            The default id is the SHA-256 of the row's bytes, so that the same command can be run \
            again at any time and goes on where it stopped: rows that are there are counted as \
            existing. A row whose id is there with other content is a conflict; it changes nothing \
            and is counted. Bad rows are named with their line, the others go on.

            An interrupted connection, a node that restarts and backpressure are waited for and \
            the same batch is sent again, for as long as --patience says.

            Exit status: 0 every row is a fact, 1 some rows were bad, 3 some were conflicts or \
            refused, 4 gave up waiting.
            """)

    @Argument(help: "The file, or - for standard input.")
    var file = "-"

    enum Format: String, ExpressibleByArgument, CaseIterable {
        case auto, csv, jsonl
    }

    @Option(help: "csv (the first row names the columns), jsonl, or auto: by the first byte.")
    var format = Format.auto

    @Option(help: "Between the cells of CSV: one character, or tab.")
    var delimiter = ","

    @Option(help: "The stream; default facts.operational.")
    var stream: String?

    @Option(help: "The zone the facts come from; default the node's.")
    var from: String?

    @Option(help: "The zone they are for.")
    var to: String

    @Option(
        help: ArgumentHelp(
            "What each fact is about, with columns in braces, as in turbine:{Wind_turbine_name}.",
            valueName: "template"))
    var subject: String

    @Option(help: "What is said of it, in lower_snake_case.")
    var predicate: String

    @Option(
        help: ArgumentHelp(
            "Columns whose values make the id, joined by '/'.", valueName: "a,b"))
    var idColumns: String?

    @Option(
        help: ArgumentHelp(
            "A column with ISO 8601 instants: when each was produced; default now.",
            valueName: "column"))
    var timeColumn: String?

    @Option(help: "The name of the objects' schema.")
    var schema: String?

    @Option(help: "Rows in a batch, up to 10000.")
    var batch = 500

    @Option(
        help: """
            Batches on the way at once, up to 64. With more than one, batches may reach the log in \
            another order than the file's.
            """)
    var inFlight = 1

    @Option(help: "Seconds to wait for a node that does not take facts.")
    var patience = 120

    @OptionGroup var node: NodeConnection
    @OptionGroup var output: OutputOptions

    func validate() throws {
        guard (1...FactLimits.pageFacts).contains(batch) else {
            throw ValidationError("--batch is between 1 and \(FactLimits.pageFacts).")
        }
        guard (1...64).contains(inFlight) else {
            throw ValidationError("--in-flight is between 1 and 64.")
        }
        guard (0...86_400).contains(patience) else {
            throw ValidationError("--patience is between 0 and 86400 seconds.")
        }
        guard FactRules.isPredicate(predicate) else {
            throw ValidationError("--predicate is lower_snake_case, not '\(predicate)'.")
        }
        for (name, option) in [(to, "--to"), (from, "--from"), (stream, "--stream")] {
            guard let name, !FactRules.isStreamOrZone(name) else { continue }
            throw ValidationError("\(option) is \(ZoneName.rule), not '\(name)'.")
        }
        if let problem = RowTemplate(subject).problem {
            throw ValidationError("--subject: \(problem).")
        }
        guard delimiterByte != nil else {
            throw ValidationError("--delimiter is one character such as ';', or tab.")
        }
    }

    private var delimiterByte: UInt8? {
        if delimiter.utf8.elementsEqual("tab".utf8) { return 0x09 }
        guard delimiter.utf8.count == 1, let byte = delimiter.utf8.first, byte >= 0x20,
            byte != UInt8(ascii: "\"")
        else { return delimiter.utf8.elementsEqual("\t".utf8) ? 0x09 : nil }
        return byte
    }

    func run() async throws {
        let client = try node.client(.any)
        let reader = try opened()
        try checkColumns(reader)
        // Asked even where --from says the zone: who cannot be reached or refuses us says so before
        // a row is read.
        let health = try await CommandFailure.calling { () async throws(RPCClientError) in
            try await NodeHealth.ask(client)
        }
        let mapping = RowMapping(
            subject: subject, predicate: predicate, fromZone: from ?? health.zone, toZone: to,
            idColumns: columnNames(idColumns), timeColumn: timeColumn, objectSchema: schema ?? "")
        let report = IngestReport(
            zone: health.zone, stream: stream ?? StreamConfiguration.defaultName,
            fileBytes: Self.fileBytes(file))
        let batches = IngestBatches(
            reader: reader, mapping: mapping, stream: stream ?? "", rowsMaximum: batch,
            waiting: inFlight + 1, report: report)
        let sender = IngestSender(
            client: BoundaryClient(client), report: report, patienceSeconds: patience)
        let progress = IngestProgress.start(report)
        let result: Result<Void, any Error>
        do {
            try await sender.send(batches, inFlight: inFlight)
            result = .success(())
        } catch {
            result = .failure(error)
        }
        await progress?.stop()
        report.end()
        switch output.format {
        case .table: StandardOutput.line(report.table)
        case .json: StandardOutput.json(report.json)
        }
        try result.get()
        if let status = report.status { throw CommandFailure(status, "") }
    }

    private func opened() throws -> RowReader {
        let known: RowFormat? =
            switch format {
            case .auto: nil
            case .csv: .csv
            case .jsonl: .jsonl
            }
        do throws(RowError) {
            return try RowReader(path: file, format: known, delimiter: delimiterByte ?? 0x2C)
        } catch {
            throw CommandFailure(.usage, error.sentence)
        }
    }

    private func columnNames(_ list: String?) -> [String] {
        (list ?? "").split(separator: ",").map(String.init)
    }

    /// Of CSV the columns are known before the first row.
    private func checkColumns(_ reader: RowReader) throws {
        guard reader.format == .csv else { return }
        let wanted = [
            ("--subject", RowTemplate(subject).columns), ("--id-columns", columnNames(idColumns)),
            ("--time-column", timeColumn.map { [$0] } ?? []),
        ]
        for (option, names) in wanted {
            for name in names
            where !reader.columns.names.contains(where: { $0.utf8.elementsEqual(name.utf8) }) {
                throw CommandFailure(
                    .usage,
                    "\(option): there is no column '\(name)'; "
                        + NearestName.hint(for: name, among: reader.columns.names))
            }
        }
    }

    private static func fileBytes(_ path: String) -> Int? {
        var status = stat()
        guard stat(path, &status) == 0, status.st_mode & S_IFMT == S_IFREG else { return nil }
        return Int(status.st_size)
    }
}
