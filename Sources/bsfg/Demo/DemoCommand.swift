internal import ArgumentParser
internal import Facts
internal import Gateway
internal import Glibc
internal import RPC
internal import Synchronization

struct DemoCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "demo",
        abstract: "Two zones on this machine, real plant data, two kills and a cut link.",
        discussion: """
            Starts two nodes, plant-a and enterprise, in a temporary directory, appends rows at \
            plant-a over mutual TLS and lets enterprise pull them through a relay. Meanwhile \
            plant-a is killed, the link is cut and enterprise is killed. Then every acknowledged \
            fact has to be in enterprise's log exactly once, with the same content, in order. Exit \
            status 0 only if so.

            The rows are spread over --seconds, so that every fault falls into the flow.
            """)

    /// Fewer would be over before the last fault.
    static let rowsMinimum = 200

    @Option(
        help: ArgumentHelp(
            "CSV with a header, or JSON Lines; gzip too. Default: 500 readings of a wind turbine.",
            valueName: "FILE"))
    var input: String?

    @Option(help: ArgumentHelp("Only the first N rows.", valueName: "N"))
    var rows: Int?

    @Option(help: "Over how many seconds the rows are spread.")
    var seconds = 18.0

    @Option(
        help: "The facts' subject; {column} stands for a column's text. Default: by the input.")
    var subject: String?

    @Option(help: "The facts' predicate.")
    var predicate = "reading_taken"

    @Flag(help: "Leave both nodes running and print how to talk to them.")
    var keep = false

    @OptionGroup var output: OutputOptions

    func validate() throws {
        if let rows, rows < Self.rowsMinimum {
            throw ValidationError("--rows is at least \(Self.rowsMinimum).")
        }
        guard seconds >= 1, seconds <= 86_400 else {
            throw ValidationError("--seconds is between 1 and 86400.")
        }
        guard FactRules.isPredicate(predicate) else {
            throw ValidationError("--predicate is lower_snake_case.")
        }
        guard input != "-" else {
            throw ValidationError("--input is a file: its rows are counted before they flow.")
        }
    }

    func run() async throws {
        let isJSON = output.format == .json
        let screen = DemoScreen(descriptor: isJSON ? STDERR_FILENO : STDOUT_FILENO)
        let plan = try DemoInput(path: input, rowsMaximum: rows, subject: subject)
        let directory = try TwoZoneSite.makeDirectory(for: "demo")
        Interruption.handle {
            ChildProcesses.shared.closeAll()
            TwoZoneSite.remove(directory)
            StandardError.line(
                "\nbsfg: interrupted; both nodes are stopped, nothing is left behind")
        }
        do {
            let (result, run) = try await play(plan, directory, screen)
            let commands = keep && result.holds ? try await leaveRunning(run) : ""
            if commands.isEmpty { cleanUp(directory) }
            // Only now: writing for a reader that has gone ends the program.
            let report = DemoReport(result: result, site: run.site)
            if isJSON { StandardOutput.json(report.json) } else { StandardOutput.line(report.text) }
            if !commands.isEmpty { await screen.text(commands) }
            StandardOutput.flush()
            guard result.holds else {
                throw CommandFailure(
                    .failure, "the demo's proof does not hold; see the report and use --keep")
            }
        } catch {
            await screen.settle()
            cleanUp(directory)
            throw (error as? RowError).map { CommandFailure(.failure, $0.description) } ?? error
        }
    }

    private func play(_ plan: DemoInput, _ directory: String, _ screen: DemoScreen) async throws
        -> (DemoRun.Result, DemoRun)
    {
        let site = try Interruption.withoutInterruption {
            try CommandFailure.wrap { try TwoZoneSite(directory: directory) }
        }
        let client = try Self.producerClient(site)
        let producer = DemoProducer(
            reader: try plan.reader(), mapping: plan.mapping(predicate: predicate),
            rowCount: plan.rowCount, seconds: seconds, client: client)
        await screen.title("bsfg demo: facts cross from plant-a to enterprise, exactly once")
        let run = DemoRun(site: site, screen: screen, producer: producer, input: plan.name)
        let result = try await run.run()
        await client.close()
        return (result, run)
    }

    /// Stops what still runs and, unless it is to be kept, removes what it wrote. After a signal
    /// its thread does that, and this one waits for the end.
    private func cleanUp(_ directory: String) {
        Interruption.withoutInterruption {
            ChildProcesses.shared.closeAll()
            if !keep {
                TwoZoneSite.remove(directory)
            } else if TwoZoneSite.exists(directory) {
                StandardError.line("both nodes are stopped; data and logs are in \(directory)")
            }
        }
    }

    /// Lets both nodes and the relay live on, and says how to talk to them.
    private func leaveRunning(_ run: DemoRun) async throws -> String {
        var request = Bsfg_Admin_V1_CreateConsumerRequest()
        request.owner = TwoZoneSite.consumer
        request.name = "historian"
        request.stream = TwoZoneSite.stream
        request.origin = TwoZoneSite.source
        request.initMode = "full_backfill"
        do {
            _ = try await run.receiver.admin.createConsumer(request)
        } catch {
            throw CommandFailure(.failure, "no consumer could be made: \(error)")
        }
        let pids = await [run.source.process.pid, run.receiver.process.pid, run.relay.pid]
        ChildProcesses.shared.release()
        Interruption.leaveEverything()
        return DemoReport.commands(run.site, pids)
    }

    /// A client of plant-a as its producer, which talks to nobody else.
    private static func producerClient(_ site: TwoZoneSite) throws -> RPCClient {
        let expected = site.sourceCertificate
        let path = site.client(TwoZoneSite.producer)
        do {
            return try RPCClient(
                RPCClientConfiguration(host: "127.0.0.1", port: site.sourcePort),
                tls: RPCClientTLS(
                    certificateChain: try SmallText.read("\(path).crt"),
                    privateKey: try SmallText.read("\(path).key"),
                    trustRoots: try SmallText.read(site.authorityFile))
            ) { leaf in
                leaf == expected
                    ? nil
                    : ServiceRefusal(
                        reason: "server_identity", sentence: "the server is not plant-a")
            }
        } catch {
            throw CommandFailure(.failure, "no connection to plant-a can be set up: \(error)")
        }
    }
}

/// The rows that the demo carries.
struct DemoInput: Sendable {
    let path: String
    let name: String
    let rowCount: Int
    private let subject: String

    private static let excerpt = "la-haute-borne-R80711-excerpt.csv"
    private static let turbineColumn = "Wind_turbine_name"

    init(path: String?, rowsMaximum: Int?, subject: String?) throws {
        self.path = try path ?? Self.excerptPath()
        name = self.path.split(separator: "/").last.map(String.init) ?? self.path
        do throws(RowError) {
            let reader = try RowReader(path: self.path)
            var count = 0
            while count < rowsMaximum ?? .max, try reader.skip() { count += 1 }
            rowCount = count
            if let subject {
                self.subject = subject
            } else if reader.columns.names.contains(Self.turbineColumn) {
                self.subject = "turbine:{\(Self.turbineColumn)}"
            } else {
                let plain = name.unicodeScalars.map { scalar in
                    scalar.isASCII && (scalar.properties.isAlphabetic || scalar.value < 0x3A)
                        && scalar.value > 0x2F ? Character(scalar) : "-"
                }
                self.subject = "file:" + String(plain.prefix(100))
            }
        } catch {
            throw CommandFailure(.usage, error.sentence)
        }
        guard rowCount >= DemoCommand.rowsMinimum else {
            throw CommandFailure(
                .usage,
                "\(self.path) has \(rowCount) rows; the demo needs "
                    + "\(DemoCommand.rowsMinimum) for its faults")
        }
    }

    func reader() throws -> sending RowReader {
        do throws(RowError) {
            return try RowReader(path: path)
        } catch {
            throw CommandFailure(.usage, error.sentence)
        }
    }

    func mapping(predicate: String) -> RowMapping {
        RowMapping(
            subject: subject, predicate: predicate, fromZone: TwoZoneSite.source,
            toZone: TwoZoneSite.receiver)
    }

    /// Beside the program, where SwiftPM puts what belongs to it; or where a package would.
    private static func excerptPath() throws -> String {
        var buffer = [CChar](repeating: 0, count: 4096)
        let count = readlink("/proc/self/exe", &buffer, buffer.count)
        let program = String(
            decoding: buffer.prefix(max(0, count)).map { UInt8(bitPattern: $0) }, as: UTF8.self)
        let directory = program.lastIndex(of: "/").map { String(program[..<$0]) } ?? "."
        let places = [
            "\(directory)/bsfg_bsfg.resources/Resources/\(excerpt)",
            "\(directory)/../../share/bsfg/\(excerpt)",
        ]
        guard let found = places.first(where: { access($0, R_OK) == 0 }) else {
            throw CommandFailure(
                .failure,
                "the readings that belong to the demo are not beside the program (\(places[0])); "
                    + "build it again or name a file with --input")
        }
        return found
    }
}
