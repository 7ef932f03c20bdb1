/// Header names as strings without allocating for those every request has.
enum HeaderNames {
    private static let known: [[StaticString]] = {
        let names: [StaticString] = [
            ":method", ":path", ":authority", ":status", ":scheme", "accept", "content-type",
            "user-agent", "content-length", "accept-encoding", "content-encoding",
            "connect-protocol-version", "connect-timeout-ms", "te", "date",
        ]
        var byLength = [[StaticString]](repeating: [], count: 32)
        for name in names { byLength[name.utf8CodeUnitCount].append(name) }
        return byLength
    }()

    static func text(_ bytes: UnsafeBufferPointer<UInt8>) -> String {
        if bytes.count < known.count {
            for name in known[bytes.count] {
                let candidate = UnsafeBufferPointer(
                    start: name.utf8Start, count: name.utf8CodeUnitCount)
                if candidate.elementsEqual(bytes) { return name.description }
            }
        }
        return String(decoding: bytes, as: UTF8.self)
    }
}
