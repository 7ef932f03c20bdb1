/// Instants as ISO 8601 writes them, in UTC or with an offset.
package enum Timestamp {
    /// Milliseconds since 1970 of `2025-01-15T10:00:00Z`, with up to three decimals and `+01:00` in
    /// place of `Z`; nil when it is anything else or no date.
    package static func unixMilliseconds(_ text: String) -> Int64? {
        var rest = Array(text.utf8)[...]
        guard let year = take(&rest, 4), skip(&rest, "-"), let month = take(&rest, 2),
            skip(&rest, "-"), let day = take(&rest, 2), skip(&rest, "T"),
            let hour = take(&rest, 2), skip(&rest, ":"), let minute = take(&rest, 2),
            skip(&rest, ":"), let second = take(&rest, 2)
        else { return nil }
        var fraction = 0
        if skip(&rest, ".") {
            var digits = 0
            while digits < 3, let digit = take(&rest, 1) {
                fraction = fraction * 10 + digit
                digits += 1
            }
            guard digits > 0 else { return nil }
            while digits < 3 {
                fraction *= 10
                digits += 1
            }
        }
        guard let offset = offsetMinutes(&rest), rest.isEmpty else { return nil }
        guard (1...12).contains(month), day >= 1, day <= days(month, year), hour < 24, minute < 60,
            second < 60
        else { return nil }
        let seconds =
            Int64(daysSince1970(year, month, day)) * 86_400
            + Int64(hour * 3600 + (minute - offset) * 60 + second)
        return seconds * 1000 + Int64(fraction)
    }

    /// As in `2025-01-15T10:00:00.000Z`.
    package static func text(_ unixMilliseconds: Int64) -> String {
        let days = unixMilliseconds.quotientFloor(86_400_000)
        let time = unixMilliseconds - days * 86_400_000
        // Years begin in March here, as below.
        let shifted = days + 719_468
        let era = shifted.quotientFloor(146_097)
        let dayOfEra = shifted - era * 146_097
        let yearOfEra =
            (dayOfEra - dayOfEra / 1_460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
        let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
        let monthIndex = (5 * dayOfYear + 2) / 153
        let day = dayOfYear - (153 * monthIndex + 2) / 5 + 1
        let month = monthIndex < 10 ? monthIndex + 3 : monthIndex - 9
        let year = yearOfEra + era * 400 + (month <= 2 ? 1 : 0)
        func padded(_ number: Int64, _ width: Int) -> String {
            let digits = String(number)
            return String(repeating: "0", count: max(0, width - digits.utf8.count)) + digits
        }
        return "\(padded(year, 4))-\(padded(month, 2))-\(padded(day, 2))T"
            + "\(padded(time / 3_600_000, 2)):\(padded(time / 60_000 % 60, 2)):"
            + "\(padded(time / 1_000 % 60, 2)).\(padded(time % 1_000, 3))Z"
    }

    private static func offsetMinutes(_ rest: inout ArraySlice<UInt8>) -> Int? {
        if skip(&rest, "Z") { return 0 }
        let sign: Int
        if skip(&rest, "+") {
            sign = 1
        } else if skip(&rest, "-") {
            sign = -1
        } else {
            return nil
        }
        guard let hours = take(&rest, 2), skip(&rest, ":"), let minutes = take(&rest, 2),
            hours < 24, minutes < 60
        else { return nil }
        return sign * (hours * 60 + minutes)
    }

    private static func take(_ rest: inout ArraySlice<UInt8>, _ count: Int) -> Int? {
        guard rest.count >= count,
            let number = Quantity.number(String(decoding: rest.prefix(count), as: UTF8.self))
        else { return nil }
        rest = rest.dropFirst(count)
        return number
    }

    private static func skip(_ rest: inout ArraySlice<UInt8>, _ letter: Unicode.Scalar) -> Bool {
        guard rest.first == UInt8(ascii: letter) else { return false }
        rest = rest.dropFirst()
        return true
    }

    private static func isLeap(_ year: Int) -> Bool {
        year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
    }

    private static func days(_ month: Int, _ year: Int) -> Int {
        switch month {
        case 2: isLeap(year) ? 29 : 28
        case 4, 6, 9, 11: 30
        default: 31
        }
    }

    private static func daysSince1970(_ year: Int, _ month: Int, _ day: Int) -> Int {
        // Years begin in March here, so that leap days come last.
        let shifted = month <= 2 ? year - 1 : year
        let monthIndex = (month + 9) % 12
        let leaps = shifted / 4 - shifted / 100 + shifted / 400
        return shifted * 365 + leaps + (monthIndex * 153 + 2) / 5 + day - 1 - 719_468
    }
}

extension Int64 {
    fileprivate func quotientFloor(_ divisor: Int64) -> Int64 {
        let (quotient, remainder) = quotientAndRemainder(dividingBy: divisor)
        return remainder < 0 ? quotient - 1 : quotient
    }
}
