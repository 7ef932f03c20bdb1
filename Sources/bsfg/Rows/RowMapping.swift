internal import Facts
internal import Gateway
internal import Glibc

/// What makes a row a fact.
struct RowMapping: Sendable {
    /// With `{column}` in place of a column's text, as in `turbine:{name}`.
    var subject: String
    var predicate: String
    var fromZone: String
    var toZone: String
    /// Columns whose texts make the id; none: the SHA-256 of the row's bytes.
    var idColumns: [String] = []
    /// A column with ISO 8601 instants; without one, facts are produced now.
    var timeColumn: String?
    var objectSchema = ""

    /// The fact of a row. What is missing or unusable is said with the row's line.
    func submission(_ row: Row) throws(RowError) -> FactSubmission {
        var fact = FactSubmission()
        fact.messageID = try identifier(row)
        fact.fromZone = fromZone
        fact.toZone = toZone
        fact.subject = try filled(subject, row)
        fact.predicate = predicate
        fact.objectSchema = objectSchema
        fact.producedAtUnixMilliseconds = try time(row)
        fact.body = .objectJSON(row.object)
        return fact
    }

    private func identifier(_ row: Row) throws(RowError) -> String {
        guard !idColumns.isEmpty else { return row.identifier }
        var parts: [String] = []
        for column in idColumns { parts.append(try text(of: column, row)) }
        return parts.joined(separator: "/")
    }

    private func time(_ row: Row) throws(RowError) -> Int64 {
        guard let timeColumn else {
            var time = timespec()
            clock_gettime(CLOCK_REALTIME, &time)
            return Int64(time.tv_sec) * 1_000 + Int64(time.tv_nsec) / 1_000_000
        }
        let text = try text(of: timeColumn, row)
        guard let milliseconds = Timestamp.unixMilliseconds(text) else {
            throw RowError(
                "line \(row.line): '\(text)' is no instant; write it as 2025-01-15T10:00:00Z")
        }
        return milliseconds
    }

    private func filled(_ template: String, _ row: Row) throws(RowError) -> String {
        var output = ""
        var rest = template[...]
        while let open = rest.firstIndex(of: "{"),
            let close = rest[open...].firstIndex(of: "}")
        {
            output += rest[..<open]
            output += try text(of: String(rest[rest.index(after: open)..<close]), row)
            rest = rest[rest.index(after: close)...]
        }
        return output + rest
    }

    private func text(of column: String, _ row: Row) throws(RowError) -> String {
        guard let text = row.text(of: column), !text.isEmpty else {
            throw RowError("line \(row.line): the row has nothing in '\(column)'")
        }
        return text
    }
}
