@testable import Facts

/// Any bytes as JSON text: canonicalising never traps, what it accepts it accepts again and changes
/// no more, and a number keeps its value.
enum JSONHarness {
    static func check(_ bytes: UnsafeRawBufferPointer) {
        guard let canonical = try? CanonicalJSON.canonicalise(bytes) else { return }
        guard (try? CanonicalJSON.canonicalise(canonical)) == canonical else {
            harnessFailure("a canonical text has another canonical form")
        }
        guard String(validating: canonical, as: UTF8.self) != nil else {
            harnessFailure("a canonical text is not UTF-8")
        }
        checkNumber(bytes, canonical)
        _ = JSONText.indented(canonical)
    }

    /// The standard library reads both texts of a number as the same one.
    private static func checkNumber(_ bytes: UnsafeRawBufferPointer, _ canonical: [UInt8]) {
        guard let first = canonical.first, first == 0x2D || (0x30...0x39).contains(first) else {
            return
        }
        let whiteSpace: [UInt8] = [0x20, 0x09, 0x0A, 0x0D]
        let text = String(decoding: bytes.filter { !whiteSpace.contains($0) }, as: UTF8.self)
        guard let sent = Double(text), sent == Double(String(decoding: canonical, as: UTF8.self))
        else { harnessFailure("a number is changed by its canonical form") }
    }
}
