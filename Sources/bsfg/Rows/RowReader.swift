internal import Facts

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
        for cell in try cells(header) { names.append(try text(cell, line: 1)) }
        columns = RowColumns(names)
        guard Set(names.map { Array($0.utf8) }).count == names.count else {
            throw RowError("\(input.name):1: two columns have the same name; rename one")
        }
    }

    /// How many bytes of the file were read, compressed ones where it is; nil for standard input.
    var consumedBytes: Int? { input.consumedBytes }

    /// The next row that is not empty, nil at the end.
    func next() throws(RowError) -> Row? {
        let number = line
        guard let raw = try nextRaw() else { return nil }
        switch format {
        case .jsonl: return Row(line: number, bytes: raw, columns: columns, cells: nil)
        case .csv:
            let found = try cells(raw)
            guard found.count == columns.names.count else {
                throw RowError(
                    "\(input.name):\(number): the row has \(found.count) cells and the header "
                        + "\(columns.names.count); check quotes and the delimiter")
            }
            var texts: [String] = []
            texts.reserveCapacity(found.count)
            for cell in found { texts.append(try text(cell, line: number)) }
            return Row(line: number, bytes: raw, columns: columns, cells: texts)
        }
    }

    /// The bytes of a row without its line end; lines within quotes belong to it.
    private func nextRaw() throws(RowError) -> [UInt8]? {
        while true {
            guard let end = try rowEnd() else { return nil }
            var row = Array(buffer[position..<end.content])
            if row.last == 0x0D { row.removeLast() }
            line += end.lines
            position = end.next
            if row.contains(where: { $0 != 0x20 && $0 != 0x09 }) { return row }
        }
    }

    private struct RowEnd {
        var content: Int
        var next: Int
        var lines: Int
    }

    private func rowEnd() throws(RowError) -> RowEnd? {
        var scan = position
        var isQuoted = false
        var lines = 0
        while true {
            while scan < buffer.count {
                let byte = buffer[scan]
                // A doubled quote within quotes leaves and enters again.
                if byte == UInt8(ascii: "\""), format == .csv { isQuoted.toggle() }
                if byte == 0x0A {
                    lines += 1
                    if !isQuoted { return RowEnd(content: scan, next: scan + 1, lines: lines) }
                }
                scan += 1
            }
            guard scan - position <= Self.rowBytesMaximum else {
                throw RowError(
                    "\(input.name):\(line): the row is longer than 3 MiB"
                        + (isQuoted ? "; is a quote left open?" : ""))
            }
            if isAtEnd {
                guard !isQuoted else {
                    throw RowError("\(input.name):\(line): a quote is left open")
                }
                guard position < buffer.count else { return nil }
                return RowEnd(content: buffer.count, next: buffer.count, lines: lines + 1)
            }
            scan -= position
            buffer.removeSubrange(..<position)
            position = 0
            let more = try input.read(Self.chunkBytes)
            isAtEnd = more.isEmpty
            buffer += more
        }
    }

    private func cells(_ row: [UInt8]) throws(RowError) -> [[UInt8]] {
        var cells: [[UInt8]] = []
        var cell: [UInt8] = []
        var isQuoted = false
        var index = 0
        while index < row.count {
            let byte = row[index]
            index += 1
            if byte == UInt8(ascii: "\"") {
                if isQuoted, index < row.count, row[index] == byte {
                    cell.append(byte)
                    index += 1
                } else {
                    isQuoted.toggle()
                }
            } else if byte == delimiter, !isQuoted {
                cells.append(cell)
                cell = []
            } else {
                cell.append(byte)
            }
        }
        cells.append(cell)
        guard cells.count <= Self.columnCountMaximum else {
            throw RowError("\(input.name): a row has more than \(Self.columnCountMaximum) cells")
        }
        return cells
    }

    private func text(_ bytes: [UInt8], line: Int) throws(RowError) -> String {
        guard let text = String(validating: bytes, as: UTF8.self) else {
            throw RowError("\(input.name):\(line): a cell is not UTF-8; convert the file first")
        }
        return text
    }
}
