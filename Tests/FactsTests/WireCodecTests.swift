import Facts
import Foundation
import SwiftProtobuf
import Testing

private func decode(_ json: String) throws -> AppendFactSubmission {
    try WireCodec.decodeAppendFact(Array(json.utf8), .json)
}

private func refusal(_ json: String) -> ServiceError? {
    do throws(ServiceError) {
        let request = try WireCodec.decodeAppendFact(Array(json.utf8), .json)
        do throws(FactError) {
            _ = try FactEncoder().encode(request.fact)
            return nil
        } catch {
            return error.serviceError
        }
    } catch {
        return error
    }
}

private func refusal(_ bytes: [UInt8]) -> ServiceError? {
    do throws(ServiceError) {
        _ = try WireCodec.decodeAppendFact(bytes, .proto)
        return nil
    } catch {
        return error
    }
}

private func request(object: String) -> String {
    """
    {"stream":"facts.operational","envelope":{"messageId":"1","fromZone":"plant-a",
    "toZone":"enterprise","producedAtUnixMs":"1388534400000"},
    "fact":{"subject":"asset:1","predicate":"is","object":\(object)}}
    """
}

@Suite struct WireCodecTests {
    @Test func `JSON and binary requests give the same record`() throws {
        let json = """
            {"stream":"facts.operational",
             "envelope":{"messageId":"R80711-0001","from_zone":"plant-a","toZone":"enterprise",
              "producedAtUnixMs":1388534400000,"labels":{"e\u{301}":"1","\\u00e9":"2"},
              "objectSchema":"urn:bsfg:schema:turbine.reading:v1","correlationId":null},
             "fact":{"subject":"asset:la-haute-borne/R80711","predicate":"reading_recorded",
              "object":{"P_avg":514.23999,"Ba_avg":-0.93000001}}}
            """
        let fromJSON = try decode(json)
        #expect(fromJSON.stream == "facts.operational")
        #expect(fromJSON.fact.labels.count == 2, "names that only look alike are two")

        var message = Bsfg_V1_AppendFactRequest()
        message.stream = "facts.operational"
        message.envelope.messageID = "R80711-0001"
        message.envelope.fromZone = "plant-a"
        message.envelope.toZone = "enterprise"
        message.envelope.producedAtUnixMs = 1_388_534_400_000
        message.envelope.objectSchema = "urn:bsfg:schema:turbine.reading:v1"
        message.fact.subject = "asset:la-haute-borne/R80711"
        message.fact.predicate = "reading_recorded"
        message.fact.object = try Google_Protobuf_Value(
            jsonString: #"{"P_avg":514.23999,"Ba_avg":-0.93000001}"#)
        var bytes: [UInt8] = try message.serializedBytes()
        // Two labels that a decoded map would make one.
        for (name, value) in [("e\u{301}", "1"), ("\u{e9}", "2")] {
            let key = Array(name.utf8)
            let entry = [0x0A, UInt8(key.count)] + key + [0x12, 1] + Array(value.utf8)
            bytes = try insert([0x3A, UInt8(entry.count)] + entry, intoEnvelopeOf: bytes)
        }
        let fromProto = try WireCodec.decodeAppendFact(bytes, .proto)
        #expect(fromProto.fact.labels.count == 2)
        let record = try FactEncoder().encode(fromJSON.fact)
        #expect(try FactEncoder().encode(fromProto.fact).storedRecord == record.storedRecord)

        message.fact.objectJson = #"{ "Ba_avg" : -0.930000010, "P_avg" : 5.1423999e2 }"#
        let text = try WireCodec.decodeAppendFact(try message.serializedBytes(), .proto)
        #expect(try FactEncoder().encode(text.fact).contentDigest == record.contentDigest)
    }

    /// The envelope is field 2 with a length below 16,384.
    private func insert(_ field: [UInt8], intoEnvelopeOf request: [UInt8]) throws -> [UInt8] {
        var message = try Bsfg_V1_AppendFactRequest(serializedBytes: request)
        message.clearEnvelope()
        let old = try #require(request.firstRange(of: [0x12]))
        var length = Int(request[old.upperBound])
        var start = old.upperBound + 1
        if length >= 0x80 {
            length = length & 0x7F | Int(request[start]) << 7
            start += 1
        }
        let envelope = Array(request[start..<start + length]) + field
        let size = [UInt8(envelope.count & 0x7F | 0x80), UInt8(envelope.count >> 7)]
        return Array(request[..<old.lowerBound]) + [0x12] + size + envelope
            + Array(request[(start + length)...])
    }

    @Test func `a client's own encoding reaches the record unchanged`() throws {
        let facts = [try FactEncoder().encode(.full), try FactEncoder().encode(.reading())]
        for fact in facts {
            let one = try WireCodec.decodeAppendFact(
                AppendRequestWriter.appendFact(stream: "s", fact), .proto)
            #expect(one.stream == "s")
            #expect(try FactEncoder().encode(one.fact).storedRecord == fact.storedRecord)
        }
        let batch = try WireCodec.decodeAppendFacts(
            AppendRequestWriter.appendFacts(stream: "s", facts, stopOnError: true), .proto)
        #expect(batch.stream == "s" && batch.stopOnError)
        let records = try (0..<batch.count).map { try FactEncoder().encode(batch.fact(at: $0)).storedRecord }
        #expect(records == facts.map(\.storedRecord))
    }

    @Test func `any JSON value is an object, null included`() throws {
        for (object, canonical) in [
            ("null", "null"), ("[ ]", "[]"), ("\"\\u0041\"", "\"A\""), ("-0.0", "0"),
            ("true", "true"),
            ("{\"b\":[1,{}],\"a\":1e2}", "{\"a\":100,\"b\":[1,{}]}"),
            ("9007199254740992", "9007199254740992"),
        ] {
            let encoded = try FactEncoder().encode(try decode(request(object: object)).fact)
            let message = try Bsfg_V1_Message(serializedBytes: encoded.message)
            #expect(message.fact.objectJson == canonical)
        }
    }

    @Test func `an object is refused at its place`() {
        func check(_ object: String, _ reason: ErrorReason, _ field: String) {
            let error = refusal(request(object: object))
            #expect(
                error?.reason == reason && error?.field == field,
                "\(object): \(String(describing: error))")
        }
        check("{\"counter\":9007199254740993}", .numberNotRepresentable, "fact.object.counter")
        check("[0,1e999]", .numberNotRepresentable, "fact.object[1]")
        check("{\"a\":{\"b\":1,\"b\":2}}", .invalidObject, "fact.object.a.b")
        check("\"\\ud800\"", .invalidObject, "fact.object")
        check(
            String(repeating: "[", count: 65) + String(repeating: "]", count: 65), .invalidObject,
            "fact.object" + String(repeating: "[0]", count: 64))
        check("{\"a\":tru}", .invalidObject, "fact.object.a")
        #expect(
            refusal(
                request(
                    object: String(repeating: "[", count: 64)
                        + String(repeating: "]", count: 64))) == nil)
    }

    @Test func `an unknown name is refused with the nearest known one`() {
        let typo = refusal(#"{"envelope":{"mesage_id":"1"}}"#)
        #expect(typo?.reason == .unknownField && typo?.field == "envelope.mesage_id")
        #expect(typo?.message.contains("did you mean message_id?") == true)
        let camel = refusal(#"{"envelope":{"MessageID":"1"}}"#)
        #expect(camel?.message.contains("did you mean message_id?") == true)
        let strange = refusal(#"{"fact":{"temperature":1}}"#)
        #expect(strange?.reason == .unknownField && strange?.field == "fact.temperature")
        #expect(strange?.message.contains("object_json") == true)
        let listed = refusal(#"{"fact":{"artifacts":[{},{"sha":""}]}}"#)
        #expect(listed?.field == "fact.artifacts[1].sha")
        let number = refusal([0x12, 0x03, 0x98, 0x06, 0x01] as [UInt8])
        #expect(number?.reason == .unknownField && number?.field == "envelope.99")
    }

    @Test(arguments: [
        ("", ""), ("[]", ""), ("{", ""), ("{}x", ""), ("{\"stream\":1}", "stream"),
        ("{\"stream\":\"a\",\"stream\":\"b\"}", "stream"), ("{\"stream\":\"a\",}", ""),
        ("{\"envelope\":{\"messageId\":\"1\",\"message_id\":\"1\"}}", "envelope.message_id"),
        ("{\"envelope\":{\"producedAtUnixMs\":1.5}}", "envelope.produced_at_unix_ms"),
        ("{\"envelope\":{\"producedAtUnixMs\":\"\"}}", "envelope.produced_at_unix_ms"),
        ("{\"envelope\":{\"producedAtUnixMs\":\"1x\"}}", "envelope.produced_at_unix_ms"),
        (
            "{\"envelope\":{\"producedAtUnixMs\":\"9223372036854775808\"}}",
            "envelope.produced_at_unix_ms"
        ),
        ("{\"envelope\":{\"labels\":{\"a\":\"1\",\"\\u0061\":\"2\"}}}", "envelope.labels.a"),
        ("{\"envelope\":{\"labels\":{\"a\":null}}}", "envelope.labels.a"),
        ("{\"envelope\":{\"labels\":[]}}", "envelope.labels"),
        ("{\"fact\":{\"object\":1,\"objectJson\":\"1\"}}", "fact.object_json"),
        ("{\"fact\":{\"objectBytes\":\"AA==\",\"object\":null}}", "fact.object"),
        ("{\"fact\":{\"objectBytes\":\"A\"}}", "fact.object_bytes"),
        ("{\"fact\":{\"objectBytes\":\"A*==\"}}", "fact.object_bytes"),
        ("{\"fact\":{\"artifacts\":[null]}}", "fact.artifacts[0]"),
        ("{\"fact\":{\"artifacts\":[{\"size\":-1}]}}", "fact.artifacts[0].size"),
        ("{\"envelope\":{\"messageId\":\"\\ud800\"}}", "envelope.message_id"),
    ])
    func `a malformed request is refused at its place`(json: String, field: String) {
        let error = refusal(json)
        #expect(
            error?.reason == .malformedRequest && error?.field == field,
            "\(String(describing: error))")
    }

    @Test("gateway decision 28: integers are numbers or text, and exact")
    func integers() throws {
        func produced(_ text: String) throws -> Int64 {
            try decode("{\"envelope\":{\"producedAtUnixMs\":\(text)}}").fact
                .producedAtUnixMilliseconds
        }
        #expect(try produced("1388534400000") == 1_388_534_400_000)
        #expect(try produced("\"9223372036854775807\"") == .max)
        #expect(try produced("\"-9223372036854775808\"") == .min)
        #expect(try produced("1e3") == 1000)
        #expect(try produced("9007199254740992") == 1 << 53)
        #expect(try produced("\"9007199254740993\"") == 1 << 53 + 1)
        let error = refusal("{\"envelope\":{\"producedAtUnixMs\":9007199254740993}}")
        #expect(error?.reason == .numberNotRepresentable)
        #expect(error?.field == "envelope.produced_at_unix_ms")
    }

    @Test func `one bad object refuses only its own fact`() throws {
        let good = #"{"envelope":{"messageId":"1"},"fact":{"object":{"b":1,"a":2}}}"#
        let bad = #"{"fact":{"object":{"n":[1e400]},"subject":"a:1"}}"#
        let body = #"{"stream":"s","facts":[\#(bad),\#(good),\#(bad)],"stopOnError":true}"#
        let request = try WireCodec.decodeAppendFacts(Array(body.utf8), .json)
        #expect(request.stream == "s" && request.stopOnError && request.count == 3)
        for index in [0, 2] {
            guard case .refusedObject(let error) = try request.fact(at: index).body else {
                Issue.record("fact \(index) was not refused")
                continue
            }
            #expect(error.kind == .numberNotRepresentable && error.path == "n[0]")
        }
        guard case .canonicalObject(let object) = try request.fact(at: 1).body else {
            Issue.record("the good fact was refused")
            return
        }
        #expect(object == Array(#"{"a":2,"b":1}"#.utf8))
        #expect(try !request.fact(at: 0).hasEnvelope && request.fact(at: 1).hasEnvelope)
    }

    @Test func `binary requests are read as strictly`() throws {
        let cases: [([UInt8], String)] = [
            ([0x0A], ""), ([0x08, 1], "stream"), ([0x0A, 1, 0xFF], "stream"),
            ([0x0A, 1, 0x61, 0x0A, 1, 0x62], "stream"), ([0x12, 2, 0x0A, 5], "envelope"),
            ([0x1A, 7, 0x1A, 1, 0x31, 0x22, 2, 0, 0], "fact.object_bytes"),
            ([0x12, 4, 0x3A, 2, 0x0A, 9], "envelope.labels"), ([0x0B], ""), ([0x00], ""),
            ([0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01], ""),
        ]
        for (bytes, field) in cases {
            let error = refusal(bytes)
            #expect(error?.reason == .malformedRequest, "\(bytes)")
            #expect(error?.field == field, "\(bytes)")
        }
    }

    @Test func `a binary Value is judged like text`() throws {
        func object(_ value: Google_Protobuf_Value) throws -> FactSubmission.Body {
            var message = Bsfg_V1_AppendFactRequest()
            message.fact.object = value
            return try WireCodec.decodeAppendFact(try message.serializedBytes(), .proto).fact.body
        }
        func isRefused(_ value: Google_Protobuf_Value, _ kind: CanonicalJSONError.Kind) throws
            -> Bool
        {
            if case .refusedObject(let error) = try object(value) {
                error.kind == kind
            } else {
                false
            }
        }
        #expect(try isRefused(.with { $0.numberValue = .infinity }, .numberNotRepresentable))
        #expect(try isRefused(.with { $0.numberValue = .nan }, .numberNotRepresentable))
        #expect(try isRefused(Google_Protobuf_Value(), .syntax))
        var deep = Google_Protobuf_Value(numberValue: 1)
        for _ in 0..<64 { deep = .with { $0.listValue.values = [deep] } }
        if case .canonicalObject = try object(deep) {
        } else {
            Issue.record("64 levels were refused")
        }
        deep = .with { $0.listValue.values = [deep] }
        #expect(try isRefused(deep, .syntax))
        if case .canonicalObject(let text) = try object(
            .with {
                $0.structValue.fields = [
                    "b": .with { $0.nullValue = .nullValue }, "a": .with { $0.numberValue = 1e21 },
                    "c": .with {
                        $0.listValue.values = [.init(stringValue: "\"€"), .init(boolValue: true)]
                    },
                ]
            })
        {
            #expect(text == Array(#"{"a":1e+21,"b":null,"c":["\"€",true]}"#.utf8))
        } else {
            Issue.record("a struct was refused")
        }
    }

    @Test func `other requests are strict too`() throws {
        let fetch = try WireCodec.decodeRequest(
            Bsfg_V1_FetchFactsRequest.self,
            Array(#"{"consumerName":"c","from_offset":"0","limit":5}"#.utf8), .json)
        #expect(fetch.hasFromOffset && fetch.fromOffset == 0 && fetch.limit == 5)
        #expect(throws: ServiceError.self) {
            try WireCodec.decodeRequest(
                Bsfg_V1_FetchFactsRequest.self, Array(#"{"limit":4294967296}"#.utf8), .json)
        }
        #expect(throws: ServiceError.self) {
            try WireCodec.decodeRequest(
                Bsfg_V1_ConfirmReceiptRequest.self, [0x28, 0x01], .proto)
        }
        let confirm = try WireCodec.decodeRequest(
            Bsfg_V1_ConfirmReceiptRequest.self, Array("{}".utf8), .json)
        #expect(!confirm.hasOffset, "a missing offset is not offset 0")
    }

    @Test("gateway decision 28: the first fact's answer says offset 0")
    func offsetZero() throws {
        var response = Bsfg_V1_AppendFactResponse()
        response.offset = 0
        response.epoch = 1
        response.outcome = .appended
        response.contentDigest = Data([0, 255])
        let json = String(decoding: WireCodec.encode(response, .json), as: UTF8.self)
        #expect(
            json
                == #"{"offset":"0","epoch":"1","outcome":"OUTCOME_APPENDED","contentDigest":"AP8="}"#
        )
    }

    /// swift-protobuf's own JSON against ours, both ways, for every message of the contract.
    @Test func `JSON agrees with swift-protobuf on random messages`() throws {
        var random = RandomMessage(.fresh())
        for type in Contract.messageTypes {
            let name = String(type.protoMessageName.dropFirst(8))
            for _ in 0..<100 {
                try compare(type, random.message(name))
            }
        }
    }

    private func compare<M: SwiftProtobuf.Message>(_ type: M.Type, _ bytes: [UInt8]) throws {
        let message = try M(serializedBytes: bytes)
        let ours = WireCodec.encode(message, .json)
        let theirs = try M(jsonUTF8Bytes: ours)
        if !theirs.isEqualTo(message: message) {
            Issue.record("they read ours differently: \(String(decoding: ours, as: UTF8.self))")
        }
        let text: [UInt8] = try message.jsonUTF8Bytes()
        let again = try WireCodec.decodeResponse(M.self, text, .json)
        if !again.isEqualTo(message: message) {
            Issue.record("we read theirs differently: \(String(decoding: text, as: UTF8.self))")
        }
    }

    @Test func `answers are read leniently`() throws {
        let response = try WireCodec.decodeResponse(
            Bsfg_V1_AppendFactResponse.self,
            Array(#"{"offset":7,"new":{"a":[1]},"outcome":"OUTCOME_NEW","epoch":"2"}"#.utf8), .json)
        #expect(response.offset == 7 && response.epoch == 2 && response.outcome == .unspecified)
        let binary = try WireCodec.decodeResponse(
            Bsfg_V1_AppendFactResponse.self, [0x08, 7, 0x98, 0x06, 1], .proto)
        #expect(binary.offset == 7)
    }

    @Test func `random bytes never crash a reader`() throws {
        var generator = SeededGenerator.fresh()
        let seeds = [
            Array(request(object: #"{"a":[1,"x",null]}"#).utf8),
            try FactEncoder().encode(.full).storedRecord,
        ]
        for _ in 0..<20_000 {
            var bytes = seeds.randomElement(using: &generator)!
            for _ in 0..<Int.random(in: 1...4, using: &generator) {
                let place = Int.random(in: 0..<bytes.count, using: &generator)
                switch Int.random(in: 0..<3, using: &generator) {
                case 0: bytes[place] = UInt8.random(in: 0...255, using: &generator)
                case 1: bytes.remove(at: place)
                default: bytes.insert(UInt8.random(in: 0...255, using: &generator), at: place)
                }
            }
            for encoding in [WireEncoding.json, .proto] {
                if let request = try? WireCodec.decodeAppendFact(bytes, encoding) {
                    _ = try? FactEncoder().encode(request.fact)
                }
                _ = try? WireCodec.decodeMessage(bytes, encoding)
                _ = try? WireCodec.decodeAppendFacts(bytes, encoding)
                _ = try? WireCodec.decodeResponse(Bsfg_V1_FetchFactsResponse.self, bytes, encoding)
            }
            _ = try? StoredRecord(bytes)
            _ = try? ReceivedPage(bytes)
            _ = try? EntryPresentation.json(entry: bytes)
            _ = ReceivedError(connectBody: bytes, httpStatus: 500)
        }
    }
}

@Suite struct EntryPresentationTests {
    @Test func `people see the specification's names and the object itself`() throws {
        let fact = try FactEncoder().encode(.reading())
        var writer = PageWriter(originLogUUID: uuid)
        try fact.storedRecord.withUnsafeBytes { payload in
            try writer.append(
                .init(
                    offset: 0, appendedAtUnixMilliseconds: 5, epoch: 1,
                    contentDigest: fact.contentDigest, payload: payload))
        }
        let page = writer.finish(
            nextOffset: 1, headOffset: 1, firstOffset: 0, confirmedOffset: nil, source: nil)
        let lines = try EntryPresentation.lines(page: page)
        #expect(lines.count == 1)
        let text = String(decoding: lines[0], as: UTF8.self)
        #expect(text.contains(#""offset":0,"appended_at_unix_ms":5,"#))
        #expect(text.contains(#""object":{"Ba_avg":-0.93000001,"P_avg":514.23999}"#))
        #expect(text.contains("\"content_digest\":\"\(fact.contentDigest.hexadecimal)\""))
        #expect(text.contains(#""log_uuid":"000102030405060708090a0b0c0d0e0f""#))
        let standard = String(
            decoding: try WireCodec.encode(
                protobuf: page, messageName: "FetchFactsResponse", .json), as: UTF8.self)
        #expect(standard.contains(#""objectJson":"{\"Ba_avg\":-0.93000001,\"P_avg\":514.23999}""#))
        #expect(standard.contains(#""nextOffset":"1""#))
        let indented = EntryPresentation.indented(lines[0])
        #expect(try CanonicalJSON.canonicalise(indented) == CanonicalJSON.canonicalise(lines[0]))
        #expect(String(decoding: indented, as: UTF8.self).hasPrefix("{\n  \"offset\": 0,\n"))
    }

    @Test("gateway decision 42: an object that grows as canonical text is refused, and only its own fact")
    func objectsThatGrow() throws {
        func grown(_ count: Int) -> String {
            #"{"fact":{"object":[\#(Array(repeating: "1e20", count: count).joined(separator: ","))]}}"#
        }
        let ceiling = FactLimits.objectBytesCeiling
        let good = #"{"fact":{"object":{"b":1}}}"#
        let mixed = #"{"facts":[\#(grown(ceiling / 22 + 1)),\#(good)]}"#
        let batch = try WireCodec.decodeAppendFacts(Array(mixed.utf8), .json)
        guard case .refusedObject(let error) = try batch.fact(at: 0).body else {
            Issue.record("\(ceiling) bytes and more were kept")
            return
        }
        #expect(error.kind == .tooLong)
        guard case .canonicalObject = try batch.fact(at: 1).body else {
            Issue.record("the good fact was refused")
            return
        }
        var fact = FactSubmission.reading()
        fact.body = .refusedObject(error)
        let refused = #expect(throws: FactError.self) { try FactEncoder().encode(fact) }
        #expect(refused?.reason == .tooLarge && refused?.field == "fact.object")
        fact.body = .objectJSON(Array("[\(Array(repeating: "1e20", count: 50_000).joined(separator: ","))]".utf8))
        #expect(throws: FactError.self) { try FactEncoder().encode(fact) }

        // Many that are not too long, and together more than a request may have.
        let each = grown(ceiling / 22 - 1)
        let all = #"{"facts":[\#(Array(repeating: each, count: 5).joined(separator: ","))]}"#
        #expect(all.utf8.count < FactLimits.requestBytes)
        let whole = #expect(throws: ServiceError.self) { try WireCodec.decodeAppendFacts(Array(all.utf8), .json) }
        #expect(whole?.reason == .tooLarge && whole?.field == "facts[4].fact.object")
    }

    @Test("gateway decision 42: a binary value that grows as JSON is refused")
    func valuesThatGrow() throws {
        func field(_ number: UInt8, _ content: [UInt8]) -> [UInt8] {
            var (length, bytes) = (content.count, [number << 3 | 2])
            while length > 0x7F {
                bytes.append(UInt8(length & 0x7F) | 0x80)
                length >>= 7
            }
            return bytes + [UInt8(length)] + content
        }
        func body(_ value: [UInt8]) throws -> FactSubmission.Body {
            try WireCodec.decodeAppendFact(field(3, field(6, value)), .proto).fact.body
        }
        let number: [UInt8] = field(1, [0x11] + withUnsafeBytes(of: 1e20.bitPattern.littleEndian) { Array($0) })
        let count = FactLimits.objectBytesCeiling / 22
        let list = field(6, Array(repeating: number, count: count + 1).flatMap { $0 })
        // Six characters for each byte; as a text, and as a name.
        let zeros = [UInt8](repeating: 0, count: FactLimits.objectBytesCeiling / 6 + 1)
        let name = field(5, field(1, field(1, zeros) + field(2, [0x08, 0])))
        for value in [list, field(3, zeros), name] {
            guard case .refusedObject(let error) = try body(value) else {
                Issue.record("a value of \(value.count) bytes was kept")
                continue
            }
            #expect(error.kind == .tooLong)
        }
        let shorter = field(6, Array(repeating: number, count: count - 1).flatMap { $0 })
        guard case .canonicalObject = try body(shorter) else {
            Issue.record("a value below the limit was refused")
            return
        }
    }

    @Test("gateway decision 42: no more of a list is read than refuses it", arguments: [WireEncoding.proto, .json])
    func listsAreReadToTheirLimit(_ encoding: WireEncoding) throws {
        let count = 1_000_000
        let (facts, artifacts, labels): ([UInt8], [UInt8], [UInt8])
        switch encoding {
        case .proto:
            facts = Array(repeating: [0x12, 0], count: count).flatMap { $0 }
            // A fact of 3 * 2^14 bytes, and an envelope of as many.
            artifacts = [0x1A, 0x80, 0x80, 0x03] + Array(repeating: [0x2A, 0], count: 0x6000).flatMap { $0 }
            labels = [0x12, 0x80, 0x80, 0x03] + Array(repeating: [0x3A, 0], count: 0x6000).flatMap { $0 }
        case .json:
            func list(_ element: String) -> String { Array(repeating: element, count: 0x6000).joined(separator: ",") }
            facts = Array("{\"facts\":[\(Array(repeating: "{}", count: count).joined(separator: ","))]}".utf8)
            artifacts = Array("{\"fact\":{\"artifacts\":[\(list("{}"))]}}".utf8)
            let names = (0..<0x6000).map { #""\#($0)":"""# }
            labels = Array("{\"envelope\":{\"labels\":{\(names.joined(separator: ","))}}}".utf8)
        }
        #expect(try WireCodec.decodeAppendFacts(facts, encoding).count == FactLimits.pageFacts + 1)
        #expect(
            try WireCodec.decodeAppendFact(artifacts, encoding).fact.artifacts.count == FactLimits.artifacts + 1)
        #expect(try WireCodec.decodeAppendFact(labels, encoding).fact.labels.count == FactLimits.labels + 1)
    }
}
