/// Requires of a binary request what the scanner requires of a JSON one: known fields of their own
/// type, each singular field once, one member of a oneof, UTF-8. What a later release wrote and an
/// older one relays is read leniently: unknown fields pass, known ones keep their type.
struct WireValidator {
    /// A field that is being read; where it is repeated, which one of them. Spelled only for a refusal.
    private struct Step {
        let field: WireSchema.Field
        let index: Int?
    }

    private var path: [Step] = []
    private let isLenient: Bool

    private init(isLenient: Bool) { self.isLenient = isLenient }

    static func validate(
        _ bytes: UnsafeRawBufferPointer, as message: WireSchema.Message, isLenient: Bool = false
    ) throws(ServiceError) {
        var validator = WireValidator(isLenient: isLenient)
        try validator.validate(bytes, 0..<bytes.count, message)
    }

    private mutating func validate(
        _ bytes: UnsafeRawBufferPointer, _ range: Range<Int>, _ message: WireSchema.Message
    ) throws(ServiceError) {
        var reader = WireReader(bytes, range)
        // Sets of fields and of oneofs, as bits.
        var seen: UInt64 = 0
        var members: UInt64 = 0
        // How many of each repeated field; made when the first one comes.
        var counts: [Int] = []
        while let field = try next(&reader) {
            guard let place = message.index(number: field.number) else {
                if isLenient { continue }
                throw unknown(field, message)
            }
            let schema = message.fields[place]
            var index: Int?
            if schema.isRepeated {
                if counts.isEmpty { counts = [Int](repeating: 0, count: message.fields.count) }
                index = counts[place]
                counts[place] += 1
            }
            path.append(Step(field: schema, index: index))
            if schema.isSingular, !isLenient {
                guard seen & 1 << UInt64(place) == 0 else {
                    throw refusal("the field occurs twice; send it once")
                }
                seen |= 1 << UInt64(place)
                guard members & schema.oneofBit == 0 else {
                    throw refusal(
                        "only one of \(WireNames.members(of: schema.oneof!, message)) may be sent")
                }
                members |= schema.oneofBit
            }
            try check(field, schema, bytes)
            path.removeLast()
        }
    }

    private func next(_ reader: inout WireReader) throws(ServiceError) -> WireField? {
        do throws(WireProblem) {
            return try reader.next()
        } catch {
            throw refusal(
                "the message is not protocol buffers: \(error.text) "
                    + "(byte \(error.byteOffset))")
        }
    }

    private mutating func check(
        _ field: WireField, _ schema: WireSchema.Field, _ bytes: UnsafeRawBufferPointer
    ) throws(ServiceError) {
        guard field.type == schema.kind.wireType else {
            throw refusal("the field has another wire type than the contract gives it")
        }
        switch schema.kind {
        case .string: try checkText(bytes, field.content)
        case .bool:
            guard field.value <= 1 || isLenient else { throw refusal("a bool is 0 or 1") }
        case .uint32:
            guard field.value <= UInt64(UInt32.max) || isLenient else {
                throw refusal("the value needs 32 bits")
            }
        case .stringMap: try checkMapEntry(bytes, field.content)
        case .message:
            try validate(bytes, field.content, WireSchema.messages[schema.messageIndex])
        case .bytes, .uint64, .int64, .fixed32, .double, .enumeration, .jsonValue: break
        }
    }

    private func checkText(
        _ bytes: UnsafeRawBufferPointer, _ range: Range<Int>
    ) throws(ServiceError) {
        guard WireNames.isUTF8(UnsafeRawBufferPointer(rebasing: bytes[range])) else {
            throw refusal("the text is not UTF-8")
        }
    }

    private func checkMapEntry(
        _ bytes: UnsafeRawBufferPointer, _ range: Range<Int>
    ) throws(ServiceError) {
        var reader = WireReader(bytes, range)
        var seen: UInt32 = 0
        while let field = try next(&reader) {
            if isLenient, field.number > 2 { continue }
            guard field.type == .bytes, field.number <= 2,
                seen & 1 << field.number == 0 || isLenient
            else { throw refusal("a map entry holds one key and one value, both text") }
            seen |= 1 << field.number
            try checkText(bytes, field.content)
        }
    }

    private func refusal(_ sentence: String) -> ServiceError {
        WireSchema.refusal(.malformedRequest, sentence, spelledPath())
    }

    private func unknown(_ field: WireField, _ message: WireSchema.Message) -> ServiceError {
        var place = spelledPath()
        JSONPath.append(.name(Array("\(field.number)".utf8)), to: &place)
        return WireSchema.refusal(
            .unknownField,
            "bsfg.v1.\(message.name) has no field \(field.number); send only fields of the contract "
                + "that this node's release knows", place)
    }

    private func spelledPath() -> [UInt8] {
        var spelled: [UInt8] = []
        for step in path {
            JSONPath.append(.name(step.field.nameBytes), to: &spelled)
            if let index = step.index { JSONPath.append(.index(index), to: &spelled) }
        }
        return spelled
    }
}

/// What both readers say about names.
enum WireNames {
    static func members(of oneof: String, _ message: WireSchema.Message) -> String {
        message.fields.filter { $0.oneof == oneof }.map(\.name).joined(separator: ", ")
    }

    static func isUTF8(_ bytes: UnsafeRawBufferPointer) -> Bool {
        var index = 0
        while index < bytes.count, bytes[index] < 0x80 { index += 1 }
        return index == bytes.count || String(validating: bytes, as: UTF8.self) != nil
    }

    /// The known name that a typist most likely meant; nil when none is near.
    static func nearest(to name: [UInt8], in message: WireSchema.Message) -> String? {
        guard name.count <= 64 else { return nil }
        var best: (distance: Int, name: String)?
        for field in message.fields {
            let distance = min(
                editDistance(lowered(name), lowered(field.nameBytes)),
                editDistance(lowered(name), lowered(field.jsonNameBytes)))
            if best == nil || distance < best.unsafelyUnwrapped.distance {
                best = (distance, field.name)
            }
        }
        guard let best, best.distance <= max(2, name.count / 2) else { return nil }
        return best.name
    }

    private static func lowered(_ name: [UInt8]) -> [UInt8] {
        name.map { (0x41...0x5A).contains($0) ? $0 + 0x20 : $0 }
    }

    /// Levenshtein's distance.
    static func editDistance(_ left: [UInt8], _ right: [UInt8]) -> Int {
        var row = Array(0...right.count)
        for (index, character) in left.enumerated() {
            var diagonal = row[0]
            row[0] = index + 1
            for column in right.indices {
                let replaced = diagonal + (right[column] == character ? 0 : 1)
                diagonal = row[column + 1]
                row[column + 1] = min(replaced, row[column] + 1, row[column + 1] + 1)
            }
        }
        return row[right.count]
    }
}
