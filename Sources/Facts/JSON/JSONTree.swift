/// A small JSON value in memory, for errors and other answers that are not messages.
package indirect enum JSONTree: Sendable, Equatable {
    case null
    case bool(Bool)
    case number(Double)
    case string(String)
    case array([JSONTree])
    case object([String: JSONTree])

    /// As strict as the canonicaliser. Names that are canonically equivalent count as one, which is
    /// why nothing that is stored is ever read this way.
    package static func parse(_ bytes: [UInt8]) throws(CanonicalJSONError) -> JSONTree {
        // Canonical text has no white space, no duplicate names and no escapes to go wrong.
        let canonical = try CanonicalJSON.canonicalise(bytes)
        return canonical.withUnsafeBytes { buffer in
            var reader = JSONReader(buffer)
            do throws(JSONReader.Problem) {
                return try value(&reader)
            } catch {
                preconditionFailure("canonical JSON is not readable: \(error.text)")
            }
        }
    }

    private static func value(_ reader: inout JSONReader) throws(JSONReader.Problem) -> JSONTree {
        switch reader.peek() {
        case 0x7B:
            var members: [String: JSONTree] = [:]
            reader.position += 1
            if reader.take(0x7D) { return .object(members) }
            repeat {
                let name = try string(&reader)
                _ = reader.take(0x3A)
                members[name] = try value(&reader)
            } while reader.take(0x2C)
            _ = reader.take(0x7D)
            return .object(members)
        case 0x5B:
            var elements: [JSONTree] = []
            reader.position += 1
            if reader.take(0x5D) { return .array(elements) }
            repeat { elements.append(try value(&reader)) } while reader.take(0x2C)
            _ = reader.take(0x5D)
            return .array(elements)
        case 0x22: return .string(try string(&reader))
        case 0x74:
            try reader.literal("true")
            return .bool(true)
        case 0x66:
            try reader.literal("false")
            return .bool(false)
        case 0x6E:
            try reader.literal("null")
            return .null
        default:
            let number = try reader.number()
            return .number(reader.double(number))
        }
    }

    private static func string(_ reader: inout JSONReader) throws(JSONReader.Problem) -> String {
        var text: [UInt8] = []
        try reader.string(into: &text, escaped: false)
        return String(decoding: text, as: UTF8.self)
    }
}
