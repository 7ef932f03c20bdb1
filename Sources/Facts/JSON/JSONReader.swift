/// Reads the parts of a JSON text strictly (RFC 8259, UTF-8, paired surrogates). What the parts mean
/// is for the one who calls: the canonicaliser and the request decoder share this reader.
struct JSONReader {
    /// A refusal without its path, which the caller knows.
    struct Problem: Error {
        var kind: CanonicalJSONError.Kind
        var byteOffset: Int
        var text: String
    }

    /// A number's text and what its grammar says of it.
    struct Number {
        var range: Range<Int>
        /// Neither fraction nor exponent.
        var isInteger: Bool
        var isNegative: Bool
        /// The significant digits, when they fit (see `digitCount`), and the power of ten.
        var mantissa: UInt64
        var digitCount: Int
        var exponent: Int
        var isZero: Bool
    }

    let bytes: UnsafeRawBufferPointer
    var position = 0

    init(_ bytes: UnsafeRawBufferPointer) { self.bytes = bytes }

    func problem(
        _ text: String, _ kind: CanonicalJSONError.Kind = .syntax, at offset: Int? = nil
    ) -> Problem {
        Problem(kind: kind, byteOffset: offset ?? position, text: text)
    }

    /// The next byte that is not white space; nil at the end.
    mutating func peek() -> UInt8? {
        while position < bytes.count {
            switch bytes[position] {
            case 0x20, 0x09, 0x0A, 0x0D: position += 1
            case let byte: return byte
            }
        }
        return nil
    }

    /// Steps over `byte` and says true when it comes next.
    mutating func take(_ byte: UInt8) -> Bool {
        guard peek() == byte else { return false }
        position += 1
        return true
    }

    mutating func expectEnd() throws(Problem) {
        if peek() != nil { throw problem("there is something after the JSON value") }
    }

    func unexpected(_ expected: String) -> Problem {
        position < bytes.count
            ? problem("\(expected) was expected, not \(JSONReader.name(of: bytes[position]))")
            : problem("the JSON text ends where \(expected) was expected")
    }

    private static func name(of byte: UInt8) -> String {
        byte > 0x20 && byte < 0x7F
            ? "'\(Character(UnicodeScalar(byte)))'" : "byte 0x" + Hexadecimal.encode([byte])
    }

    mutating func literal(_ text: StaticString) throws(Problem) {
        let end = position + text.utf8CodeUnitCount
        let matches =
            end <= bytes.count
            && (position..<end).allSatisfy { bytes[$0] == text.utf8Start[$0 - position] }
        guard matches else { throw unexpected("a JSON value") }
        position = end
    }

    // MARK: Strings

    /// Reads a string, its opening quote next, and appends its characters: spelled for RFC 8785
    /// (`escaped`) or as plain UTF-8. A lone surrogate is reported once the string has been read.
    mutating func string(into output: inout [UInt8], escaped: Bool) throws(Problem) {
        guard take(0x22) else { throw unexpected("a string") }
        var loneSurrogate: Int?
        while true {
            let start = position
            while position < bytes.count, JSONReader.isPlain(bytes[position]) { position += 1 }
            if position > start {
                output.append(contentsOf: UnsafeRawBufferPointer(rebasing: bytes[start..<position]))
            }
            guard position < bytes.count else { throw unexpected("the end of a string") }
            switch bytes[position] {
            case 0x22:
                position += 1
                if let loneSurrogate {
                    throw problem("a lone surrogate", .loneSurrogate, at: loneSurrogate)
                }
                return
            case 0x5C:
                let at = position
                if try !escape(into: &output, escaped: escaped) { loneSurrogate = at }
            case 0x80...0xFF:
                let length = try sequenceLength()
                output.append(
                    contentsOf: UnsafeRawBufferPointer(rebasing: bytes[position..<position + length]))
                position += length
            default:
                throw problem("a control character stands in a string unescaped")
            }
        }
    }

    private static func isPlain(_ byte: UInt8) -> Bool {
        byte >= 0x20 && byte < 0x80 && byte != 0x22 && byte != 0x5C
    }

    /// The length of the well-formed UTF-8 sequence at `position` (RFC 3629's table).
    private func sequenceLength() throws(Problem) -> Int {
        let lead = bytes[position]
        func next(_ distance: Int, _ allowed: ClosedRange<UInt8> = 0x80...0xBF) -> Bool {
            position + distance < bytes.count && allowed.contains(bytes[position + distance])
        }
        let length: Int
        let valid: Bool
        switch lead {
        case 0xC2...0xDF: (length, valid) = (2, next(1))
        case 0xE0: (length, valid) = (3, next(1, 0xA0...0xBF) && next(2))
        case 0xED: (length, valid) = (3, next(1, 0x80...0x9F) && next(2))
        case 0xE1...0xEF: (length, valid) = (3, next(1) && next(2))
        case 0xF0: (length, valid) = (4, next(1, 0x90...0xBF) && next(2) && next(3))
        case 0xF1...0xF3: (length, valid) = (4, next(1) && next(2) && next(3))
        case 0xF4: (length, valid) = (4, next(1, 0x80...0x8F) && next(2) && next(3))
        default: (length, valid) = (1, false)
        }
        guard valid else { throw problem("a string is not UTF-8", .invalidUTF8) }
        return length
    }

    /// False for a surrogate without its pair, which is stepped over.
    private mutating func escape(into output: inout [UInt8], escaped: Bool) throws(Problem) -> Bool {
        guard position + 1 < bytes.count else { throw unexpected("the end of a string") }
        let character = bytes[position + 1]
        position += 2
        let plain: UInt8
        switch character {
        case 0x22, 0x5C, 0x2F: plain = character
        case 0x62: plain = 0x08
        case 0x66: plain = 0x0C
        case 0x6E: plain = 0x0A
        case 0x72: plain = 0x0D
        case 0x74: plain = 0x09
        case 0x75: return try unicodeEscape(into: &output, escaped: escaped)
        default:
            position -= 2
            throw problem("an escape that JSON does not have")
        }
        if escaped { JSONText.appendCharacter(plain, to: &output) } else { output.append(plain) }
        return true
    }

    private mutating func unicodeEscape(
        into output: inout [UInt8], escaped: Bool
    ) throws(Problem) -> Bool {
        let unit = try hexadecimalUnit()
        var value = unit
        switch unit {
        case 0xD800...0xDBFF:
            guard position + 1 < bytes.count, bytes[position] == 0x5C, bytes[position + 1] == 0x75
            else { return false }
            let before = position
            position += 2
            let low = try hexadecimalUnit()
            guard (0xDC00...0xDFFF).contains(low) else {
                position = before
                return false
            }
            value = 0x10000 + (unit - 0xD800) << 10 + (low - 0xDC00)
        case 0xDC00...0xDFFF: return false
        default: break
        }
        if value < 0x80 {
            let byte = UInt8(value)
            if escaped { JSONText.appendCharacter(byte, to: &output) } else { output.append(byte) }
        } else if let scalar = UnicodeScalar(value) {
            output.append(contentsOf: UTF8.encode(scalar).unsafelyUnwrapped)
        }
        return true
    }

    private mutating func hexadecimalUnit() throws(Problem) -> UInt32 {
        var value: UInt32 = 0
        for _ in 0..<4 {
            guard position < bytes.count, let digit = Hexadecimal.value(of: bytes[position]) else {
                throw unexpected("a hexadecimal digit")
            }
            value = value << 4 | UInt32(digit)
            position += 1
        }
        return value
    }

    // MARK: Numbers

    mutating func number() throws(Problem) -> Number {
        let start = position
        var number = Number(
            range: start..<start, isInteger: true, isNegative: false, mantissa: 0, digitCount: 0,
            exponent: 0, isZero: true)
        if position < bytes.count, bytes[position] == 0x2D {
            number.isNegative = true
            position += 1
        }
        let leadingZero = position < bytes.count && bytes[position] == 0x30
        let whole = digits(into: &number, fraction: false)
        guard whole > 0 else { throw unexpected("a digit") }
        guard whole == 1 || !leadingZero else {
            throw problem("a number begins with a zero too many", at: start)
        }
        if position < bytes.count, bytes[position] == 0x2E {
            position += 1
            number.isInteger = false
            guard digits(into: &number, fraction: true) > 0 else { throw unexpected("a digit") }
        }
        if position < bytes.count, bytes[position] | 0x20 == 0x65 {
            position += 1
            number.isInteger = false
            try exponent(into: &number)
        }
        number.range = start..<position
        return number
    }

    /// Only the first nineteen significant digits enter the mantissa.
    private mutating func digits(into number: inout Number, fraction: Bool) -> Int {
        let start = position
        while position < bytes.count, case let digit = bytes[position] &- 0x30, digit < 10 {
            if digit != 0 { number.isZero = false }
            if !number.isZero {
                number.digitCount += 1
                if number.digitCount <= 19 { number.mantissa = number.mantissa * 10 + UInt64(digit) }
            }
            if fraction { number.exponent -= 1 }
            position += 1
        }
        return position - start
    }

    private mutating func exponent(into number: inout Number) throws(Problem) {
        var negative = false
        if position < bytes.count, bytes[position] == 0x2B || bytes[position] == 0x2D {
            negative = bytes[position] == 0x2D
            position += 1
        }
        let start = position
        var value = 0
        while position < bytes.count, case let digit = bytes[position] &- 0x30, digit < 10 {
            // Far beyond what a double reaches, and short of an overflow.
            if value < 1_000_000_000 { value = value * 10 + Int(digit) }
            position += 1
        }
        guard position > start else { throw unexpected("a digit") }
        number.exponent += negative ? -value : value
    }

    private static let powersOfTen: [Double] = [
        1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16,
        1e17, 1e18, 1e19, 1e20, 1e21, 1e22,
    ]

    /// The double nearest to the number; infinite beyond the largest.
    func double(_ number: Number) -> Double {
        if number.digitCount <= 15, number.exponent >= -22, number.exponent <= 22 {
            // Both operands are exact doubles, so that the one operation rounds correctly.
            let power = JSONReader.powersOfTen[abs(number.exponent)]
            let mantissa = Double(number.mantissa)
            let value = number.exponent < 0 ? mantissa / power : mantissa * power
            return number.isNegative ? -value : value
        }
        let text = String(
            decoding: UnsafeRawBufferPointer(rebasing: bytes[number.range]), as: UTF8.self)
        guard let value = Double(text) else { preconditionFailure("not a JSON number: \(text)") }
        return value
    }

    /// Refuses what a double cannot keep; appends what ECMAScript prints.
    func appendCanonical(_ number: Number, to output: inout [UInt8]) throws(Problem) {
        if number.isZero {
            output.append(0x30)
            return
        }
        let text = UnsafeRawBufferPointer(rebasing: bytes[number.range])
        if number.isInteger, number.digitCount <= 16,
            number.mantissa <= ECMAScriptNumber.largestSafeInteger
        {
            output.append(contentsOf: text)
            return
        }
        let value = double(number)
        guard value.isFinite else { throw notRepresentable(number, "is beyond the largest double") }
        guard value != 0 else { throw notRepresentable(number, "is below the smallest double") }
        let start = output.count
        ECMAScriptNumber.append(value, to: &output)
        guard !number.isInteger || output[start...].elementsEqual(text) else {
            output.removeSubrange(start...)
            throw notRepresentable(number, "is an integer that a double cannot keep")
        }
    }

    private func notRepresentable(_ number: Number, _ reason: String) -> Problem {
        let shown = bytes[number.range].prefix(40)
        let text = String(decoding: UnsafeRawBufferPointer(rebasing: shown), as: UTF8.self)
        let cut = shown.count < number.range.count ? "..." : ""
        return problem(
            "the number \(text)\(cut) \(reason)", .numberNotRepresentable,
            at: number.range.lowerBound)
    }
}
