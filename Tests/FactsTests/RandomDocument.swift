import Facts

/// Random JSON documents: numbers of every double, every spelling of a character, names beyond the
/// basic plane, and a share that must be refused.
struct RandomDocument {
    var generator: SeededGenerator
    private var output: [UInt8] = []

    init(_ generator: SeededGenerator) { self.generator = generator }

    mutating func next() -> [UInt8] {
        output = []
        value(depth: chance(20) ? 0 : 1)
        if chance(6) { damage() }
        return output
    }

    private mutating func chance(_ of: Int) -> Bool { Int.random(in: 0..<of, using: &generator) == 0 }
    private mutating func pick<T>(_ items: [T]) -> T { items.randomElement(using: &generator)! }
    private mutating func put(_ text: String) { output += Array(text.utf8) }

    private mutating func space() {
        while chance(6) { output.append(pick([0x20, 0x09, 0x0A, 0x0D])) }
    }

    private mutating func value(depth: Int) {
        space()
        switch Int.random(in: 0..<(depth > 5 ? 7 : 10), using: &generator) {
        case 0: put(pick(["true", "false", "null"]))
        case 1, 2, 3: put(number())
        case 4, 5, 6: string()
        case 7: array(depth: depth)
        default: object(depth: depth)
        }
        space()
    }

    private mutating func array(depth: Int) {
        put("[")
        for index in 0..<Int.random(in: 0...4, using: &generator) {
            if index > 0 { put(",") }
            value(depth: depth + 1)
        }
        space()
        put("]")
    }

    private mutating func object(depth: Int) {
        put("{")
        for index in 0..<Int.random(in: 0...6, using: &generator) {
            if index > 0 { put(",") }
            space()
            // Short names meet often enough for duplicates; the others almost never do.
            if chance(8) { put("\"" + pick(["a", "b", "\\u0061", "ö", "\\u00f6"]) + "\"") } else { string() }
            space()
            put(":")
            value(depth: depth + 1)
        }
        put("}")
    }

    mutating func number() -> String {
        switch Int.random(in: 0..<12, using: &generator) {
        case 0: return "\(Int.random(in: -1000...1000, using: &generator))"
        case 1:
            // Around 2^53, where integers stop being doubles.
            let distance = Int64.random(in: -3...3, using: &generator)
            return pick(["", "-"]) + "\((Int64(1) << 53) + distance)"
        case 2: return integerText(of: Double(bitPattern: generator.next()))
        case 3: return "\(Int64(bitPattern: generator.next()) >> Int64.random(in: 0..<64, using: &generator))"
        case 4: return spelled(digits: 25)
        case 5: return pick(["0", "-0", "0.0", "-0e5", "0E-9", "1e-400", "1e400", "-1e999", "0.1e-323"])
        case 6: return pick(["1e21", "1e-7", "1e20", "123e-20", "5e-324", "2e-324", "1E+2", "1.0"])
        default:
            // Every bit pattern of a double that is a number.
            let value = Double(bitPattern: generator.next())
            guard value.isFinite else { return "0.5" }
            let text = value.description
            return text.hasSuffix(".0") && chance(2) ? String(text.dropLast(2)) : text
        }
    }

    /// Integers beyond 2^53 as printed and off by a digit.
    private mutating func integerText(of value: Double) -> String {
        guard value.isFinite, abs(value) >= 1, abs(value) < 1e25 else {
            return "\(UInt64.random(in: 0 ... .max, using: &generator))"
        }
        var text = "\(Int128(value.rounded()))"
        if chance(2) { text = String(text.dropLast()) + "\(Int.random(in: 0...9, using: &generator))" }
        return text == "-" || text.isEmpty ? "7" : text
    }

    private mutating func spelled(digits: Int) -> String {
        var text = pick(["", "-"]) + "\(Int.random(in: 1...9, using: &generator))"
        for _ in 0..<Int.random(in: 0...digits, using: &generator) {
            text += "\(Int.random(in: 0...9, using: &generator))"
        }
        text += "."
        for _ in 0...Int.random(in: 0...digits, using: &generator) {
            text += "\(Int.random(in: 0...9, using: &generator))"
        }
        if chance(2) { text += pick(["e", "E"]) + "\(Int.random(in: -345...310, using: &generator))" }
        return text
    }

    private mutating func string() {
        put("\"")
        for _ in 0..<Int.random(in: 0...8, using: &generator) { character() }
        put("\"")
    }

    private mutating func character() {
        switch Int.random(in: 0..<10, using: &generator) {
        case 0: put(pick(["\\\"", "\\\\", "\\/", "\\b", "\\f", "\\n", "\\r", "\\t"]))
        case 1: escaped(UInt32.random(in: 0..<0x20, using: &generator))
        case 2: escaped(UInt32.random(in: 0x20..<0xD800, using: &generator))
        case 3:
            let scalar = UInt32.random(in: 0x10000...0x10FFFF, using: &generator) - 0x10000
            escaped(0xD800 + (scalar >> 10))
            escaped(0xDC00 + (scalar & 0x3FF))
        case 4: plain(UInt32.random(in: 0x10000...0x10FFFF, using: &generator))
        case 5: plain(UInt32.random(in: 0xE000...0xFFFF, using: &generator))
        case 6: plain(UInt32.random(in: 0x80..<0xD800, using: &generator))
        default: plain(UInt32(pick(Array("abcXYZ019 _-./<>&':".utf8))))
        }
    }

    private mutating func escaped(_ unit: UInt32) {
        let digits = String(unit, radix: 16, uppercase: chance(2))
        put("\\u" + String(repeating: "0", count: 4 - digits.count) + digits)
    }

    private mutating func plain(_ scalar: UInt32) {
        if let scalar = UnicodeScalar(scalar) { output += Array(UTF8.encode(scalar)!) }
    }

    /// Most of these make the document one that must be refused.
    private mutating func damage() {
        let place = Int.random(in: 0...output.count, using: &generator)
        switch Int.random(in: 0..<10, using: &generator) {
        case 0 where !output.isEmpty: output.removeLast()
        case 1: output.insert(UInt8.random(in: 0x80...0xFF, using: &generator), at: place)
        case 2: output.insert(contentsOf: Array("\"\\ud800\"".utf8), at: place)
        case 3: output = Array("[\"\\udc00\(pick(["", "x", "\\ud800"]))\",".utf8) + output + [0x5D]
        case 4: output = Array("{\"k\":".utf8) + output + Array(",\"\\u006b\":1}".utf8)
        case 5:
            let depth = Int.random(in: 56...70, using: &generator)
            output = [UInt8](repeating: 0x5B, count: depth) + output
                + [UInt8](repeating: 0x5D, count: depth)
        case 6: output = Array("[9007199254740993,".utf8) + output + [0x5D]
        case 7: output = Array("[\(pick(["1e400", "1e-999", "-1E309", "NaN", "01", "1.", ".5"])),".utf8)
            + output + [0x5D]
        case 8: output.insert(UInt8.random(in: 0..<0x20, using: &generator), at: place)
        default: output.append(contentsOf: Array(pick([" x", ",", "]", "}", "\u{FEFF}"]).utf8))
        }
    }
}
