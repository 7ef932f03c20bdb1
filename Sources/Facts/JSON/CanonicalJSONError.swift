/// Why a JSON text was refused, and where.
package struct CanonicalJSONError: Error, Sendable, Equatable {
    package enum Kind: Sendable, Equatable {
        /// Not JSON (RFC 8259), or something after the value.
        case syntax
        case invalidUTF8
        case loneSurrogate
        case duplicateName
        case tooDeep
        /// An integer beyond what a double keeps, or a number that becomes infinite or zero.
        case numberNotRepresentable
        /// Its canonical text is longer than what is kept.
        case tooLong
    }

    package var kind: Kind
    /// Where in the value, as `counter.values[3]`; empty at its root.
    package var path: String
    /// Where in the text, in bytes.
    package var byteOffset: Int
    /// What is wrong, without the place.
    package var problem: String

    /// One sentence: what is wrong, where, and what to do.
    package var sentence: String {
        let place = path.isEmpty ? "" : " at \(path)"
        return "\(problem)\(place) (byte \(byteOffset)); \(advice)"
    }

    private var advice: String {
        switch kind {
        case .syntax: "send one JSON value as RFC 8259 has it"
        case .invalidUTF8: "send UTF-8"
        case .loneSurrogate: "escape characters beyond the basic plane as a pair"
        case .duplicateName: "send each name once"
        case .tooDeep: "nest less"
        case .numberNotRepresentable: "send a string, or object_bytes"
        case .tooLong: "put it into an artifact and refer to it"
        }
    }
}

/// Where a reader is inside of a value, kept only as far as an error needs it.
struct JSONPath {
    enum Component {
        case name([UInt8])
        case index(Int)
    }

    /// Longer paths are cut: an error is a sentence, not a copy of the request.
    static let limitBytes = 256

    /// Dotted where a name reads like one, bracketed and quoted where it does not.
    static func append(_ component: Component, to path: inout [UInt8]) {
        switch component {
        case .index(let index):
            path += Array("[\(index)]".utf8)
        case .name(let name):
            if !name.isEmpty, name.allSatisfy(isPlain) {
                if !path.isEmpty { path.append(0x2E) }
                path += name
            } else {
                path.append(0x5B)
                JSONText.appendString(name, to: &path)
                path.append(0x5D)
            }
        }
    }

    static func join(_ prefix: String, _ suffix: String) -> String {
        if prefix.isEmpty { return suffix }
        if suffix.isEmpty { return prefix }
        return suffix.utf8.first == 0x5B ? prefix + suffix : prefix + "." + suffix
    }

    static func text(_ path: [UInt8]) -> String {
        guard path.count > limitBytes else { return String(decoding: path, as: UTF8.self) }
        var end = limitBytes
        while end > 0, path[end] & 0xC0 == 0x80 { end -= 1 }
        return String(decoding: path[..<end], as: UTF8.self) + "..."
    }

    private static func isPlain(_ byte: UInt8) -> Bool {
        switch byte {
        case 0x30...0x39, 0x41...0x5A, 0x61...0x7A, 0x5F, 0x2D, 0x24: true
        default: false
        }
    }
}
