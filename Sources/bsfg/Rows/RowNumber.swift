internal import Facts

/// Which cells are numbers.
enum RowNumber {
    /// A decimal of up to this many digits comes back from a double as it went in.
    private static let safeDigits = 15
    private static let lengthMaximum = 32

    /// Whether a cell is spelled as a JSON number (`007` is none) and loses no digit as a double:
    /// `90071992547409931` is a serial number and stays text.
    static func isExact(_ cell: ArraySlice<UInt8>) -> Bool {
        guard cell.count <= lengthMaximum, let first = cell.first, let last = cell.last,
            first == UInt8(ascii: "-") || isDigit(first), isDigit(last)
        else { return false }
        return cell.withUnsafeBufferPointer { text in
            guard let parts = Parts(text) else { return false }
            if parts.digits <= safeDigits, !parts.hasExponent { return true }
            return isKept(Array(text), parts)
        }
    }

    private static func isDigit(_ byte: UInt8) -> Bool { byte &- 0x30 < 10 }

    /// The significant digits of a decimal and the power of ten that they are multiplied with.
    private struct Parts {
        var digits = 0
        var hasExponent = false

        /// Nil unless the text is a number of JSON.
        init?(_ text: UnsafeBufferPointer<UInt8>) {
            var index = text[0] == UInt8(ascii: "-") ? 1 : 0
            let whole = index
            var isLeading = true
            var zeros = 0
            func digit() -> UInt8? {
                guard index < text.count, case let digit = text[index] &- 0x30, digit < 10 else {
                    return nil
                }
                index += 1
                return digit
            }
            func count(_ digit: UInt8) {
                if digit == 0 {
                    if !isLeading { zeros += 1 }
                } else {
                    isLeading = false
                    digits += zeros + 1
                    zeros = 0
                }
            }
            while let next = digit() { count(next) }
            guard index > whole, index == whole + 1 || text[whole] != UInt8(ascii: "0") else {
                return nil
            }
            if index < text.count, text[index] == UInt8(ascii: ".") {
                index += 1
                let fraction = index
                while let next = digit() { count(next) }
                guard index > fraction else { return nil }
            }
            if index < text.count, text[index] | 0x20 == UInt8(ascii: "e") {
                hasExponent = true
                index += 1
                if index < text.count, text[index] == UInt8(ascii: "+") || text[index] == 0x2D {
                    index += 1
                }
                let exponent = index
                while digit() != nil {}
                guard index > exponent else { return nil }
            }
            guard index == text.count else { return nil }
        }
    }

    /// Whether the canonical text of its double says the same decimal.
    private static func isKept(_ text: [UInt8], _ parts: Parts) -> Bool {
        guard let canonical = try? CanonicalJSON.canonicalise(text) else { return false }
        return decimal(text) == decimal(canonical)
    }

    private struct Decimal: Equatable {
        var isNegative: Bool
        var digits: [UInt8]
        var exponent: Int
    }

    /// The digits without zeros at either end; the value is 0.digits × 10^exponent.
    private static func decimal(_ text: [UInt8]) -> Decimal {
        var decimal = Decimal(isNegative: text[0] == 0x2D, digits: [], exponent: 0)
        var seenPoint = false
        var rest = text[...]
        while let byte = rest.popFirst() {
            if byte == UInt8(ascii: ".") {
                seenPoint = true
            } else if byte | 0x20 == UInt8(ascii: "e") {
                let exponent = String(decoding: rest, as: UTF8.self)
                // What overflows is neither of these decimals' but a zero's.
                decimal.exponent &+= Int(exponent) ?? 0
                break
            } else if isDigit(byte) {
                if byte == 0x30, decimal.digits.isEmpty {
                    if seenPoint { decimal.exponent -= 1 }
                } else {
                    decimal.digits.append(byte)
                    if !seenPoint { decimal.exponent += 1 }
                }
            }
        }
        while decimal.digits.last == 0x30 { decimal.digits.removeLast() }
        return decimal.digits.isEmpty
            ? Decimal(isNegative: false, digits: [], exponent: 0) : decimal
    }
}
