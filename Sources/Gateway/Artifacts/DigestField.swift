internal import Facts

/// `Repr-Digest` (RFC 9530): `sha-256=:` base64 `:`. Other algorithms are passed over.
enum DigestField {
    static let name = "repr-digest"

    static func text(_ digest: Digest) -> String { "sha-256=:\(Base64.encode(digest.bytes)):" }

    /// Nil where the field has no SHA-256.
    static func read(_ text: String) throws(ServiceError) -> Digest? {
        for member in text.utf8.split(separator: UInt8(ascii: ",")) {
            let trimmed = member.drop { $0 == 0x20 || $0 == 0x09 }
            let prefix = "sha-256=:"
            guard trimmed.starts(with: prefix.utf8) else { continue }
            let value = trimmed.dropFirst(prefix.utf8.count).prefix { $0 != UInt8(ascii: ":") }
            guard let bytes = Base64.decode(value), let digest = Digest(bytes) else {
                throw ServiceError(
                    .malformedRequest,
                    "Repr-Digest is sha-256=:BASE64: with the 32 bytes of the digest",
                    field: "repr-digest")
            }
            return digest
        }
        return nil
    }

    /// `sha256:` and hexadecimal digits, as references and tags have it.
    static func tag(_ digest: Digest) -> String { "\"sha256:\(digest)\"" }

    /// Whether an `If-None-Match` or `If-Range` names these bytes.
    static func matches(_ text: String, _ digest: Digest) -> Bool {
        let tag = tag(digest)
        return text.utf8.split(separator: UInt8(ascii: ",")).contains { part in
            var part = part.drop { $0 == 0x20 || $0 == 0x09 }
            while part.last == 0x20 || part.last == 0x09 { part.removeLast() }
            if part.starts(with: "W/".utf8) { part = part.dropFirst(2) }
            return part.elementsEqual("*".utf8) || part.elementsEqual(tag.utf8)
        }
    }
}
