import Facts
import Testing

@testable import Load

@Suite struct FactTemplateTests {
    private func template(batch: Int?, bytes: Int = 256) throws -> FactTemplate {
        try FactTemplate(
            run: "bench-1", stream: "facts.operational", fromZone: "plant-a", toZone: "enterprise",
            batch: batch, messageBytes: bytes, nowUnixMilliseconds: 1_700_000_000_000)
    }

    @Test func `One fact is an AppendFact request whose id is the call's number`() throws {
        var template = try template(batch: nil)
        let request = try WireCodec.decodeAppendFact(template.body(call: 42), .proto)
        #expect(request.fact.messageID == "bench-1-0000000000000042")
        #expect(request.stream == "facts.operational")
        #expect(template.factsPerCall == 1)
    }

    @Test func `Every fact of every batch has an id of its own`() throws {
        var template = try template(batch: 5)
        var ids: Set<String> = []
        for call in 0..<20 {
            let request = try WireCodec.decodeAppendFacts(template.body(call: call), .proto)
            #expect(request.count == 5)
            for index in 0..<request.count { ids.insert(try request.fact(at: index).messageID) }
        }
        #expect(ids.count == 100)
    }

    @Test(arguments: [256, 1_024, 16_384]) func `A message is about as large as asked for`(bytes: Int)
        throws
    {
        #expect(abs(try template(batch: nil, bytes: bytes).messageBytes - bytes) <= 8)
    }
}
