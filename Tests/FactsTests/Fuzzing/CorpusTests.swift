import Foundation
import Testing

@testable import Facts

/// What the fuzzers found reaches the same code in every run of the tests.
@Suite("Corpora of the fuzzers") struct CorpusTests {
    @Test func json() throws {
        try Corpus.write("json", Self.jsonSeeds())
        #expect(Corpus.replay("json", JSONHarness.check) > 0)
    }

    @Test func wire() throws {
        try Corpus.write("wire", Self.wireSeeds())
        #expect(Corpus.replay("wire", WireHarness.check) > 0)
    }

    private static func jsonSeeds() throws -> [(name: String, bytes: [UInt8])] {
        let directory = Repository.root.appendingPathComponent("Tests/Golden/canonical-json/input")
        let numbers = ["1e21", "-0.0", "4.35", "1E-7", "9007199254740993", "5e-324"]
        return try FileManager.default.contentsOfDirectory(atPath: directory.path).map {
            ($0, Array(try Data(contentsOf: directory.appendingPathComponent($0))))
        } + numbers.map { ("number\($0)", Array($0.utf8)) }
            + [("escapes", Array(#"{"\u00e9\ud83d\ude00\/\n":["\"",null,true,false],"a":{}}"#.utf8))]
    }

    private static func wireSeeds() throws -> [(name: String, bytes: [UInt8])] {
        let encoder = FactEncoder()
        let facts = try [FactSubmission.reading(), .full].map { try encoder.encode($0) }
        let golden = try ["full", "reading", "gap", "relayed", "page"].map { name in
            let text = try Repository.text("Tests/Golden/record/v1/\(name).hex")
            let bytes = Hexadecimal.decode(Array(text.utf8.filter { $0 != 0x0A }))!
            return (name: "golden-\(name)", bytes: [name == "page" ? 6 : 7] + bytes)
        }
        let json = #"""
            {"stream":"facts","envelope":{"messageId":"R80711-0001","fromZone":"plant-a",\#
            "toZone":"enterprise","producedAtUnixMs":"1388534400000","labels":{"a":"b"}},\#
            "fact":{"subject":"asset:la-haute-borne/R80711","predicate":"reading_recorded",\#
            "object":{"P_avg":514.23999,"b":[1,null,"x"]}}}
            """#
        let message = #"{"envelope":{"message_id":"x"},"fact":{"object_json":"e30="},"format":1}"#
        let fetch = #"""
            {"consumerName":"c","limit":5,"maxBytes":9,"fromOffset":"7","waitMs":1,\#
            "source":{"logUuid":"AAECAwQFBgcICQoLDA0ODw==","epoch":"1","offset":"3"}}
            """#
        return golden + [
            ("append-json", [0] + Array(json.utf8)),
            ("append-proto", [1] + AppendRequestWriter.appendFact(stream: "s", facts[0])),
            ("facts-json", [2] + Array(#"{"stream":"s","facts":[\#(message)],"stopOnError":true}"#.utf8)),
            ("facts-proto", [3] + AppendRequestWriter.appendFacts(stream: "s", facts)),
            ("message-json", [4] + Array(message.utf8)),
            ("message-proto", [5] + facts[1].storedRecord[facts[1].messageRange]),
            ("fetch-json", [8] + Array(fetch.utf8)),
            ("confirm-json", [10] + Array(#"{"consumerName":"c","nextOffset":"2"}"#.utf8)),
            ("cursor-json", [12] + Array("{}".utf8)),
            ("response-json", [15] + Array(#"{"results":[{"offset":"1"},{"error":{}}]}"#.utf8)),
        ]
    }
}
