/// A text with columns in braces, as in `turbine:{Wind_turbine_name}`.
struct RowTemplate: Sendable {
    private enum Part: Sendable {
        case text(String)
        case column(String)
    }

    private var parts: [Part] = []
    /// What is wrong with it; nil: nothing.
    private(set) var problem: String?

    init(_ template: String) {
        var rest = template[...]
        while let open = rest.firstIndex(of: "{") {
            guard let close = rest[open...].firstIndex(of: "}") else {
                problem = "'\(template)' has a brace that is not closed"
                return
            }
            let column = String(rest[rest.index(after: open)..<close])
            if column.isEmpty { problem = "'\(template)' has braces without a column" }
            add(rest[..<open])
            parts.append(.column(column))
            rest = rest[rest.index(after: close)...]
        }
        add(rest)
    }

    private mutating func add(_ text: Substring) {
        guard !text.isEmpty else { return }
        if text.contains("}") { problem = "'\(text)' has a brace that was not opened" }
        parts.append(.text(String(text)))
    }

    var columns: [String] {
        parts.compactMap { if case .column(let name) = $0 { name } else { nil } }
    }

    func filled(_ values: RowValues) throws(RowError) -> String {
        var output = ""
        for part in parts {
            switch part {
            case .text(let text): output += text
            case .column(let name): output += try values.text(of: name)
            }
        }
        return output
    }
}
