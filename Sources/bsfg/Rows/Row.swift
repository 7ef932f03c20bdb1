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
}

/// One row of a file.
struct Row: Sendable {
    /// The line it begins on, from 1.
    let line: Int
    /// As they stand in the file, without the line end: what the default id is made of.
    let bytes: [UInt8]
    let columns: RowColumns
    /// By column; nil for JSON Lines.
    let cells: [String]?

    /// The hexadecimal SHA-256 of its bytes: the same row is the same fact, however often the file
    /// is read.
    var identifier: String { SHA256.hash(bytes).hexadecimal }

    /// The row as a JSON object. Cells that are numbers in JSON and keep their value as a double
    /// become numbers, empty ones null, others text. Lines of JSON are left as they are.
    var object: [UInt8] {
        guard let cells else { return bytes }
        var output: [UInt8] = [UInt8(ascii: "{")]
        for (index, cell) in cells.enumerated() {
            if index > 0 { output.append(UInt8(ascii: ",")) }
            output += columns.members[index]
            if cell.isEmpty {
                output += "null".utf8
            } else if Row.isNumber(cell) {
                output += cell.utf8
            } else {
                output += JSONOutput.text(cell).text.utf8
            }
        }
        output.append(UInt8(ascii: "}"))
        return output
    }

    /// The text of a column, or of a member at the top of a JSON object; nil where there is none or
    /// where it is not text, a number or a truth value.
    func text(of name: String) -> String? {
        if let cells {
            return columns.names.firstIndex { $0.utf8.elementsEqual(name.utf8) }.map { cells[$0] }
        }
        guard case .object(let members)? = try? JSONTree.parse(bytes) else { return nil }
        switch members[name] {
        case .string(let text): return text
        case .number(let number):
            return number == number.rounded() && number.magnitude < 1e15
                ? String(Int64(number)) : "\(number)"
        case .bool(let flag): return flag ? "true" : "false"
        default: return nil
        }
    }

    /// A JSON number (`007` is none) whose value survives: `90071992547409931` is a serial number.
    private static func isNumber(_ cell: String) -> Bool {
        guard let first = cell.utf8.first,
            first == UInt8(ascii: "-") || (0x30...0x39).contains(first), cell.utf8.count <= 32
        else { return false }
        return (try? CanonicalJSON.canonicalise(Array(cell.utf8))) != nil
    }
}
