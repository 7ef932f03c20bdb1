import Facts

/// The body of an AppendFact call, read into what the node checks and stores.
private func requestCase(_ name: String, _ encoding: WireEncoding) -> MicroCase {
    MicroCase(
        name: name,
        operation: "an AppendFact request with an object of about 1.2 KB, read and checked"
    ) { _ in
        let body = encoding == .json ? jsonRequest : binaryRequest
        return { operations in
            for _ in 0..<operations {
                let request = try WireCodec.decodeAppendFact(body, encoding)
                precondition(request.fact.messageID == "m-1", "the request is read")
            }
        }
    }
}

private let jsonRequest: [UInt8] = {
    let head = """
        {"stream":"facts.operational","envelope":{"messageId":"m-1","fromZone":"plant-a",\
        "toZone":"enterprise","producedAtUnixMs":"1700000000000","correlationId":"c-1",\
        "labels":{"line":"4"}},"fact":{"subject":"turbine/R80711","predicate":"reading.taken",\
        "object":
        """
    return Array(head.utf8) + sampleObject + Array("}}".utf8)
}()

/// The same with the object as JSON text (field 3 of the fact).
private let binaryRequest: [UInt8] = {
    var envelope = ProtobufText()
    envelope.add(1, "m-1")
    envelope.add(2, "plant-a")
    envelope.add(3, "enterprise")
    envelope.add(5, "c-1")
    var fact = ProtobufText()
    fact.add(1, "turbine/R80711")
    fact.add(2, "reading.taken")
    fact.add(3, sampleObject)
    var request = ProtobufText()
    request.add(1, "facts.operational")
    request.add(2, envelope.bytes)
    request.add(3, fact.bytes)
    return request.bytes
}()

/// Fields of bytes, one behind the other.
private struct ProtobufText {
    var bytes: [UInt8] = []

    mutating func add(_ field: UInt8, _ text: String) { add(field, Array(text.utf8)) }

    mutating func add(_ field: UInt8, _ content: [UInt8]) {
        bytes.append(field << 3 | 2)
        var count = content.count
        while count >= 128 {
            bytes.append(UInt8(count & 127 | 128))
            count >>= 7
        }
        bytes.append(UInt8(count))
        bytes += content
    }
}

let requestCases = [
    requestCase("request-json", .json),
    requestCase("request-proto", .proto),
]
