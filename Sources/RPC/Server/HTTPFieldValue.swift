/// The value of a header or trailer of an answer.
enum HTTPFieldValue {
    /// The value as it may go out: a byte that would end its line, or that no value may have, is a space (RFC 9110,
    /// section 5.5). Whatever a value was made from, it stays one value.
    static func clean(_ value: String) -> String {
        guard value.utf8.contains(where: isForbidden) else { return value }
        return String(
            decoding: value.utf8.map { isForbidden($0) ? UInt8(ascii: " ") : $0 }, as: UTF8.self)
    }

    private static func isForbidden(_ byte: UInt8) -> Bool {
        byte < 0x20 && byte != UInt8(ascii: "\t") || byte == 0x7F
    }
}
