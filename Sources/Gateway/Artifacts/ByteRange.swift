/// `Range: bytes=…` of a body (RFC 9110, section 14). Several ranges and other units are passed over:
/// then the whole is sent.
enum ByteRange: Equatable {
    case whole
    /// From `first`, `count` bytes; never empty.
    case part(first: UInt64, count: UInt64)
    case unsatisfiable

    init(_ text: String?, size: UInt64) {
        guard let text, text.utf8.starts(with: "bytes=".utf8) else {
            self = .whole
            return
        }
        let parts = text.utf8.dropFirst("bytes=".utf8.count).split(
            separator: UInt8(ascii: "-"), omittingEmptySubsequences: false)
        guard parts.count == 2 else {
            self = .whole
            return
        }
        let (first, last) = (Self.number(parts[0]), Self.number(parts[1]))
        switch (first, last) {
        case (let first?, nil) where parts[1].isEmpty: self = .from(first, .max, size)
        case (let first?, let last?) where first <= last: self = .from(first, last, size)
        case (nil, let count?) where parts[0].isEmpty:
            let taken = min(count, size)
            self = taken == 0 ? .unsatisfiable : .part(first: size - taken, count: taken)
        default: self = .whole
        }
    }

    private static func from(_ first: UInt64, _ last: UInt64, _ size: UInt64) -> ByteRange {
        guard first < size else { return .unsatisfiable }
        return .part(first: first, count: min(last, size - 1) - first + 1)
    }

    private static func number(_ digits: Substring.UTF8View) -> UInt64? {
        guard !digits.isEmpty, digits.count <= 18,
            digits.allSatisfy({ $0 >= UInt8(ascii: "0") && $0 <= UInt8(ascii: "9") })
        else { return nil }
        return UInt64(String(decoding: digits, as: UTF8.self))
    }
}
