internal import Facts
internal import Glibc
internal import Synchronization

/// What became of the rows so far; shared by the reader's thread, the sender and the progress line.
final class IngestReport: Sendable {
    struct Counts: Sendable {
        /// Rows read, the bad ones too.
        var rows = 0
        var appended = 0
        var existing = 0
        var conflicts = 0
        /// Refused by the node.
        var refused = 0
        /// Not to be made a fact of.
        var bad = 0
        /// Batches sent again.
        var retries = 0
        var consumedBytes = 0
        var firstOffset: UInt64?
        var lastOffset: UInt64?

        var answered: Int { appended + existing + conflicts + refused + bad }
    }

    struct Problem: Sendable {
        var line: Int
        var sentence: String
    }

    private struct State {
        var counts = Counts()
        var problems: [Problem] = []
        var waitingFor: String?
        var endNanoseconds: UInt64?
    }

    /// Problems printed and kept; the others are counted only.
    private static let problemsMaximum = 20

    let zone: String
    let stream: String
    let fileBytes: Int?
    private let beganNanoseconds = IngestReport.now()
    private let state = Mutex(State())

    init(zone: String, stream: String, fileBytes: Int?) {
        self.zone = zone
        self.stream = stream
        self.fileBytes = fileBytes
    }

    private static func now() -> UInt64 {
        var time = timespec()
        clock_gettime(CLOCK_MONOTONIC, &time)
        return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
    }

    var counts: Counts { state.withLock { $0.counts } }

    /// Why nothing moves, where it does not.
    var waitingFor: String? { state.withLock { $0.waitingFor } }

    var seconds: Double {
        let end = state.withLock { $0.endNanoseconds } ?? Self.now()
        return Double(end - beganNanoseconds) / 1e9
    }

    var rowsPerSecond: Double { Double(counts.answered) / max(seconds, 0.001) }

    func end() { state.withLock { $0.endNanoseconds = Self.now() } }

    func read(rows: Int, consumedBytes: Int?) {
        state.withLock {
            $0.counts.rows += rows
            if let consumedBytes { $0.counts.consumedBytes = consumedBytes }
        }
    }

    /// A row that is no fact, by its line.
    func bad(line: Int, _ sentence: String) {
        add(line, sentence) { $0.bad += 1 }
    }

    func waits(for sentence: String) {
        let isNew = state.withLock { state in
            state.counts.retries += 1
            defer { state.waitingFor = sentence }
            return state.waitingFor == nil
        }
        if isNew { StandardError.progressLine("bsfg: waiting: \(sentence)") }
    }

    /// A batch's answers, in its order.
    func answered(_ outcomes: [Bsfg_V1_AppendResult], lines: [Int]) {
        precondition(outcomes.count == lines.count, "the sender compares them")
        var appended = 0
        var existing = 0
        for (outcome, line) in zip(outcomes, lines) {
            switch outcome.outcome {
            case .appended: appended += 1
            case .existing: existing += 1
            case .conflict:
                add(
                    line,
                    "conflict: a fact with this id and other content stands at offset "
                        + "\(outcome.offset)"
                ) { $0.conflicts += 1 }
            default:
                add(line, "refused: \(Self.text(outcome.error))") { $0.refused += 1 }
            }
        }
        state.withLock { state in
            state.counts.appended += appended
            state.counts.existing += existing
            state.waitingFor = nil
            for outcome in outcomes where outcome.outcome == .appended {
                state.counts.firstOffset = min(
                    state.counts.firstOffset ?? outcome.offset, outcome.offset)
                state.counts.lastOffset = max(
                    state.counts.lastOffset ?? outcome.offset, outcome.offset)
            }
        }
    }

    private static func text(_ detail: Bsfg_V1_ErrorDetail) -> String {
        let place = detail.field.split(separator: ".", maxSplits: 1).last.map { " (\($0))" } ?? ""
        return (ErrorReason(rawValue: detail.reason)?.sentence ?? detail.reason) + place
    }

    private func add(_ line: Int, _ sentence: String, _ count: (inout Counts) -> Void) {
        let isShown = state.withLock { state in
            count(&state.counts)
            guard state.problems.count < Self.problemsMaximum else { return false }
            state.problems.append(Problem(line: line, sentence: sentence))
            return true
        }
        if isShown {
            StandardError.progressLine("bsfg: line \(line): \(Table.printable(sentence))")
        }
    }

    // MARK: - Summary

    /// Nil when every row is a fact.
    var status: ExitStatus? {
        let counts = counts
        if counts.conflicts + counts.refused > 0 { return .refused }
        return counts.bad > 0 ? .failure : nil
    }

    var table: String {
        let counts = counts
        var table = Table(
            "ROWS#", "APPENDED#", "EXISTING#", "CONFLICTS#", "REFUSED#", "BAD#", "SECONDS#",
            "ROWS/S#", "OFFSETS")
        let offsets =
            counts.firstOffset.flatMap { first in counts.lastOffset.map { "\(first) to \($0)" } }
        table.row([
            String(counts.rows), String(counts.appended), String(counts.existing),
            String(counts.conflicts), String(counts.refused), String(counts.bad),
            Self.tenths(seconds), String(Int(rowsPerSecond)), offsets ?? "-",
        ])
        let more = counts.conflicts + counts.refused + counts.bad - state.withLock { $0.problems.count }
        return table.text + (more > 0 ? "\n\(more) more lines with problems are not shown" : "")
    }

    static func tenths(_ number: Double) -> String {
        let tenths = Int((number * 10).rounded())
        return "\(tenths / 10).\(tenths % 10)"
    }

    var json: JSONOutput {
        let counts = counts
        let problems = state.withLock { $0.problems }
        return .object([
            ("zone", .text(zone)),
            ("stream", .text(stream)),
            ("rows", .integer(Int64(counts.rows))),
            ("appended", .integer(Int64(counts.appended))),
            ("existing", .integer(Int64(counts.existing))),
            ("conflicts", .integer(Int64(counts.conflicts))),
            ("refused", .integer(Int64(counts.refused))),
            ("bad", .integer(Int64(counts.bad))),
            ("retries", .integer(Int64(counts.retries))),
            ("seconds", .number((seconds * 1_000).rounded() / 1_000)),
            ("rows_per_second", .integer(Int64(rowsPerSecond))),
            ("first_offset", counts.firstOffset.map { .unsigned($0) } ?? .null),
            ("last_offset", counts.lastOffset.map { .unsigned($0) } ?? .null),
            (
                "problems",
                .list(
                    problems.map {
                        .object([("line", .integer(Int64($0.line))), ("text", .text($0.sentence))])
                    })
            ),
        ])
    }
}
