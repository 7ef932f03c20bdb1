/// Reads a message's JSON form into its binary form, strictly (requests) or passing over what is
/// unknown (answers).
///
/// A `google.protobuf.Value` is not written as one: its field carries the canonical JSON text
/// behind a byte 1, or behind a byte 2 the place of its refusal in `refusals`. Numbers, names and
/// depth of an object are so judged on its text, and one bad object of a batch refuses only its own
/// fact.
struct JSONToWire {
    enum ValueMark {
        static let canonical: UInt8 = 1
        static let refused: UInt8 = 2
    }

    private var reader: JSONReader
    private let isLenient: Bool
    private var path: [UInt8] = []
    private(set) var refusals: [CanonicalJSONError] = []
    /// Canonical text of the objects so far.
    private var objectBytes = 0

    init(_ bytes: UnsafeRawBufferPointer, isLenient: Bool) {
        reader = JSONReader(bytes)
        self.isLenient = isLenient
    }

    mutating func convert(_ message: WireSchema.Message) throws(ServiceError) -> [UInt8] {
        var output: [UInt8] = []
        output.reserveCapacity(reader.bytes.count)
        guard reader.peek() != nil else {
            throw refusal("the body is empty; send a JSON object, {} at least")
        }
        try convert(message, into: &output)
        guard reader.peek() == nil else {
            throw refusal("there is something after the JSON value (byte \(reader.position))")
        }
        return output
    }

    private func refusal(
        _ sentence: String, _ reason: ErrorReason = .malformedRequest
    ) -> ServiceError {
        WireSchema.refusal(reason, sentence, path)
    }

    private func refusal(_ problem: JSONReader.Problem) -> ServiceError {
        let error = CanonicalJSONError(
            kind: problem.kind, path: JSONPath.text(path), byteOffset: problem.byteOffset,
            problem: problem.text)
        let reason: ErrorReason =
            problem.kind == .numberNotRepresentable ? .numberNotRepresentable : .malformedRequest
        return refusal(error.sentence, reason)
    }

    private func expected(_ what: String) -> ServiceError { refusal(reader.unexpected(what)) }

    private mutating func convert(
        _ message: WireSchema.Message, into output: inout [UInt8]
    ) throws(ServiceError) {
        guard reader.take(0x7B) else { throw expected("a JSON object") }
        if reader.take(0x7D) { return }
        var seen: UInt64 = 0
        var members: UInt64 = 0
        let depth = path.count
        repeat {
            let name = try string()
            guard reader.take(0x3A) else { throw expected("':'") }
            if let index = message.index(name: name[...]) {
                let field = message.fields[index]
                JSONPath.append(.name(field.nameBytes), to: &path)
                guard seen & 1 << UInt64(index) == 0 else {
                    throw refusal("the name occurs twice; send it once")
                }
                seen |= 1 << UInt64(index)
                let absent = field.kind == .jsonValue ? false : try takeNull()
                if !absent {
                    guard members & field.oneofBit == 0 else {
                        let names = WireNames.members(of: field.oneof!, message)
                        throw refusal("only one of \(names) may be sent")
                    }
                    members |= field.oneofBit
                    try convert(field, into: &output)
                }
            } else {
                JSONPath.append(.name(name), to: &path)
                try passOver(name, message)
            }
            path.removeSubrange(depth...)
        } while reader.take(0x2C)
        guard reader.take(0x7D) else { throw expected("',' or '}'") }
    }

    private mutating func passOver(
        _ name: [UInt8], _ message: WireSchema.Message
    ) throws(ServiceError) {
        guard isLenient else {
            let shown = String(decoding: name.prefix(64), as: UTF8.self)
            let advice =
                if let nearest = WireNames.nearest(to: name, in: message) {
                    "did you mean \(nearest)?"
                } else {
                    "its fields are " + message.fields.map(\.name).joined(separator: ", ")
                }
            throw refusal(
                "bsfg.v1.\(message.name) has no field \"\(shown)\"; \(advice)", .unknownField)
        }
        _ = try jsonValue()
    }

    private mutating func takeNull() throws(ServiceError) -> Bool {
        guard reader.peek() == 0x6E else { return false }
        do throws(JSONReader.Problem) { try reader.literal("null") } catch { throw refusal(error) }
        return true
    }

    private mutating func string() throws(ServiceError) -> [UInt8] {
        var text: [UInt8] = []
        do throws(JSONReader.Problem) {
            try reader.string(into: &text, escaped: false)
        } catch {
            throw refusal(error)
        }
        return text
    }

    private mutating func convert(
        _ field: WireSchema.Field, into output: inout [UInt8]
    ) throws(ServiceError) {
        if field.kind == .stringMap { return try stringMap(field, into: &output) }
        guard field.isRepeated else { return try single(field, into: &output) }
        guard reader.take(0x5B) else { throw expected("an array") }
        if reader.take(0x5D) { return }
        let depth = path.count
        var index = 0
        repeat {
            JSONPath.append(.index(index), to: &path)
            try single(field, into: &output)
            path.removeSubrange(depth...)
            index += 1
        } while reader.take(0x2C)
        guard reader.take(0x5D) else { throw expected("',' or ']'") }
    }

    private mutating func single(
        _ field: WireSchema.Field, into output: inout [UInt8]
    ) throws(ServiceError) {
        switch field.kind {
        case .string:
            WireWriter.append(field.number, bytes: try string(), to: &output)
        case .bytes:
            guard let bytes = Base64.decode(try string()) else {
                throw refusal("the text is not base64")
            }
            WireWriter.append(field.number, bytes: bytes, to: &output)
        case .bool:
            WireWriter.append(field.number, varint: try bool() ? 1 : 0, to: &output)
        case .uint32, .fixed32:
            let value = try integer(in: 0...Int128(UInt32.max))
            if field.kind == .fixed32 {
                WireWriter.append(field.number, fixed32: UInt32(value), to: &output)
            } else {
                WireWriter.append(field.number, varint: UInt64(value), to: &output)
            }
        case .uint64:
            let value = UInt64(try integer(in: 0...Int128(UInt64.max)))
            WireWriter.append(field.number, varint: value, to: &output)
        case .int64:
            let value = Int64(try integer(in: Int128(Int64.min)...Int128(Int64.max)))
            WireWriter.append(field.number, varint: UInt64(bitPattern: value), to: &output)
        case .double:
            WireWriter.append(field.number, fixed64: try double().bitPattern, to: &output)
        case .enumeration:
            WireWriter.append(field.number, varint: try enumeration(), to: &output)
        case .jsonValue:
            WireWriter.append(field.number, bytes: try jsonValue(), to: &output)
        case .message:
            try WireWriter.appendMessage(field.number, to: &output) {
                (nested: inout [UInt8]) throws(ServiceError) in
                try convert(WireSchema.messages[field.messageIndex], into: &nested)
            }
        case .stringMap: preconditionFailure("maps are read by themselves")
        }
    }

    private mutating func stringMap(
        _ field: WireSchema.Field, into output: inout [UInt8]
    ) throws(ServiceError) {
        guard reader.take(0x7B) else { throw expected("a JSON object") }
        if reader.take(0x7D) { return }
        var names: Set<[UInt8]> = []
        let depth = path.count
        repeat {
            let name = try string()
            JSONPath.append(.name(name), to: &path)
            guard names.insert(name).inserted else {
                throw refusal("the name occurs twice; send it once")
            }
            guard reader.take(0x3A) else { throw expected("':'") }
            let value = try string()
            // Of labels no more is read than what refuses them.
            guard names.count <= FactLimits.labels + 1 else {
                names.remove(name)
                path.removeSubrange(depth...)
                continue
            }
            WireWriter.appendMessage(field.number, to: &output) { entry in
                WireWriter.append(1, bytes: name, to: &entry)
                WireWriter.append(2, bytes: value, to: &entry)
            }
            path.removeSubrange(depth...)
        } while reader.take(0x2C)
        guard reader.take(0x7D) else { throw expected("',' or '}'") }
    }

    /// The marked canonical text of the value that comes next.
    private mutating func jsonValue() throws(ServiceError) -> [UInt8] {
        // What the stream takes is judged when it is known; no stream takes more.
        var canonicaliser = Canonicaliser(reader, limitBytes: FactLimits.objectBytesCeiling + 1)
        canonicaliser.output.append(ValueMark.canonical)
        do throws(CanonicalJSONError) {
            try canonicaliser.value()
        } catch {
            throw FactError(error, field: JSONPath.text(path)).serviceError
        }
        reader = canonicaliser.reader
        guard let refused = canonicaliser.deferred else {
            objectBytes += canonicaliser.output.count
            guard objectBytes <= FactLimits.requestBytes else {
                throw refusal(
                    "the objects have more than \(FactLimits.requestBytes) bytes as canonical text; send fewer in "
                        + "a request", .tooLarge)
            }
            return canonicaliser.output
        }
        // More are of a batch that is refused as a whole: they share the last one's place.
        if refusals.count <= FactLimits.pageFacts { refusals.append(refused) }
        var marked = [ValueMark.refused]
        WireWriter.appendVarint(UInt64(refusals.count - 1), to: &marked)
        return marked
    }
}

// MARK: Scalars

extension JSONToWire {
    private mutating func bool() throws(ServiceError) -> Bool {
        do throws(JSONReader.Problem) {
            switch reader.peek() {
            case 0x74:
                try reader.literal("true")
                return true
            case 0x66:
                try reader.literal("false")
                return false
            default: throw reader.unexpected("true or false")
            }
        } catch {
            throw refusal(error)
        }
    }

    /// The number that comes next, bare or in quotes, and whether it was quoted.
    private mutating func number<Result>(
        _ body: (inout JSONReader, JSONReader.Number, Bool) throws(JSONReader.Problem) -> Result
    ) throws(ServiceError) -> Result {
        do throws(JSONReader.Problem) {
            switch reader.peek() {
            case 0x22:
                let start = reader.position + 1
                var text: [UInt8] = []
                try reader.string(into: &text, escaped: false)
                let end = reader.position - 1
                // Digits need no escape: what was quoted is read where it stands.
                var inner = JSONReader(
                    UnsafeRawBufferPointer(rebasing: reader.bytes[start..<end]))
                do throws(JSONReader.Problem) {
                    let number = try inner.number()
                    guard inner.position == inner.bytes.count else {
                        throw inner.unexpected("the end of a number")
                    }
                    return try body(&inner, number, true)
                } catch {
                    throw JSONReader.Problem(
                        kind: error.kind, byteOffset: start + error.byteOffset, text: error.text)
                }
            case .some(0x2D), .some(0x30...0x39):
                let number = try reader.number()
                return try body(&reader, number, false)
            default: throw reader.unexpected("a number")
            }
        } catch {
            throw refusal(error)
        }
    }

    private mutating func integer(in range: ClosedRange<Int128>) throws(ServiceError) -> Int128 {
        try number { (reader, number, isQuoted) throws(JSONReader.Problem) in
            var value: Int128
            if number.isInteger, number.digitCount <= 20 {
                if !isQuoted {
                    var canonical: [UInt8] = []
                    try reader.appendCanonical(number, to: &canonical)
                }
                value = 0
                for byte in reader.bytes[number.range] where byte != 0x2D {
                    value = value * 10 + Int128(byte - 0x30)
                }
                if number.isNegative { value = -value }
            } else {
                var canonical: [UInt8] = []
                try reader.appendCanonical(number, to: &canonical)
                guard let exact = Int128(exactly: reader.double(number)) else {
                    throw reader.problem("an integer was expected", at: number.range.lowerBound)
                }
                value = exact
            }
            guard range.contains(value) else {
                throw reader.problem(
                    "the number is outside of \(range.lowerBound) to \(range.upperBound)",
                    at: number.range.lowerBound)
            }
            return value
        }
    }

    private mutating func double() throws(ServiceError) -> Double {
        for (text, value) in [
            ("\"NaN\"" as StaticString, Double.nan), ("\"Infinity\"", .infinity),
            ("\"-Infinity\"", -.infinity),
        ] where reader.peek() == 0x22 {
            let before = reader.position
            do throws(JSONReader.Problem) {
                try reader.literal(text)
                return value
            } catch {
                reader.position = before
            }
        }
        return try number { (reader, number, _) throws(JSONReader.Problem) in
            let value = reader.double(number)
            guard value.isFinite else {
                throw reader.problem("the number is beyond the largest double")
            }
            return value
        }
    }

    private mutating func enumeration() throws(ServiceError) -> UInt64 {
        guard reader.peek() == 0x22 else {
            return UInt64(try integer(in: 0...Int128(Int32.max)))
        }
        let name = try string()
        if let value = WireSchema.outcomeNames.firstIndex(where: { $0.utf8.elementsEqual(name) }) {
            return UInt64(value)
        }
        guard isLenient else { throw refusal("the contract has no such value") }
        return 0
    }
}
