/// The contract's messages as data: one table drives the strict reading of requests in both codecs
/// and the JSON form of answers, so that the two cannot come to differ.
enum WireSchema {
    enum Kind: Equatable, Sendable {
        case string, bytes, bool
        case uint32, uint64, int64, fixed32
        case double
        /// `Outcome`, the only enumeration.
        case enumeration
        case stringMap
        /// google.protobuf.Value: any JSON value.
        case jsonValue
        case message(String)

        var wireType: WireType {
            switch self {
            case .bool, .uint32, .uint64, .int64, .enumeration: .varint
            case .fixed32: .fixed32
            case .double: .fixed64
            case .string, .bytes, .stringMap, .jsonValue, .message: .bytes
            }
        }
    }

    struct FieldDefinition: Sendable {
        let number: UInt32
        let name: String
        let kind: Kind
        let isRepeated: Bool
        let oneof: String?

        init(
            _ number: UInt32, _ name: String, _ kind: Kind, repeated: Bool = false,
            oneof: String? = nil
        ) {
            self.number = number
            self.name = name
            self.kind = kind
            isRepeated = repeated
            self.oneof = oneof
        }
    }

    struct MessageDefinition: Sendable {
        let name: String
        let fields: [FieldDefinition]

        init(_ name: String, _ fields: [FieldDefinition]) {
            self.name = name
            self.fields = fields
        }
    }

    struct Field: Sendable {
        let number: UInt32
        /// As the contract spells it.
        let name: String
        /// As proto3 JSON spells it.
        let jsonName: String
        let kind: Kind
        let isRepeated: Bool
        let oneof: String?
        /// Its message's place in `messages`, when it is one.
        let messageIndex: Int
        let nameBytes: [UInt8]
        let jsonNameBytes: [UInt8]
    }

    struct Message: Sendable {
        let name: String
        let fields: [Field]

        /// Messages have at most thirteen fields with small numbers, in order.
        func index(number: UInt32) -> Int? {
            fields.firstIndex { $0.number == number }
        }

        /// Both spellings of a name are accepted.
        func index(name: ArraySlice<UInt8>) -> Int? {
            fields.firstIndex {
                $0.nameBytes.elementsEqual(name) || $0.jsonNameBytes.elementsEqual(name)
            }
        }
    }

    static let messages: [Message] = {
        var places: [String: Int] = [:]
        for (index, definition) in definitions.enumerated() { places[definition.name] = index }
        return definitions.map { definition in
            Message(
                name: definition.name,
                fields: definition.fields.map { field in
                    var place = -1
                    if case .message(let name) = field.kind {
                        guard let found = places[name] else {
                            preconditionFailure("the contract has no message \(name)")
                        }
                        place = found
                    }
                    let jsonName = camelCase(field.name)
                    return Field(
                        number: field.number, name: field.name, jsonName: jsonName,
                        kind: field.kind, isRepeated: field.isRepeated, oneof: field.oneof,
                        messageIndex: place, nameBytes: Array(field.name.utf8),
                        jsonNameBytes: Array(jsonName.utf8))
                })
        }
    }()

    /// Accepts `bsfg.v1.Name` and `Name`.
    static func message(named name: String) -> Message {
        let short = name.split(separator: ".").last.map(String.init) ?? name
        guard let found = messages.first(where: { $0.name == short }) else {
            preconditionFailure("the contract has no message \(name)")
        }
        return found
    }

    static func camelCase(_ name: String) -> String {
        var output: [UInt8] = []
        var raise = false
        for byte in name.utf8 {
            if byte == 0x5F {
                raise = true
            } else {
                output.append(raise && (0x61...0x7A).contains(byte) ? byte - 0x20 : byte)
                raise = false
            }
        }
        return String(decoding: output, as: UTF8.self)
    }

    static func refusal(
        _ reason: ErrorReason, _ sentence: String, _ path: [UInt8]
    ) -> ServiceError {
        ServiceError(reason, sentence, field: JSONPath.text(path))
    }
}
