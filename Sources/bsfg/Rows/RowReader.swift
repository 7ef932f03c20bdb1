internal import Facts
internal import Glibc

/// How rows are written.
enum RowFormat: String, CaseIterable, Sendable {
    /// RFC 4180, the first row names the columns.
    case csv
    /// One JSON object a line.
    case jsonl
}

/// Reads rows one by one from CSV or JSON Lines, so that files of any length need little memory.
final class RowReader {
    /// A row becomes a record, and records are no larger than this.
    private static let rowBytesMaximum = 3 << 20
    private static let columnCountMaximum = 4096
    private static let chunkBytes = 128 << 10

    let format: RowFormat
    /// Names of a CSV file's columns.
    private(set) var columns = RowColumns([])
    /// The number of the line that the next row begins on.
    private(set) var line = 1
    private let delimiter: UInt8
    private let input: RowInput
    private var buffer: [UInt8] = []
    private var position = 0
    private var isAtEnd = false

    /// - Parameters:
    ///   - path: a file, also a gzip one, or `-` for standard input.
    ///   - format: nil decides by the first byte: JSON Lines begin with `{`.
    ///   - delimiter: between the cells of CSV.
    init(
        path: String, format: RowFormat? = nil, delimiter: UInt8 = UInt8(ascii: ",")
    ) throws(RowError) {
        input = try RowInput(path: path)
        self.delimiter = delimiter
        buffer = try input.read(Self.chunkBytes)
        if buffer.starts(with: [0xEF, 0xBB, 0xBF]) { position = 3 }
        let first = buffer[position...].first { ![0x20, 0x09, 0x0A, 0x0D].contains($0) }
        self.format = format ?? (first == UInt8(ascii: "{") ? .jsonl : .csv)
        guard self.format == .csv else { return }
        guard let header = try nextRaw() else {
            throw RowError("\(input.name) is empty; its first row names the columns")
        }
        var names: [String] = []
        for cell in try cells(header) { names.append(try text(cell)) }
        columns = RowColumns(names)
        guard !names.contains(where: \.isEmpty) else {
            throw RowError(
                "\(input.name):1: a column has no name; the first row names the columns")
        }
        guard Set(names.map { Array($0.utf8) }).count == names.count else {
            throw RowError("\(input.name):1: two columns have the same name; rename one")
        }
    }

    /// How many bytes of the file were read, compressed ones where it is; nil for standard input.
    var consumedBytes: Int? { input.consumedBytes }

    private var idle: (milliseconds: Int, action: () -> Void)?

    /// Calls back when the input pauses before the next row is whole.
    func whenIdle(milliseconds: Int, _ action: @escaping () -> Void) {
        idle = (milliseconds, action)
    }

    /// The next row that is not empty, nil at the end. After an error with a line the next row can
    /// be read.
    func next() throws(RowError) -> Row? {
        guard let raw = try nextRaw() else { return nil }
        switch format {
        case .jsonl: return Row(line: raw.line, bytes: raw.bytes, columns: columns, cells: nil)
        case .csv:
            let found = try cells(raw)
            guard found.count == columns.names.count else {
                throw RowError(
                    "the row has \(found.count) cells and the header \(columns.names.count); check "
                        + "quotes and the delimiter", line: raw.line)
            }
            return Row(line: raw.line, bytes: raw.bytes, columns: columns, cells: found)
        }
    }

    /// Steps over the next row that is not empty, without looking into it: how rows are counted.
    func skip() throws(RowError) -> Bool { try nextRaw() != nil }

    private struct RawRow {
        var line: Int
        var bytes: [UInt8]
    }

    /// The bytes of a row without its line end; lines within quotes belong to it.
    private func nextRaw() throws(RowError) -> RawRow? {
        while true {
            let number = line
            guard let end = try rowEnd() else { return nil }
            var row = Array(buffer[position..<end.content])
            if row.last == 0x0D { row.removeLast() }
            line += end.lines
            position = end.next
            if row.contains(where: { $0 != 0x20 && $0 != 0x09 }) {
                return RawRow(line: number, bytes: row)
            }
        }
    }

    private struct RowEnd {
        var content: Int
        var next: Int
        var lines: Int
    }

    private func rowEnd() throws(RowError) -> RowEnd? {
        // Relative to the position, which moves when the buffer does.
        var scan = Scan()
        while true {
            if let end = find(&scan) { return end }
            guard buffer.count - position <= Self.rowBytesMaximum else {
                throw RowError(
                    "\(input.name):\(line): the row is longer than 3 MiB"
                        + (scan.isQuoted ? "; is a quote left open?" : ""))
            }
            if isAtEnd {
                guard position < buffer.count else { return nil }
                lookAtQuotes(in: (position + scan.next)..<buffer.count, &scan.isQuoted)
                guard !scan.isQuoted else {
                    throw RowError("\(input.name):\(line): a quote is left open")
                }
                return RowEnd(content: buffer.count, next: buffer.count, lines: scan.lines + 1)
            }
            buffer.removeSubrange(..<position)
            position = 0
            if let idle, !input.isReady(milliseconds: idle.milliseconds) { idle.action() }
            let more = try input.read(Self.chunkBytes)
            isAtEnd = more.isEmpty
            buffer += more
        }
    }

    /// How far the search for a row's end has come, in whole lines.
    private struct Scan {
        var next = 0
        var lines = 0
        var isQuoted = false
    }

    private func find(_ scan: inout Scan) -> RowEnd? {
        while true {
            let begin = position + scan.next
            let feed = buffer.withUnsafeBytes { bytes -> Int? in
                guard begin < bytes.count else { return nil }
                let base = bytes.baseAddress!
                return memchr(base + begin, 0x0A, bytes.count - begin).map {
                    UnsafeRawPointer($0) - base
                }
            }
            guard let feed else { return nil }
            lookAtQuotes(in: begin..<feed, &scan.isQuoted)
            scan.next = feed + 1 - position
            scan.lines += 1
            if !scan.isQuoted { return RowEnd(content: feed, next: feed + 1, lines: scan.lines) }
        }
    }

    /// Whether the end of a line is within quotes. Only a quote at the beginning of a cell opens
    /// one, so that a stray quote spoils its own row and not the following ones.
    private func lookAtQuotes(in line: Range<Int>, _ isQuoted: inout Bool) {
        let quote = UInt8(ascii: "\"")
        guard format == .csv else { return }
        buffer.withUnsafeBytes { bytes in
            guard !line.isEmpty,
                memchr(bytes.baseAddress! + line.lowerBound, Int32(quote), line.count) != nil
            else { return }
            var isAtCellStart = !isQuoted
            var isBehindQuote = false
            for byte in bytes[line] {
                if isQuoted {
                    isBehindQuote = byte == quote
                    if isBehindQuote { isQuoted = false }
                    isAtCellStart = false
                } else {
                    if byte == quote, isAtCellStart || isBehindQuote { isQuoted = true }
                    isBehindQuote = false
                    isAtCellStart = byte == delimiter
                }
            }
        }
    }

    private func cells(_ row: RawRow) throws(RowError) -> [ArraySlice<UInt8>] {
        let cells =
            row.bytes.contains(UInt8(ascii: "\""))
            ? try quotedCells(row) : row.bytes.split(separator: delimiter, omittingEmptySubsequences: false)
        guard cells.count <= Self.columnCountMaximum else {
            throw RowError(
                "the row has more than \(Self.columnCountMaximum) cells", line: row.line)
        }
        return cells
    }

    /// RFC 4180: a quoted cell is quoted whole, and quotes within it are doubled.
    private func quotedCells(_ row: RawRow) throws(RowError) -> [ArraySlice<UInt8>] {
        let quote = UInt8(ascii: "\"")
        let bytes = row.bytes
        var cells: [ArraySlice<UInt8>] = []
        var index = 0
        while true {
            var cell: [UInt8] = []
            if index < bytes.count, bytes[index] == quote {
                index += 1
                while true {
                    guard let end = bytes[index...].firstIndex(of: quote) else {
                        throw RowError("a quote is left open", line: row.line)
                    }
                    cell += bytes[index..<end]
                    index = end + 1
                    guard index < bytes.count, bytes[index] == quote else { break }
                    cell.append(quote)
                    index += 1
                }
                guard index == bytes.count || bytes[index] == delimiter else {
                    throw RowError(
                        "there is text behind the quote that ends cell \(cells.count + 1); double "
                            + "the quotes within a cell", line: row.line)
                }
            } else {
                let end = bytes[index...].firstIndex(of: delimiter) ?? bytes.count
                guard !bytes[index..<end].contains(quote) else {
                    throw RowError(
                        "cell \(cells.count + 1) has a quote in it and does not begin with one; "
                            + "quote the whole cell", line: row.line)
                }
                cell += bytes[index..<end]
                index = end
            }
            cells.append(cell[...])
            if index == bytes.count { return cells }
            index += 1
        }
    }

    private func text(_ bytes: ArraySlice<UInt8>) throws(RowError) -> String {
        guard let text = String(validating: bytes, as: UTF8.self) else {
            throw RowError("\(input.name):1: a column's name is not UTF-8; convert the file first")
        }
        return text
    }
}
