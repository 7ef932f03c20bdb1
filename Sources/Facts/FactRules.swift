/// The grammar of names. Everything is judged as bytes: two texts that look alike and differ in
/// their bytes are two names.
package enum FactRules {
    /// `kind:id` or `kind:scope/id`: the kind a lower-case noun, scope and id opaque and not empty,
    /// without white space and control characters.
    package static func isSubject(_ text: String) -> Bool {
        isPrintable(text, spaces: false)
            && withBytes(text) { bytes in
                guard bytes.count <= FactLimits.nameBytes, let colon = bytes.firstIndex(of: 0x3A),
                    let first = bytes.first, isLower(first),
                    bytes[..<colon].allSatisfy({ isLower($0) || isDigit($0) || $0 == 0x5F })
                else { return false }
                return areParts(bytes[(colon + 1)...], of: 1...2, by: 0x2F)
            }
    }

    /// `lower_snake_case`.
    package static func isPredicate(_ text: String) -> Bool {
        withBytes(text) { bytes in
            guard bytes.count <= FactLimits.nameBytes, let first = bytes.first, isLower(first),
                bytes.allSatisfy({ isLower($0) || isDigit($0) || $0 == 0x5F })
            else { return false }
            return areParts(bytes[...], of: 1...FactLimits.nameBytes, by: 0x5F)
        }
    }

    /// `[a-z0-9][a-z0-9._-]{0,63}`, which streams, zones and buckets share: a name of this form can
    /// name a directory.
    package static func isStreamOrZone(_ text: String) -> Bool {
        withBytes(text) { bytes in
            guard let first = bytes.first, bytes.count <= 64, isLower(first) || isDigit(first) else {
                return false
            }
            return bytes.allSatisfy {
                isLower($0) || isDigit($0) || $0 == 0x2E || $0 == 0x5F || $0 == 0x2D
            }
        }
    }

    /// 1 to 256 bytes without control characters and without spaces at the ends.
    package static func isConsumerName(_ text: String) -> Bool {
        let bytes = Array(text.utf8)
        return !bytes.isEmpty && bytes.count <= FactLimits.nameBytes
            && isPrintable(text, spaces: true) && bytes.first != 0x20 && bytes.last != 0x20
    }

    /// `type/subtype`, with parameters or without (RFC 6838's names).
    package static func isMediaType(_ text: String) -> Bool {
        withBytes(text) { bytes in
            guard bytes.count <= FactLimits.nameBytes, bytes.allSatisfy({ $0 >= 0x20 && $0 < 0x7F })
            else { return false }
            let essence = bytes.prefix { $0 != 0x3B && $0 != 0x20 }
            return areParts(essence, of: 2...2, by: 0x2F)
                && essence.allSatisfy { $0 == 0x2F || isMediaTypeCharacter($0) }
        }
    }

    /// Opaque: up to 256 bytes without white space and control characters.
    package static func isSchema(_ text: String) -> Bool {
        text.utf8.count <= FactLimits.nameBytes && isPrintable(text, spaces: false)
    }

    /// What a person would call a file: up to 256 bytes without control characters; may be empty.
    package static func isFileName(_ text: String) -> Bool {
        text.utf8.count <= FactLimits.nameBytes && isPrintable(text, spaces: true)
    }

    /// Up to 512 bytes in segments that no file system could mistake for another place.
    package static func isArtifactKey(_ text: String) -> Bool {
        let bytes = Array(text.utf8)
        guard !bytes.isEmpty, bytes.count <= FactLimits.artifactKeyBytes,
            isPrintable(text, spaces: true), !bytes.contains(0x5C)
        else { return false }
        return bytes.split(separator: 0x2F, omittingEmptySubsequences: false).allSatisfy {
            !$0.isEmpty && !$0.elementsEqual(".".utf8) && !$0.elementsEqual("..".utf8)
        }
    }

    /// `sha256:` and 64 lower-case hexadecimal digits.
    package static func isDigest(_ text: String) -> Bool {
        let bytes = Array(text.utf8)
        return bytes.count == 71 && bytes.starts(with: "sha256:".utf8)
            && bytes.dropFirst(7).allSatisfy { isDigit($0) || (0x61...0x66).contains($0) }
    }

    /// No control characters, and where `spaces` is false no white space either.
    static func isPrintable(_ text: String, spaces: Bool) -> Bool {
        let isPlain = withBytes(text) { bytes in
            bytes.allSatisfy { $0 > 0x20 && $0 < 0x7F || spaces && $0 == 0x20 }
        }
        if isPlain { return true }
        return text.unicodeScalars.allSatisfy { scalar in
            switch scalar.value {
            case 0x00...0x1F, 0x7F...0x9F: false
            case 0x21...0x7E: true
            case 0x20: spaces
            default: spaces || !scalar.properties.isWhitespace
            }
        }
    }

    /// Where the bytes stand, since each fact has several names.
    private static func withBytes(
        _ text: String, _ holds: (UnsafeBufferPointer<UInt8>) -> Bool
    ) -> Bool {
        var text = text
        return text.withUTF8(holds)
    }

    /// Whether the separator makes so many parts, none of them empty.
    private static func areParts(
        _ bytes: Slice<UnsafeBufferPointer<UInt8>>, of counts: ClosedRange<Int>, by separator: UInt8
    ) -> Bool {
        var count = 1
        var previous = separator
        for byte in bytes {
            if byte == separator {
                if previous == separator { return false }
                count += 1
            }
            previous = byte
        }
        return previous != separator && counts.contains(count)
    }

    private static func isLower(_ byte: UInt8) -> Bool { (0x61...0x7A).contains(byte) }
    private static func isDigit(_ byte: UInt8) -> Bool { (0x30...0x39).contains(byte) }

    private static func isMediaTypeCharacter(_ byte: UInt8) -> Bool {
        switch byte {
        case 0x30...0x39, 0x41...0x5A, 0x61...0x7A: true
        case 0x21, 0x23, 0x24, 0x26, 0x2B, 0x2D, 0x2E, 0x5E, 0x5F: true
        default: false
        }
    }
}
