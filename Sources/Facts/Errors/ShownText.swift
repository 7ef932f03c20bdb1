/// Text that came from somebody else, as it may stand in a sentence of ours: bounded, since who sends it does not pay
/// for what becomes of it, and without control characters, which logs and terminals obey.
package enum ShownText {
    /// Of a sentence that goes into logs, states and other sentences.
    package static let lineBytesMaximum = 1 << 10

    /// The text, or its beginning; O(maximum).
    package static func bounded(_ text: String, bytes maximum: Int) -> String {
        guard text.utf8.count > maximum else { return text }
        // A character that is cut becomes U+FFFD.
        return String(decoding: text.utf8.prefix(maximum), as: UTF8.self) + "..."
    }

    /// On one line.
    package static func line(_ text: String, bytes maximum: Int = lineBytesMaximum) -> String {
        replaced(bounded(text, bytes: maximum)) { isControl($0) }
    }

    /// As it is broken into lines.
    package static func lines(_ text: String, bytes maximum: Int) -> String {
        replaced(bounded(text, bytes: maximum)) { $0 != "\n" && isControl($0) }
    }

    private static func replaced(_ text: String, _ isBad: (Unicode.Scalar) -> Bool) -> String {
        guard text.unicodeScalars.contains(where: isBad) else { return text }
        return String(String.UnicodeScalarView(text.unicodeScalars.map { isBad($0) ? "\u{FFFD}" : $0 }))
    }

    private static func isControl(_ scalar: Unicode.Scalar) -> Bool {
        switch scalar.value {
        // Those of ASCII and Latin-1, line and paragraph separators, and what turns the direction of text.
        case 0..<0x20, 0x7F..<0xA0, 0x2028, 0x2029, 0x202A...0x202E, 0x2066...0x2069: true
        default: false
        }
    }
}
