/// Writes a binary message as JSON straight from its bytes: labels that differ only in Unicode
/// normalisation stay two, and a page of facts is never decoded.
struct WireToJSON {
    /// How a person or a program wants it.
    struct Style: Sendable {
        /// snake_case names instead of proto3's.
        var keepsFieldNames = false
        /// 64-bit integers as numbers.
        var bareLongs = false
        /// `object_json` as the value that it is, named `object`.
        var nestsObjects = false
        /// Digests and identifiers of logs as hexadecimal text.
        var hexadecimalDigests = false

        /// Standard proto3 JSON.
        static let standard = Style()
        /// The specification's spelling, for people.
        static let presentation = Style(
            keepsFieldNames: true, bareLongs: true, nestsObjects: true, hexadecimalDigests: true)
    }

    let style: Style
    let bytes: UnsafeRawBufferPointer

    static func convert(
        _ bytes: UnsafeRawBufferPointer, as message: WireSchema.Message, style: Style = .standard
    ) throws(WireProblem) -> [UInt8] {
        var output: [UInt8] = []
        output.reserveCapacity(bytes.count * 2)
        try WireToJSON(style: style, bytes: bytes).append(0..<bytes.count, message, to: &output)
        return output
    }

    private func append(
        _ range: Range<Int>, _ message: WireSchema.Message, to output: inout [UInt8]
    ) throws(WireProblem) {
        var found: [(index: Int, field: WireField)] = []
        var reader = WireReader(bytes, range)
        var ordered = true
        while let field = try reader.next() {
            guard let index = message.index(number: field.number),
                field.type == message.fields[index].kind.wireType
            else { continue }
            if let last = found.last, last.index > index { ordered = false }
            found.append((index, field))
        }
        if !ordered {
            // Stable, so that the last of a singular field still counts.
            let numbered = found.enumerated().sorted {
                ($0.element.index, $0.offset) < ($1.element.index, $1.offset)
            }
            found = numbered.map(\.element)
        }
        output.append(0x7B)
        var position = 0
        while position < found.count {
            let index = found[position].index
            var end = position + 1
            while end < found.count, found[end].index == index { end += 1 }
            if position > 0 { output.append(0x2C) }
            try append(message.fields[index], found[position..<end].map(\.field), to: &output)
            position = end
        }
        output.append(0x7D)
    }

    private func append(
        _ schema: WireSchema.Field, _ fields: [WireField], to output: inout [UInt8]
    ) throws(WireProblem) {
        let nests = style.nestsObjects && schema.name == "object_json" && isJSON(fields.last)
        output.append(0x22)
        if nests {
            output += Array("object".utf8)
        } else {
            output += style.keepsFieldNames ? schema.nameBytes : schema.jsonNameBytes
        }
        output += [0x22, 0x3A]
        if nests, let field = fields.last {
            output.append(contentsOf: UnsafeRawBufferPointer(rebasing: bytes[field.content]))
        } else if schema.kind == .stringMap {
            try appendMap(fields, to: &output)
        } else if schema.isRepeated {
            output.append(0x5B)
            for (position, field) in fields.enumerated() {
                if position > 0 { output.append(0x2C) }
                try append(schema, field, to: &output)
            }
            output.append(0x5D)
        } else if let field = fields.last {
            try append(schema, field, to: &output)
        }
    }

    /// A text that came from another node is shown as a value only when it is one.
    private func isJSON(_ field: WireField?) -> Bool {
        guard let field else { return false }
        do throws(CanonicalJSONError) {
            _ = try CanonicalJSON.canonicalise(UnsafeRawBufferPointer(rebasing: bytes[field.content]))
            return true
        } catch {
            return false
        }
    }

    private func append(
        _ schema: WireSchema.Field, _ field: WireField, to output: inout [UInt8]
    ) throws(WireProblem) {
        switch schema.kind {
        case .string: appendText(field.content, to: &output)
        case .bytes: appendBytes(schema, field.content, to: &output)
        case .bool: output += Array((field.value == 0 ? "false" : "true").utf8)
        case .uint32, .fixed32: ECMAScriptNumber.appendDecimal(field.value, to: &output)
        case .uint64: appendLong(field.value, isNegative: false, to: &output)
        case .int64:
            let value = Int64(bitPattern: field.value)
            appendLong(value.magnitude, isNegative: value < 0, to: &output)
        case .double: appendDouble(Double(bitPattern: field.value), to: &output)
        case .enumeration:
            if let index = Int(exactly: field.value), WireSchema.outcomeNames.indices ~= index {
                JSONText.appendString(WireSchema.outcomeNames[index].utf8, to: &output)
            } else {
                output += Array("\(Int32(truncatingIfNeeded: field.value))".utf8)
            }
        case .message:
            try append(field.content, WireSchema.messages[schema.messageIndex], to: &output)
        case .jsonValue:
            // Only requests have one, and answers alone are written.
            output += Array("null".utf8)
        case .stringMap: preconditionFailure("maps are written by themselves")
        }
    }

    private func appendText(_ range: Range<Int>, to output: inout [UInt8]) {
        let slice = UnsafeRawBufferPointer(rebasing: bytes[range])
        if WireNames.isUTF8(slice) {
            JSONText.appendString(slice, to: &output)
        } else {
            // Never stored, and JSON could not carry it.
            JSONText.appendString(String(decoding: slice, as: UTF8.self).utf8, to: &output)
        }
    }

    private func appendBytes(
        _ schema: WireSchema.Field, _ range: Range<Int>, to output: inout [UInt8]
    ) {
        let slice = UnsafeRawBufferPointer(rebasing: bytes[range])
        output.append(0x22)
        if style.hexadecimalDigests, schema.name.contains("digest") || schema.name == "log_uuid" {
            output += Array(Hexadecimal.encode(slice).utf8)
        } else {
            Base64.encode(slice, into: &output)
        }
        output.append(0x22)
    }

    private func appendLong(_ magnitude: UInt64, isNegative: Bool, to output: inout [UInt8]) {
        if !style.bareLongs { output.append(0x22) }
        if isNegative { output.append(0x2D) }
        ECMAScriptNumber.appendDecimal(magnitude, to: &output)
        if !style.bareLongs { output.append(0x22) }
    }

    private func appendDouble(_ value: Double, to output: inout [UInt8]) {
        if value.isNaN {
            output += Array("\"NaN\"".utf8)
        } else if value.isInfinite {
            output += Array((value < 0 ? "\"-Infinity\"" : "\"Infinity\"").utf8)
        } else {
            ECMAScriptNumber.append(value, to: &output)
        }
    }

    private func appendMap(
        _ entries: [WireField], to output: inout [UInt8]
    ) throws(WireProblem) {
        output.append(0x7B)
        for (position, entry) in entries.enumerated() {
            var key = 0..<0
            var value = 0..<0
            var reader = WireReader(bytes, entry.content)
            while let field = try reader.next() {
                if field.number == 1, field.type == .bytes { key = field.content }
                if field.number == 2, field.type == .bytes { value = field.content }
            }
            if position > 0 { output.append(0x2C) }
            appendText(key, to: &output)
            output.append(0x3A)
            appendText(value, to: &output)
        }
        output.append(0x7D)
    }
}
