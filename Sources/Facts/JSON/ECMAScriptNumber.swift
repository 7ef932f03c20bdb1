/// Numbers as ECMAScript prints them (Number::toString, which RFC 8785 §3.2.2.3 prescribes).
enum ECMAScriptNumber {
    /// The largest integer below which every integer is a double of its own.
    static let largestSafeInteger: UInt64 = 1 << 53 - 1

    /// `value` is finite. Swift prints the same shortest digits that ECMAScript asks for; only the
    /// place of the point and the exponent are spelled differently.
    static func append(_ value: Double, to output: inout [UInt8]) {
        precondition(value.isFinite, "JSON has no infinities")
        if value == 0 {
            output.append(0x30)
            return
        }
        if value.magnitude <= Double(largestSafeInteger), value == value.rounded(.towardZero) {
            if value < 0 { output.append(0x2D) }
            appendDecimal(UInt64(value.magnitude), to: &output)
            return
        }
        var description = value.magnitude.description
        if value < 0 { output.append(0x2D) }
        description.withUTF8 { appendDigits(of: $0, to: &output) }
    }

    static func appendDecimal(_ value: UInt64, to output: inout [UInt8]) {
        let start = output.count
        var rest = value
        repeat {
            output.append(0x30 + UInt8(truncatingIfNeeded: rest % 10))
            rest /= 10
        } while rest > 0
        output[start...].reverse()
    }

    /// `text` is what Swift prints: digits, at most one point, at most one exponent.
    private static func appendDigits(
        of text: UnsafeBufferPointer<UInt8>, to output: inout [UInt8]
    ) {
        withUnsafeTemporaryAllocation(of: UInt8.self, capacity: 32) { digits in
            var count = 0
            var exponent = 0
            var seenPoint = false
            var index = 0
            while index < text.count, text[index] != 0x65 {
                if text[index] == 0x2E {
                    seenPoint = true
                } else if count > 0 || text[index] != 0x30 {
                    digits[count] = text[index]
                    count += 1
                    if !seenPoint { exponent += 1 }
                } else if seenPoint {
                    exponent -= 1
                }
                index += 1
            }
            if index < text.count {
                var written = 0
                let negative = text[index + 1] == 0x2D
                for character in text[(index + 1)...] where character >= 0x30 {
                    written = written * 10 + Int(character - 0x30)
                }
                exponent += negative ? -written : written
            }
            while count > 1, digits[count - 1] == 0x30 { count -= 1 }
            lay(out: UnsafeBufferPointer(digits)[..<count], exponent: exponent, to: &output)
        }
    }

    /// The value is 0.`digits` × 10^`exponent`.
    private static func lay(
        out digits: Slice<UnsafeBufferPointer<UInt8>>, exponent: Int, to output: inout [UInt8]
    ) {
        let count = digits.count
        if exponent > 0, exponent <= 21 {
            output += digits.prefix(exponent)
            if count <= exponent {
                output += repeatElement(0x30, count: exponent - count)
            } else {
                output.append(0x2E)
                output += digits.dropFirst(exponent)
            }
        } else if exponent > -6, exponent <= 0 {
            output += [0x30, 0x2E]
            output += repeatElement(0x30, count: -exponent)
            output += digits
        } else {
            output.append(digits[0])
            if count > 1 {
                output.append(0x2E)
                output += digits.dropFirst()
            }
            output += [0x65, exponent > 0 ? 0x2B : 0x2D]
            appendDecimal(UInt64((exponent - 1).magnitude), to: &output)
        }
    }
}
