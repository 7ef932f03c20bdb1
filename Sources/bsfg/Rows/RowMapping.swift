internal import Facts
internal import Gateway
internal import Glibc

/// What makes a row a fact.
struct RowMapping: Sendable {
    private let subject: RowTemplate
    private let predicate: String
    private let fromZone: String
    private let toZone: String
    private let idColumns: [String]
    private let timeColumn: String?
    private let objectSchema: String
    private let needsValues: Bool

    /// - Parameters:
    ///   - subject: with `{column}` in place of a column's text.
    ///   - idColumns: whose texts make the id; none: the SHA-256 of the row's bytes.
    ///   - timeColumn: with ISO 8601 instants; without one, facts are produced now.
    init(
        subject: String, predicate: String, fromZone: String, toZone: String,
        idColumns: [String] = [], timeColumn: String? = nil, objectSchema: String = ""
    ) {
        self.subject = RowTemplate(subject)
        self.predicate = predicate
        self.fromZone = fromZone
        self.toZone = toZone
        self.idColumns = idColumns
        self.timeColumn = timeColumn
        self.objectSchema = objectSchema
        needsValues = !self.subject.columns.isEmpty || !idColumns.isEmpty || timeColumn != nil
    }

    /// The fact of a row.
    func submission(_ row: Row) throws(RowError) -> FactSubmission {
        let values = try RowValues(row, isNeeded: needsValues)
        var fact = FactSubmission()
        fact.messageID = try identifier(row, values)
        fact.fromZone = fromZone
        fact.toZone = toZone
        fact.subject = try subject.filled(values)
        fact.predicate = predicate
        fact.objectSchema = objectSchema
        fact.producedAtUnixMilliseconds = try time(row, values)
        fact.body = .objectJSON(row.object)
        return fact
    }

    /// Values joined by '/', with '%' and '/' within them escaped, so that no two rows share an id
    /// by accident; their SHA-256 where that is too long for an id.
    private func identifier(_ row: Row, _ values: RowValues) throws(RowError) -> String {
        guard !idColumns.isEmpty else { return row.identifier }
        var parts: [String] = []
        for column in idColumns {
            parts.append(RowMapping.escaped(try values.text(of: column)))
        }
        let joined = parts.joined(separator: "/")
        return joined.utf8.count <= FactLimits.nameBytes
            ? joined : SHA256.hash(Array(joined.utf8)).hexadecimal
    }

    private static func escaped(_ text: String) -> String {
        guard text.utf8.contains(where: { $0 == 0x25 || $0 == 0x2F || $0 < 0x20 }) else {
            return text
        }
        var output: [UInt8] = []
        for byte in text.utf8 {
            if byte == 0x25 || byte == 0x2F || byte < 0x20 {
                output += "%\(Hexadecimal.encode([byte]))".utf8
            } else {
                output.append(byte)
            }
        }
        return String(decoding: output, as: UTF8.self)
    }

    private func time(_ row: Row, _ values: RowValues) throws(RowError) -> Int64 {
        guard let timeColumn else {
            var time = timespec()
            clock_gettime(CLOCK_REALTIME, &time)
            return Int64(time.tv_sec) * 1_000 + Int64(time.tv_nsec) / 1_000_000
        }
        let text = try values.text(of: timeColumn)
        guard let milliseconds = RowMapping.milliseconds(text) else {
            throw RowError(
                "'\(text)' in '\(timeColumn)' is no instant with a zone; write it as "
                    + "2025-01-15T10:00:00Z", line: row.line)
        }
        return milliseconds
    }

    /// As `Timestamp` reads it, also with a space before the time and with more than three decimals,
    /// which are cut.
    private static func milliseconds(_ text: String) -> Int64? {
        var bytes = Array(text.utf8)
        guard bytes.count >= 20 else { return nil }
        if bytes[10] == 0x20 { bytes[10] = UInt8(ascii: "T") }
        if bytes[19] == UInt8(ascii: ".") {
            let end = bytes[20...].firstIndex { $0 &- 0x30 >= 10 } ?? bytes.count
            if end > 23 { bytes.removeSubrange(23..<end) }
        }
        return Timestamp.unixMilliseconds(String(decoding: bytes, as: UTF8.self))
    }
}
