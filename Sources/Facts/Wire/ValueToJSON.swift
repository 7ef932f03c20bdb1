/// A binary `google.protobuf.Value` as JSON text.
///
/// The text then passes the canonicaliser like any other, which orders names and refuses what a
/// `Struct` can carry and JSON cannot: a name twice, infinities, too many levels.
enum ValueToJSON {
    static func canonical(
        _ bytes: UnsafeRawBufferPointer, _ range: Range<Int>
    ) throws(CanonicalJSONError) -> [UInt8] {
        let limit = FactLimits.objectBytesCeiling
        var text: [UInt8] = []
        do throws(WireProblem) {
            try append(bytes, range, depth: 0, to: &text)
        } catch {
            throw CanonicalJSONError(
                kind: .syntax, path: "", byteOffset: error.byteOffset, problem: error.text)
        }
        guard text.count <= limit else {
            throw CanonicalJSONError(
                kind: .tooLong, path: "", byteOffset: range.lowerBound,
                problem: "the value has more than \(limit) bytes as canonical text")
        }
        return try CanonicalJSON.canonicalise(text)
    }

    private static func append(
        _ bytes: UnsafeRawBufferPointer, _ range: Range<Int>, depth: Int, to text: inout [UInt8]
    ) throws(WireProblem) {
        var reader = WireReader(bytes, range)
        guard let field = try reader.next(), try reader.next() == nil else {
            throw WireProblem(
                byteOffset: range.lowerBound,
                text: "a google.protobuf.Value holds exactly one value")
        }
        switch (field.number, field.type) {
        case (1, .varint): text += Array("null".utf8)
        case (2, .fixed64):
            let value = Double(bitPattern: field.value)
            if value.isFinite {
                ECMAScriptNumber.append(value, to: &text)
            } else {
                // Read back as a number that a double cannot keep, which it is.
                text += Array((value < 0 ? "-1e999" : "1e999").utf8)
            }
        case (3, .bytes):
            guard WireNames.isUTF8(reader.slice(field.content)) else {
                throw WireProblem(byteOffset: field.content.lowerBound, text: "a text is not UTF-8")
            }
            // Six bytes may stand for one: of what is too long no more is written than what shows it.
            JSONText.appendString(
                reader.slice(field.content.prefix(FactLimits.objectBytesCeiling + 1)), to: &text)
        case (4, .varint): text += Array((field.value == 0 ? "false" : "true").utf8)
        case (5, .bytes):
            try appendMembers(bytes, field.content, depth: depth, to: &text)
        case (6, .bytes):
            try appendElements(bytes, field.content, depth: depth, to: &text)
        default:
            throw WireProblem(
                byteOffset: field.whole.lowerBound,
                text: "a google.protobuf.Value has no such field \(field.number)")
        }
    }

    private static func appendMembers(
        _ bytes: UnsafeRawBufferPointer, _ range: Range<Int>, depth: Int, to text: inout [UInt8]
    ) throws(WireProblem) {
        text.append(0x7B)
        var reader = WireReader(bytes, range)
        var isFirst = true
        while text.count <= FactLimits.objectBytesCeiling, let field = try reader.next() {
            guard field.number == 1, field.type == .bytes else { throw unexpected(field) }
            var name = 0..<0
            var value: Range<Int>?
            var entry = WireReader(bytes, field.content)
            while let part = try entry.next() {
                guard part.type == .bytes else { throw unexpected(part) }
                switch part.number {
                case 1: name = part.content
                case 2: value = part.content
                default: throw unexpected(part)
                }
            }
            guard let value, WireNames.isUTF8(reader.slice(name)) else { throw unexpected(field) }
            if !isFirst { text.append(0x2C) }
            isFirst = false
            JSONText.appendString(reader.slice(name.prefix(FactLimits.objectBytesCeiling + 1)), to: &text)
            text.append(0x3A)
            try nested(bytes, value, depth: depth, to: &text)
        }
        text.append(0x7D)
    }

    private static func appendElements(
        _ bytes: UnsafeRawBufferPointer, _ range: Range<Int>, depth: Int, to text: inout [UInt8]
    ) throws(WireProblem) {
        text.append(0x5B)
        var reader = WireReader(bytes, range)
        var isFirst = true
        while text.count <= FactLimits.objectBytesCeiling, let field = try reader.next() {
            guard field.number == 1, field.type == .bytes else { throw unexpected(field) }
            if !isFirst { text.append(0x2C) }
            isFirst = false
            try nested(bytes, field.content, depth: depth, to: &text)
        }
        text.append(0x5D)
    }

    /// Below the limit the text's own reader refuses one level too many; it has to end somewhere.
    private static func nested(
        _ bytes: UnsafeRawBufferPointer, _ range: Range<Int>, depth: Int, to text: inout [UInt8]
    ) throws(WireProblem) {
        guard depth < CanonicalJSON.depthLimit else {
            throw WireProblem(
                byteOffset: range.lowerBound,
                text: "the value nests deeper than \(CanonicalJSON.depthLimit) levels")
        }
        try append(bytes, range, depth: depth + 1, to: &text)
    }

    private static func unexpected(_ field: WireField) -> WireProblem {
        WireProblem(
            byteOffset: field.whole.lowerBound,
            text: "a google.protobuf.Struct has no such field \(field.number)")
    }
}
