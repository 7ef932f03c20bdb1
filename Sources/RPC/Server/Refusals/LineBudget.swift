/// What a line of the log is about. Lines of one kind share a budget.
struct LineKind: Hashable, Sendable {
    var event: String
    var reason = ""
    /// As configured: empty for strangers, who so share theirs.
    var identity = ""
}

/// How many lines of the log others can cause: ten of a kind in the first minute, and then one a minute that
/// says how many there were, until there was a minute without.
struct LineBudget {
    static let linesAMinute = 10
    /// Identities come from the configuration; beyond this many kinds they share a budget.
    static let kindsMaximum = 1_024

    private struct Spent {
        var lines = 0
        var leftOut: UInt64 = 0
    }

    private var spent: [LineKind: Spent] = [:]

    /// Whether a line is written; one that is not is counted.
    mutating func admits(_ kind: LineKind) -> Bool {
        let kind = shared(kind)
        var one = spent[kind] ?? Spent()
        defer { spent[kind] = one }
        guard one.lines < Self.linesAMinute else {
            one.leftOut += 1
            return false
        }
        one.lines += 1
        return true
    }

    /// Begins the next minute.
    /// - Returns: the kinds of which lines were left out in the one before, and how many.
    mutating func endMinute() -> [(kind: LineKind, count: UInt64)] {
        let leftOut = spent.filter { $0.value.leftOut > 0 }
        // Who came too often stays out; who did not begins anew.
        spent = leftOut.mapValues { _ in Spent(lines: Self.linesAMinute) }
        return leftOut.map { ($0.key, $0.value.leftOut) }
            .sorted { ($0.kind.event, $0.kind.reason, $0.kind.identity) < ($1.kind.event, $1.kind.reason, $1.kind.identity) }
    }

    private func shared(_ kind: LineKind) -> LineKind {
        guard spent[kind] == nil, spent.count >= Self.kindsMaximum else { return kind }
        return LineKind(event: kind.event, reason: kind.reason)
    }
}
