internal import Facts

/// The columns of a CSV file.
final class RowColumns: Sendable {
    let names: [String]
    /// Each as it begins a member of a JSON object.
    let members: [[UInt8]]

    init(_ names: [String]) {
        self.names = names
        members = names.map { Array((JSONOutput.text($0).text + ":").utf8) }
    }

    func index(of name: String) -> Int? {
        names.firstIndex { $0.utf8.elementsEqual(name.utf8) }
    }
}

/// One row of a file.
struct Row: Sendable {
    /// The line it begins on, from 1.
    let line: Int
    /// As they stand in the file, without the line end: what the default id is made of.
    let bytes: [UInt8]
    let columns: RowColumns
    /// By column, without quotes; nil for JSON Lines.
    let cells: [ArraySlice<UInt8>]?

    /// The hexadecimal SHA-256 of its bytes: the same row is the same fact, however often the file
    /// is read.
    var identifier: String { SHA256.hash(bytes).hexadecimal }

    /// The row as a JSON object. Cells that are numbers in JSON and lose no digit as a double
    /// become numbers, empty ones null, others text. Lines of JSON are left as they are.
    var object: [UInt8] {
        guard let cells else { return bytes }
        var output: [UInt8] = []
        output.reserveCapacity(bytes.count * 2 + 64)
        output.append(UInt8(ascii: "{"))
        for (index, cell) in cells.enumerated() {
            if index > 0 { output.append(UInt8(ascii: ",")) }
            output += columns.members[index]
            if cell.isEmpty {
                output += Self.null
            } else if RowNumber.isExact(cell) {
                output += cell
            } else {
                JSONText.appendString(cell, to: &output)
            }
        }
        output.append(UInt8(ascii: "}"))
        return output
    }

    private static let null = Array("null".utf8)
}

/// The texts of a row's columns, or of the members at the top of a JSON object.
struct RowValues {
    private let row: Row
    private let members: [String: JSONTree]

    /// - Parameter isNeeded: whether any text will be asked for.
    init(_ row: Row, isNeeded: Bool) throws(RowError) {
        self.row = row
        guard row.cells == nil else {
            members = [:]
            return
        }
        guard row.bytes.first(where: { $0 != 0x20 && $0 != 0x09 }) == UInt8(ascii: "{") else {
            throw RowError("the line is not a JSON object", line: row.line)
        }
        guard isNeeded else {
            members = [:]
            return
        }
        do throws(CanonicalJSONError) {
            guard case .object(let found) = try JSONTree.parse(row.bytes) else {
                preconditionFailure("what begins with a brace is an object")
            }
            members = found
        } catch {
            throw RowError(error.sentence, line: row.line)
        }
    }

    /// A text, number or truth value that is there and not empty.
    func text(of name: String) throws(RowError) -> String {
        let text: String?
        if let cells = row.cells {
            text = try row.columns.index(of: name).map { index throws(RowError) in
                guard let text = String(validating: cells[index], as: UTF8.self) else {
                    throw RowError(
                        "the cell of '\(name)' is not UTF-8; convert the file first",
                        line: row.line)
                }
                return text
            }
        } else {
            text = Self.text(members[name])
        }
        guard let text, !text.isEmpty else {
            throw RowError("the row has nothing in '\(name)'", line: row.line)
        }
        return text
    }

    private static func text(_ value: JSONTree?) -> String? {
        switch value {
        case .string(let text): text
        case .number(let number):
            number == number.rounded() && number.magnitude < 1e15
                ? String(Int64(number)) : "\(number)"
        case .bool(let flag): flag ? "true" : "false"
        default: nil
        }
    }
}
