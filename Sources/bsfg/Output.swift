internal import ArgumentParser
internal import Facts
internal import Gateway
// `stdout` is a variable in C; nobody assigns it.
@preconcurrency internal import Glibc
internal import RPC
internal import Synchronization

/// What the exit status of every command means.
enum ExitStatus: Int32 {
    case success = 0
    /// The command did not do what was asked.
    case failure = 1
    /// The command line or the configuration is wrong: the same call fails again until it is
    /// changed.
    case usage = 2
    /// The other side refused: identity, grant, conflict or history. Trying again does not help.
    case refused = 3
    /// The other side cannot be reached or asks to wait: the same call may succeed later.
    case unavailable = 4

    static let help = """
        Exit status: 0 done, 1 failed, 2 wrong command line or configuration, 3 refused by the \
        other side, 4 not reachable or asked to wait (try again).
        """

    static func exit(_ status: ExitStatus) -> Never { exit(rawValue: status.rawValue) }

    /// Ends the process without running destructors: event loop threads still use what `exit` takes
    /// down, and then crash now and again.
    static func exit(rawValue: Int32) -> Never {
        StandardOutput.flush()
        _exit(rawValue)
    }
}

/// A command's failure: one sentence for standard error, and the exit status.
struct CommandFailure: Error {
    let status: ExitStatus
    let message: String

    init(_ status: ExitStatus, _ message: String) {
        self.status = status
        self.message = message
    }

    /// Runs a step and gives its errors the exit status they have everywhere.
    static func wrap<Value>(_ body: () throws -> Value) throws -> Value {
        do {
            return try body()
        } catch let error as ConfigurationError {
            throw CommandFailure(.usage, error.description)
        } catch let error as CertificateError {
            throw CommandFailure(.failure, error.sentence)
        }
    }
}

/// `-o table|json`.
enum OutputFormat: String, ExpressibleByArgument, CaseIterable, Sendable {
    case table, json
}

/// The option that every listing command has.
struct OutputOptions: ParsableArguments {
    @Option(name: [.customShort("o"), .customLong("output")], help: "table or json.")
    var format: OutputFormat = .table
}

enum StandardOutput {
    /// Why the first line that was lost could not be written, 0 while there is none: what is written
    /// later may go well, and then nothing but the stream's flag tells.
    private static let lossCode = Atomic<Int32>(0)

    static func line(_ text: String) {
        print(text)
        let code = errno
        if ferror(stdout) != 0 { noteLoss(code) }
    }

    static func json(_ value: JSONOutput) { line(value.text) }

    /// For readers that wait for a line, and the last thing that every command does. Ends the program
    /// when anything was lost: nobody reads any more (as `head` does; the network library has switched
    /// the signal off) or the disk is full.
    static func flush() {
        if fflush(stdout) != 0 { noteLoss(errno) }
        guard ferror(stdout) != 0 else { return }
        end(lossCode.load(ordering: .relaxed))
    }

    /// At once, for output that is too much to be taken line by line; what `line` holds comes later.
    /// Ends the program as `flush` does.
    static func write(_ bytes: [UInt8]) {
        var count = 0
        while count < bytes.count {
            let wrote = bytes.withUnsafeBytes { buffer in
                Glibc.write(STDOUT_FILENO, buffer.baseAddress! + count, buffer.count - count)
            }
            guard wrote >= 0 || errno == EINTR else { end(errno) }
            count += max(0, wrote)
        }
    }

    private static func noteLoss(_ code: Int32) {
        _ = lossCode.compareExchange(expected: 0, desired: code, ordering: .relaxed)
    }

    private static func end(_ code: Int32) -> Never {
        if code == EPIPE {
            signal(SIGPIPE, SIG_DFL)
            raise(SIGPIPE)
        }
        StandardError.line(
            "bsfg: standard output cannot be written: \(String(cString: strerror(code)))")
        _exit(ExitStatus.failure.rawValue)
    }
}

enum StandardError {
    static func line(_ text: String) {
        let bytes = Array((text + "\n").utf8)
        var count = 0
        while count < bytes.count {
            let wrote = bytes.withUnsafeBytes { buffer in
                write(STDERR_FILENO, buffer.baseAddress! + count, buffer.count - count)
            }
            guard wrote > 0 || errno == EINTR else { return }
            count += max(0, wrote)
        }
    }
}

/// JSON for the output of commands: members keep their order, so that output can be compared.
enum JSONOutput {
    case null
    case flag(Bool)
    case integer(Int64)
    case unsigned(UInt64)
    case number(Double)
    case text(String)
    case list([JSONOutput])
    case object([(String, JSONOutput)])

    /// On one line.
    var text: String {
        var out = ""
        write(to: &out)
        return out
    }

    private func write(to out: inout String) {
        switch self {
        case .null: out += "null"
        case .flag(let flag): out += flag ? "true" : "false"
        case .integer(let number): out += String(number)
        case .unsigned(let number): out += String(number)
        case .number(let number): out += number.isFinite ? "\(number)" : "null"
        case .text(let text): Self.quote(text, &out)
        case .list(let items):
            out += "["
            for (index, item) in items.enumerated() {
                if index > 0 { out += "," }
                item.write(to: &out)
            }
            out += "]"
        case .object(let members):
            out += "{"
            for (index, member) in members.enumerated() {
                if index > 0 { out += "," }
                Self.quote(member.0, &out)
                out += ":"
                member.1.write(to: &out)
            }
            out += "}"
        }
    }

    private static func quote(_ text: String, _ out: inout String) {
        out += "\""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\"": out += "\\\""
            case "\\": out += "\\\\"
            case "\n": out += "\\n"
            case "\r": out += "\\r"
            case "\t": out += "\\t"
            case _ where scalar.value < 0x20:
                let hexadecimal = String(scalar.value, radix: 16)
                out +=
                    "\\u" + String(repeating: "0", count: 4 - hexadecimal.utf8.count) + hexadecimal
            default: out.unicodeScalars.append(scalar)
            }
        }
        out += "\""
    }
}

/// Columns aligned by their widest cell; numbers to the right.
struct Table {
    struct Column {
        var title: String
        var isNumber = false
    }

    private let columns: [Column]
    private var rows: [[String]] = []

    init(_ columns: [Column]) { self.columns = columns }

    /// Titles that end with `#` are columns of numbers.
    init(_ titles: String...) {
        columns = titles.map { title in
            title.hasSuffix("#")
                ? Column(title: String(title.dropLast()), isNumber: true) : Column(title: title)
        }
    }

    mutating func row(_ cells: [String]) {
        precondition(cells.count == columns.count, "a cell for every column")
        // A control character from outside could rewrite the terminal.
        rows.append(cells.map(Self.printable))
    }

    /// Without control characters.
    static func printable(_ text: String) -> String {
        ShownText.line(text, bytes: .max)
    }

    var text: String {
        let widths = columns.indices.map { index in
            rows.map { $0[index].count }.reduce(columns[index].title.count, max)
        }
        let lines = ([columns.map(\.title)] + rows).map { cells in
            let padded = cells.indices.map { index -> String in
                let space = String(repeating: " ", count: widths[index] - cells[index].count)
                return columns[index].isNumber ? space + cells[index] : cells[index] + space
            }
            let line = padded.joined(separator: "  ")
            return String(line.reversed().drop { $0 == " " }.reversed())
        }
        return lines.joined(separator: "\n")
    }
}
