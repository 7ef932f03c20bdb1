import Facts
import Testing

private func canonical(_ text: String) throws -> String {
    String(decoding: try CanonicalJSON.canonicalise(Array(text.utf8)), as: UTF8.self)
}

private func refusal(_ bytes: [UInt8]) -> CanonicalJSONError? {
    do throws(CanonicalJSONError) {
        _ = try CanonicalJSON.canonicalise(bytes)
        return nil
    } catch {
        return error
    }
}

private func refusal(_ text: String) -> CanonicalJSONError? { refusal(Array(text.utf8)) }

@Suite struct CanonicalJSONTests {
    /// With the path written for each of them this took the square of the text: hours.
    @Test("gateway decision 42: a text with many faults costs no more than one with one", .timeLimit(.minutes(2)))
    func manyFaults() {
        let name = String(repeating: "k", count: 1 << 20)
        let faults = Array(repeating: "1e999", count: 1 << 20).joined(separator: ",")
        let error = refusal("{\"\(name)\":[\(faults)]}")
        #expect(error?.kind == .numberNotRepresentable)
        #expect(error?.path.utf8.count == 259, "the path is cut")
    }

    @Test("gateway decision 42: no more canonical text is kept than is taken", arguments: [
        "[]", "{}", "12", #"{"b":[1,{"d":1e20,"c":[]}],"a":{}}"#, #"{"a":{"b":{"c":[1,2,"x"]}}}"#,
        "[1e20,1e20,[[1e20]]]",
    ])
    func limits(_ text: String) throws {
        let whole = try CanonicalJSON.canonicalise(Array(text.utf8))
        #expect(try CanonicalJSON.canonicalise(Array(text.utf8), limitBytes: whole.count) == whole)
        for limit in 0..<whole.count - 1 {
            let error = #expect(throws: CanonicalJSONError.self) {
                try CanonicalJSON.canonicalise(Array(text.utf8), limitBytes: limit)
            }
            #expect(error?.kind == .tooLong && error?.path == "")
        }
        // Where it ends is found all the same.
        let open = #expect(throws: CanonicalJSONError.self) {
            try CanonicalJSON.canonicalise(Array("[\(text),".utf8), limitBytes: 1)
        }
        #expect(open?.kind == .syntax)
    }

    @Test(arguments: ["arrays", "french", "structures", "unicode", "values", "weird"])
    func `RFC 8785 test vectors`(name: String) throws {
        let input = try Repository.bytes("Tests/Golden/canonical-json/input/\(name).json")
        let output = try Repository.bytes("Tests/Golden/canonical-json/output/\(name).json")
        #expect(try CanonicalJSON.canonicalise(input) == output)
        #expect(try CanonicalJSON.canonicalise(output) == output, "canonical text is a fixed point")
    }

    /// RFC 8785 Appendix B: the bits of a double and its text.
    static let appendixB: [(UInt64, String)] = [
        (0x0000_0000_0000_0000, "0"), (0x8000_0000_0000_0000, "0"),
        (0x0000_0000_0000_0001, "5e-324"), (0x8000_0000_0000_0001, "-5e-324"),
        (0x7fef_ffff_ffff_ffff, "1.7976931348623157e+308"),
        (0xffef_ffff_ffff_ffff, "-1.7976931348623157e+308"),
        (0x4340_0000_0000_0000, "9007199254740992"), (0xc340_0000_0000_0000, "-9007199254740992"),
        (0x4430_0000_0000_0000, "295147905179352830000"),
        (0x44b5_2d02_c7e1_4af5, "9.999999999999997e+22"),
        (0x44b5_2d02_c7e1_4af6, "1e+23"), (0x44b5_2d02_c7e1_4af7, "1.0000000000000001e+23"),
        (0x444b_1ae4_d6e2_ef4e, "999999999999999700000"),
        (0x444b_1ae4_d6e2_ef4f, "999999999999999900000"), (0x444b_1ae4_d6e2_ef50, "1e+21"),
        (0x3eb0_c6f7_a0b5_ed8c, "9.999999999999997e-7"), (0x3eb0_c6f7_a0b5_ed8d, "0.000001"),
        (0x41b3_de43_5555_5553, "333333333.3333332"),
        (0x41b3_de43_5555_5554, "333333333.33333325"),
        (0x41b3_de43_5555_5555, "333333333.3333333"),
        (0x41b3_de43_5555_5556, "333333333.3333334"),
        (0x41b3_de43_5555_5557, "333333333.33333343"),
        (0xbecb_f647_612f_3696, "-0.0000033333333333333333"),
        (0x4314_3ff3_c1cb_0959, "1424953923781206.2"),
    ]

    @Test func `the number table of RFC 8785 Appendix B`() throws {
        for (bits, text) in Self.appendixB {
            let value = Double(bitPattern: bits)
            if value != 0 {
                // Seventeen digits name the double exactly, whatever the canonical spelling is.
                let exact = value.description
                #expect(try canonical(text) == text, "\(text)")
                #expect(Double(text) == value, "\(text)")
                if exact.contains(where: { ".e".contains($0) }), !exact.hasSuffix(".0") {
                    #expect(try canonical(exact) == text, "\(exact)")
                }
            }
        }
        #expect(try canonical("[0,-0,0.0,-0e9,0E-400]") == "[0,0,0,0,0]")
    }

    @Test func `numbers are read to the nearest double and printed shortest`() throws {
        let cases = [
            ("1.0", "1"), ("1e2", "100"), ("-1.50", "-1.5"), ("1E1", "10"),
            ("123456789012345678901e0", "123456789012345680000"), ("1e21", "1e+21"),
            ("0.1e-6", "1e-7"), ("0.00000123", "0.00000123"),
            ("2.2250738585072011e-308", "2.225073858507201e-308"),
            ("0.5000000000000000000000000000000000001", "0.5"),
            ("9007199254740991", "9007199254740991"), ("9007199254740992", "9007199254740992"),
            ("-9007199254740992", "-9007199254740992"),
            ("100000000000000000000", "100000000000000000000"),
            ("9007199254740993.0", "9007199254740992"), ("1e-323", "1e-323"),
        ]
        for (text, expected) in cases {
            #expect(try canonical(text) == expected, "\(text)")
        }
    }

    @Test("gateway decision 29: a number that a double cannot keep is refused with its path", arguments: [
        "9007199254740993", "-9007199254740993", "9007199254740994000000000",
        "18446744073709551615",
        "1000000000000000000000", "1e400", "-1e309", "1e-400", "0.0000001e-323", "2e-324",
        "12345678901234567890123456789",
    ])
    func unrepresentableNumbers(number: String) throws {
        let error = try #require(refusal("{\"values\":[{\"a b\":1},{\"counter\":\(number)}]}"))
        #expect(error.kind == .numberNotRepresentable)
        #expect(error.path == "values[1].counter")
        #expect(error.sentence.contains("send a string, or object_bytes"))
    }

    @Test(arguments: [
        "", " ", "{", "}", "[", "]", "[1,]", "[,1]", "{\"a\"}", "{\"a\":}", "{\"a\":1,}", "{a:1}",
        "{1:1}", "nul", "True", "NaN", "Infinity", "-", "+1", ".5", "1.", "01", "-01", "1e", "1e+",
        "0x10", "'a'", "\"a", "\"\\x\"", "\"\\u12\"", "\"\\u12g4\"", "\"\t\"", "\"\n\"", "1 2",
        "[1]]",
        "[1 2]", "{\"a\":1 \"b\":2}", "/**/1", "\u{FEFF}1", "\u{A0}1", "[1;2]", "\"\u{0}\"", "{,}",
    ])
    func `what is not JSON is refused`(text: String) {
        #expect(refusal(text)?.kind == .syntax, "\(text)")
    }

    @Test(
        arguments: [
            [0x80], [0xC0, 0x80], [0xC1, 0xBF], [0xC3], [0xE0, 0x80, 0x80], [0xED, 0xA0, 0x80],
            [0xED, 0xBF, 0xBF], [0xF0, 0x80, 0x80, 0x80], [0xF4, 0x90, 0x80, 0x80],
            [0xF5, 0x80, 0x80, 0x80],
            [0xE2, 0x82], [0xF0, 0x9F, 0x98], [0xFF], [0xFE], [0xE2, 0x28, 0xA1],
        ] as [[UInt8]])
    func `what is not UTF-8 is refused`(sequence: [UInt8]) {
        #expect(refusal([0x22] + sequence + [0x22])?.kind == .invalidUTF8)
        #expect(refusal([0x7B, 0x22] + sequence + Array("\":1}".utf8))?.kind == .invalidUTF8)
    }

    @Test("gateway decision 29: a lone surrogate is refused", arguments: [
        "\\ud800", "\\udc00", "\\ud800\\u0041", "\\ud800x", "\\udbff\\ud800\\udc00", "\\ud83d",
    ])
    func loneSurrogates(escape: String) {
        #expect(refusal("[\"\(escape)\"]")?.kind == .loneSurrogate)
        #expect(refusal("{\"\(escape)\":1}")?.kind == .loneSurrogate)
    }

    @Test("gateway decision 29: a name twice is refused however it is spelled; canonically equivalent names are two")
    func aNameTwiceIsRefused() throws {
        #expect(refusal(#"{"a":1,"b":2,"a":3}"#)?.kind == .duplicateName)
        #expect(refusal(#"{"\u0061":1,"a":1}"#)?.path == "a")
        #expect(refusal(#"{"x":[{"😂":1,"\uD83D\uDE02":1}]}"#)?.kind == .duplicateName)
        #expect(refusal(#"{"":1,"":1}"#)?.path == #"[""]"#)
        // Canonically equivalent is not equal: these are two names.
        #expect(try canonical("{\"e\u{301}\":1,\"\u{e9}\":2}") == "{\"e\u{301}\":1,\"\u{e9}\":2}")
    }

    @Test("gateway decision 29: 64 levels pass, 65 do not")
    func depthIsLimited() throws {
        func nested(_ depth: Int, _ open: String, _ close: String) -> String {
            String(repeating: open, count: depth) + "1" + String(repeating: close, count: depth)
        }
        #expect(try canonical(nested(64, "[", "]")) == nested(64, "[", "]"))
        #expect(refusal(nested(65, "[", "]"))?.kind == .tooDeep)
        #expect(try canonical(nested(64, "{\"a\":", "}")) == nested(64, "{\"a\":", "}"))
        #expect(refusal(nested(65, "{\"a\":", "}"))?.kind == .tooDeep)
        #expect(refusal(String(repeating: "[", count: 1_000_000))?.kind == .tooDeep)
    }

    @Test func `names are ordered by UTF-16 code units`() throws {
        let text =
            "{\"\u{FB33}\":1,\"\u{1F602}\":2,\"\u{E000}\":3,\"\u{D7FF}\":4,\"a\":5,\"ab\":6,\"\":7}"
        let ordered =
            "{\"\":7,\"a\":5,\"ab\":6,\"\u{D7FF}\":4,\"\u{1F602}\":2,\"\u{E000}\":3,\"\u{FB33}\":1}"
        let result = try CanonicalJSON.canonicalise(Array(text.utf8))
        #expect(result == Array(ordered.utf8))
    }

    @Test func `strings use the shortest escapes`() throws {
        var all = "\""
        for code in 0..<0x20 { all += "\\u00" + (code < 16 ? "0" : "") + String(code, radix: 16) }
        all += #"\/\"\\\u007f\u20ac\ud83d\ude02\u2028""#
        let expected =
            #""\u0000\u0001\u0002\u0003\u0004\u0005\u0006\u0007\b\t\n\u000b\f\r\u000e\u000f"#
            + #"\u0010\u0011\u0012\u0013\u0014\u0015\u0016\u0017\u0018\u0019\u001a\u001b\u001c"#
            + #"\u001d\u001e\u001f/\"\\"# + "\u{7f}€😂\u{2028}\""
        #expect(try CanonicalJSON.canonicalise(Array(all.utf8)) == Array(expected.utf8))
    }
}
