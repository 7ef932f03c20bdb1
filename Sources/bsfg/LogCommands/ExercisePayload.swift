internal import Facts
internal import WriteAheadLog

/// Records whose bytes follow from their key, so that a checker needs the key and the size alone.
///
/// The payload is `KEY:` and then the SHA-256 of the key as 64 hexadecimal characters, again and again,
/// cut to its size; a size below the key's length plus one is raised to that.
enum ExercisePayload {
    static func bytes(key: [UInt8], byteCount: Int) -> [UInt8] {
        var payload = key
        payload.append(UInt8(ascii: ":"))
        payload.reserveCapacity(max(byteCount, payload.count))
        let filler = Array(digest(key).hexadecimal.utf8)
        while payload.count < byteCount {
            payload += filler.prefix(byteCount - payload.count)
        }
        return payload
    }

    /// Whether a payload is what `bytes` makes for the key that it begins with.
    static func isConsistent(_ payload: [UInt8]) -> Bool {
        guard let colon = payload.firstIndex(of: UInt8(ascii: ":")) else { return false }
        return bytes(key: Array(payload[..<colon]), byteCount: payload.count) == payload
    }

    static func digest(_ bytes: [UInt8]) -> Digest256 {
        SHA256.hash(bytes).withUnsafeBytes { Digest256(bytes: $0) }
    }
}
