internal import ArgumentParser
internal import Facts
internal import Glibc
internal import WriteAheadLog

struct LogDump: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "dump",
        abstract: "Prints the durable records of a log, a line each.",
        discussion: """
            Works while another process writes. Every checksum is verified; at damage it stops with a \
            sentence, after everything before was printed. With --past-damage it goes on behind it and \
            prints every record that can be read, in files that do not open too; each gap between them \
            is a line on standard error.

            Exit status: 0 all were printed, 1 damage or failure, 2 wrong command line.
            """)

    @OptionGroup var log: LogDirectory

    @Flag(help: "Go on behind damage.")
    var pastDamage = false

    @OptionGroup var output: OutputOptions

    func run() throws {
        let writer = RecordPrinter(output.format)
        if output.format == .table { writer.heading() }
        let failure: CommandFailure?
        var isWhole = true
        do throws(CommandFailure) {
            try LogError.wrap { () throws(LogError) in
                let inspector = try LogInspector(directory: log.dir)
                guard pastDamage else {
                    _ = try inspector.walk { writer.record($0) }
                    return
                }
                _ = try inspector.walkPastDamage { item in
                    switch item {
                    case .record(let record): writer.record(record)
                    case .gap(let damage, let isDeclared):
                        isWhole = isWhole && isDeclared
                        writer.gap(damage, isDeclared: isDeclared)
                    }
                }
            }
            failure = nil
        } catch { failure = error }
        writer.flush()
        if let failure { throw failure }
        guard isWhole else {
            throw CommandFailure(.failure, "\(log.dir) is damaged; the gaps were named")
        }
    }
}

/// Formats records into one buffer, written when it is large.
private final class RecordPrinter {
    private static let flushBytes = 64 * 1024
    private static let previewCharacters = 48

    private let format: OutputFormat
    private var text: [UInt8] = []

    init(_ format: OutputFormat) { self.format = format }

    func heading() { append("OFFSET\tAPPENDED (UNIX MS)\tEPOCH\tKEY\tBYTES\tPAYLOAD\n") }

    func record(_ record: LogRecord) {
        switch format {
        case .json: json(record)
        case .table: row(record)
        }
        if text.count >= RecordPrinter.flushBytes { flush() }
    }

    /// A line on standard error, after the records before it.
    func gap(_ damage: LogVerification.Damage, isDeclared: Bool) {
        flush()
        let text =
            "gap: offsets \(damage.offsets.lowerBound) up to \(damage.offsets.upperBound) exclusive "
            + "(\(isDeclared ? "declared lost" : "\(damage.file) at byte \(damage.position)"): "
            + "\(damage.reason))\n"
        text.withCString { _ = write(STDERR_FILENO, $0, text.utf8.count) }
    }

    private func json(_ record: LogRecord) {
        append("{\"offset\":\(record.offset),\"append_time_unix_ms\":")
        append("\(record.appendTimeMilliseconds),\"epoch\":\(record.epoch),\"key\":")
        append(record.key.map { "\"\($0.hexadecimal)\"" } ?? "null")
        append(",\"content_digest\":")
        append(record.content.map { "\"\($0.hexadecimal)\"" } ?? "null")
        append(",\"payload\":\"")
        Base64.encode(record.payload, into: &text)
        append("\"}\n")
    }

    private func row(_ record: LogRecord) {
        let key = record.key.map { String($0.hexadecimal.prefix(12)) } ?? "-"
        let shown = String(decoding: record.payload.prefix(4 * RecordPrinter.previewCharacters), as: UTF8.self)
            .unicodeScalars.prefix(RecordPrinter.previewCharacters)
            .map { $0.properties.generalCategory == .control ? "\u{FFFD}" : Character($0) }
        append("\(record.offset)\t\(record.appendTimeMilliseconds)\t\(record.epoch)\t\(key)\t")
        append("\(record.payload.count)\t\(String(shown))\n")
    }

    private func append(_ part: String) { text += part.utf8 }

    func flush() {
        StandardOutput.write(text)
        text.removeAll(keepingCapacity: true)
    }
}
