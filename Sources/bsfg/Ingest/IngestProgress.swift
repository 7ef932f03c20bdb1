internal import Glibc
internal import Synchronization

extension StandardError {
    static let isTerminal = isatty(STDERR_FILENO) == 1

    private static let terminal = Mutex(())

    /// A line above the progress line.
    static func progressLine(_ text: String) {
        terminal.withLock { _ in line(isTerminal ? "\r\u{1B}[K\(text)" : text) }
    }

    /// Draws the progress line anew; an empty one takes it away.
    static func draw(_ text: String) {
        terminal.withLock { _ in raw("\r\u{1B}[K\(text)") }
    }

    private static func raw(_ text: String) {
        let bytes = Array(text.utf8)
        _ = bytes.withUnsafeBytes { write(STDERR_FILENO, $0.baseAddress, $0.count) }
    }
}

/// The line that grows while rows become facts. Only on a terminal.
struct IngestProgress {
    private let task: Task<Void, Never>

    static func start(_ report: IngestReport) -> IngestProgress? {
        guard StandardError.isTerminal else { return nil }
        return IngestProgress(
            task: Task {
                while !Task.isCancelled {
                    StandardError.draw(text(report))
                    try? await Task.sleep(for: .milliseconds(100))
                }
            })
    }

    func stop() async {
        task.cancel()
        await task.value
        StandardError.draw("")
    }

    private static let barWidth = 24

    private static func text(_ report: IngestReport) -> String {
        let counts = report.counts
        var text = ""
        if let size = report.fileBytes, size > 0 {
            let share = min(1, Double(counts.consumedBytes) / Double(size))
            let full = Int(share * Double(barWidth))
            text +=
                "[\(String(repeating: "#", count: full))"
                + "\(String(repeating: ".", count: barWidth - full))] "
                + "\(Int(share * 100)) %  "
        }
        text += "\(counts.answered) rows  \(Int(report.rowsPerSecond)) rows/s"
        for (count, name) in [
            (counts.existing, "existing"), (counts.conflicts, "conflicts"),
            (counts.refused, "refused"), (counts.bad, "bad"),
        ] where count > 0 {
            text += "  \(count) \(name)"
        }
        if report.waitingFor != nil { text += "  waiting" }
        return text
    }
}
