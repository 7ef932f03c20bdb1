internal import Load

/// Figures of loads as a table and as JSON.
enum BenchFigures {
    /// One load and what the node used meanwhile.
    struct Row: Sendable {
        var figures: LoadFigures
        /// Of the node, during the load; nil where it is not ours.
        var nodeSeconds: Double?

        /// Time of the node's processor for one fact.
        var nodeMicrosecondsPerFact: Double? {
            let facts = figures.acknowledgedFacts
            return nodeSeconds.flatMap { facts > 0 ? $0 * 1e6 / Double(facts) : nil }
        }
    }

    static let percentiles = [50.0, 99, 99.9]

    static func table(_ rows: [Row]) -> String {
        var table = Table(
            "load", "facts/s#", "calls/s#", "p50 ms#", "p99 ms#", "p99.9 ms#", "max ms#",
            "node µs/fact#", "failed#")
        for row in rows {
            let figures = row.figures
            let times = percentiles.map { milliseconds(figures.latencies.percentile($0)) }
                + [milliseconds(figures.latencies.maximumMicroseconds)]
            table.row(
                [
                    pace(figures), count(figures.factsPerSecond), count(figures.callsPerSecond),
                ] + times + [
                    row.nodeMicrosecondsPerFact.map { decimal($0, 1) } ?? "-",
                    String(figures.failedCalls + figures.unsentCalls),
                ])
        }
        return table.text
    }

    static func json(_ row: Row) -> JSONOutput {
        let figures = row.figures
        var members: [(String, JSONOutput)] = []
        switch figures.pace {
        case .closed: members.append(("pace", .text("closed")))
        case .open(let rate):
            members.append(("pace", .text("open")))
            members.append(("offered_facts_per_second", .number(rate * Double(figures.factsPerCall))))
        }
        members += [
            ("seconds", .number(figures.seconds)),
            ("facts_per_second", .number(figures.factsPerSecond)),
            ("calls_per_second", .number(figures.callsPerSecond)),
            ("sent_calls", .integer(Int64(figures.sentCalls))),
            ("answered_calls", .integer(Int64(figures.answeredCalls))),
            ("failed_calls", .integer(Int64(figures.failedCalls))),
            ("unsent_calls", .integer(Int64(figures.unsentCalls))),
            ("acknowledged_facts", .integer(Int64(figures.acknowledgedFacts))),
            ("complete", .flag(figures.isComplete)),
            ("latency", json(figures.latencies)),
            (
                "node_microseconds_per_fact",
                row.nodeMicrosecondsPerFact.map { .number($0) } ?? .null
            ),
        ]
        if let failure = figures.failure { members.append(("failure", .text(failure))) }
        return .object(members)
    }

    static func json(_ latencies: Latencies) -> JSONOutput {
        func number(_ value: Double?) -> JSONOutput { value.map { .number($0) } ?? .null }
        return .object([
            ("samples", .integer(Int64(latencies.count))),
            ("p50_microseconds", number(latencies.percentile(50))),
            ("p99_microseconds", number(latencies.percentile(99))),
            ("p999_microseconds", number(latencies.percentile(99.9))),
            ("maximum_microseconds", number(latencies.maximumMicroseconds)),
        ])
    }

    static func pace(_ figures: LoadFigures) -> String {
        switch figures.pace {
        case .closed: "closed loop"
        case .open(let rate): "open loop, \(count(rate * Double(figures.factsPerCall)))/s"
        }
    }

    static func milliseconds(_ microseconds: Double?) -> String {
        microseconds.map { decimal($0 / 1_000, 2) } ?? "-"
    }

    /// A whole number with its thousands apart.
    static func count(_ number: Double) -> String {
        var text = String(Int(number.rounded()))
        var place = text.count - 3
        while place > 0 {
            text.insert(",", at: text.index(text.startIndex, offsetBy: place))
            place -= 3
        }
        return text
    }

    static func decimal(_ number: Double, _ places: Int) -> String {
        var scale = 1.0
        for _ in 0..<places { scale *= 10 }
        let scaled = Int((number * scale).rounded())
        let fraction = String(scaled % Int(scale))
        let zeros = String(repeating: "0", count: max(0, places - fraction.count))
        return "\(scaled / Int(scale)).\(zeros)\(fraction)"
    }

    static func mebibytes(_ bytes: Int) -> String { decimal(Double(bytes) / Double(1 << 20), 1) }
}
