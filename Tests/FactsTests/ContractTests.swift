import Facts
import Foundation
import SwiftProtobuf
import Testing

/// The contract as the committed descriptor set has it.
enum Contract {
    static let file: Google_Protobuf_FileDescriptorProto = {
        let bytes = try! Repository.bytes("docs/api/bsfg.desc")
        let set = try! Google_Protobuf_FileDescriptorSet(serializedBytes: bytes)
        return set.file.first { $0.package == "bsfg.v1" }!
    }()

    static let messageTypes: [any SwiftProtobuf.Message.Type] = [
        Bsfg_V1_StoredRecord.self, Bsfg_V1_Origin.self, Bsfg_V1_Notice.self, Bsfg_V1_Message.self,
        Bsfg_V1_Envelope.self, Bsfg_V1_Fact.self, Bsfg_V1_ArtifactReference.self,
        Bsfg_V1_AppendFactRequest.self, Bsfg_V1_AppendFactResponse.self,
        Bsfg_V1_AppendFactsRequest.self, Bsfg_V1_AppendFactsResponse.self,
        Bsfg_V1_AppendResult.self, Bsfg_V1_FetchFactsRequest.self, Bsfg_V1_Position.self,
        Bsfg_V1_Entry.self, Bsfg_V1_FetchFactsResponse.self, Bsfg_V1_ConfirmReceiptRequest.self,
        Bsfg_V1_ConfirmReceiptResponse.self, Bsfg_V1_PutObjectRequest.self,
        Bsfg_V1_PutObjectResponse.self, Bsfg_V1_GetObjectRequest.self,
        Bsfg_V1_GetObjectResponse.self, Bsfg_V1_HelloRequest.self, Bsfg_V1_HelloResponse.self,
        Bsfg_V1_ListStreamsRequest.self, Bsfg_V1_ListStreamsResponse.self, Bsfg_V1_StreamInfo.self,
        Bsfg_V1_OpenCursorRequest.self, Bsfg_V1_OpenCursorResponse.self, Bsfg_V1_Epoch.self,
        Bsfg_V1_NotifyAvailableRequest.self, Bsfg_V1_NotifyAvailableResponse.self,
        Bsfg_V1_ErrorDetail.self,
    ]

    static func descriptor(_ name: String) -> Google_Protobuf_DescriptorProto {
        file.messageType.first { $0.name == name }!
    }

    static func typeName(
        _ field: Google_Protobuf_FieldDescriptorProto, in message: Google_Protobuf_DescriptorProto
    ) -> String {
        let short = String(field.typeName.split(separator: ".").last ?? "")
        if message.nestedType.contains(where: { $0.name == short }) { return "map<string,string>" }
        switch field.type {
        case .string: return "string"
        case .bytes: return "bytes"
        case .bool: return "bool"
        case .uint32: return "uint32"
        case .uint64: return "uint64"
        case .int64: return "int64"
        case .fixed32: return "fixed32"
        case .double: return "double"
        default: return field.typeName == ".google.protobuf.Value" ? "google.protobuf.Value" : short
        }
    }

    static var lines: [String] {
        var lines: [String] = []
        for message in file.messageType {
            for field in message.field.sorted(by: { $0.number < $1.number }) {
                let type = typeName(field, in: message)
                var line = "\(message.name) \(field.number) \(field.name) \(type)"
                if field.label == .repeated, !type.hasPrefix("map") { line += " repeated" }
                if field.hasOneofIndex, !field.proto3Optional {
                    line += " oneof:\(message.oneofDecl[Int(field.oneofIndex)].name)"
                }
                lines.append(line)
            }
        }
        for enumeration in file.enumType {
            for value in enumeration.value {
                lines.append("\(enumeration.name) \(value.number) \(value.name)")
            }
        }
        return lines
    }

    static var methods: [String] {
        file.service.flatMap { service in
            service.method.map { "\(service.name)/\($0.name)\($0.inputType) \($0.outputType)" }
        }
    }
}

@Suite struct ContractTests {
    /// `docs/api/contract.txt` only ever gains lines: what is in it was promised to somebody.
    @Test("gateway decision 27: nothing of the contract was changed or removed")
    func unchanged() throws {
        let now = Contract.lines + Contract.methods
        let path = "docs/api/contract.txt"
        let file = Repository.root.appendingPathComponent(path)
        let promised = ((try? Repository.text(path)) ?? "").split(separator: "\n").map(String.init)
        for line in promised {
            #expect(now.contains(line), "a breaking change: \(line) is gone from bsfg.desc")
        }
        let new = now.filter { !promised.contains($0) }
        if ProcessInfo.processInfo.environment["BSFG_WRITE_GOLDEN"] == "1" {
            try Data((promised + new).map { $0 + "\n" }.joined().utf8).write(to: file)
        } else {
            #expect(new.isEmpty, "BSFG_WRITE_GOLDEN=1 adds what is new to \(path)")
        }
        let numbers = promised.map { $0.split(separator: " ").prefix(2).joined(separator: " ") }
        #expect(Set(numbers).count == numbers.count, "a number was used twice")
    }

    @Test func `the codec's table is the descriptor set`() {
        #expect(WireCodec.contract == Contract.lines)
    }

    @Test func `the proto file is what was compiled`() throws {
        guard FileManager.default.isExecutableFile(atPath: "/usr/bin/protoc") else {
            print("SKIPPED: no protoc; `apt install protobuf-compiler` to compare bsfg.proto")
            return
        }
        let output = FileManager.default.temporaryDirectory
            .appendingPathComponent("bsfg-\(UInt64.random(in: 0 ... .max)).desc")
        defer { try? FileManager.default.removeItem(at: output) }
        let directory = Repository.root.appendingPathComponent("docs/api").path
        let result = Python.run(
            "/usr/bin/protoc",
            ["--proto_path=\(directory)", "--descriptor_set_out=\(output.path)", "bsfg.proto"])
        #expect(result.status == 0, "\(result.output)")
        let made = try Google_Protobuf_FileDescriptorSet(
            serializedBytes: [UInt8](try Data(contentsOf: output)))
        #expect(made.file.first == Contract.file, "run Sources/Facts/Wire/regenerate.sh")
    }

    @Test func `the generated messages know every field`() throws {
        #expect(
            Set(Contract.messageTypes.map { $0.protoMessageName })
                == Set(Contract.file.messageType.map { "bsfg.v1.\($0.name)" }))
        for type in Contract.messageTypes {
            let descriptor = Contract.descriptor(String(type.protoMessageName.dropFirst(8)))
            for field in descriptor.field {
                var generator = SeededGenerator(seed: 1)
                var random = RandomMessage(generator)
                let bytes = random.field(field, of: descriptor, depth: 0)
                generator = random.generator
                let message = try type.init(serializedBytes: bytes)
                #expect(message.unknownFields.data.isEmpty, "\(descriptor.name).\(field.name)")
                #expect(try message.serializedBytes() as [UInt8] == bytes)
            }
        }
    }
}

/// Random bytes of a message, from its descriptor; every value differs from its default.
struct RandomMessage {
    var generator: SeededGenerator

    init(_ generator: SeededGenerator) { self.generator = generator }

    mutating func message(_ name: String, depth: Int = 0) -> [UInt8] {
        let descriptor = Contract.descriptor(name)
        var output: [UInt8] = []
        var oneofs: Set<Int32> = []
        for field in descriptor.field.sorted(by: { $0.number < $1.number }) {
            guard Bool.random(using: &generator) else { continue }
            if Contract.typeName(field, in: descriptor) == "google.protobuf.Value" { continue }
            if field.hasOneofIndex, !field.proto3Optional,
                !oneofs.insert(field.oneofIndex).inserted
            {
                continue
            }
            let isRepeated = field.label == .repeated
            for _ in 0..<(isRepeated ? Int.random(in: 1...3, using: &generator) : 1) {
                output += self.field(field, of: descriptor, depth: depth)
            }
        }
        return output
    }

    mutating func field(
        _ field: Google_Protobuf_FieldDescriptorProto,
        of message: Google_Protobuf_DescriptorProto, depth: Int
    ) -> [UInt8] {
        func tag(_ type: UInt64) -> [UInt8] { varint(UInt64(field.number) << 3 | type) }
        func framed(_ bytes: [UInt8]) -> [UInt8] { tag(2) + varint(UInt64(bytes.count)) + bytes }
        let wide = max(1, generator.next() >> UInt64.random(in: 0..<64, using: &generator))
        switch Contract.typeName(field, in: message) {
        case "string": return framed(text())
        case "bytes":
            return framed(
                (0..<Int.random(in: 1...40, using: &generator)).map { _ in
                    UInt8.random(in: 0...255, using: &generator)
                })
        case "bool": return tag(0) + [1]
        case "uint32": return tag(0) + varint(max(1, wide & 0xFFFF_FFFF))
        case "uint64", "int64": return tag(0) + varint(wide)
        case "fixed32":
            return tag(5) + withUnsafeBytes(of: UInt32(truncatingIfNeeded: wide) | 1) { Array($0) }
        case "double":
            let value = Double.random(in: 0.001...1e9, using: &generator)
            return tag(1) + withUnsafeBytes(of: value.bitPattern) { Array($0) }
        case "Outcome": return tag(0) + [UInt8.random(in: 1...7, using: &generator)]
        case "google.protobuf.Value": return framed([0x20, 1])
        case "map<string,string>":
            let (key, value) = (text(), text())
            return framed(
                [0x0A] + varint(UInt64(key.count)) + key + [0x12] + varint(UInt64(value.count))
                    + value)
        case let name:
            return framed(depth < 4 ? self.message(name, depth: depth + 1) : [])
        }
    }

    private mutating func text() -> [UInt8] {
        let alphabet = Array("aZ09 _-\"\\/\n\u{1}\u{7f}é€😂\u{301}\u{2028}".unicodeScalars)
        let scalars = (0..<Int.random(in: 1...12, using: &generator)).map { _ in
            alphabet.randomElement(using: &generator)!
        }
        return Array(String(String.UnicodeScalarView(scalars)).utf8)
    }

    private func varint(_ value: UInt64) -> [UInt8] {
        var output: [UInt8] = []
        var rest = value
        while rest >= 0x80 {
            output.append(UInt8(truncatingIfNeeded: rest) | 0x80)
            rest >>= 7
        }
        return output + [UInt8(rest)]
    }
}
