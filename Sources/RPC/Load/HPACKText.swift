internal import CNGHTTP2

/// Heads of HTTP/2 as a load needs them: requests without a table of fields, answers read one by one.
enum HPACKText {
    /// Places in the static table (RFC 7541, appendix A).
    private static let authority: UInt8 = 1
    private static let path: UInt8 = 4
    private static let contentLengthPlace = 28
    private static let methodIsPost: UInt8 = 0x83
    private static let schemeIsHTTPS: UInt8 = 0x87
    private static let statusIs200: UInt8 = 0x88

    /// The head of a POST, up to its length.
    static func request(
        authority: String, path: String, fields: [(name: String, value: String)]
    ) -> [UInt8] {
        var bytes: [UInt8] = [methodIsPost, schemeIsHTTPS, Self.path]
        append(path, to: &bytes)
        bytes.append(Self.authority)
        append(authority, to: &bytes)
        for field in fields {
            bytes.append(0)
            append(field.name, to: &bytes)
            append(field.value, to: &bytes)
        }
        return bytes
    }

    static func contentLength(_ count: Int) -> [UInt8] {
        // A literal whose name is at a place beyond the first fifteen.
        var bytes: [UInt8] = [0x0F, UInt8(contentLengthPlace - 15)]
        append(String(count), to: &bytes)
        return bytes
    }

    private static func append(_ text: String, to bytes: inout [UInt8]) {
        var rest = text.utf8.count
        if rest < 127 {
            bytes.append(UInt8(rest))
        } else {
            bytes.append(127)
            rest -= 127
            while rest >= 128 {
                bytes.append(UInt8(rest & 127) | 128)
                rest >>= 7
            }
            bytes.append(UInt8(rest))
        }
        bytes += text.utf8
    }

    /// The status and, where it is not 200, the fields of an answer.
    static func answer(_ head: [UInt8]) throws(LoadProblem) -> (
        status: Int, headers: [(name: String, value: String)]
    ) {
        // Our settings may be answered by "the table has no room" (001xxxxx) first.
        if let first = head.first(where: { $0 & 0xE0 != 0x20 }), first == statusIs200 {
            return (200, [])
        }
        return try inflated(head)
    }

    private static func inflated(_ head: [UInt8]) throws(LoadProblem) -> (
        status: Int, headers: [(name: String, value: String)]
    ) {
        var inflater: OpaquePointer?
        guard nghttp2_hd_inflate_new(&inflater) == 0 else {
            preconditionFailure("nghttp2 has no memory")
        }
        defer { nghttp2_hd_inflate_del(inflater) }
        var status = 0
        var headers: [(name: String, value: String)] = []
        var isBroken = false
        head.withUnsafeBufferPointer { bytes in
            var place = 0
            while true {
                var field = nghttp2_nv()
                var flags: Int32 = 0
                let count = nghttp2_hd_inflate_hd2(
                    inflater, &field, &flags, bytes.baseAddress.map { $0 + place },
                    bytes.count - place, 1)
                guard count >= 0 else { return isBroken = true }
                place += count
                if flags & Int32(NGHTTP2_HD_INFLATE_EMIT.rawValue) != 0 {
                    let name = text(field.name, field.namelen)
                    let value = text(field.value, field.valuelen)
                    if name.utf8.elementsEqual(":status".utf8) {
                        status = Int(value) ?? 0
                    } else {
                        headers.append((name, value))
                    }
                }
                if flags & Int32(NGHTTP2_HD_INFLATE_FINAL.rawValue) != 0 { return }
                if count == 0, flags & Int32(NGHTTP2_HD_INFLATE_EMIT.rawValue) == 0 { return }
            }
        }
        guard !isBroken, (200...599).contains(status) else {
            throw LoadProblem(sentence: "a head that cannot be read")
        }
        return (status, headers)
    }

    private static func text(_ bytes: UnsafeMutablePointer<UInt8>?, _ count: Int) -> String {
        String(decoding: UnsafeBufferPointer(start: bytes, count: count), as: UTF8.self)
    }
}
