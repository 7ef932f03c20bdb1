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

    /// A class, as `Message` is: it is looked at for each field of each fact, and a copy of its texts
    /// would cost more than what is asked of it.
    final class Field: Sendable {
        let number: UInt32
        /// As the contract spells it.
        let name: String
        /// As proto3 JSON spells it.
        let jsonName: String
        let kind: Kind
        let isRepeated: Bool
        let oneof: String?
        /// The bit of its oneof within its message; 0: it is in none.
        let oneofBit: UInt64
        /// Its message's place in `messages`, when it is one.
        let messageIndex: Int
        let nameBytes: [UInt8]
        let jsonNameBytes: [UInt8]

        /// Neither repeated nor a map.
        let isSingular: Bool

        fileprivate init(_ field: FieldDefinition, oneofBit: UInt64, messageIndex: Int) {
            number = field.number
            name = field.name
            jsonName = WireSchema.camelCase(field.name)
            kind = field.kind
            isRepeated = field.isRepeated
            oneof = field.oneof
            self.oneofBit = oneofBit
            self.messageIndex = messageIndex
            nameBytes = Array(name.utf8)
            jsonNameBytes = Array(jsonName.utf8)
            isSingular = !field.isRepeated && field.kind != .stringMap
        }
    }

    final class Message: Sendable {
        let name: String
        let fields: [Field]
        /// By a field's number, its place in `fields`; -1: there is none.
        private let places: [Int]

        fileprivate init(_ name: String, _ fields: [Field]) {
            self.name = name
            self.fields = fields
            precondition(fields.count <= 64, "a set of fields is 64 bits")
            var places = [Int](repeating: -1, count: Int(fields.map(\.number).max() ?? 0) + 1)
            for (place, field) in fields.enumerated() { places[Int(field.number)] = place }
            self.places = places
        }

        func index(number: UInt32) -> Int? {
            guard number < places.count, case let place = places[Int(number)], place >= 0 else {
                return nil
            }
            return place
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
            var oneofs: [String] = []
            let fields = definition.fields.map { field in
                var place = -1
                if case .message(let name) = field.kind {
                    guard let found = places[name] else {
                        preconditionFailure("the contract has no message \(name)")
                    }
                    place = found
                }
                var bit: UInt64 = 0
                if let oneof = field.oneof {
                    if !oneofs.contains(oneof) { oneofs.append(oneof) }
                    bit = 1 << UInt64(oneofs.firstIndex(of: oneof)!)
                }
                return Field(field, oneofBit: bit, messageIndex: place)
            }
            return Message(definition.name, fields)
        }
    }()

    private static let byName: [String: Message] = {
        var found: [String: Message] = [:]
        for message in messages {
            found[message.name] = message
            found["bsfg.v1." + message.name] = message
        }
        return found
    }()

    /// Accepts `bsfg.v1.Name` and `Name`.
    static func message(named name: String) -> Message {
        guard let found = byName[name] else {
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

extension WireSchema.Kind {
    fileprivate var contractName: String {
        switch self {
        case .string: "string"
        case .bytes: "bytes"
        case .bool: "bool"
        case .uint32: "uint32"
        case .uint64: "uint64"
        case .int64: "int64"
        case .fixed32: "fixed32"
        case .double: "double"
        case .enumeration: "Outcome"
        case .stringMap: "map<string,string>"
        case .jsonValue: "google.protobuf.Value"
        case .message(let name): name
        }
    }
}

extension WireCodec {
    /// Every field that the codec knows, one line each: `Message number name type [repeated]
    /// [oneof]`. A test compares them with the descriptor set.
    package static var contract: [String] {
        var lines: [String] = []
        for message in WireSchema.definitions {
            for field in message.fields {
                var line =
                    "\(message.name) \(field.number) \(field.name) \(field.kind.contractName)"
                if field.isRepeated { line += " repeated" }
                if let oneof = field.oneof { line += " oneof:\(oneof)" }
                lines.append(line)
            }
        }
        for (number, name) in WireSchema.outcomeNames.enumerated() {
            lines.append("Outcome \(number) \(name)")
        }
        return lines
    }
}
