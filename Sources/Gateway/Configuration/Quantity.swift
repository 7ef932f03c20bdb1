/// Numbers with units as configuration writes them.
package enum Quantity {
    /// A whole number without sign, space or separators.
    package static func number(_ text: String) -> Int? {
        let digits = Array(text.utf8)
        guard !digits.isEmpty, digits.count <= 18,
            digits.allSatisfy({ $0 >= UInt8(ascii: "0") && $0 <= UInt8(ascii: "9") })
        else { return nil }
        return digits.reduce(0) { $0 * 10 + Int($1 - UInt8(ascii: "0")) }
    }

    private static let sizes: [(unit: String, bytes: Int)] = [
        ("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1),
    ]

    private static let times: [(unit: String, milliseconds: Int)] = [
        ("ms", 1), ("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000),
    ]

    /// `1GiB`, `64KiB`, `4096` (bytes). Powers of ten are not offered: 1GB is too easily misread.
    package static func bytes(_ text: String) -> Int? {
        number(text) ?? product(text, sizes.map { ($0.unit, $0.bytes) })
    }

    /// `250ms`, `30s`, `5m`, `12h`, `7d`; a number alone has no meaning.
    package static func milliseconds(_ text: String) -> Int? {
        product(text, times.map { ($0.unit, $0.milliseconds) })
    }

    /// `80%`, `12.5%`, `0.8`: digits with at most one point.
    package static func share(_ text: String) -> Double? {
        let isPercent = text.utf8.last == UInt8(ascii: "%")
        let digits = isPercent ? String(text.dropLast()) : text
        guard !digits.isEmpty, digits.utf8.count <= 8,
            digits.utf8.allSatisfy({
                $0 == UInt8(ascii: ".") || ($0 >= UInt8(ascii: "0") && $0 <= UInt8(ascii: "9"))
            }), let number = Double(digits)
        else { return nil }
        return isPercent ? number / 100 : number
    }

    package static func percentText(_ share: Double) -> String { "\(Int((share * 100).rounded()))%" }

    private static func product(_ text: String, _ units: [(String, Int)]) -> Int? {
        for (unit, factor) in units where text.utf8.count > unit.utf8.count {
            guard text.utf8.suffix(unit.utf8.count).elementsEqual(unit.utf8),
                let count = number(String(text.dropLast(unit.count)))
            else { continue }
            let (result, overflow) = count.multipliedReportingOverflow(by: factor)
            return overflow ? nil : result
        }
        return nil
    }

    /// In the largest unit that divides it.
    package static func bytesText(_ bytes: Int) -> String {
        let fitting = sizes.first { bytes >= $0.bytes && bytes % $0.bytes == 0 }
        return fitting.map { "\(bytes / $0.bytes)\($0.unit)" } ?? "\(bytes)B"
    }

    package static func millisecondsText(_ milliseconds: Int) -> String {
        let ordered = times.sorted { $0.milliseconds > $1.milliseconds }
        let fitting = ordered.first {
            milliseconds >= $0.milliseconds && milliseconds % $0.milliseconds == 0
        }
        return fitting.map { "\(milliseconds / $0.milliseconds)\($0.unit)" } ?? "\(milliseconds)ms"
    }
}
