// `tm` is this module's where it was read before the C library, as when the fuzzers are built.
internal import COpenSSL
internal import Facts
internal import Glibc
package import Logging

/// Writes one JSON object a line to standard error, each with one `write(2)`, so that lines of
/// several threads never mix.
package struct JSONLogHandler: LogHandler {
    package var logLevel: Logger.Level
    package var metadata: Logger.Metadata = [:]
    private let label: String

    package init(label: String, level: Logger.Level) {
        self.label = label
        logLevel = level
    }

    package subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    package func log(event: LogEvent) {
        var line: [UInt8] = []
        line.reserveCapacity(256)
        line.append(UInt8(ascii: "{"))
        JSONLogHandler.member("time", JSONLogHandler.timestamp(), to: &line)
        line.append(UInt8(ascii: ","))
        JSONLogHandler.member("level", event.level.rawValue, to: &line)
        line.append(UInt8(ascii: ","))
        JSONLogHandler.member("message", "\(event.message)", to: &line)
        let merged = metadata.merging(event.metadata ?? [:]) { $1 }
        for (name, value) in merged.sorted(by: { $0.key < $1.key }) {
            line.append(UInt8(ascii: ","))
            JSONLogHandler.member(name, "\(value)", to: &line)
        }
        line += Array("}\n".utf8)
        line.withUnsafeBytes { _ = write(STDERR_FILENO, $0.baseAddress!, $0.count) }
    }

    private static func member(_ name: String, _ value: String, to line: inout [UInt8]) {
        JSONText.appendString(name.utf8, to: &line)
        line.append(UInt8(ascii: ":"))
        JSONText.appendString(value.utf8, to: &line)
    }

    /// RFC 3339 in UTC with milliseconds.
    private static func timestamp() -> String {
        var now = timespec()
        clock_gettime(CLOCK_REALTIME, &now)
        var parts = tm()
        gmtime_r(&now.tv_sec, &parts)
        func padded(_ value: Int, _ width: Int) -> String {
            let digits = String(value)
            return String(repeating: "0", count: max(0, width - digits.count)) + digits
        }
        let date = [
            padded(Int(parts.tm_year) + 1900, 4), padded(Int(parts.tm_mon) + 1, 2),
            padded(Int(parts.tm_mday), 2),
        ].joined(separator: "-")
        let time = [parts.tm_hour, parts.tm_min, parts.tm_sec].map { padded(Int($0), 2) }
            .joined(separator: ":")
        return "\(date)T\(time).\(padded(now.tv_nsec / 1_000_000, 3))Z"
    }
}
